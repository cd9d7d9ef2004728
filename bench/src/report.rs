//! Tables, progress lines and JSON of the figures.

use std::io::Write as _;
use std::path::Path;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{Cell, CellAlignment, Table};

use crate::backup::{self, Round};
use crate::compare::Figures;
use crate::error::Error;
use crate::load::Load;
use crate::server::Kind;
use crate::stats::{Sample, median};

/// Writes a line to standard error; nobody can be told when that fails.
pub(crate) fn note(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

/// Tells why the run ended.
pub(crate) fn complain(error: &Error) {
    note(&format!("etcd-bench: {error}"));
}

fn print(text: &str) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// One line while a comparison runs.
pub(crate) fn progress(load: Load, sample: &Sample) {
    note(&format!("  {}", line(load, sample)));
}

/// The figures of a single run.
pub(crate) fn print_sample(load: Load, sample: &Sample, json: bool) {
    if json {
        print(&serde_json::to_string(sample).unwrap_or_default());
    } else {
        print(&line(load, sample));
    }
}

fn line(load: Load, sample: &Sample) -> String {
    let cpu = sample.cpu_us_per_op.map_or("-".to_owned(), |us| format!("{us:.2} us"));
    let rss = sample.rss_mib.map_or("-".to_owned(), |mib| format!("{mib:.0} MiB"));
    format!(
        "{:7} {:8.0} /s  p50 {:8.0} us  p99 {:8.0} us  cpu {cpu:>10}  rss {rss}",
        load.name(),
        sample.ops_per_s,
        sample.p50_us,
        sample.p99_us
    )
}

/// Writes the figures as JSON.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write_json(figures: &impl serde::Serialize, path: &Path) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(figures).unwrap_or_default();
    std::fs::write(path, text + "\n").map_err(|source| Error::File {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

/// A figure of a load, as the median over the rounds.
#[derive(Clone, Copy)]
enum Figure {
    Throughput,
    P50,
    P99,
    Cpu,
}

impl Figure {
    fn of(self, sample: &Sample) -> Option<f64> {
        match self {
            Figure::Throughput => Some(sample.ops_per_s),
            Figure::P50 => Some(sample.p50_us),
            Figure::P99 => Some(sample.p99_us),
            Figure::Cpu => sample.cpu_us_per_op,
        }
    }
}

/// What is owed of a row.
#[derive(Clone, Copy)]
enum Owed {
    /// Nothing; for orientation.
    Nothing,
    /// At least this multiple of the reference.
    AtLeast(f64),
    /// At most this multiple of the reference.
    AtMost(f64),
    /// At most this much, whatever the reference does.
    Below(f64),
    /// At most these multiples of the reference and of the bare server.
    AtMostBoth(f64, f64),
}

/// One row of the table.
struct Row {
    title: &'static str,
    ours: Option<f64>,
    reference: Option<f64>,
    bare: Option<f64>,
    owed: Owed,
}

/// The rows of a load: its name, its figure, what is owed.
const LOAD_ROWS: &[(&str, Load, Figure, Owed)] = &[
    ("put 512 clients, ops/s", Load::Put512, Figure::Throughput, Owed::AtLeast(1.35)),
    ("put 512 clients, CPU us", Load::Put512, Figure::Cpu, Owed::AtMostBoth(0.65, 1.4)),
    ("put 512 clients, p50 us", Load::Put512, Figure::P50, Owed::Nothing),
    ("put 512 clients, p99 us", Load::Put512, Figure::P99, Owed::Nothing),
    ("put 1 client, p50 us", Load::Put1, Figure::P50, Owed::AtMost(1.0)),
    ("put 1 client, CPU us", Load::Put1, Figure::Cpu, Owed::AtMost(0.6)),
    ("put 1 client, ops/s", Load::Put1, Figure::Throughput, Owed::Nothing),
    ("put 1 client, p99 us", Load::Put1, Figure::P99, Owed::Nothing),
    ("get, ops/s", Load::Get, Figure::Throughput, Owed::AtLeast(3.0)),
    ("get, CPU us", Load::Get, Figure::Cpu, Owed::AtMostBoth(0.16, 1.5)),
    ("get, p50 us", Load::Get, Figure::P50, Owed::Nothing),
    ("get, p99 us", Load::Get, Figure::P99, Owed::Nothing),
    ("page, pages/s", Load::Page, Figure::Throughput, Owed::AtLeast(8.0)),
    ("page, CPU us", Load::Page, Figure::Cpu, Owed::Nothing),
    ("page, p50 us", Load::Page, Figure::P50, Owed::Nothing),
    ("page, p99 us", Load::Page, Figure::P99, Owed::Nothing),
    ("watch, CPU us per event", Load::Watch, Figure::Cpu, Owed::AtMost(0.5)),
    ("watch, events/s", Load::Watch, Figure::Throughput, Owed::Nothing),
    ("watch, p50 us to the last", Load::Watch, Figure::P50, Owed::Nothing),
    ("3 members: put 256 clients, ops/s", Load::ClusterPut, Figure::Throughput, Owed::AtLeast(1.5)),
    ("3 members: put, CPU us of all", Load::ClusterPut, Figure::Cpu, Owed::AtMost(0.65)),
    ("3 members: put, p99 us", Load::ClusterPut, Figure::P99, Owed::AtMost(1.0)),
    ("3 members: get at all, ops/s", Load::ClusterGet, Figure::Throughput, Owed::AtLeast(3.0)),
    ("3 members: get, CPU us of all", Load::ClusterGet, Figure::Cpu, Owed::Nothing),
    ("fill by txn of 128, CPU us per txn", Load::Fill, Figure::Cpu, Owed::Nothing),
];

/// Prints the table of medians, ratios and limits.
pub(crate) fn print_figures(figures: &Figures) {
    print_rows(&rows(figures));
}

/// What a round of backups is judged by: title, figure, what is owed.
type BackupRow = (&'static str, fn(&Round) -> f64, Owed);

/// A save is owed to be as fast as the reference's, a look 1.2 times and a restore twice as fast.
const BACKUP_ROWS: [BackupRow; 7] = [
    ("snapshot save, s", |round| round.save_s, Owed::AtMost(1.0)),
    ("snapshot status, s", |round| round.status_s, Owed::AtMost(0.83)),
    ("snapshot restore, s", |round| round.restore_s, Owed::AtMost(0.5)),
    ("server's memory during save, MiB more", |round| round.rss_growth_mib, Owed::Below(64.0)),
    ("put p99 us during save, 1,000/s", |round| round.put_p99_during_us, Owed::AtMost(0.5)),
    ("put p99 us before, 1,000/s", |round| round.put_p99_before_us, Owed::Nothing),
    ("save during puts, s", |round| round.save_under_load_s, Owed::Nothing),
];

/// Prints the table of the backups' medians, ratios and limits.
pub(crate) fn print_backups(figures: &backup::Figures) {
    let of = |kind: Kind, figure: fn(&Round) -> f64| {
        median(figures.get(kind.name())?.iter().map(figure))
    };
    let rows = BACKUP_ROWS.map(|(title, figure, owed)| Row {
        title,
        ours: of(Kind::Ours, figure),
        reference: of(Kind::Reference, figure),
        bare: None,
        owed,
    });
    print_rows(&rows);
}

fn print_rows(rows: &[Row]) {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(["median", "ours", "reference", "bare tonic", "ratio", "owed", "reached"]);
    for row in rows {
        if row.ours.is_none() && row.reference.is_none() {
            continue;
        }
        let number = |value: Option<f64>| Cell::new(number(value));
        let right = |cell: Cell| cell.set_alignment(CellAlignment::Right);
        let (owed, reached) = judge(row);
        table.add_row([
            Cell::new(row.title),
            right(number(row.ours)),
            right(number(row.reference)),
            right(number(row.bare)),
            right(number(ratio(row.ours, row.reference))),
            Cell::new(owed),
            Cell::new(reached),
        ]);
    }
    print(&table.to_string());
}

fn rows(figures: &Figures) -> Vec<Row> {
    let of_load = |kind: Kind, load: Load, figure: Figure| {
        let samples = figures.samples.get(kind.name())?.get(load.name())?;
        median(samples.iter().filter_map(|sample| figure.of(sample)))
    };
    let mut rows: Vec<Row> = LOAD_ROWS
        .iter()
        .map(|(title, load, figure, owed)| Row {
            title,
            ours: of_load(Kind::Ours, *load, *figure),
            reference: of_load(Kind::Reference, *load, *figure),
            bare: of_load(Kind::Echo, *load, *figure),
            owed: *owed,
        })
        .collect();
    for (title, values, limit) in [
        ("SIGKILL to first read, s", &figures.restart_s, 0.5),
        ("resident after all loads, MiB", &figures.rss_mib, 0.6),
    ] {
        let of = |kind: Kind| median(values.get(kind.name())?.iter().copied());
        rows.push(Row {
            title,
            ours: of(Kind::Ours),
            reference: of(Kind::Reference),
            bare: None,
            owed: Owed::AtMost(limit),
        });
    }
    rows
}

fn ratio(value: Option<f64>, to: Option<f64>) -> Option<f64> {
    Some(value? / to.filter(|to| *to > 0.0)?)
}

/// What is owed as text, and whether it is reached.
fn judge(row: &Row) -> (String, &'static str) {
    let to_reference = ratio(row.ours, row.reference);
    let to_bare = ratio(row.ours, row.bare);
    let answer = |reached: Option<bool>| match reached {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    };
    match row.owed {
        Owed::Nothing => (String::new(), ""),
        Owed::AtLeast(limit) => {
            (format!(">= {limit} x"), answer(to_reference.map(|ratio| ratio >= limit)))
        }
        Owed::AtMost(limit) => {
            (format!("<= {limit} x"), answer(to_reference.map(|ratio| ratio <= limit)))
        }
        Owed::Below(limit) => (format!("<= {limit}"), answer(row.ours.map(|found| found <= limit))),
        Owed::AtMostBoth(reference, bare) => {
            let reached = to_reference.zip(to_bare);
            let reached = reached.map(|(to, from)| to <= reference && from <= bare);
            let now = number(to_bare);
            (format!("<= {reference} x, <= {bare} x bare (is {now})"), answer(reached))
        }
    }
}

/// Three digits that matter.
fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(owed: Owed) -> Row {
        Row { title: "x", ours: Some(20.0), reference: Some(40.0), bare: Some(16.0), owed }
    }

    #[test]
    fn limits_are_judged_against_the_reference_and_the_bare_server() {
        assert_eq!(judge(&row(Owed::AtLeast(0.5))).1, "yes");
        assert_eq!(judge(&row(Owed::AtLeast(1.35))).1, "no");
        assert_eq!(judge(&row(Owed::AtMost(0.5))).1, "yes");
        assert_eq!(judge(&row(Owed::AtMost(0.4))).1, "no");
        assert_eq!(judge(&row(Owed::Below(20.0))).1, "yes");
        assert_eq!(judge(&row(Owed::Below(19.0))).1, "no");
        assert_eq!(judge(&row(Owed::AtMostBoth(0.6, 1.3))).1, "yes");
        assert_eq!(judge(&row(Owed::AtMostBoth(0.6, 1.2))).1, "no");
        assert_eq!(judge(&row(Owed::AtMostBoth(0.4, 1.3))).1, "no");
    }

    #[test]
    fn without_figures_of_ours_nothing_is_claimed() {
        let row = Row { ours: None, ..row(Owed::AtMost(1.0)) };
        assert_eq!(judge(&row).1, "-");
    }
}
