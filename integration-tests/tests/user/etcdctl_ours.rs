//! Our etcdctl beside the distribution's, on servers of ours: where 3.4 and 3.7 print the same,
//! byte for byte; where they do not, what 3.7 prints.

use integration_tests::{Following, Kind, Output, Server, Tool};

use crate::mask::{insert_lease, lease_of, mask};
use crate::script::{Allowed, SCRIPTS, Step};
use crate::{answer, running, without_client_log};

/// Steps whose outputs differ between 3.4 and 3.7, and why that is right.
const DIFFERENT: &[(&[&str], &str)] = &[
    (&["endpoint", "health"], "3.4 writes to standard error"),
    (&["defrag"], "3.7 says how long it took"),
    (
        &["watch", "b", "a", "--rev", "-5", "--command-timeout", "1s", "--no-such-flag"],
        "3.4 prints its help, 3.7 only the usage",
    ),
    (
        &["get", "/registry/pods", "/registry/pods0", "--count-only", "-w", "json"],
        "3.4 has no --count-only",
    ),
    (
        &["get", "/registry/pods", "--prefix", "--count-only", "--write-out", "fields"],
        "3.4 has no --count-only",
    ),
];

/// Names in JSON that 3.4 wrote otherwise, or not at all.
fn as_in_3_7(stdout: &str) -> String {
    [("ResponsePut", "put"), ("ResponseRange", "range"), ("ResponseDeleteRange", "delete_range")]
        .iter()
        .fold(stdout.to_owned(), |text, (old, new)| text.replace(old, &format!("response_{new}")))
}

/// The hash without the revision it is of, which 3.4 did not know.
fn without_hash_revision(stdout: &str) -> String {
    match stdout.split_once(",\"hash_revision\":") {
        Some((head, tail)) => {
            format!("{head}{}", tail.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        None => stdout.to_owned(),
    }
}

/// Runs `steps` with `tool` on a fresh server of ours.
fn play(tool: Tool, steps: &[Step]) -> Vec<Output> {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::builder(Kind::Ours, dir.path()).start();
    let mut leases = Vec::new();
    steps
        .iter()
        .map(|step| {
            let args: Vec<String> =
                step.args.iter().map(|arg| insert_lease(arg, &leases)).collect();
            let output = tool.run_with_input(&server, &args, step.input.as_bytes());
            leases.extend(lease_of(&output.stdout));
            let output = without_client_log(output);
            Output { stdout: mask(&output.stdout), stderr: mask(&output.stderr), ..output }
        })
        .collect()
}

#[test]
fn both_tools_print_the_same_for_every_script() {
    let mut differences = Vec::new();
    for (name, steps) in SCRIPTS {
        let (ours, theirs) = (play(Tool::Ours, steps), play(Tool::Reference, steps));
        for ((step, ours), theirs) in steps.iter().zip(ours).zip(theirs) {
            let (ours, theirs) = match &step.allowed {
                None => (ours, theirs),
                Some(Allowed { reason: _, rewrite }) => (rewrite(ours), rewrite(theirs)),
            };
            let ours = Output { stdout: without_hash_revision(&ours.stdout), ..ours };
            let theirs = Output { stdout: as_in_3_7(&theirs.stdout), ..theirs };
            let listed = DIFFERENT.iter().any(|(args, _)| *args == step.args);
            // A difference that is gone must go from the list.
            assert!(!(listed && ours == theirs), "{name} {:?} is the same", step.args);
            if ours != theirs && !listed {
                differences
                    .push(format!("{name} {:?}\n ours {ours:?}\n 3.4  {theirs:?}", step.args));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Ids of a server, as its answers name them.
struct Ids {
    cluster: u64,
    member: u64,
}

impl Ids {
    fn of(server: &Server) -> Self {
        let json = Tool::Reference.ok(server, &["get", "none", "-w", "json"]);
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let id = |name: &str| json["header"][name].as_u64().expect("an id");
        Self { cluster: id("cluster_id"), member: id("member_id") }
    }

    /// The keys of a JSON header.
    fn flat(&self, revision: i64) -> String {
        let Self { cluster, member } = self;
        format!(
            "\"cluster_id\":{cluster},\"member_id\":{member},\"revision\":{revision},\
             \"raft_term\":2"
        )
    }

    fn json(&self, revision: i64) -> String {
        format!("{{{}}}", self.flat(revision))
    }

    fn fields(&self, revision: i64) -> String {
        let Self { cluster, member } = self;
        format!(
            "\"ClusterID\" : {cluster}\n\"MemberID\" : {member}\n\"Revision\" : {revision}\n\
             \"RaftTerm\" : 2\n"
        )
    }
}

/// One line of arguments, words parted by blanks.
fn ours(server: &Server, line: &str) -> String {
    Tool::Ours.ok(server, &line.split(' ').collect::<Vec<_>>())
}

#[test]
fn keys_and_pairs_are_printed_in_each_format() {
    let (_dir, server) = running(&[]);
    let ids = Ids::of(&server);
    let steps: Vec<(&str, String)> = vec![
        ("put foo bar", "OK\n".into()),
        ("put foo bar2 --prev-kv", "OK\nfoo\nbar\n".into()),
        ("put foo bar3 --prev-kv --hex", "OK\n\\x66\\x6f\\x6f\n\\x62\\x61\\x72\\x32\n".into()),
        ("put foo bar4 -w json", format!("{{\"header\":{}}}\n", ids.json(5))),
        (
            "put foo bar5 --prev-kv -w json",
            format!(
                "{{\"header\":{},\"prev_kv\":{{\"key\":\"Zm9v\",\"create_revision\":2,\
                 \"mod_revision\":5,\"version\":4,\"value\":\"YmFyNA==\"}}}}\n",
                ids.json(6)
            ),
        ),
        (
            "put foo bar6 --prev-kv -w fields",
            ids.fields(7)
                + "\"PrevKey\" : \"foo\"\n\"PrevCreateRevision\" : 2\n\"PrevModRevision\" : 6\n\
                   \"PrevVersion\" : 5\n\"PrevValue\" : \"bar5\"\n\"PrevLease\" : 0\n",
        ),
        (
            "get foo -w fields",
            ids.fields(7)
                + "\"Key\" : \"foo\"\n\"CreateRevision\" : 2\n\"ModRevision\" : 7\n\
                   \"Version\" : 6\n\"Value\" : \"bar6\"\n\"Lease\" : 0\n\"More\" : false\n\
                   \"Count\" : 1\n",
        ),
        (
            "get foo -w fields --hex --count-only",
            format!(
                "\"ClusterID\" : {:x}\n\"MemberID\" : {:x}\n\"Revision\" : 7\n\"RaftTerm\" : 2\n\
                 \"More\" : false\n\"Count\" : 1\n",
                ids.cluster, ids.member
            ),
        ),
        ("get none -w json", format!("{{\"header\":{}}}\n", ids.json(7))),
        ("put a <&>", "OK\n".into()),
        (
            "get a --prefix --limit=1 -w json",
            format!(
                "{{\"header\":{},\"kvs\":[{{\"key\":\"YQ==\",\"create_revision\":8,\
                 \"mod_revision\":8,\"version\":1,\"value\":\"PCY+\"}}],\"count\":1}}\n",
                ids.json(8)
            ),
        ),
        (
            "get a --from-key --limit=1 --keys-only -w json",
            format!(
                "{{\"header\":{},\"kvs\":[{{\"key\":\"YQ==\",\"create_revision\":8,\
                 \"mod_revision\":8,\"version\":1}}],\"more\":true,\"count\":2}}\n",
                ids.json(8)
            ),
        ),
        ("get a --from-key --keys-only", "a\n\nfoo\n\n".into()),
        ("get a --from-key --print-value-only", "<&>\nbar6\n".into()),
        (
            "del a --prev-kv -w json",
            format!(
                "{{\"header\":{},\"deleted\":1,\"prev_kvs\":[{{\"key\":\"YQ==\",\
                 \"create_revision\":8,\"mod_revision\":8,\"version\":1,\"value\":\"PCY+\"}}]}}\n",
                ids.json(9)
            ),
        ),
        ("del a -w json", format!("{{\"header\":{}}}\n", ids.json(9))),
        (
            "del foo --prev-kv -w fields",
            ids.fields(10)
                + "\"Deleted\" : 1\n\"PrevKey\" : \"foo\"\n\"PrevCreateRevision\" : 2\n\
                   \"PrevModRevision\" : 7\n\"PrevVersion\" : 6\n\"PrevValue\" : \"bar6\"\n\
                   \"PrevLease\" : 0\n",
        ),
        ("compaction 9", "compacted revision 9\n".into()),
    ];
    for (line, expected) in steps {
        assert_eq!(ours(&server, line), expected, "{line}");
    }
}

#[test]
fn transactions_are_printed_in_each_format() {
    let (_dir, server) = running(&[]);
    let ids = Ids::of(&server);
    let txn = |args: &[&str], input: &str| {
        let args: Vec<&str> = ["txn"].iter().chain(args).copied().collect();
        answer(Tool::Ours, &server, &args, input)
    };
    let good = |text: &str| (0, text.to_owned(), String::new());
    let input = "version(\"p\") = \"0\"\n\nput p 1\nget p\n\nget p\n\n";
    assert_eq!(txn(&[], input), good("SUCCESS\n\nOK\n\np\n1\n"));
    assert_eq!(txn(&[], input), good("FAILURE\n\np\n1\n"));
    let input = "val(\"p\") = \"1\"\nmod(\"p\") < \"9\"\n\nput p 2 --prev-kv\nget q\ndel r\n\n\n";
    let json = format!(
        "{{\"header\":{},\"succeeded\":true,\"responses\":[{{\"Response\":{{\"response_put\":{{\
         \"header\":{{\"revision\":3}},\"prev_kv\":{{\"key\":\"cA==\",\"create_revision\":2,\
         \"mod_revision\":2,\"version\":1,\"value\":\"MQ==\"}}}}}}}},{{\"Response\":{{\
         \"response_range\":{{\"header\":{{\"revision\":3}}}}}}}},{{\"Response\":{{\
         \"response_delete_range\":{{\"header\":{{\"revision\":3}}}}}}}}]}}\n",
        ids.json(3)
    );
    assert_eq!(txn(&["-w", "json"], input), good(&json));
    let fields = ids.fields(4)
        + "\"Succeeded\" : true\n\"ClusterID\" : 0\n\"MemberID\" : 0\n\"Revision\" : 4\n\
           \"RaftTerm\" : 0\n";
    assert_eq!(txn(&["-w", "fields"], "\nput p 3\n\n\n"), good(&fields));
    let prompts = "compares:\nsuccess requests (get, put, del):\n\
                   failure requests (get, put, del):\nSUCCESS\n\nOK\n";
    assert_eq!(txn(&["-i"], "\nput \"a key\" 'a value'\n\n\n"), good(prompts));
    assert_eq!(Tool::Ours.ok(&server, &["get", "a key"]), "a key\na value\n");
}

#[test]
fn leases_are_printed_in_each_format() {
    let (_dir, server) = running(&[]);
    let ids = Ids::of(&server);
    let granted = ours(&server, "lease grant 500");
    let id = granted.strip_prefix("lease ").and_then(|rest| rest.split(' ').next());
    let id = id.expect("an id").to_owned();
    assert_eq!(granted, format!("lease {id} granted with TTL(500s)\n"));
    assert_eq!(id.len(), 16);
    let number = u64::from_str_radix(&id, 16).expect("hex");
    assert_eq!(ours(&server, "lease list"), format!("found 1 leases\n{id}\n"));
    assert_eq!(ours(&server, &format!("put k v --lease={id}")), "OK\n");
    let kept = format!("lease {id} keepalived with TTL(500)\n");
    assert_eq!(ours(&server, &format!("lease keep-alive --once {id}")), kept);
    let left = ours(&server, &format!("lease timetolive {id} --keys"));
    let expected = |left: u32| {
        let left = format!("TTL(500s), remaining({left}s), attached keys([k])");
        format!("lease {id} granted with {left}\n")
    };
    assert!([500, 499, 498].map(expected).contains(&left), "{left}");
    let listed = format!("{{{},\"leases\":[{{\"id\":{number}}}]}}\n", ids.flat(2));
    assert_eq!(ours(&server, "lease list -w json"), listed);
    let kept = format!("{{{},\"ID\":{number},\"TTL\":500}}\n", ids.flat(2));
    assert_eq!(ours(&server, &format!("lease keep-alive --once {id} -w json")), kept);
    assert_eq!(ours(&server, &format!("lease revoke {id}")), format!("lease {id} revoked\n"));
    assert_eq!(ours(&server, "get k"), "", "the key of a revoked lease");
    let gone = ours(&server, &format!("lease timetolive {id}"));
    assert_eq!(gone, format!("lease {id} already expired\n"));
    let gone = format!("{{{},\"id\":{number},\"ttl\":-1,\"granted-ttl\":0,", ids.flat(3));
    let told = ours(&server, &format!("lease timetolive {id} -w json"));
    assert_eq!(told, format!("{gone}\"keys\":null}}\n"));
    // The smallest time to live is the server's to say.
    assert!(ours(&server, "lease grant 1").ends_with(" granted with TTL(2s)\n"));
}

#[test]
fn watches_are_printed_in_each_format() {
    let (_dir, server) = running(&[]);
    let ids = Ids::of(&server);
    let mut simple = Following::watch(Tool::Ours, &server, &["w", "--prev-kv"]);
    let mut json = Following::watch(Tool::Ours, &server, &["w", "-w", "json", "--prev-kv"]);
    let fields = Following::watch(Tool::Ours, &server, &["w", "-w", "fields"]);
    ours(&server, "put w a");
    simple.expect(&["PUT", "w", "a"]);
    let line = |header: String, event: &str| {
        format!(
            "{{\"Header\":{header},\"Events\":[{event}],\"CompactRevision\":0,\
             \"Canceled\":false,\"Created\":false,\"CancelReason\":\"\"}}"
        )
    };
    let pair = "{\"key\":\"dw==\",\"create_revision\":2,\"mod_revision\":2,\"version\":1,\
                \"value\":\"YQ==\"}";
    json.expect(&[&line(ids.json(2), &format!("{{\"kv\":{pair}}}"))]);
    let header = ids.fields(2);
    fields.expect(&header.lines().collect::<Vec<_>>());
    let pair_lines = [
        "\"Type\" : PUT",
        "\"Key\" : \"w\"",
        "\"CreateRevision\" : 2",
        "\"ModRevision\" : 2",
        "\"Version\" : 1",
        "\"Value\" : \"a\"",
        "\"Lease\" : 0",
    ];
    fields.expect(&pair_lines);
    ours(&server, "del w");
    simple.expect(&["DELETE", "w", "a", "w", ""]);
    let event =
        format!("{{\"type\":1,\"kv\":{{\"key\":\"dw==\",\"mod_revision\":3}},\"prev_kv\":{pair}}}");
    json.expect(&[&line(ids.json(3), &event)]);
    for watch in [&mut simple, &mut json] {
        watch.goes_on();
    }
    let header = ids.fields(3);
    fields.expect(&header.lines().collect::<Vec<_>>());
    fields.expect(&["\"Type\" : DELETE", "\"Key\" : \"w\""]);
}

#[test]
fn the_member_and_its_endpoint_are_printed_in_each_format() {
    let (_dir, server) = running(&[]);
    let ids = Ids::of(&server);
    let (client, authority) = (server.client_url(), server.client_authority());
    let simple = ours(&server, "member list");
    let parts: Vec<&str> = simple.trim_end().split(", ").collect();
    let peer = parts[3];
    let id = format!("{:x}", ids.member);
    assert_eq!(parts, [id.as_str(), "started", "default", peer, client.as_str(), "false"]);
    let member = format!(
        "\"name\":\"default\",\"peerURLs\":[\"{peer}\"],\"clientURLs\":[\"{client}\"]}}]}}\n"
    );
    let Ids { cluster, member: number } = ids;
    let json = format!(
        "{{\"header\":{{\"cluster_id\":{cluster},\"member_id\":{number},\"raft_term\":2}},\
         \"members\":[{{\"ID\":{number},{member}"
    );
    assert_eq!(ours(&server, "member list -w json"), json);
    let json = format!(
        "{{\"header\":{{\"cluster_id\":\"{cluster:x}\",\"member_id\":\"{id}\",\"raft_term\":2}},\
         \"members\":[{{\"ID\":\"{id}\",{member}"
    );
    assert_eq!(ours(&server, "member list -w json --hex"), json);
    let fields = format!(
        "\"ClusterID\" : {cluster}\n\"MemberID\" : {number}\n\"RaftTerm\" : 2\n\"ID\" : {number}\n\
         \"Name\" : \"default\"\n\"PeerURL\" : \"{peer}\"\n\"ClientURL\" : \"{client}\"\n\
         \"IsLearner\" : false\n\n"
    );
    assert_eq!(ours(&server, "member list -w fields"), fields);
    // The hash of an empty store is known.
    let hash = format!("{authority}, 1084519789, 1\n");
    assert_eq!(ours(&server, "endpoint hashkv"), hash);
    let health = ours(&server, "endpoint health -w json");
    let start = format!("[{{\"endpoint\":\"{authority}\",\"health\":true,\"took\":\"");
    assert!(health.starts_with(&start) && health.ends_with("s\"}]\n"), "{health}");
    let status = ours(&server, "endpoint status");
    let cells: Vec<&str> = status.trim_end_matches('\n').split(", ").collect();
    assert_eq!(cells.len(), 16, "{status}");
    assert_eq!(cells[..4], [authority.as_str(), id.as_str(), "3.7.1", "3.7.0"]);
    assert_eq!(cells[7..11], ["2.1 GB", "true", "false", "2"]);
    assert_eq!(cells[13..], ["", "", "false"]);
    assert_eq!(ours(&server, "alarm list"), "");
    let defragmented = ours(&server, "defrag");
    let start = format!("Finished defragmenting etcd member[{authority}]. took ");
    assert!(defragmented.starts_with(&start), "{defragmented}");
}

#[test]
fn errors_have_their_texts_and_codes() {
    let (_dir, server) = running(&[]);
    let lone = |line: &str, input: &str| {
        let (code, stdout, stderr) =
            answer(Tool::Ours, &server, &line.split(' ').collect::<Vec<_>>(), input);
        assert_eq!(stdout, "", "{line}");
        (code, stderr)
    };
    for (line, input, code, text) in [
        ("put", "", 128, "put command needs 1 argument and input from stdin or 2 arguments"),
        (
            "get",
            "",
            128,
            "get command needs one argument as key and an optional argument as range_end",
        ),
        (
            "del",
            "",
            128,
            "del command needs one argument as key and an optional argument as range_end",
        ),
        ("compaction", "", 128, "compaction command needs 1 argument"),
        ("compaction x", "", 1, "strconv.ParseInt: parsing \"x\": invalid syntax"),
        ("lease grant x", "", 128, "bad TTL (strconv.ParseInt: parsing \"x\": invalid syntax)"),
        ("put k v --lease=1", "", 1, "etcdserver: requested lease not found"),
        ("put none --ignore-value", "", 1, "etcdserver: key not found"),
        ("get k --rev=99", "", 1, "etcdserver: mvcc: required revision is a future revision"),
        ("compaction 99", "", 1, "etcdserver: mvcc: required revision is a future revision"),
        ("txn", "bogus\n\n\n\n", 3, "malformed comparison: bogus"),
        (
            "txn",
            "zz(\"k\") = \"1\"\n\n\n\n",
            3,
            "malformed comparison: zz(\"k\") = \"1\" (unknown target zz)",
        ),
        ("txn", "mod(\"k\") = \"abc\"\n\n", 3, "invalid txn compare request: mod(\"k\") = \"abc\""),
        ("txn", "\nfoo bar\n\n", 3, "invalid txn request: foo bar"),
        ("txn", "\nput k v\n", 3, "EOF"),
        ("txn", "\nput k 1\nput k 2\n\n\n", 1, "etcdserver: duplicate key given in txn request"),
    ] {
        assert_eq!(lone(line, input), (code, format!("Error: {text}\n")), "{line} {input:?}");
    }
    let (code, stderr) = lone("get k --nosuch", "");
    assert_eq!((code, stderr.lines().next()), (1, Some("Error: unknown flag: --nosuch")));
    for line in ["user add u", "role list", "lock l"] {
        let (code, stderr) = lone(line, "");
        let command = line.split(' ').take(if line == "lock l" { 1 } else { 2 });
        let command = command.collect::<Vec<_>>().join(" ");
        let text = format!("Error: {command} is not supported by this version\n");
        assert_eq!((code, stderr), (1, text));
    }
}

#[test]
fn a_server_that_is_not_there_is_reported_in_time() {
    let (_dir, server) = running(&[]);
    let mut dead = Tool::Ours.command(&server);
    dead.env("ETCDCTL_ENDPOINTS", "127.0.0.1:1").args(["--command-timeout=500ms"]);
    let output = dead.args(["endpoint", "health"]).output().expect("run etcdctl");
    let stderr = String::from_utf8(output.stderr).expect("plain text");
    let line = "127.0.0.1:1 is unhealthy: failed to commit proposal: context deadline exceeded";
    assert!(stderr.lines().any(|found| found == line), "{stderr}");
    assert!(stderr.ends_with("Error: unhealthy cluster\n"), "{stderr}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_line_of_a_transaction_is_refused_before_the_next_is_read() {
    let (_dir, server) = running(&[]);
    let txn = |input: &str| answer(Tool::Ours, &server, &["txn"], input);
    let refused = |text: &str| (3, String::new(), format!("Error: {text}\n"));
    assert_eq!(txn("bogus\n"), refused("malformed comparison: bogus"));
    assert_eq!(txn("\nfoo bar\n"), refused("invalid txn request: foo bar"));
    assert_eq!(txn("\nput a 1\n"), refused("EOF"));
}

/// As in a list that a script puts together.
#[test]
fn endpoints_that_cannot_be_one_do_not_keep_the_others_from_being_asked() {
    let (_dir, server) = running(&[]);
    let good = server.client_authority();
    Tool::Ours.ok(&server, &["put", "k", "v"]);
    for list in [format!("{good},"), format!(",{good}"), format!("localhost,{good}")] {
        assert_eq!(Tool::Ours.run_at(&list, &["get", "k"]).stdout, "k\nv\n", "{list}");
    }
    let list = format!("localhost,{good}");
    for (command, code) in [("status", 1), ("health", 1), ("hashkv", 2)] {
        let output = Tool::Ours.run_at(&list, &["endpoint", command]);
        assert_eq!((output.code, output.stdout.lines().count()), (code, 1), "{output:?}");
        assert!(output.stderr.contains("\"localhost\" is not of the form host:port"), "{output:?}");
    }
    let defrag = Tool::Ours.run_at(&list, &["defrag"]);
    assert!(defrag.stdout.contains(&format!("Finished defragmenting etcd member[{good}]")));
    assert_eq!(defrag.code, 1);
}

#[test]
fn nothing_is_sent_when_the_time_is_over_and_dialling_without_bound_is_fine() {
    let (_dir, server) = running(&[]);
    for timeout in ["0", "-1s", "1ns"] {
        let flag = format!("--command-timeout={timeout}");
        let (code, stdout, stderr) = answer(Tool::Ours, &server, &["put", "k", "v", &flag], "");
        assert_eq!((code, stdout.as_str()), (1, ""), "{timeout}");
        assert!(stderr.contains("context deadline exceeded"), "{stderr}");
    }
    assert_eq!(Tool::Ours.ok(&server, &["get", "k"]), "");
    assert_eq!(Tool::Ours.ok(&server, &["put", "k", "v", "--dial-timeout=0"]), "OK\n");
    let file = server.data_dir().with_file_name("saved.db");
    let file = file.to_str().expect("a path");
    let saved = Tool::Ours.ok(&server, &["snapshot", "save", file, "--dial-timeout=0s"]);
    assert!(saved.contains("Snapshot saved at"), "{saved}");
}

#[test]
fn a_lease_id_below_zero_is_printed_as_it_can_be_given_again() {
    let (_dir, server) = running(&[]);
    for tool in [Tool::Ours, Tool::Reference] {
        let expired = "lease -000000000000001 already expired\n";
        assert_eq!(tool.ok(&server, &["lease", "timetolive", "--", "-1"]), expired);
    }
    let (_, _, stderr) =
        answer(Tool::Ours, &server, &["lease", "revoke", "--", "-000000000000001"], "");
    assert!(stderr.contains("requested lease not found"), "{stderr}");
}
