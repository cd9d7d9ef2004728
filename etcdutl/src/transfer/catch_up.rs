//! Applies what the log has committed and the backend does not have yet, as a start would.

use apply::{Entry, EntryKind, Standing, StateMachine};
use backend::Backend;
use mvcc::Store;

use super::Log;
use crate::failure::Failure;

/// Entries applied as one batch.
const BATCH: usize = 1000;

/// Brings `backend` up to what is committed, and gives where it stands then.
pub(super) fn catch_up(backend: &Backend, log: &Log) -> Result<Standing, Failure> {
    let before = Standing::read(backend)?;
    let commit = committed(&before, log);
    if commit <= before.index {
        return Ok(before);
    }
    let opened = Store::open(backend.clone(), mvcc::Options::default())?;
    let mut machine = StateMachine::open(opened, apply::Options::default())?;
    let waiting: Vec<Entry> = log
        .recovered
        .entries
        .iter()
        .filter(|entry| entry.index > before.index && entry.index <= commit)
        .map(converted)
        .collect();
    for batch in waiting.chunks(BATCH) {
        machine.apply_batch(batch.iter().cloned(), |_| false, &mut Vec::new())?;
    }
    drop(machine);
    backend.flush()?;
    Ok(Standing::read(backend)?)
}

/// The last entry known to be committed. Whoever votes alone has committed all it has.
fn committed(standing: &Standing, log: &Log) -> u64 {
    let own = log.recovered.metadata.node_id;
    match standing.cluster.members.conf_state().voters.as_slice() {
        [only] if *only == own => log.last_index(),
        _ => log.recovered.hard_state.commit,
    }
}

fn converted(entry: &wal::Entry) -> Entry {
    Entry {
        index: entry.index,
        term: entry.term,
        kind: match entry.kind {
            wal::EntryKind::Normal => EntryKind::Normal,
            wal::EntryKind::ConfChange => EntryKind::ConfChange,
            wal::EntryKind::ConfChangeV2 => EntryKind::ConfChangeV2,
        },
        data: entry.data.clone(),
    }
}
