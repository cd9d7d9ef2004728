//! History that is thrown away: by hand, by age and by number.

use integration_tests::{Following, Server, Tool, eventually};

use crate::{BOTH, SOON, answer, running};

const GONE: &str = "etcdserver: mvcc: required revision has been compacted";

fn revision(server: &Server) -> i64 {
    let page = Tool::Ours.ok(server, &["get", "none", "-w", "json"]);
    let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
    page["header"]["revision"].as_i64().expect("a revision")
}

fn get_at(server: &Server, revision: i64) -> (i32, String, String) {
    answer(Tool::Ours, server, &["get", "k", &format!("--rev={revision}")], "")
}

fn gone() -> (i32, String, String) {
    (1, String::new(), format!("Error: {GONE}\n"))
}

/// what is older than the period goes, what is younger stays.
#[test]
fn history_older_than_the_period_goes() {
    let (_dir, server) = running(&["--auto-compaction-retention=5s"]);
    for value in ["1", "2", "3"] {
        Tool::Ours.ok(&server, &["put", "k", value]);
    }
    let last = revision(&server);
    assert_eq!(get_at(&server, last - 2), (0, "k\n1\n".to_owned(), String::new()), "too early");
    eventually("the history is gone", SOON, || (get_at(&server, last - 1) == gone()).then_some(()));
    // The newest state is never lost, however old.
    assert_eq!(get_at(&server, last), (0, "k\n3\n".to_owned(), String::new()));
    let log = server.log();
    let message = format!("\"starting auto periodic compaction\",\"revision\":{last},");
    assert!(log.contains(&message), "{message} is not in {log}");
}

#[test]
fn young_history_stays_when_it_is_kept_by_age_or_by_number() {
    for args in [
        &["--auto-compaction-retention=1", "--auto-compaction-mode=periodic"][..],
        &["--auto-compaction-retention=1000", "--auto-compaction-mode=revision"],
        &["--auto-compaction-mode=revision", "--auto-compaction-retention=1h"],
        &["--auto-compaction-retention=0"],
    ] {
        let (_dir, server) = running(args);
        for value in ["1", "2", "3"] {
            Tool::Ours.ok(&server, &["put", "k", value]);
        }
        assert_eq!(get_at(&server, 2), (0, "k\n1\n".to_owned(), String::new()), "{args:?}");
        assert_eq!(server.metric("etcd_debugging_mvcc_compact_revision"), -1.0, "{args:?}");
    }
}

/// Ten keys with ten values each: of each key the newest value is left.
#[test]
fn a_physical_compaction_removes_the_rows_before_it_answers() {
    let (_dir, server) = running(&[]);
    for round in 0..10 {
        let puts: String = (0..10).map(|key| format!("put k{key} {round}\n")).collect();
        assert_eq!(answer(Tool::Ours, &server, &["txn"], &format!("\n{puts}\n\n")).0, 0);
    }
    Tool::Ours.ok(&server, &["del", "k9"]);
    let last = revision(&server);
    assert_eq!(last, 12);
    let hash = |revision: i64| integration_tests::hash_kv(&server.client_authority(), revision);
    let before = hash(0);
    let done = Tool::Ours.ok(&server, &["compaction", &last.to_string(), "--physical"]);
    assert_eq!(done, format!("compacted revision {last}\n"));
    assert_ne!(hash(0), before, "the hash still covers what was removed");
    // Nine old rows of nine keys each and all ten of the deleted one, whose tombstone stays.
    assert_eq!(server.metric("etcd_debugging_mvcc_db_compaction_keys_total"), 91.0);
    for counted in ["mvcc_db_compaction_pause", "mvcc_index_compaction_pause"] {
        let name = format!("etcd_debugging_{counted}_duration_milliseconds_count");
        assert_eq!(server.metric(&name), 1.0, "{name}");
    }
    // That of the compaction itself is remembered as members compare it: before the removal.
    assert_eq!(hash(last), before);
    for tool in BOTH {
        for old in [1, 2, last - 1] {
            let args = ["get", "k1", &format!("--rev={old}")];
            assert_eq!(answer(tool, &server, &args, ""), gone(), "{tool:?} {old}");
        }
        let again = answer(tool, &server, &["compaction", &last.to_string()], "");
        assert_eq!(again, gone(), "{tool:?}");
        let future = answer(tool, &server, &["compaction", &(last + 1).to_string()], "");
        let text = "Error: etcdserver: mvcc: required revision is a future revision\n";
        assert_eq!(future, (1, String::new(), text.to_owned()), "{tool:?}");
        let kept = tool.ok(&server, &["get", "k", "--prefix", "--print-value-only"]);
        assert_eq!(kept, "9\n".repeat(9));
    }
}

#[test]
fn a_watch_from_a_compacted_revision_is_told_where_history_begins() {
    let (_dir, server) = running(&[]);
    for value in ["1", "2", "3"] {
        Tool::Ours.ok(&server, &["put", "k", value]);
    }
    Tool::Ours.ok(&server, &["compaction", "3"]);
    for tool in BOTH {
        let (code, stdout, stderr) = answer(tool, &server, &["watch", "k", "--rev=2"], "");
        let text = format!("watch was canceled ({GONE})\nError: watch is canceled by the server\n");
        assert_eq!((code, stdout, stderr), (5, String::new(), text), "{tool:?}");
    }
    let told = answer(Tool::Ours, &server, &["watch", "k", "--rev=2", "-w", "json"], "").1;
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["CompactRevision"], 3);
    assert_eq!(told["Canceled"], true);
    assert_eq!(told["Events"], serde_json::Value::Null);
    // From the compacted revision itself nothing is missing.
    let watch = Following::watch(Tool::Ours, &server, &["k", "--rev=3"]);
    watch.expect(&["PUT", "k", "2", "PUT", "k", "3"]);
}

#[test]
fn history_stays_gone_after_a_restart() {
    let (_dir, server) = running(&[]);
    for value in ["1", "2", "3"] {
        Tool::Ours.ok(&server, &["put", "k", value]);
    }
    Tool::Ours.ok(&server, &["compaction", "3", "--physical"]);
    let server = server.kill().start();
    assert_eq!(get_at(&server, 2), gone());
    assert_eq!(get_at(&server, 3), (0, "k\n2\n".to_owned(), String::new()));
    assert_eq!(server.metric("etcd_debugging_mvcc_compact_revision"), 3.0);
}
