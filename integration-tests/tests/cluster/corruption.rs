//! A member whose data differ from those of the others is found.

use std::time::Duration;

use client::Client;
use integration_tests::{Cluster, Kind, eventually, put, skipped, status};
use proto::etcdserverpb::{AlarmRequest, AlarmType, alarm_request::AlarmAction};

use crate::{SOON, call, get, ours, target};

/// How often members are compared.
const PERIOD: Duration = Duration::from_secs(1);

fn alarms(authority: &str) -> Vec<(u64, i32)> {
    let request = AlarmRequest { action: AlarmAction::Get.into(), ..AlarmRequest::default() };
    let answer = call(authority, async |c: Client| c.maintenance().alarm(request).await);
    let answer = answer.expect("alarms");
    answer.alarms.into_iter().map(|alarm| (alarm.member_id, alarm.alarm)).collect()
}

/// What is sent to one follower, and what it reads: nothing on the way notices.
const GARBLED: (&str, &str) = ("value as sent", "value as read");

/// Members of whom one follower holds another value; its place, and the leader's address.
fn with_garbled(
    args: &[&str],
    before: impl FnOnce(&mut Cluster, &str),
) -> (Cluster, usize, String) {
    let mut cluster = Cluster::linked(target(), 3, args);
    let leader = cluster.await_leader();
    let bad = (leader + 1) % 3;
    let authority = cluster.members()[leader].client_authority();
    before(&mut cluster, &authority);
    cluster.links().garble(leader, bad, GARBLED.0, GARBLED.1);
    put(&authority, "garbled", GARBLED.0).expect("a leader");
    cluster.links().heal();
    (cluster, bad, authority)
}

/// Waits until the member, and nobody else, is alarmed.
fn await_alarm(authority: &str, member: u64) {
    eventually("the member is alarmed", SOON, || {
        (alarms(authority) == [(member, AlarmType::Corrupt as i32)]).then_some(())
    });
}

/// The leader asks the others for the hashes they made at compactions.
#[test]
fn a_member_whose_data_differed_at_a_compaction_is_alarmed() {
    if target() == Kind::Reference {
        return skipped("hashes of compactions", "3.4 does not compare them");
    }
    let period = format!("--compact-hash-check-time={PERIOD:?}");
    let (cluster, bad, authority) =
        with_garbled(&["--feature-gates=CompactHashCheck=true", &period], |_, _| {});
    put(&authority, "last", "one").expect("served");
    let away = cluster.members()[bad].client_authority();
    eventually("it is everywhere", SOON, || {
        (get(&away, "last", true) == Ok(Some("one".to_owned()))).then_some(())
    });
    let revision = status(&authority).expect("it answers").header.expect("a header").revision;
    ours(&authority, &format!("compaction {revision} --physical"));
    await_alarm(&authority, cluster.id(bad));
    assert!(put(&authority, "more", "writes").is_err());
    cluster.assert_no_panic();
}

#[test]
fn a_member_whose_data_differ_is_alarmed_and_does_not_start_again() {
    let period = format!("{PERIOD:?}");
    let args = match target() {
        Kind::Ours => {
            vec![
                format!("--corrupt-check-time={period}"),
                "--feature-gates=InitialCorruptCheck=true".to_owned(),
            ]
        }
        Kind::Reference => vec![
            format!("--experimental-corrupt-check-time={period}"),
            "--experimental-initial-corrupt-check=true".to_owned(),
        ],
    };
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (mut cluster, bad, authority) = with_garbled(&args, |cluster, authority| {
        put(authority, "sound", "before").expect("a leader");
        cluster.await_same_data();
        std::thread::sleep(PERIOD + PERIOD / 2);
        assert_eq!(alarms(authority), [], "nothing differs yet");
    });
    // 3.4 does not say who.
    let named = if target() == Kind::Ours { cluster.id(bad) } else { 0 };
    await_alarm(&authority, named);
    let away = cluster.members()[bad].client_authority();
    assert_eq!(get(&away, "garbled", true), Ok(Some(GARBLED.1.to_owned())));
    for member in cluster.members() {
        let refused = put(&member.client_authority(), "more", "writes");
        let refused = refused.expect_err("the cluster is corrupt");
        assert!(refused.contains("etcdserver: corrupt cluster"), "{refused}");
    }
    // Reads go on.
    assert_eq!(get(&authority, "sound", false), Ok(Some("before".to_owned())));

    // Compared with the others at its next start, it does not serve.
    cluster.member_mut(bad).terminate();
    cluster.restart(bad);
    let status = cluster.member_mut(bad).wait(SOON);
    assert!(!status.success(), "{status}");
    let log = cluster.members()[bad].log();
    assert!(log.contains("found data inconsistency with peers"), "{log}");
    cluster.assert_no_panic();
}
