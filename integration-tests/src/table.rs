//! What `-w table` prints.

/// The cells of a printed table: those of the header, and those of each row.
///
/// # Panics
/// When its lines do not form a table.
pub fn table(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
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
    (cells(lines[1]), rows)
}
