//! Members compare hashes of their keys: at a start, now and then, and after compactions. Who
//! differs gets a CORRUPT alarm, which stops writes until an operator has looked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::Member;
use mvcc::KvHash;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{AlarmRequest, AlarmType};
use proto::request::Kind;

use crate::peers::PeerHash;
use crate::rpc::node::Reads as _;
use crate::state::Shared;

/// What a peer has of the keys, seen from the leader's `own` hash at the same revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    Same,
    /// Its keys differ, or it has what the leader cannot have given it.
    Corrupt(&'static str),
}

/// Judges a peer by two hashes of this member: before and after the peer was asked.
fn judge(
    own: KvHash,
    own_revision_after: i64,
    own_compacted_after: i64,
    peer: PeerHash,
) -> Finding {
    if peer.header.revision > own_revision_after {
        let what = "revision from follower must be less than or equal to leader's";
        return Finding::Corrupt(what);
    }
    if peer.compact_revision > own_compacted_after {
        let what = "compact revision from follower must be less than or equal to leader's";
        return Finding::Corrupt(what);
    }
    if peer.compact_revision == own.compact_revision && peer.hash != own.hash {
        return Finding::Corrupt("same compact revision then hashes must match");
    }
    Finding::Same
}

/// Who is outside the majority: ids, or nobody in particular (`None`) if there is no majority.
fn minority(hashes: &BTreeMap<u64, u32>, members: usize) -> Option<Vec<u64>> {
    let mut votes: BTreeMap<u32, usize> = BTreeMap::new();
    for hash in hashes.values() {
        *votes.entry(*hash).or_default() += 1;
    }
    let (majority, _) = votes.into_iter().find(|(_, count)| *count > members / 2)?;
    Some(hashes.iter().filter(|(_, hash)| **hash != majority).map(|(id, _)| *id).collect())
}

fn others(shared: &Shared) -> Vec<Member> {
    let cluster = shared.state.cluster.read();
    cluster.members.iter().filter(|member| member.id != shared.member_id).cloned().collect()
}

async fn ask(shared: &Shared, member: &Member, revision: i64) -> Option<PeerHash> {
    match shared.peers.hash_kv(shared, member, revision).await {
        Ok(hash) => Some(hash),
        Err(error) => {
            let id = format!("{:x}", member.id);
            tracing::warn!("remote-peer-id" = id, error, "failed hash kv request");
            None
        }
    }
}

async fn raise(shared: &Shared, member_id: u64) {
    let request = AlarmRequest {
        action: AlarmAction::Activate.into(),
        member_id,
        alarm: AlarmType::Corrupt.into(),
    };
    if let Err(error) = shared.proposer.propose(Kind::Alarm, &request).await {
        tracing::warn!(error = %error, "failed to raise alarm");
    }
}

/// The check of a restarted member against the others (gate `InitialCorruptCheck`).
///
/// # Errors
/// etcd's text, when another member has other keys.
pub(crate) async fn initial(shared: &Shared) -> Result<(), String> {
    let id = format!("{:x}", shared.member_id);
    tracing::info!("local-member-id" = id, "starting initial corruption check");
    let own = match shared.hash_kv(0).await {
        Ok(own) => own,
        Err(error) => return Err(format!("{id} failed to fetch hash ({})", error.message())),
    };
    let mut mismatches = 0;
    for member in others(shared) {
        // Who does not answer cannot be compared with.
        let Some(peer) = ask(shared, &member, own.revision).await else { continue };
        if peer.hash == own.hash {
            continue;
        }
        let same = peer.compact_revision == own.compact_revision;
        let what = if same { "hash" } else { "compact revision" };
        mismatches += usize::from(same);
        tracing::warn!(
            "local-member-id" = id,
            "local-member-revision" = own.revision,
            "local-member-compact-revision" = own.compact_revision,
            "local-member-hash" = own.hash,
            "remote-peer-id" = format!("{:x}", member.id),
            "remote-peer-compact-revision" = peer.compact_revision,
            "remote-peer-hash" = peer.hash,
            "found different {what} values from remote peer"
        );
    }
    if mismatches > 0 {
        return Err(format!("{id} found data inconsistency with peers"));
    }
    tracing::info!("local-member-id" = id, "initial corruption checking passed; no corruption");
    Ok(())
}

/// The leader's comparisons, at the intervals given.
pub(crate) async fn run(shared: Arc<Shared>) {
    let config = &shared.config;
    tokio::join!(
        every(config.corrupt_check, || compare(&shared)),
        every(config.compact_hash_check, || compare_compactions(&shared)),
    );
}

async fn every<F: Future<Output = ()>>(period: Option<Duration>, check: impl Fn() -> F) {
    let Some(period) = period else { return };
    tracing::info!(interval = crate::logging::go_duration(period), "enabled corruption checking");
    loop {
        tokio::time::sleep(period).await;
        check().await;
    }
}

/// Compares the newest keys; raises at most one alarm.
async fn compare(shared: &Shared) {
    if !shared.raft.status().is_leader() {
        return;
    }
    let Ok(own) = shared.hash_kv(0).await else { return };
    let mut answers = Vec::new();
    for member in others(shared) {
        if let Some(answer) = ask(shared, &member, own.revision).await {
            answers.push((member.id, answer));
        }
    }
    if shared.read_barrier().await.is_err() {
        return;
    }
    let Ok(again) = shared.hash_kv(0).await else { return };
    let unchanged =
        (own.revision, own.compact_revision) == (again.revision, again.compact_revision);
    if unchanged && own.hash != again.hash {
        tracing::warn!(
            "local-member-id" = format!("{:x}", shared.member_id),
            "found hash mismatch"
        );
        raise(shared, shared.member_id).await;
        return;
    }
    for (id, answer) in &answers {
        if let Finding::Corrupt(what) = judge(own, again.revision, again.compact_revision, *answer)
        {
            tracing::warn!("remote-peer-id" = format!("{id:x}"), "{what}");
            raise(shared, *id).await;
            return;
        }
    }
    tracing::info!("number-of-peers-checked" = answers.len(), "finished peer corruption check");
}

/// Compares what compactions hashed, newest first, until all members could be compared.
async fn compare_compactions(shared: &Shared) {
    if !shared.raft.status().is_leader() {
        return;
    }
    let members = others(shared);
    for own in shared.store().compaction_hashes() {
        let mut hashes = BTreeMap::from([(shared.member_id, own.hash)]);
        for member in &members {
            let answer = ask(shared, member, own.revision).await;
            match answer.filter(|peer| peer.compact_revision == own.compact_revision) {
                Some(peer) => drop(hashes.insert(member.id, peer.hash)),
                None => tracing::warn!(
                    "remote-peer-id" = format!("{:x}", member.id),
                    "Skipped peer's hash"
                ),
            }
        }
        if hashes.values().all(|hash| *hash == own.hash) {
            if hashes.len() == members.len() + 1 {
                let revision = own.revision;
                tracing::info!(revision, "successfully checked hash on whole cluster");
                return;
            }
            continue;
        }
        match minority(&hashes, members.len() + 1) {
            Some(ids) => {
                let shown: Vec<String> = ids.iter().map(|id| format!("{id:x}")).collect();
                tracing::error!(
                    "peer-ids" = shown.join(";"),
                    "quorum-exist" = true,
                    "Detected compaction hash mismatch"
                );
                for id in ids {
                    raise(shared, id).await;
                }
            }
            None => {
                tracing::error!(
                    "Detected compaction hash mismatch but cannot identify the corrupted members, \
                     so intentionally set the memberID as 0"
                );
                raise(shared, 0).await;
            }
        }
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::PeerHeader;

    const OWN: KvHash = KvHash { hash: 7, revision: 10, compact_revision: 4 };

    fn peer(hash: u32, revision: i64, compact_revision: i64) -> PeerHash {
        PeerHash { header: PeerHeader { revision }, hash, compact_revision, hash_revision: 10 }
    }

    #[test]
    fn a_peer_is_corrupt_if_it_differs_or_is_ahead() {
        assert_eq!(judge(OWN, 12, 4, peer(7, 12, 4)), Finding::Same);
        // Compacted elsewhere: the hashes cover different rows.
        assert_eq!(judge(OWN, 12, 4, peer(9, 12, 3)), Finding::Same);
        for odd in [peer(9, 10, 4), peer(7, 13, 4), peer(7, 12, 5)] {
            assert!(matches!(judge(OWN, 12, 4, odd), Finding::Corrupt(_)), "{odd:?}");
        }
    }

    #[test]
    fn the_majority_is_right() {
        let hashes = |list: &[(u64, u32)]| list.iter().copied().collect::<BTreeMap<_, _>>();
        assert_eq!(minority(&hashes(&[(1, 7), (2, 7), (3, 9)]), 3), Some(vec![3]));
        assert_eq!(minority(&hashes(&[(1, 7), (2, 8), (3, 9)]), 3), None);
        assert_eq!(minority(&hashes(&[(1, 7), (2, 9)]), 2), None);
        // Two of five that answered agree: no majority of the cluster.
        assert_eq!(minority(&hashes(&[(1, 7), (2, 7), (3, 9)]), 5), None);
    }
}
