//! One member goes on alone when the others are gone for good.

use bytes::Bytes;
use client::Client;
use integration_tests::{Cluster, Kind, asked, put, status};
use proto::etcdserverpb::RangeRequest;
use proto::mvccpb::KeyValue;

use crate::{get, ours, skipped, target};

#[test]
fn one_of_three_goes_on_alone_with_all_data() {
    if target() == Kind::Reference {
        return skipped("force-new-cluster", "3.4 drops entries that it had applied");
    }
    let mut cluster = Cluster::start(target(), 3, &["--snapshot-count=50"]);
    let leader = cluster.await_leader();
    let authority = cluster.members()[leader].client_authority();
    for n in 0..120 {
        put(&authority, &format!("k{}", n % 20), &n.to_string()).expect("a leader");
    }
    ours(&authority, "compaction 60");
    ours(&authority, "put last written");
    // A member alone goes by what it wrote down as committed: that is what came before the last
    // entry it has.
    ours(&authority, "del nothing");
    cluster.await_same_data();
    // Not the leader: what the others acknowledged is in its log all the same.
    let survivor = (leader + 1) % 3;
    let authority = cluster.members()[survivor].client_authority();
    let before = pairs(&authority);
    let id = cluster.id(survivor);
    (0..3).for_each(|at| cluster.member_mut(at).crash());

    let with_flag = cluster.members()[survivor].again().args(["--force-new-cluster"]);
    let without_flag = cluster.members()[survivor].again();
    cluster.restart_as(survivor, with_flag);
    cluster.await_health();
    let list = ours(&authority, "member list");
    assert_eq!(list.lines().count(), 1, "{list}");
    assert!(list.starts_with(&format!("{id:x}, started")), "{list}");
    assert_eq!(pairs(&authority), before);
    ours(&authority, "put alone yes");

    // Without the flag it stays alone, and others can join.
    cluster.member_mut(survivor).crash();
    cluster.restart_as(survivor, without_flag);
    cluster.await_health();
    assert_eq!(get(&authority, "alone", false), Ok(Some("yes".to_owned())));
    assert_eq!(status(&authority).expect("it answers").leader, id);
    let mut newcomer = cluster.member("n3");
    let url = newcomer.peer_url();
    ours(&authority, &format!("member add n3 --peer-urls={url}"));
    let peers = format!("{},n3={url}", cluster.members()[survivor].again().peer());
    let newcomer = newcomer.initial_cluster(&peers).args(["--initial-cluster-state=existing"]);
    cluster.push(newcomer.spawn());
    cluster.await_health();
    let last = cluster.members()[3].client_authority();
    assert_eq!(get(&last, "last", false), Ok(Some("written".to_owned())));
    cluster.await_same_data();
    // The leader and the other died by SIGKILL and said nothing; none may have panicked.
    cluster.assert_no_panic();
}

/// All pairs, with their versions and revisions.
fn pairs(authority: &str) -> Vec<KeyValue> {
    let everything = RangeRequest {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        ..RangeRequest::default()
    };
    asked(authority, async |client: Client| {
        client.kv().range(everything).await.expect("range").into_inner().kvs
    })
}
