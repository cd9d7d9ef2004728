//! The unit of `deploy/` on three hosts, unchanged but for its files, and the operator's handbook
//! on top of it: every command that speaks to a cluster, with both tools.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use integration_tests::{Following, Lan, MEMBER_COLUMNS, Table, skipped};

use super::registry::{CALICO, address_block, all_keys, check_listing};
use super::unit::{HOSTS, await_ready, flags_on, notified};
use super::*;

const BOTH: [Tool; 2] = [Tool::Ours, Tool::Reference];

/// How the handbook's commands reach a member from elsewhere.
const TLS: &str = "--cacert=ca.pem --cert=etcd.pem --key=etcd-key.pem";

/// The members' ids as the handbook shows them, in the order of [`HOSTS`].
const IDS: [&str; 3] = ["7094f5ff5dcb144b", "1eb5eb9e512f1150", "620a973f2f735d63"];

/// Three hosts with a member each.
struct Site {
    // Killed before their folder goes.
    members: Vec<Server>,
    lan: Lan,
    scene: Scene,
}

impl Site {
    /// Starts the unit on each host, and waits until systemd would call all of them started.
    fn found() -> Result<Site, String> {
        let lan = Lan::of(&HOSTS.map(|host| host.parse().expect("an address")))?;
        let scene = Scene::new();
        let etcd = [&["127.0.0.1"], HOSTS.as_slice()].concat();
        scene.write("etcd", &scene.ca.issue(Subject::named("etcd").hosts(&etcd)));
        let (mut members, mut sockets) = (Vec::new(), Vec::new());
        for (at, host) in HOSTS.iter().enumerate() {
            let (socket, variable) = notified(&scene, host);
            let builder = Server::builder(Kind::Ours, &scene.dir.path().join(host))
                .on_ports(2379, 2380)
                .args(flags_on(&scene, host))
                .env(variable.0, &variable.1);
            members.push(lan.on(at, || builder.spawn()));
            sockets.push(socket);
        }
        for (member, socket) in members.iter().zip(&sockets) {
            await_ready(socket, member);
        }
        Ok(Site { members, lan, scene })
    }

    /// A tool to be run on a host, words parted by blanks; files lie where it is run.
    fn command(&self, tool: Tool, line: &str) -> Command {
        let mut command = Command::new(tool.path());
        command.env("ETCDCTL_API", "3").env_remove("ETCDCTL_ENDPOINTS");
        command.current_dir(self.scene.dir.path()).args(line.split(' ')).stdin(Stdio::null());
        command
    }

    /// Runs a tool on a host.
    fn run(&self, host: usize, tool: Tool, line: &str) -> Output {
        let mut command = self.command(tool, line);
        let output = self.lan.on(host, || command.output()).expect("run etcdctl");
        Output {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a tool that must succeed, on a host.
    #[track_caller]
    fn ok(&self, host: usize, tool: Tool, line: &str) -> String {
        let output = self.run(host, tool, line);
        assert_eq!(output.code, 0, "{tool:?} etcdctl {line}: {}", output.stderr);
        output.stdout
    }

    /// Runs a tool on the first host against the member of another, over TLS.
    #[track_caller]
    fn secure(&self, at: usize, tool: Tool, line: &str) -> String {
        self.ok(0, tool, &format!("--endpoints=https://{}:2379 {TLS} {line}", HOSTS[at]))
    }

    /// The same against all members.
    #[track_caller]
    fn all(&self, tool: Tool, line: &str) -> String {
        let all = HOSTS.map(|host| format!("https://{host}:2379")).join(",");
        self.ok(0, tool, &format!("--endpoints={all} {TLS} {line}"))
    }

    /// The place of the leader.
    fn leader(&self) -> usize {
        eventually("there is a leader", SOON, || {
            let json = self.all(Tool::Ours, "endpoint status -w json");
            let all: serde_json::Value = serde_json::from_str(&json).expect("JSON");
            let leads =
                |s: &serde_json::Value| s["Status"]["leader"] == s["Status"]["header"]["member_id"];
            all.as_array().expect("a list").iter().position(leads)
        })
    }
}

#[test]
fn three_units_answer_as_the_handbook_shows() {
    let mut site = match Site::found() {
        Ok(site) => site,
        Err(reason) => return skipped("three units", &reason),
    };
    for tool in BOTH {
        each_member_is_healthy(&site, tool);
        the_members_are_listed(&site, tool);
        each_member_tells_its_status(&site, tool);
    }
    the_registry_is_listed(&site);
    a_watch_sees_what_another_host_puts(&site);
    for tool in BOTH {
        a_key_lives_and_dies(&site, tool);
        a_backup_is_taken(&site, tool);
        members_are_maintained(&site, tool);
    }
    what_was_answered_survives(&mut site);
    one_of_three_may_be_away(&mut site);
    for member in &site.members {
        assert!(!member.log().contains("panicked at"), "{}", member.log());
    }
}

/// Not checked before it is there: 3.4 says it on standard error.
fn each_member_is_healthy(site: &Site, tool: Tool) {
    for host in HOSTS {
        let url = format!("https://{host}:2379");
        let health = site.run(0, tool, &format!("--endpoints={url} {TLS} endpoint health"));
        assert_eq!(health.code, 0, "{tool:?}: {health:?}");
        let line = match tool {
            Tool::Ours => health.stdout,
            Tool::Reference => health.stderr,
        };
        let told = format!("{url} is healthy: successfully committed proposal: took = ");
        let took = line.strip_prefix(&told).and_then(|rest| rest.strip_suffix("s\n"));
        let took = took.unwrap_or_else(|| panic!("{tool:?}: {line}"));
        assert!(took.trim_end_matches(['n', 'µ', 'm']).parse::<f64>().is_ok(), "{line}");
    }
}

fn the_members_are_listed(site: &Site, tool: Tool) {
    let list = site.secure(1, tool, "-w table member list");
    assert_eq!(list.lines().count(), 7, "{list}");
    let table = Table::read(&list);
    assert_eq!(table.header, MEMBER_COLUMNS, "{tool:?}");
    // By id.
    for (row, at) in table.rows.iter().zip([1, 2, 0]) {
        let host = HOSTS[at];
        let expected = [
            IDS[at].to_owned(),
            "started".to_owned(),
            format!("etcd-{host}"),
            format!("https://{host}:2380"),
            format!("https://{host}:2379"),
            "false".to_owned(),
        ];
        assert_eq!(*row, expected, "{tool:?}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&site.secure(0, tool, "-w json member list")).expect("JSON");
    assert_eq!(json["header"]["cluster_id"], 0x5914_181c_214c_f156_u64);
}

/// One call and one table for each member.
fn each_member_tells_its_status(site: &Site, tool: Tool) {
    let status = |at: usize| {
        let printed = site.secure(at, tool, "-w table endpoint status");
        assert_eq!(printed.lines().count(), 5, "{printed}");
        let table = Table::read(&printed);
        let cell = |column: &str| table.cell(0, column).to_owned();
        let names = ["DB SIZE", "RAFT TERM", "RAFT INDEX", "RAFT APPLIED INDEX", "IS LEADER"];
        let [size, term, index, applied, leads] = names.map(&cell);
        let fixed = ["ENDPOINT", "ID", "VERSION", "IS LEARNER", "ERRORS"].map(&cell);
        let url = format!("https://{}:2379", HOSTS[at]);
        assert_eq!(fixed, [&url, IDS[at], "3.7.1", "false", ""], "{tool:?}");
        let (number, unit) = size.split_once(' ').expect("a size");
        assert!(number.parse::<f64>().is_ok() && ["kB", "MB"].contains(&unit), "{size}");
        (leads == "true", [term, index, applied])
    };
    eventually("members have applied everything", SOON, || {
        let rows = [0, 1, 2].map(status);
        let leaders = rows.iter().filter(|(leads, _)| *leads).count();
        let [_, index, applied] = &rows[0].1;
        let idle = index == applied && rows.iter().all(|(_, numbers)| *numbers == rows[0].1);
        (leaders == 1 && idle).then_some(())
    });
}

/// On the members' hosts the default endpoint answers, without TLS.
fn the_registry_is_listed(site: &Site) {
    for (key, tool) in all_keys().iter().rev().zip(BOTH.iter().cycle()) {
        assert_eq!(site.ok(0, *tool, &format!("put {key} object")), "OK\n");
    }
    let block = address_block();
    assert_eq!(site.secure(2, Tool::Ours, &format!("put {} {block}", CALICO[0])), "OK\n");
    for tool in BOTH {
        for host in 0..HOSTS.len() {
            check_listing(&site.ok(host, tool, "get / --prefix --keys-only"));
        }
        let get = format!("get {}", CALICO[0]);
        assert_eq!(site.ok(1, tool, &get), format!("{}\n{block}\n", CALICO[0]));
    }
}

fn a_watch_sees_what_another_host_puts(site: &Site) {
    for (watching, putting) in [(Tool::Ours, Tool::Reference), (Tool::Reference, Tool::Ours)] {
        for line in [
            "watch /name/wgs".to_owned(),
            format!(
                "--endpoints={}:2379 {TLS} \
                     watch /name/wgs",
                HOSTS[0]
            ),
        ] {
            let mut command = site.command(watching, &line);
            let member = &site.members[0];
            let mut watch = site.lan.on(0, || Following::watch_by(&mut command, member));
            for value in ["wgs", "wgs-01", "wgs-02", "wgs-03"] {
                assert_eq!(site.ok(1, putting, &format!("put /name/wgs {value}")), "OK\n");
                watch.expect(&["PUT", "/name/wgs", value]);
            }
            watch.goes_on();
        }
    }
}

/// Each step through another member.
fn a_key_lives_and_dies(site: &Site, tool: Tool) {
    assert_eq!(site.secure(0, tool, "put /name wgs"), "OK\n");
    assert_eq!(site.secure(1, tool, "get /name"), "/name\nwgs\n");
    assert_eq!(site.secure(2, tool, "put /name wgs_update"), "OK\n");
    assert_eq!(site.secure(0, tool, "get /name"), "/name\nwgs_update\n");
    assert_eq!(site.secure(1, tool, "del /name"), "1\n");
    assert_eq!(site.secure(2, tool, "get /name"), "");
    assert_eq!(site.secure(2, tool, "get /name/wgs"), "/name/wgs\nwgs-03\n");
}

fn a_backup_is_taken(site: &Site, tool: Tool) {
    let at = format!("--endpoints=https://{}:2379 {TLS}", HOSTS[2]);
    let saved = site.run(0, tool, &format!("{at} snapshot save snapshot.db"));
    assert_eq!(saved.code, 0, "{saved:?}");
    let mut lines = saved.stdout.lines();
    assert_eq!(lines.next(), Some("Snapshot saved at snapshot.db"));
    if tool == Tool::Ours {
        assert_eq!(lines.next(), Some("Server version 3.7.0"));
        let messages =
            ["created temporary db file", "fetching snapshot", "fetched snapshot", "saved"];
        let mut rest = saved.stderr.as_str();
        for message in messages {
            let quoted = format!("\"msg\":\"{message}\"");
            let (_, after) =
                rest.split_once(&quoted).unwrap_or_else(|| panic!("{message}: {rest}"));
            rest = after;
        }
    }
    assert_eq!(lines.next(), None);
    let path = file(&site.scene, "snapshot.db");
    let found = std::fs::metadata(&path).expect("saved");
    assert_eq!((found.mode() & 0o777, found.len() % 512), (0o600, 32));
    assert!(!file(&site.scene, "snapshot.db.part").exists());

    // Hash, revision, keys and size, alike for both tools; ours adds the version.
    let [ours, theirs] = BOTH.map(|tool| site.ok(0, tool, "snapshot status snapshot.db"));
    let items =
        |text: &str| -> Vec<String> { text.trim().split(", ").map(str::to_owned).collect() };
    let (ours, theirs) = (items(&ours), items(&theirs));
    assert_eq!((theirs.len(), &ours[..4]), (4, theirs.as_slice()));
    assert!((1..=8).contains(&ours[0].len()) && u32::from_str_radix(&ours[0], 16).is_ok());
}

fn members_are_maintained(site: &Site, tool: Tool) {
    let hashes = site.all(tool, "endpoint hashkv");
    let hashes: Vec<&str> = hashes.lines().filter_map(|l| l.split(", ").nth(1)).collect();
    assert!(hashes.len() == 3 && hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    assert_eq!(site.all(tool, "alarm list"), "");
    assert_eq!(site.all(tool, "alarm disarm"), "");

    let (from, to) = (site.leader(), (site.leader() + 1) % 3);
    let moved = site.all(tool, &format!("move-leader {}", IDS[to]));
    assert_eq!(moved, format!("Leadership transferred from {} to {}\n", IDS[from], IDS[to]));
    eventually("the other leads", SOON, || (site.leader() == to).then_some(()));

    let granted = site.secure(1, tool, "lease grant 100");
    let id = granted.split(' ').nth(1).expect("an id");
    assert_eq!(granted, format!("lease {id} granted with TTL(100s)\n"));
    let left = site.secure(2, tool, &format!("lease timetolive {id}"));
    let told = format!("lease {id} granted with TTL(100s), remaining(");
    assert!(left.starts_with(&told), "{left}");
    let kept = site.secure(0, tool, &format!("lease keep-alive --once {id}"));
    assert_eq!(kept, format!("lease {id} keepalived with TTL(100)\n"));
    assert_eq!(
        site.secure(2, tool, &format!("lease revoke {id}")),
        format!("lease {id} revoked\n")
    );

    let revision = site.secure(0, tool, "get none -w json");
    let revision: serde_json::Value = serde_json::from_str(&revision).expect("JSON");
    let revision = revision["header"]["revision"].as_i64().expect("a revision");
    let compacted = site.secure(1, tool, &format!("compaction {revision}"));
    assert_eq!(compacted, format!("compacted revision {revision}\n"));
    let defragmented = site.all(tool, "defrag");
    assert_eq!(defragmented.lines().count(), 3, "{defragmented}");
}

/// A write that was answered is there after the member that answered it is killed.
fn what_was_answered_survives(site: &mut Site) {
    assert_eq!(site.secure(0, Tool::Ours, "put survives kill"), "OK\n");
    let member = &mut site.members[0];
    site.lan.on(0, || {
        member.crash();
        member.restart();
        member.await_health();
    });
    for tool in BOTH {
        assert_eq!(site.secure(0, tool, "get survives"), "survives\nkill\n");
    }
}

/// `systemctl stop` ends a member by the signal within 10 s; the others go on, until it is back.
fn one_of_three_may_be_away(site: &mut Site) {
    let leader = site.leader();
    let status = site.members[leader].terminate();
    assert_eq!(status.signal(), Some(15), "{status}");
    let [one, other] = [1, 2].map(|step| (leader + step) % 3);
    for tool in BOTH {
        eventually("the others lead", SOON, || {
            let line = format!("--endpoints=https://{}:2379 {TLS} put away {tool:?}", HOSTS[one]);
            (site.run(other, tool, &line).stdout == "OK\n").then_some(())
        });
        let found = site.ok(one, tool, "get away");
        assert_eq!(found, format!("away\n{tool:?}\n"));
    }
    let member = &mut site.members[leader];
    site.lan.on(leader, || {
        member.restart();
        member.await_health();
    });
    assert_eq!(site.ok(leader, Tool::Ours, "get away"), "away\nReference\n");
}
