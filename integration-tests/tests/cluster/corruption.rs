//! A member whose data differ from those of the others is found.

use std::time::Duration;

use client::Client;
use integration_tests::{Cluster, Kind, eventually, put};
use proto::etcdserverpb::{AlarmRequest, AlarmType, alarm_request::AlarmAction};

use crate::{SOON, call, get, target};

/// How often members are compared.
const PERIOD: Duration = Duration::from_secs(1);

fn alarms(authority: &str) -> Vec<(u64, i32)> {
    let request = AlarmRequest { action: AlarmAction::Get.into(), ..AlarmRequest::default() };
    let answer = call(authority, async |c: Client| c.maintenance().alarm(request).await);
    let answer = answer.expect("alarms");
    answer.alarms.into_iter().map(|alarm| (alarm.member_id, alarm.alarm)).collect()
}

/// A value is changed on its way to one follower, as nothing on that way notices.
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
    let mut cluster = Cluster::linked(target(), 3, &args);
    let leader = cluster.await_leader();
    let bad = (leader + 1) % 3;
    let bad_id = cluster.id(bad);
    let authority = cluster.members()[leader].client_authority();
    put(&authority, "sound", "before").expect("a leader");
    cluster.await_same_data();
    std::thread::sleep(PERIOD + PERIOD / 2);
    assert_eq!(alarms(&authority), [], "nothing differs yet");

    cluster.links().garble(leader, bad, "value as sent", "value as read");
    put(&authority, "garbled", "value as sent").expect("a leader");
    cluster.links().heal();
    let corrupt = AlarmType::Corrupt as i32;
    // 3.4 does not say who.
    let named = if target() == Kind::Ours { bad_id } else { 0 };
    eventually("the member is alarmed", SOON, || {
        (alarms(&authority) == [(named, corrupt)]).then_some(())
    });
    let away = cluster.members()[bad].client_authority();
    assert_eq!(get(&away, "garbled", true), Ok(Some("value as read".to_owned())));
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
