//! `move-leader`.

use integration_tests::{Cluster, Kind, Tool};

use crate::{NOBODY, answer, both, json, ours, refused};

/// Endpoint and id of each member, the leader first.
fn leader_first(endpoints: &str) -> Vec<(String, String)> {
    let status = json(endpoints, "endpoint status");
    let mut members: Vec<(bool, String, String)> = status
        .as_array()
        .expect("an array")
        .iter()
        .map(|row| {
            let id = row["Status"]["header"]["member_id"].as_u64().expect("an id");
            let leads = row["Status"]["leader"].as_u64() == Some(id);
            (leads, row["Endpoint"].as_str().expect("text").to_owned(), format!("{id:x}"))
        })
        .collect();
    members.sort_by_key(|(leads, ..)| !leads);
    assert!(members[0].0 && !members[1].0, "not one leader: {members:?}");
    members.into_iter().map(|(_, endpoint, id)| (endpoint, id)).collect()
}

#[test]
fn leadership_moves_to_the_member_named() {
    let cluster = Cluster::start(Kind::Reference, 3, &[]);
    let all = cluster.endpoints();
    for tool in crate::BOTH {
        let members = leader_first(&all);
        let (from, to) = (&members[0].1, &members[1].1);
        let moved = format!("Leadership transferred from {from} to {to}\n");
        assert_eq!(answer(tool, &all, &format!("move-leader {to}")), (0, moved, String::new()));
        assert_eq!(&leader_first(&all)[0].1, to);
    }

    // The leader itself is a target like any other, and already there.
    let members = leader_first(&all);
    let [(leader, id), (follower, other), _] = members.as_slice() else { panic!("{members:?}") };
    let stays = format!("Leadership transferred from {id} to {id}\n");
    assert_eq!(both(leader, &format!("move-leader {id}")), (0, stays, String::new()));
    assert_eq!(both(&all, "move-leader 123"), refused(1, "etcdserver: bad leader transferee"));

    // Without the leader among the endpoints nothing can be done; with it, those behind it are
    // not asked, and those before it must answer.
    for (endpoints, list) in [
        (follower.clone(), follower.clone()),
        (format!("{follower},{follower}"), format!("{follower} {follower}")),
    ] {
        let text = format!("no leader endpoint given at [{list}]");
        assert_eq!(both(&endpoints, &format!("move-leader {other}")), refused(128, &text));
    }
    let behind = format!("{leader},{NOBODY}");
    assert_eq!(both(&behind, &format!("move-leader {id}")).0, 0);
    let before = format!("{NOBODY},{leader}");
    let line = format!("--command-timeout=300ms move-leader {other}");
    assert_eq!(both(&before, &line), refused(1, "context deadline exceeded"));
    assert_eq!(&leader_first(&all)[0].1, id);

    assert_eq!(ours(&all, &format!("move-leader {other} -w json")), "{}\n");
    // Moved, though it cannot be told so.
    let table = answer(Tool::Ours, &all, &format!("move-leader {id} -w table"));
    assert_eq!(table, refused(4, "table not supported as output format"));
    assert_eq!(&leader_first(&all)[0].1, id);
}

#[test]
fn a_target_is_one_id_in_hex() {
    for line in ["move-leader", "move-leader 1 2"] {
        assert_eq!(both(NOBODY, line), refused(128, "move-leader command needs 1 argument"));
    }
    let text = "strconv.ParseUint: parsing \"zz\": invalid syntax";
    assert_eq!(both(NOBODY, "move-leader zz"), refused(128, text));
}
