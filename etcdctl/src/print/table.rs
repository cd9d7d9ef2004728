//! Tables with ASCII borders: header centred, cells to the right, no lines between rows.

use comfy_table::{Cell, CellAlignment, ContentLineStyle, LineStyle, Table, TableStyle};

use super::reply::{self, Reply};

const BORDER: LineStyle = LineStyle::new('+', '-', '+', '+');
const CELLS: ContentLineStyle = ContentLineStyle::new('|', '|', '|');
const ASCII: TableStyle = TableStyle::new()
    .top_border(BORDER)
    .header_lines(CELLS)
    .header_separator(BORDER)
    .content_lines(CELLS)
    .bottom_border(BORDER);

const MEMBERS: &[&str] = &["ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"];
const HEALTH: &[&str] = &["ENDPOINT", "HEALTH", "TOOK", "ERROR"];
const HASH_KV: &[&str] = &["ENDPOINT", "HASH", "HASH REVISION"];
const SNAPSHOT: &[&str] = &["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE"];
const STATUS: &[&str] = &[
    "ENDPOINT",
    "ID",
    "VERSION",
    "STORAGE VERSION",
    "DB SIZE",
    "IN USE",
    "PERCENTAGE NOT IN USE",
    "QUOTA",
    "IS LEADER",
    "IS LEARNER",
    "RAFT TERM",
    "RAFT INDEX",
    "RAFT APPLIED INDEX",
    "ERRORS",
    "DOWNGRADE TARGET VERSION",
    "DOWNGRADE ENABLED",
];

/// Renders `reply`, or `None` for what is not a list.
pub(super) fn render(reply: &Reply<'_>) -> Option<Vec<u8>> {
    let text = match reply {
        Reply::Members(r) => draw(MEMBERS, r.members.iter().map(reply::member_cells)),
        Reply::Health(rows) => draw(HEALTH, rows.iter().map(reply::health_cells)),
        Reply::Status(rows) => draw(STATUS, rows.iter().map(reply::status_cells)),
        Reply::HashKv(rows) => draw(HASH_KV, rows.iter().map(reply::hash_kv_cells)),
        Reply::SnapshotStatus(status) => {
            draw(SNAPSHOT, [reply::snapshot_cells(status)].into_iter())
        }
        Reply::Put(_)
        | Reply::Get { .. }
        | Reply::Delete(_)
        | Reply::Txn(_)
        | Reply::Watch(_)
        | Reply::Grant(_)
        | Reply::Revoke { .. }
        | Reply::TimeToLive { .. }
        | Reply::Leases(_)
        | Reply::KeepAlive(_)
        | Reply::MemberAdd { .. }
        | Reply::MemberChanged { .. }
        | Reply::MoveLeader { .. }
        | Reply::Alarms(_) => return None,
    };
    Some(text.into_bytes())
}

fn draw(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.collect();
    let mut table = Table::new();
    table.load_style(ASCII);
    table.set_header(header.iter().enumerate().map(|(column, name)| {
        let cells = rows.iter().filter_map(|cells| cells.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        Cell::new(centred(name, widest)).set_alignment(CellAlignment::Left)
    }));
    for cells in rows {
        let right = |cell: String| Cell::new(cell).set_alignment(CellAlignment::Right);
        table.add_row(cells.into_iter().map(right).collect::<Vec<_>>());
    }
    format!("{table}\n")
}

/// `name` in the middle of `width` columns; an odd blank goes to its right.
fn centred(name: &str, width: usize) -> String {
    let left = width.saturating_sub(name.len()) / 2;
    format!("{:left$}{name}", "")
}
