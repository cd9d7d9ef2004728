//! Printers: pure functions from a result to text.

use comfy_table::{Cell, CellAlignment, ContentLineStyle, LineStyle, Table, TableStyle};
use mvcc::KvHash;
use snapshot::Status;

use crate::failure::Failure;

const BORDER: LineStyle = LineStyle::new('+', '-', '+', '+');
const CELLS: ContentLineStyle = ContentLineStyle::new('|', '|', '|');
const ASCII: TableStyle = TableStyle::new()
    .top_border(BORDER)
    .header_lines(CELLS)
    .header_separator(BORDER)
    .content_lines(CELLS)
    .bottom_border(BORDER);

/// The values of `--write-out` that print a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Items on one line.
    Simple,
    /// One `"Name" : value` per line.
    Fields,
    /// One line of JSON.
    Json,
    /// A table with ASCII borders.
    Table,
}

impl Format {
    /// Reads the value of `--write-out`.
    ///
    /// # Errors
    /// An unknown format, or one without a printer.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        match text {
            "simple" => Ok(Format::Simple),
            "fields" => Ok(Format::Fields),
            "json" => Ok(Format::Json),
            "table" => Ok(Format::Table),
            "protobuf" => Err(Failure::Format("protobuf")),
            _ => Err(Failure::NoFormat),
        }
    }
}

/// The output of `hashkv`.
pub(crate) fn hash_kv(format: Format, found: &KvHash) -> String {
    let KvHash { hash, revision, compact_revision } = found;
    match format {
        Format::Simple => format!("{hash}, {revision}, {compact_revision}\n"),
        Format::Fields => format!(
            "\"Hash\" : {hash}\n\"Hash revision\" : {revision}\n\
             \"Compact revision\" : {compact_revision}\n"
        ),
        Format::Json => format!(
            "{{\"hash\":{hash},\"hashRevision\":{revision},\
             \"compactRevision\":{compact_revision}}}\n"
        ),
        Format::Table => table(
            &["HASH", "HASH REVISION", "COMPACT REVISION"],
            &[hash.to_string(), revision.to_string(), compact_revision.to_string()],
        ),
    }
}

/// The output of `snapshot status`.
pub(crate) fn status(format: Format, found: &Status) -> String {
    let Status { hash, revision, live_keys, size_bytes, version, .. } = found;
    let size = base::text::humanize_bytes(*size_bytes);
    match format {
        Format::Simple => format!("{hash:x}, {revision}, {live_keys}, {size}, {version}\n"),
        Format::Fields => format!(
            "\"Hash\" : {hash}\n\"Revision\" : {revision}\n\"Keys\" : {live_keys}\n\
             \"Size\" : {size_bytes}\n\"Version\" : {version}\n"
        ),
        Format::Json => {
            let mut shown = String::new();
            base::json::string(version, &mut shown);
            format!(
                "{{\"hash\":{hash},\"revision\":{revision},\"totalKey\":{live_keys},\
                 \"totalSize\":{size_bytes},\"version\":{shown}}}\n"
            )
        }
        Format::Table => table(
            &["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE", "VERSION"],
            &[
                format!("{hash:x}"),
                revision.to_string(),
                live_keys.to_string(),
                size,
                version.clone(),
            ],
        ),
    }
}

/// A table of one row: header centred (an odd blank goes to its right), cells to the right.
fn table(header: &[&str], row: &[String]) -> String {
    let mut table = Table::new();
    table.load_style(ASCII);
    table.set_header(header.iter().zip(row).map(|(name, cell)| {
        let left = cell.len().saturating_sub(name.len()) / 2;
        Cell::new(format!("{:left$}{name}", ""))
    }));
    table.add_row(row.iter().map(|cell| Cell::new(cell).set_alignment(CellAlignment::Right)));
    format!("{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_kv_prints_in_four_formats() {
        let found = KvHash { hash: 1_927_799_333, revision: 65, compact_revision: 49 };
        let printed = |format: &str| hash_kv(Format::parse(format).expect("format"), &found);
        assert_eq!(printed("simple"), "1927799333, 65, 49\n");
        assert_eq!(
            printed("json"),
            "{\"hash\":1927799333,\"hashRevision\":65,\"compactRevision\":49}\n"
        );
        assert_eq!(
            printed("fields"),
            "\"Hash\" : 1927799333\n\"Hash revision\" : 65\n\"Compact revision\" : 49\n"
        );
        assert_eq!(
            printed("table"),
            "+------------+---------------+------------------+\n\
             |    HASH    | HASH REVISION | COMPACT REVISION |\n\
             +------------+---------------+------------------+\n\
             | 1927799333 |            65 |               49 |\n\
             +------------+---------------+------------------+\n"
        );
    }

    #[test]
    fn status_prints_in_four_formats() {
        let found = Status {
            hash: 1_857_785_264,
            revision: 65,
            live_keys: 5,
            rows: 80,
            size_bytes: 28_672,
            version: "3.7.0".to_owned(),
        };
        let printed = |format: &str| status(Format::parse(format).expect("format"), &found);
        assert_eq!(printed("simple"), "6ebb8db0, 65, 5, 29 kB, 3.7.0\n");
        assert_eq!(
            printed("json"),
            "{\"hash\":1857785264,\"revision\":65,\"totalKey\":5,\"totalSize\":28672,\
             \"version\":\"3.7.0\"}\n"
        );
        assert_eq!(
            printed("fields"),
            "\"Hash\" : 1857785264\n\"Revision\" : 65\n\"Keys\" : 5\n\"Size\" : 28672\n\
             \"Version\" : 3.7.0\n"
        );
        assert_eq!(
            printed("table"),
            "+----------+----------+------------+------------+---------+\n\
             |   HASH   | REVISION | TOTAL KEYS | TOTAL SIZE | VERSION |\n\
             +----------+----------+------------+------------+---------+\n\
             | 6ebb8db0 |       65 |          5 |      29 kB |   3.7.0 |\n\
             +----------+----------+------------+------------+---------+\n"
        );
        let old = Status { version: String::new(), ..found };
        assert_eq!(status(Format::Simple, &old), "6ebb8db0, 65, 5, 29 kB, \n");
    }

    #[test]
    fn other_formats_are_refused_with_code_four() {
        let refused = |format: &str| Format::parse(format).expect_err("refused");
        let protobuf = refused("protobuf");
        assert_eq!(protobuf.to_string(), "protobuf not supported as output format");
        assert_eq!((protobuf.code(), refused("yaml").code()), (4, 4));
    }
}
