//! `member add|list|promote|remove|update`.

use integration_tests::{Cluster, Kind, Tool, eventually};

use crate::{SOON, answer, both, json, ours, refused};

/// Changes of members are accepted at once, not only when all have been connected for 5 s.
const LENIENT: &str = "--strict-reconfig-check=false";

/// The id in `Member 8e9e05c52164694d added to cluster …`.
fn added(stdout: &str) -> String {
    stdout.split_whitespace().nth(1).expect("an id").to_owned()
}

/// The value of a variable in the block that `member add` prints.
fn variable(stdout: &str, name: &str) -> String {
    let value = stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in {stdout}")).trim_matches('"').to_owned()
}

/// Hides the id of the new member, and with it the place it gives the member among the others.
fn without_id(text: &str, id: &str) -> String {
    let decimal = u64::from_str_radix(id, 16).expect("hex").to_string();
    let text = text
        .replace(&format!("Member {id:>16} "), "Member <id> ")
        .replace(id, "<id>")
        .replace(&decimal, "0");
    if text.starts_with('{') {
        let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let members = json["members"].as_array_mut().expect("members");
        members.sort_by_key(|member| member["peerURLs"].to_string());
        return json.to_string();
    }
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| match line.strip_prefix("ETCD_INITIAL_CLUSTER=") {
            Some(value) => {
                let mut peers: Vec<&str> = value.trim_matches('"').split(',').collect();
                peers.sort_unstable();
                format!("ETCD_INITIAL_CLUSTER={peers:?}")
            }
            None => line.to_owned(),
        })
        .collect();
    let is_list = lines.iter().all(|line| line.split(", ").count() == 6);
    if is_list {
        lines.sort_unstable();
    }
    lines.join("\n")
}

/// The life of two members, one of them a learner: everything that was printed.
///
/// Each tool has a host for its members: the same URLs within the same second would have the id
/// of the member that was removed before, which can never come back.
fn life(tool: Tool, host: &str, endpoints: &str, taken: &str) -> Vec<(i32, String, String)> {
    let mut printed = Vec::new();
    let run = |line: &str| {
        let (code, stdout, stderr) = answer(tool, endpoints, &line.replace("HOST", host));
        (code, stdout.replace(host, "HOST"), stderr)
    };
    // 3.4 does not say what role the new member has.
    let as_3_4 = |text: &str| text.replace("added as learner to", "added to");
    let mut record = |(code, stdout, stderr): (i32, String, String), id: &str| {
        printed.push((code, without_id(&as_3_4(&stdout), id), stderr));
    };
    let new = run("member add new --peer-urls=http://HOST:9,http://HOST:8");
    let id = added(&new.1);
    record(new, &id);
    record(run(&format!("member promote {id}")), &id);
    record(run(&format!("member update {id} --peer-urls=http://HOST:7")), &id);
    record(run(&format!("member update {id} --peer-urls=http://HOST:6 -w json")), &id);
    record(run(&format!("member update {id} --peer-urls={taken}")), &id);
    // Printed in a form that does not exist, done all the same.
    record(run(&format!("member update {id} --peer-urls=http://HOST:5 -w table")), &id);
    record(run("member list"), &id);
    record(run(&format!("member remove {id}")), &id);
    record(run(&format!("member remove {id}")), &id);
    record(run(&format!("member update {id} --peer-urls=http://HOST:5")), &id);

    let learner = run("member add --learner --peer-urls http://HOST:9 learner");
    let id = added(&learner.1);
    record(learner, &id);
    record(run(&format!("member promote {id}")), &id);
    record(run("member add other --learner --peer-urls=http://HOST:4"), &id);
    record(run(&format!("member add other --peer-urls={taken}")), &id);
    record(run(&format!("member remove {id} -w json")), &id);
    record(run("member add other --peer-urls=http://HOST:4 -w fields"), &id);
    let list = run("member list").1;
    let id = list.lines().find(|line| line.contains("unstarted")).expect("added all the same");
    let id = id.split(',').next().expect("an id");
    record(run(&format!("member remove {id} -w protobuf")), id);
    printed
}

#[test]
fn members_come_and_go_as_with_the_real_tool() {
    let cluster = Cluster::start(Kind::Reference, 3, &[LENIENT]);
    let first = cluster.members()[0].client_authority();
    let taken = json(&first, "member list")["members"][0]["peerURLs"][0].clone();
    let taken = taken.as_str().expect("a URL");
    let ours = life(Tool::Ours, "127.0.0.2", &first, taken);
    let theirs = life(Tool::Reference, "127.0.0.3", &first, taken);
    assert_eq!(ours, theirs);
    let codes: Vec<i32> = ours.iter().map(|(code, ..)| *code).collect();
    assert_eq!(codes, [0, 1, 0, 0, 1, 4, 0, 0, 1, 1, 0, 1, 1, 1, 0, 4, 0]);
    let errors: Vec<&str> =
        ours.iter().map(|(.., stderr)| stderr.as_str()).filter(|text| !text.is_empty()).collect();
    assert_eq!(
        errors,
        [
            // A voter that never started is no learner, but that is looked at later.
            "Error: etcdserver: can only promote a learner member which is in sync with leader\n",
            "Error: etcdserver: Peer URLs already exists\n",
            "Error: table not supported as output format\n",
            "Error: etcdserver: member not found\n",
            "Error: etcdserver: member not found\n",
            "Error: etcdserver: can only promote a learner member which is in sync with leader\n",
            "Error: etcdserver: too many learner members in cluster\n",
            "Error: etcdserver: Peer URLs already exists\n",
            "Error: fields not supported as output format\n",
        ]
    );

    let list = both(&first, "member list -w table");
    assert_eq!(list.1.lines().count(), 7, "{}", list.1);
    // The real tool has no such flag before 3.6.
    let serializable = answer(Tool::Ours, &first, "member list --consistency s");
    assert_eq!(serializable, answer(Tool::Reference, &first, "member list"));
}

#[test]
fn a_learner_started_as_member_add_says_joins_and_is_promoted() {
    let mut cluster = Cluster::start(Kind::Reference, 1, &[]);
    let first = cluster.members()[0].client_authority();
    let mut newcomer = cluster.member("newcomer");
    let url = newcomer.peer().replace("newcomer=", "");
    let printed = ours(&first, &format!("member add newcomer --learner --peer-urls={url}"));
    let id = added(&printed);
    let cluster_id = json(&first, "member list --hex")["header"]["cluster_id"].clone();
    let line = format!(
        "Member {id:>16} added as learner to cluster {:>16}",
        cluster_id.as_str().expect("hex")
    );
    assert_eq!(printed.lines().next(), Some(line.as_str()));
    assert_eq!(variable(&printed, "ETCD_NAME"), "newcomer");
    assert_eq!(variable(&printed, "ETCD_INITIAL_ADVERTISE_PEER_URLS"), url);
    let newcomer =
        newcomer.initial_cluster(&variable(&printed, "ETCD_INITIAL_CLUSTER")).args([format!(
            "--initial-cluster-state={}",
            variable(&printed, "ETCD_INITIAL_CLUSTER_STATE")
        )]);
    cluster.push(newcomer.spawn());
    eventually("the learner has caught up", SOON, || {
        let (code, stdout, stderr) = answer(Tool::Ours, &first, &format!("member promote {id}"));
        let line = format!(
            "Member {id:>16} promoted in cluster {:>16}\n",
            cluster_id.as_str().expect("hex")
        );
        let early = "Error: etcdserver: can only promote a learner member which is in sync with \
                     leader\n";
        if code != 0 {
            assert_eq!((code, stdout.as_str(), stderr.as_str()), (1, "", early));
            return None;
        }
        assert_eq!(stdout, line);
        Some(())
    });
    // Its name is an entry of its own, behind those that it had to catch up with.
    eventually("the newcomer is known by name", SOON, || {
        let members = ours(&first, "member list");
        let row = members.lines().find(|row| row.starts_with(&id)).expect("a row");
        (row.contains(", started, newcomer, ") && row.ends_with(", false")).then_some(())
    });
}

#[test]
fn wrong_arguments_are_refused_before_anyone_is_asked() {
    let id = "bad member ID arg (strconv.ParseUint: parsing \"zz\": invalid syntax), \
              expecting ID in Hex";
    let scheme = "URL scheme must be http, https, unix, or unixs: bogus";
    for (line, code, text) in [
        ("member add", 128, "member name not provided"),
        ("member add a", 128, "member peer urls not provided"),
        ("member add a --peer-urls=", 128, "member peer urls not provided"),
        ("member add a b", 128, "too many arguments"),
        (
            "member add a http://x HTTPS://y",
            128,
            "too many arguments, did you mean --peer-urls=http://x, \
             did you mean --peer-urls=HTTPS://y",
        ),
        ("member add a --peer-urls=bogus", 1, scheme),
        ("member add a --peer-urls=http://a:1,bogus", 1, scheme),
        (
            "member add a --peer-urls=http://a",
            1,
            "URL address does not have the form \"host:port\": http://a",
        ),
        ("member add a --peer-urls=http://a:1/x", 1, "URL must not contain a path: http://a:1/x"),
        ("member promote", 128, "member ID is not provided"),
        ("member promote zz", 128, id),
        ("member remove", 128, "member ID is not provided"),
        ("member remove 1 2", 128, "member ID is not provided"),
        ("member remove zz", 128, id),
        (
            "member remove 10000000000000000",
            128,
            "bad member ID arg (strconv.ParseUint: parsing \"10000000000000000\": \
             value out of range), expecting ID in Hex",
        ),
        ("member update", 128, "member ID is not provided"),
        ("member update zz --peer-urls=http://a:1", 128, id),
        ("member update 1", 128, "member peer urls not provided"),
        ("member update 1 --peer-urls=bogus", 1, scheme),
    ] {
        assert_eq!(both(crate::NOBODY, line), refused(code, text), "{line}");
    }
}
