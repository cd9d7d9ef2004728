//! The walkthrough of an operator's handbook, command by command, with both tools.

use integration_tests::{Following, Kind, MEMBER_COLUMNS, STATUS_COLUMNS, Server, Table, Tool};

use crate::registry::{CALICO, address_block, all_keys, check_listing};
use crate::{BOTH, answer, running};

/// The subcommands of the tool's help, leaves only.
const LEAVES: [&str; 56] = [
    "alarm disarm",
    "alarm list",
    "auth disable",
    "auth enable",
    "auth status",
    "check datascale",
    "check perf",
    "compaction",
    "defrag",
    "del",
    "elect",
    "endpoint hashkv",
    "endpoint health",
    "endpoint status",
    "get",
    "help",
    "lease grant",
    "lease keep-alive",
    "lease list",
    "lease revoke",
    "lease timetolive",
    "lock",
    "make-mirror",
    "member add",
    "member list",
    "member promote",
    "member remove",
    "member update",
    "move-leader",
    "put",
    "role add",
    "role delete",
    "role get",
    "role grant-permission",
    "role list",
    "role revoke-permission",
    "snapshot restore",
    "snapshot save",
    "snapshot status",
    "txn",
    "user add",
    "user delete",
    "user get",
    "user grant-role",
    "user list",
    "user passwd",
    "user revoke-role",
    "version",
    "watch",
    // New since the walkthrough was written.
    "completion",
    "downgrade cancel",
    "downgrade enable",
    "downgrade validate",
    "options",
    "endpoint",
    "member",
];

/// Answers `OK` or whatever is on standard output, and demands success.
fn ok(tool: Tool, server: &Server, line: &str) -> String {
    tool.ok(server, &line.split(' ').collect::<Vec<_>>())
}

#[test]
fn a_key_is_put_read_updated_and_deleted() {
    let (_dir, server) = running(&[]);
    for (tool, other) in [(Tool::Ours, Tool::Reference), (Tool::Reference, Tool::Ours)] {
        assert_eq!(ok(other, &server, "put /name/wgs elsewhere"), "OK\n");
        assert_eq!(ok(tool, &server, "put /name wgs"), "OK\n");
        assert_eq!(ok(tool, &server, "get /name"), "/name\nwgs\n");
        assert_eq!(ok(tool, &server, "put /name wgs_update"), "OK\n");
        assert_eq!(ok(tool, &server, "get /name"), "/name\nwgs_update\n");
        assert_eq!(ok(other, &server, "get /name"), "/name\nwgs_update\n");
        assert_eq!(ok(tool, &server, "del /name"), "1\n");
        assert_eq!(ok(tool, &server, "get /name"), "");
        assert_eq!(ok(other, &server, "get /name/wgs"), "/name/wgs\nelsewhere\n");
    }
}

#[test]
fn a_watch_prints_each_event_as_it_comes() {
    let (_dir, server) = running(&[]);
    for (watching, putting) in [(Tool::Ours, Tool::Reference), (Tool::Reference, Tool::Ours)] {
        let mut watch = Following::watch(watching, &server, &["/name/wgs"]);
        for value in ["wgs", "wgs-01", "wgs-02", "wgs-03"] {
            // The next put waits for the last event: nothing may be held back.
            assert_eq!(putting.ok(&server, &["put", "/name/wgs", value]), "OK\n");
            watch.expect(&["PUT", "/name/wgs", value]);
        }
        watch.goes_on();
    }
}

#[test]
fn the_keys_of_a_kubernetes_cluster_are_listed_by_prefix() {
    let (_dir, server) = running(&[]);
    // Written backwards, so that the order of the answer is the server's.
    let puts: String = all_keys().iter().rev().map(|key| format!("put {key} object\n")).collect();
    let (code, _, stderr) = answer(Tool::Ours, &server, &["txn"], &format!("\n{puts}\n\n"));
    assert_eq!(code, 0, "{stderr}");
    for tool in BOTH {
        check_listing(&ok(tool, &server, "get / --prefix --keys-only"));
    }
}

#[test]
fn a_stored_document_comes_back_byte_for_byte() {
    let (_dir, server) = running(&[]);
    let (key, block) = (CALICO[0], address_block());
    for tool in BOTH {
        assert_eq!(tool.ok(&server, &["put", key, &block]), "OK\n");
        for reader in BOTH {
            assert_eq!(ok(reader, &server, &format!("get {key}")), format!("{key}\n{block}\n"));
        }
    }
}

#[test]
fn the_version_names_the_tool_and_the_api() {
    let (_dir, server) = running(&[]);
    let version = ok(Tool::Ours, &server, "version");
    assert_eq!(version, "etcdctl version: 3.7.1\nAPI version: 3.7\n");
}

#[test]
fn every_command_has_its_help() {
    let (_dir, server) = running(&[]);
    for leaf in LEAVES {
        let help = ok(Tool::Ours, &server, &format!("{leaf} --help"));
        let usage = format!("  etcdctl {leaf}");
        assert!(help.lines().any(|line| line.starts_with(&usage)), "{leaf}: {help}");
    }
    let top = ok(Tool::Ours, &server, "--help");
    for leaf in LEAVES {
        let command = leaf.split(' ').next().expect("a word");
        let named = top.lines().any(|line| line.trim_start().starts_with(&format!("{command} ")));
        assert!(named, "{command} is not in {top}");
    }
    assert_eq!(top, ok(Tool::Ours, &server, "help"));
    let members = ok(Tool::Ours, &server, "member --help");
    assert!(members.starts_with("Membership related commands\n"), "{members}");
    for command in ["add", "list", "promote", "remove", "update"] {
        let named = members.lines().any(|line| line.trim_start().starts_with(command));
        assert!(named, "{command} is not in {members}");
    }
}

#[test]
fn the_global_options_have_the_defaults_of_the_handbook() {
    let (_dir, server) = running(&[]);
    let options = ok(Tool::Ours, &server, "options");
    for (name, default) in [
        ("--cacert string", None),
        ("--cert string", None),
        ("--command-timeout duration", Some("5s")),
        ("--debug", None),
        ("--dial-timeout duration", Some("2s")),
        ("-d, --discovery-srv string", None),
        ("--discovery-srv-name string", None),
        ("--endpoints strings", Some("[127.0.0.1:2379]")),
        ("--hex", None),
        ("--insecure-discovery", Some("true")),
        ("--insecure-skip-tls-verify", None),
        ("--insecure-transport", Some("true")),
        ("--keepalive-time duration", Some("2s")),
        ("--keepalive-timeout duration", Some("6s")),
        ("--key string", None),
        ("--password string", None),
        ("--user string", None),
        ("-w, --write-out string", Some("\"simple\"")),
    ] {
        let line = options.lines().find(|line| line.trim_start().starts_with(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("no {name} in {options}"));
        match default {
            Some(default) => assert!(line.ends_with(&format!("(default {default})")), "{line}"),
            None => assert!(!line.contains("(default"), "{line}"),
        }
    }
}

#[test]
fn a_mistyped_command_is_answered_with_the_nearest_one() {
    let (_dir, server) = running(&[]);
    let expected = "Error: unknown command \"snaphost\" for \"etcdctl\"\n\nDid you mean this?\n\
                    \tsnapshot\n\nRun 'etcdctl --help' for usage.\n";
    let given = answer(Tool::Ours, &server, &["snaphost", "save", "x.db"], "");
    assert_eq!(given, (1, String::new(), expected.to_owned()));
}

fn is_id(cell: &str) -> bool {
    (1..=16).contains(&cell.len()) && u64::from_str_radix(cell, 16).is_ok()
}

#[test]
fn the_member_table_has_one_row_for_a_member() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::builder(Kind::Ours, dir.path()).name("etcd-A").start();
    for tool in BOTH {
        let table = Table::read(&ok(tool, &server, "-w table member list"));
        assert_eq!(table.header, MEMBER_COLUMNS, "{tool:?}");
        assert_eq!(table.rows.len(), 1);
        let row = &table.rows[0];
        assert!(is_id(&row[0]), "{row:?}");
        assert_eq!(row[1..3], ["started", "etcd-A"]);
        assert!(row[3].starts_with("http://127.0.0.1:"), "{row:?}");
        assert_eq!(row[4..], [server.client_url(), "false".to_owned()]);
    }
}

#[test]
fn the_health_of_an_endpoint_is_one_line() {
    let (_dir, server) = running(&[]);
    for tool in BOTH {
        for endpoint in [server.client_authority(), server.client_url()] {
            let mut health = tool.command(&server);
            let health = health.env("ETCDCTL_ENDPOINTS", &endpoint).args(["endpoint", "health"]);
            let output = health.output().expect("run etcdctl");
            let line = match tool {
                Tool::Ours => output.stdout,
                // 3.4 wrote it to standard error.
                Tool::Reference => output.stderr,
            };
            let line = String::from_utf8(line).expect("plain text");
            let took = line
                .strip_prefix(&format!("{endpoint} is healthy: successfully committed proposal: "))
                .and_then(|rest| rest.strip_prefix("took = "))
                .and_then(|rest| rest.strip_suffix("s\n"))
                .unwrap_or_else(|| panic!("{tool:?}: {line}"));
            let number = took.trim_end_matches(['n', 'µ', 'm']);
            assert!(number.parse::<f64>().is_ok(), "{line}");
        }
    }
}

#[test]
fn the_status_table_has_the_columns_of_the_handbook_in_their_order() {
    let (_dir, server) = running(&[]);
    let members = Table::read(&ok(Tool::Ours, &server, "-w table member list"));
    for tool in BOTH {
        let table = Table::read(&ok(tool, &server, "-w table endpoint status"));
        let columns: Vec<&str> = match tool {
            Tool::Ours => vec![
                "ENDPOINT",
                "ID",
                "VERSION",
                "STORAGE VERSION",
                "DB SIZE",
                "IN USE",
                "PERCENTAGE NOT IN USE",
                "QUOTA",
                "IS LEADER",
                "IS LEARNER",
                "RAFT TERM",
                "RAFT INDEX",
                "RAFT APPLIED INDEX",
                "ERRORS",
                "DOWNGRADE TARGET VERSION",
                "DOWNGRADE ENABLED",
            ],
            Tool::Reference => STATUS_COLUMNS.to_vec(),
        };
        assert_eq!(table.header, columns);
        assert_eq!(table.rows.len(), 1);
        let cell = |column: &str| table.cell(0, column);
        assert_eq!(cell("ENDPOINT"), server.client_authority());
        assert_eq!(cell("ID"), members.cell(0, "ID"));
        assert_eq!(cell("VERSION"), "3.7.1");
        let (size, unit) = cell("DB SIZE").split_once(' ').expect("a size");
        assert!(size.parse::<f64>().is_ok() && ["B", "kB", "MB", "GB"].contains(&unit), "{size}");
        assert_eq!((cell("IS LEADER"), cell("IS LEARNER"), cell("ERRORS")), ("true", "false", ""));
        assert!(cell("RAFT TERM").parse::<u64>().expect("a term") >= 2);
        assert!(cell("RAFT INDEX").parse::<u64>().expect("an index") >= 4);
        assert_eq!(cell("RAFT INDEX"), cell("RAFT APPLIED INDEX"));
    }
}

#[test]
fn values_reach_up_to_the_limit_of_the_unit() {
    const MIB: usize = 1 << 20;
    let (_dir, server) =
        running(&["--max-request-bytes=10485760", "--quota-backend-bytes=8589934592"]);
    let put = |tool: Tool, args: &[&str], bytes: usize| {
        let args: Vec<&str> = args.iter().copied().chain(["put", "big"]).collect();
        answer(tool, &server, &args, &"v".repeat(bytes))
    };
    let refused = |text: &str| (1, String::new(), format!("Error: {text}\n"));
    for tool in BOTH {
        let text = "rpc error: code = ResourceExhausted desc = trying to send message larger than \
                    max (5242890 vs. 2097152)";
        assert_eq!(put(tool, &[], 5 * MIB), refused(text), "{tool:?}");
    }
    let roomy = ["--max-request-bytes", "20971520"];
    let accepted = (0, "OK\n".to_owned(), String::new());
    assert_eq!(put(Tool::Ours, &roomy, 5 * MIB), accepted);
    for tool in BOTH {
        let read = ok(tool, &server, "get big --print-value-only");
        assert_eq!(read.len(), 5 * MIB + 1);
        assert!(read.trim_end().bytes().all(|byte| byte == b'v'));
    }
    let text = "etcdserver: request is too large";
    assert_eq!(put(Tool::Ours, &roomy, 10_695_475), refused(text));
    let text = "rpc error: code = ResourceExhausted desc = grpc: received message larger than max \
                (11534346 vs. 11010048)";
    assert_eq!(put(Tool::Ours, &roomy, 11 * MIB), refused(text));
    let status = ok(Tool::Ours, &server, "endpoint status");
    assert!(status.contains(", 8.6 GB, "), "{status}");
}
