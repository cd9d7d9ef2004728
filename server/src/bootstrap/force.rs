//! `--force-new-cluster`: a member goes on alone, with its data and its ids.

use apply::StateMachine;
use base::Member;
use bytes::Bytes;
use prost::Message as _;
use proto::raftpb::{ConfChange, ConfChangeType};
use wal::{Entry, EntryKind, HardState, Recovered, Wal};

use super::Error;

/// Where a member can be reached that its own data do not know (etcd's choice).
const UNKNOWN_PEER_URL: &str = "http://localhost:2380";

/// Ends the log at what is committed, and adds entries that leave this member alone.
pub(super) fn alone(
    wal: &mut Wal,
    recovered: &mut Recovered,
    machine: &StateMachine,
) -> Result<(), Error> {
    let own = recovered.metadata.node_id;
    let committed = recovered.hard_state.commit.max(machine.consistent_index());
    let discarded = recovered.entries.iter().filter(|entry| entry.index > committed).count();
    if discarded > 0 {
        tracing::info!(
            "cluster-id" = format!("{:x}", recovered.metadata.cluster_id),
            "local-member-id" = format!("{own:x}"),
            "wal-commit-index" = recovered.hard_state.commit,
            "commit-index" = committed,
            "number-of-discarded-entries" = discarded,
            "discarding uncommitted WAL entries"
        );
        recovered.entries.retain(|entry| entry.index <= committed);
    }
    let changes = changes(own, &members_at(committed, recovered, machine));
    let term = recovered.hard_state.term;
    let entries: Vec<Entry> = (committed + 1..)
        .zip(changes)
        .map(|(index, change)| Entry {
            kind: EntryKind::ConfChange,
            term,
            index,
            data: change.encode_to_vec().into(),
        })
        .collect();
    let last = entries.last().map_or(committed, |entry| entry.index);
    let hard_state = HardState { commit: last, ..recovered.hard_state };
    wal.append(&entries, Some(&hard_state))?;
    wal.sync()?;
    recovered.entries.extend(entries);
    recovered.hard_state = hard_state;
    tracing::info!(
        "cluster-id" = format!("{:x}", recovered.metadata.cluster_id),
        "local-member-id" = format!("{own:x}"),
        "commit-index" = last,
        "forcing restart member"
    );
    Ok(())
}

/// Ids of the members once everything committed is applied.
fn members_at(committed: u64, recovered: &Recovered, machine: &StateMachine) -> Vec<u64> {
    let mut ids: Vec<u64> =
        machine.state().cluster.read().members.iter().map(|member| member.id).collect();
    let applied = machine.consistent_index();
    let pending = recovered
        .entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::ConfChange)
        .filter(|entry| entry.index > applied && entry.index <= committed);
    for change in pending.filter_map(|entry| ConfChange::decode(entry.data.clone()).ok()) {
        let id = change.node_id();
        ids.retain(|known| *known != id);
        if change.r#type() != ConfChangeType::ConfChangeRemoveNode {
            ids.push(id);
        }
    }
    ids.sort_unstable();
    ids
}

/// The changes that leave `own` alone.
fn changes(own: u64, members: &[u64]) -> Vec<ConfChange> {
    let mut changes = Vec::new();
    if !members.contains(&own) {
        let member =
            Member { id: own, peer_urls: vec![UNKNOWN_PEER_URL.to_owned()], ..Member::default() };
        changes.push(ConfChange {
            r#type: Some(ConfChangeType::ConfChangeAddNode.into()),
            node_id: Some(own),
            context: Some(Bytes::from(member.to_json())),
            ..ConfChange::default()
        });
    }
    let others = members.iter().filter(|id| **id != own);
    changes.extend(others.map(|id| ConfChange {
        r#type: Some(ConfChangeType::ConfChangeRemoveNode.into()),
        node_id: Some(*id),
        ..ConfChange::default()
    }));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(changes: &[ConfChange]) -> Vec<(ConfChangeType, u64)> {
        changes.iter().map(|change| (change.r#type(), change.node_id())).collect()
    }

    #[test]
    fn the_others_are_removed_and_a_member_that_was_removed_is_added() {
        use ConfChangeType::{ConfChangeAddNode as Add, ConfChangeRemoveNode as Remove};
        assert_eq!(kinds(&changes(2, &[1, 2, 3])), [(Remove, 1), (Remove, 3)]);
        assert_eq!(kinds(&changes(2, &[1])), [(Add, 2), (Remove, 1)]);
        assert_eq!(kinds(&changes(2, &[2])), []);
    }
}
