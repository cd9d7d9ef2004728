//! The comparison: rounds in which every server in turn gets every load.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::Error;
use crate::load::{self, Load, Scale, Target};
use crate::report;
use crate::server::{self, Kind, Server};
use crate::stats::Sample;

/// Flags of `compare`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The server of this workspace; left out of the run when the file does not exist.
    #[arg(long, default_value = "target/release/etcd")]
    ours: PathBuf,
    /// The etcd to compare with.
    #[arg(long, default_value = "/usr/bin/etcd")]
    reference: PathBuf,
    /// How often every server gets every load.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Where the servers keep their data; must be on a disk. The binary's directory by default.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where the figures go as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Only these loads; `put512` and `fill` are run where others need their data.
    #[arg(long, value_enum, value_delimiter = ',')]
    loads: Vec<Load>,
}

/// Everything measured.
#[derive(Default, Serialize)]
pub(crate) struct Figures {
    /// By server, then by load: one sample per round.
    pub(crate) samples: BTreeMap<&'static str, BTreeMap<&'static str, Vec<Sample>>>,
    /// By server: seconds from SIGKILL to the first linearizable read, per round.
    pub(crate) restart_s: BTreeMap<&'static str, Vec<f64>>,
    /// By server: resident memory after all loads, per round.
    pub(crate) rss_mib: BTreeMap<&'static str, Vec<f64>>,
}

/// The loads in their order; later ones need what earlier ones wrote.
const SEQUENCE: [Load; 6] =
    [Load::Put512, Load::Put1, Load::Get, Load::Fill, Load::Page, Load::Watch];
/// What a cluster gets.
const CLUSTER_SEQUENCE: [Load; 2] = [Load::ClusterPut, Load::ClusterGet];
/// Its members.
const CLUSTER_SIZE: usize = 3;
/// What the echo server can answer.
const ECHO_SEQUENCE: [Load; 3] = [Load::Put512, Load::Put1, Load::Get];

/// Runs the comparison and prints its table.
///
/// # Errors
/// A server or an operation that fails, a directory that is not on a disk.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let own = std::env::current_exe()
        .map_err(|source| Error::System { action: "find the own binary", source })?;
    let base = server::data_dir(options.dir.as_deref())?;
    let mut contestants: Vec<(Kind, &Path)> = Vec::new();
    for (kind, binary) in [
        (Kind::Ours, options.ours.as_path()),
        (Kind::Reference, options.reference.as_path()),
        (Kind::Echo, own.as_path()),
    ] {
        if binary.exists() {
            contestants.push((kind, binary));
        } else {
            report::note(&format!("{} is left out: no {}", kind.name(), binary.display()));
        }
    }
    let mut figures = Figures::default();
    for round in 0..options.rounds {
        // Each round begins with another server, so that none always follows the same one.
        let shift = usize::try_from(round).unwrap_or(0) % contestants.len().max(1);
        contestants.rotate_left(shift.min(1));
        for (kind, binary) in &contestants {
            report::note(&format!("round {} of {}: {}", round + 1, options.rounds, kind.name()));
            one_server(*kind, binary, &base, options, &mut figures)?;
            if *kind != Kind::Echo {
                one_cluster(*kind, binary, &base, options, &mut figures)?;
            }
        }
    }
    // The directory is empty by now; if it is not, it is not ours to clear.
    drop(std::fs::remove_dir(&base));
    report::print_figures(&figures);
    match &options.json {
        Some(path) => report::write_json(&figures, path),
        None => Ok(()),
    }
}

fn one_server(
    kind: Kind,
    binary: &Path,
    base: &Path,
    options: &Options,
    figures: &mut Figures,
) -> Result<(), Error> {
    if !SEQUENCE.iter().any(|load| wanted(*load, &options.loads)) {
        return Ok(());
    }
    let mut server = Server::start(kind, binary, base)?;
    let sequence: &[Load] = if kind == Kind::Echo { &ECHO_SEQUENCE } else { &SEQUENCE };
    for load in sequence.iter().filter(|load| wanted(**load, &options.loads)) {
        let target = Target { endpoints: vec![server.endpoint()], pids: vec![server.pid()] };
        let sample = load::measure(*load, &target, Scale::default())?;
        report::progress(*load, &sample);
        let of_server = figures.samples.entry(kind.name()).or_default();
        of_server.entry(load.name()).or_default().push(sample);
    }
    if kind == Kind::Echo {
        return Ok(());
    }
    let rss_mib = server::rss_mib(server.pid())?;
    figures.rss_mib.entry(kind.name()).or_default().push(rss_mib);
    let restart = server.kill_and_restart()?;
    figures.restart_s.entry(kind.name()).or_default().push(restart.as_secs_f64());
    let restart = restart.as_secs_f64();
    report::note(&format!("  resident {rss_mib:.0} MiB, back after {restart:.3} s"));
    Ok(())
}

fn one_cluster(
    kind: Kind,
    binary: &Path,
    base: &Path,
    options: &Options,
    figures: &mut Figures,
) -> Result<(), Error> {
    if !CLUSTER_SEQUENCE.iter().any(|load| wanted(*load, &options.loads)) {
        return Ok(());
    }
    let members = Server::start_cluster(kind, binary, base, CLUSTER_SIZE)?;
    let target = Target {
        endpoints: members.iter().map(Server::endpoint).collect(),
        pids: members.iter().map(Server::pid).collect(),
    };
    for load in CLUSTER_SEQUENCE {
        let sample = load::measure(load, &target, Scale::default())?;
        report::progress(load, &sample);
        let of_server = figures.samples.entry(kind.name()).or_default();
        of_server.entry(load.name()).or_default().push(sample);
    }
    Ok(())
}

/// True for a load that was asked for or whose data another one needs.
fn wanted(load: Load, asked: &[Load]) -> bool {
    asked.is_empty()
        || asked.contains(&load)
        || (load == Load::Put512 && asked.contains(&Load::Get))
        || (load == Load::Fill && asked.contains(&Load::Page))
}
