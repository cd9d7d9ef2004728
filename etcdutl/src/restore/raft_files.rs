//! The log and the `.snap` file of a restored member: as if the members had been added one by one
//! in term 1, and a snapshot taken behind the last.

use base::{ConfState, Member};
use bytes::Bytes;
use prost::Message as _;
use proto::raftpb;
use wal::{Entry, EntryKind, HardState, Metadata, SnapDir, Snapshot, SnapshotRecord, Wal};

use super::founders::Founders;
use crate::aside::Aside;
use crate::failure::Failure;

/// The term of everything that a restore writes.
pub(super) const TERM: u64 = 1;

/// The index of the last entry: one for each member.
pub(super) fn last_index(founders: &Founders) -> u64 {
    founders.members.len() as u64
}

/// Writes both, durably.
pub(super) fn write(aside: &Aside, founders: &Founders) -> Result<(), Failure> {
    let ids: Vec<u64> = founders.members.iter().map(|member| member.id).collect();
    let (index, conf_state) = (last_index(founders), ConfState::of_voters(ids));
    let entries: Vec<Entry> =
        founders.members.iter().zip(1..).map(|(member, index)| entry(member, index)).collect();
    let state = HardState {
        term: TERM,
        vote: founders.members.first().map_or(0, |member| member.id),
        commit: index,
    };
    let metadata = Metadata { node_id: founders.own_id, cluster_id: founders.cluster_id };
    let mut wal = Wal::create(&aside.wal_dir(), &metadata, &wal::Options::default())?;
    wal.save(&entries, Some(&state))?;
    let data = wal::store_document(&founders.members, &[], None).into();
    SnapDir::open(&aside.snap_dir(), None)?.save(&Snapshot {
        index,
        term: TERM,
        conf_state: conf_state.clone(),
        data,
    })?;
    wal.save_snapshot(&SnapshotRecord { index, term: TERM, conf_state: Some(conf_state) })?;
    Ok(wal.close()?)
}

/// The entry that adds a member.
fn entry(member: &Member, index: u64) -> Entry {
    let change = raftpb::ConfChange {
        r#type: Some(raftpb::ConfChangeType::ConfChangeAddNode.into()),
        node_id: Some(member.id),
        context: Some(Bytes::from(member.to_json())),
        ..raftpb::ConfChange::default()
    };
    Entry { kind: EntryKind::ConfChange, term: TERM, index, data: change.encode_to_vec().into() }
}

/// Reads again what was written and compares the log with the backend.
pub(super) fn verify(aside: &Aside, founders: &Founders) -> Result<(), Failure> {
    let mark = (last_index(founders), TERM);
    let state = wal::verify(&aside.wal_dir(), mark)?;
    let backend =
        backend::Backend::open(aside.snap_dir().join("db"), &backend::Options::default())?;
    let standing = apply::Standing::read(&backend)?;
    if standing.index != state.commit {
        return Err(Failure::Refused(format!(
            "backend.ConsistentIndex ({}) must be == last commit ({})",
            standing.index, state.commit
        )));
    }
    Ok(())
}
