//! A database that is full, and how it is healed.

use integration_tests::{Server, Tool, eventually};

use crate::{BOTH, SOON, answer, running};

const FULL: &str = "etcdserver: mvcc: database space exceeded";
/// Value size of the writes that fill it.
const VALUE_BYTES: usize = 100_000;

/// A server whose database is full, and how many values fitted: keys `fill/0`, `fill/1`, …
fn full() -> (tempfile::TempDir, Server, usize) {
    let (dir, server) = running(&["--quota-backend-bytes=2000000"]);
    let value = "v".repeat(VALUE_BYTES);
    for count in 0..100 {
        let key = format!("fill/{count}");
        let (code, stdout, stderr) = answer(Tool::Ours, &server, &["put", &key], &value);
        if code != 0 {
            assert_eq!((stdout, stderr), (String::new(), format!("Error: {FULL}\n")));
            // The alarm follows at once, but not before the answer.
            let health = || server.http_get("/health").filter(|(code, _)| *code == 503);
            eventually("the alarm is raised", SOON, health);
            return (dir, server, count);
        }
    }
    panic!("a hundred values of {VALUE_BYTES} bytes fitted into two million");
}

fn refused(text: &str) -> (i32, String, String) {
    (1, String::new(), format!("Error: {text}\n"))
}

fn member_id(server: &Server) -> u64 {
    let line = Tool::Ours.ok(server, &["member", "list"]);
    u64::from_str_radix(line.split(',').next().expect("an id"), 16).expect("hex")
}

/// one alarm; whatever needs room is refused.
#[test]
fn a_full_database_refuses_what_needs_room() {
    let (_dir, server, count) = full();
    assert!(count >= 3, "only {count} values fitted");
    for tool in BOTH {
        let alarms = tool.ok(&server, &["alarm", "list"]);
        let words: Vec<&str> = alarms.split_whitespace().collect();
        let member = format!("memberID:{}", member_id(&server));
        assert_eq!(words, [member.as_str(), "alarm:NOSPACE"], "{tool:?}");

        assert_eq!(answer(tool, &server, &["put", "k", "v"], ""), refused(FULL));
        let grant = answer(tool, &server, &["lease", "grant", "60"], "");
        assert_eq!(grant, refused(&format!("failed to grant lease ({FULL})")));
        // In either branch, whichever is taken.
        for txn in ["\nput k v\n\n\n", "\nget k\n\nput k v\n\n"] {
            assert_eq!(answer(tool, &server, &["txn"], txn), refused(FULL), "{txn:?}");
        }
        assert_eq!(tool.ok(&server, &["get", "k"]), "", "a refused put was applied");
    }
    assert_eq!(server.metric("etcd_server_quota_backend_bytes"), 2_000_000.0);
}

#[test]
fn a_full_database_reads_deletes_and_compacts() {
    let (_dir, server, count) = full();
    for (tool, key) in [(Tool::Ours, "fill/0"), (Tool::Reference, "fill/1")] {
        assert_eq!(tool.ok(&server, &["get", key, "--keys-only"]), format!("{key}\n\n"));
        let reading = tool.run_with_input(&server, &["txn"], b"\nget none\n\n\n");
        assert_eq!((reading.code, reading.stdout.as_str()), (0, "SUCCESS\n\n"), "{tool:?}");
        let deleting = tool.run_with_input(&server, &["txn"], b"\ndel none\n\n\n");
        assert_eq!((deleting.code, deleting.stdout.as_str()), (0, "SUCCESS\n\n0\n"), "{tool:?}");
        assert_eq!(tool.ok(&server, &["del", key]), "1\n");
        let revision = server.metric("etcd_debugging_mvcc_current_revision").to_string();
        let compacted = tool.ok(&server, &["compaction", &revision]);
        assert_eq!(compacted, format!("compacted revision {revision}\n"));
    }
    let left = Tool::Ours.ok(&server, &["get", "fill/", "--prefix", "--keys-only"]);
    assert_eq!(left.lines().filter(|line| !line.is_empty()).count(), count - 2);
}

#[test]
fn a_full_database_is_not_healthy_but_ready() {
    let (_dir, server, _) = full();
    let body = "{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n".to_owned();
    assert_eq!(server.http_get("/health"), Some((503, body)));
    let healthy = "{\"health\":\"true\",\"reason\":\"\"}".to_owned();
    assert_eq!(server.http_get("/health?exclude=NOSPACE"), Some((200, healthy)));
    for path in ["/readyz", "/livez"] {
        assert_eq!(server.http_get(path), Some((200, "ok\n".to_owned())), "{path}");
    }
    let alarm = format!("memberID:{} alarm:NOSPACE", member_id(&server));
    let ours = Tool::Ours.ok(&server, &["endpoint", "status", "-w", "json"]);
    let status: serde_json::Value = serde_json::from_str(&ours).expect("JSON");
    assert_eq!(status[0]["Status"]["errors"], serde_json::json!([alarm]));
    assert_eq!(status[0]["Status"]["dbSizeQuota"], 2_000_000);
    for tool in BOTH {
        let table = tool.ok(&server, &["endpoint", "status", "-w", "table"]);
        // 3.4 breaks long cells.
        assert!(alarm.split(' ').all(|word| table.contains(word)), "{tool:?} {table}");
    }
    let (code, _, stderr) = answer(Tool::Ours, &server, &["endpoint", "health"], "");
    let line = format!(
        "{} is unhealthy: failed to commit proposal: Active Alarm(s): NOSPACE \n",
        server.client_authority()
    );
    assert_eq!((code, stderr), (1, format!("{line}Error: unhealthy cluster\n")));
}

/// The recipe of the handbooks: compact, defragment, disarm.
#[test]
fn compaction_defragmentation_and_disarming_heal_it() {
    for tool in BOTH {
        let (_dir, server, count) = full();
        let size = || server.metric("etcd_mvcc_db_total_size_in_bytes");
        let before = size();
        assert_eq!(tool.ok(&server, &["del", "fill/", "--prefix"]), format!("{count}\n"));
        let revision = server.metric("etcd_debugging_mvcc_current_revision").to_string();
        tool.ok(&server, &["compaction", &revision, "--physical"]);
        let defragmented = tool.ok(&server, &["defrag"]);
        let first = format!("Finished defragmenting etcd member[{}]", server.client_authority());
        assert!(defragmented.starts_with(&first), "{tool:?} {defragmented}");
        eventually("the database is small again", SOON, || (size() < before / 4.0).then_some(()));
        assert_eq!(answer(tool, &server, &["put", "k", "v"], ""), refused(FULL), "still armed");

        let disarmed = tool.ok(&server, &["alarm", "disarm"]);
        assert!(disarmed.contains("NOSPACE"), "{tool:?} {disarmed}");
        assert_eq!(tool.ok(&server, &["alarm", "list"]), "");
        assert_eq!(tool.ok(&server, &["put", "k", "v"]), "OK\n");
        assert_eq!(server.http_get("/health").map(|(status, _)| status), Some(200));
        tool.ok(&server, &["endpoint", "health"]);
    }
}

#[test]
fn the_alarm_outlives_a_restart() {
    let (_dir, server, _) = full();
    let (again, _) = server.stop();
    let server = again.spawn();
    eventually("it answers", SOON, || server.http_get("/health").filter(|(code, _)| *code == 503));
    assert_eq!(answer(Tool::Ours, &server, &["put", "k", "v"], ""), refused(FULL));
    assert!(Tool::Ours.ok(&server, &["alarm", "disarm"]).contains("NOSPACE"));
}
