//! What `-w table` prints.

/// The columns of `member list`.
pub const MEMBER_COLUMNS: [&str; 6] =
    ["ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"];

/// The columns of `endpoint status` in 3.4, all of which later versions have too.
pub const STATUS_COLUMNS: [&str; 10] = [
    "ENDPOINT",
    "ID",
    "VERSION",
    "DB SIZE",
    "IS LEADER",
    "IS LEARNER",
    "RAFT TERM",
    "RAFT INDEX",
    "RAFT APPLIED INDEX",
    "ERRORS",
];

/// A printed table.
#[derive(Debug)]
pub struct Table {
    /// Names of the columns.
    pub header: Vec<String>,
    /// The cells of each row.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Reads what a tool printed.
    ///
    /// # Panics
    /// When its lines do not form a table.
    pub fn read(text: &str) -> Self {
        let ascii: String = text
            .chars()
            .map(|c| match c {
                '─' => '-',
                '│' => '|',
                '┌' | '┬' | '┐' | '├' | '┼' | '┤' | '└' | '┴' | '┘' => '+',
                other => other,
            })
            .collect();
        let lines: Vec<&str> = ascii.lines().collect();
        assert!(lines.len() >= 4, "{text:?}");
        let rule = lines[0];
        assert!(rule.starts_with("+-") && rule.ends_with("-+"), "{rule}");
        assert_eq!((lines[2], lines[lines.len() - 1]), (rule, rule));
        let cells = |line: &str| -> Vec<String> {
            assert_eq!(line.len(), rule.len(), "{ascii}");
            for (at, corner) in rule.char_indices().filter(|(_, c)| *c == '+') {
                assert_eq!((corner, &line[at..=at]), ('+', "|"), "{ascii}");
            }
            let inner = line.trim_matches('|');
            inner.split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        let rows = lines[3..lines.len() - 1].iter().map(|line| cells(line)).collect();
        Self { header: cells(lines[1]), rows }
    }

    /// The cell of a row in a column.
    ///
    /// # Panics
    /// When there is no such column.
    pub fn cell(&self, row: usize, column: &str) -> &str {
        let at = self.header.iter().position(|name| name == column);
        &self.rows[row][at.unwrap_or_else(|| panic!("no {column} in {:?}", self.header))]
    }
}
