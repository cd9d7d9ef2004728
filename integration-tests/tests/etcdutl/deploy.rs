//! What `deploy/` offers operators is run here: the backup script, the units, the runbooks.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use integration_tests::{Kind, Output, Server, Tool, eventually, our_binary};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{output_of, recorded, succeeds, text};

fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("root").join("deploy").join(name)
}

/// The folder of our binaries, first in the path.
fn path_with(first: &[&Path]) -> String {
    let ours = our_binary("etcdctl");
    let ours = ours.parent().expect("a folder");
    let inherited = std::env::var("PATH").expect("a path");
    let first = first.iter().map(|dir| text(dir)).collect::<Vec<_>>().join(":");
    format!("{first}:{}:{inherited}", text(ours))
}

fn finished(command: &mut Command) -> Output {
    output_of(&command.stdin(Stdio::null()).output().expect("run"))
}

fn backup(endpoint: &str, args: &[&str]) -> Output {
    let mut command = Command::new(deployed("etcd-backup.sh"));
    command.args(args).env("ETCDCTL_ENDPOINTS", endpoint).env("PATH", path_with(&[]));
    finished(&mut command)
}

/// Writes an executable script.
fn script(path: &Path, lines: &str) {
    fs::write(path, format!("#!/bin/sh\n{lines}\n")).expect("write");
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("mode");
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("list").flatten();
    let mut names: Vec<_> = entries.map(|e| e.file_name().into_string().expect("text")).collect();
    names.retain(|name| name != ".lock");
    names.sort();
    names
}

#[test]
fn the_backup_script_saves_looks_and_keeps_the_newest() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::builder(Kind::Ours, &dir.path().join("server")).start();
    Tool::Reference.ok(&server, &["put", "a", "1"]);
    let (into, endpoint) = (dir.path().join("backups"), server.client_url());
    fs::create_dir(&into).expect("folder");
    for old in ["2026-01-01_00_00_00", "2026-01-02_00_00_00", "2026-01-03_00_00_00"] {
        fs::write(into.join(format!("etcd-snapshot-{old}.db")), "old").expect("write");
    }
    fs::write(into.join("other.db"), "not ours").expect("write");
    fs::write(into.join(".saving-etcd-snapshot-killed.db"), "half").expect("write");
    let done = backup(&endpoint, &[text(&into), "2"]);
    assert_eq!(done.code, 0, "{done:?}");
    let left = names(&into);
    assert_eq!(left.len(), 3, "{left:?}");
    assert_eq!(
        (left[0].as_str(), left[2].as_str()),
        ("etcd-snapshot-2026-01-03_00_00_00.db", "other.db")
    );
    let saved = into.join(&left[1]);
    assert!(done.stdout.contains(&format!("saved {}\n", text(&saved))), "{done:?}");
    assert_eq!(fs::metadata(&saved).expect("saved").permissions().mode() & 0o777, 0o600);
    succeeds(&["snapshot", "restore", text(&saved), "--data-dir", text(&dir.path().join("r"))]);
}

#[test]
fn the_backup_script_tells_what_went_wrong_and_removes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let into = dir.path().join("backups");
    fs::create_dir(&into).expect("folder");
    for day in 1..4 {
        fs::write(into.join(format!("etcd-snapshot-2026-01-0{day}_00_00_00.db")), "").expect("old");
    }
    let before = names(&into);
    let nobody = "http://127.0.0.1:1";
    let code = |args: &[&str]| backup(nobody, args).code;
    assert_eq!(code(&[]), 64);
    assert_eq!(code(&[text(&into), "0"]), 64);
    assert_eq!(code(&[text(&into), "all"]), 64);
    assert_eq!(code(&[text(&dir.path().join("missing"))]), 1);
    assert_eq!(code(&[text(&into), "1"]), 1);
    assert_eq!(names(&into), before, "nobody answered: nothing is removed");

    // A tool that saves rubbish.
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).expect("folder");
    script(&bin.join("etcdctl"), "echo rubbish >\"$3\"");
    let mut command = Command::new(deployed("etcd-backup.sh"));
    command.args([text(&into), "1"]).env("PATH", path_with(&[&bin]));
    assert_eq!(finished(&mut command).code, 2);
    assert_eq!(names(&into), before);

    let held = fs::File::open(into.join(".lock")).expect("the lock");
    held.lock().expect("lock");
    assert_eq!(code(&[text(&into)]), 3);
}

#[test]
fn the_units_are_what_systemd_reads() {
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        eprintln!("SKIPPED: no systemd-analyze");
        return;
    };
    assert!(version.status.success());
    // The programs need not be installed here: they are put where the check can see them.
    let dir = tempfile::tempdir().expect("a folder");
    for unit in ["etcd.service", "etcd-backup.service", "etcd-backup.timer"] {
        let here = fs::read_to_string(deployed(unit)).expect("a unit");
        let here = here.replace("/usr/local/bin/etcd-backup.sh", text(&deployed("etcd-backup.sh")));
        let here = here.replace("/usr/local/bin/etcd ", &format!("{} ", text(&our_binary("etcd"))));
        fs::write(dir.path().join(unit), here).expect("write");
    }
    for unit in ["etcd-backup.service", "etcd-backup.timer", "etcd.service"] {
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no", "--recursive-errors=one"]).arg(dir.path().join(unit));
        let output = finished(&mut command);
        let ours: Vec<&str> =
            output.stderr.lines().filter(|line| line.contains(text(dir.path()))).collect();
        assert_eq!((output.code, ours.as_slice()), (0, &[""; 0][..]), "{unit}: {output:?}");
    }
}

#[test]
fn the_cron_table_names_what_is_there() {
    let table = fs::read_to_string(deployed("etcd-backup.cron")).expect("a table");
    let jobs: Vec<&str> = table.lines().filter(|line| line.starts_with(char::is_numeric)).collect();
    let [job] = jobs.as_slice() else { panic!("{jobs:?}") };
    let fields: Vec<&str> = job.split_whitespace().collect();
    assert_eq!(&fields[2..7], ["*", "*", "*", "root", "/usr/local/bin/etcd-backup.sh"]);
}

/// The commands of a runbook: what stands between the fences, by their label.
fn blocks(runbook: &str) -> Vec<(String, String)> {
    let runbook = fs::read_to_string(deployed(runbook)).expect("a runbook");
    let mut parts = runbook.split("\n```");
    parts.next().expect("text before");
    let (mut found, mut inside) = (Vec::new(), true);
    for part in parts {
        if inside {
            let (label, commands) = part.split_once('\n').expect("a block");
            found.push((label.trim().to_owned(), commands.to_owned()));
        }
        inside = !inside;
    }
    found
}

/// A machine: a `systemctl` that starts and stops the one service, and the service.
struct Machine {
    dir: PathBuf,
    env: Vec<(&'static str, String)>,
}

impl Machine {
    /// With a service that is stopped, of this command line.
    fn new(dir: &Path, mut service: Command, env: Vec<(&'static str, String)>) -> Self {
        fs::create_dir_all(dir.join("bin")).expect("folder");
        let service = service.stdin(Stdio::null());
        let words: Vec<String> = std::iter::once(service.get_program())
            .chain(service.get_args())
            .map(|word| format!("'{}'", word.to_str().expect("UTF-8")))
            .collect();
        let (pid, log) = (dir.join("pid"), dir.join("service.log"));
        let (pid, log) = (text(&pid), text(&log));
        script(
            &dir.join("bin/systemctl"),
            &format!(
                "case $1 in\n\
                 start) {} >>{log} 2>&1 </dev/null & echo $! >{pid} ;;\n\
                 stop) kill $(cat {pid}); while readlink /proc/$(cat {pid})/exe; do sleep 0.05; \
                 done; rm {pid} ;;\n\
                 esac",
                words.join(" ")
            ),
        );
        Self { dir: dir.to_owned(), env }
    }

    fn run(&self, commands: &str) -> String {
        let mut command = Command::new("sh");
        command.args(["-eu", "-c", commands]).env("PATH", path_with(&[&self.dir.join("bin")]));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let output = finished(&mut command);
        assert_eq!(output.code, 0, "{commands}\n{output:?}\n{}", self.log());
        output.stdout
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("service.log")).unwrap_or_default()
    }

    /// Waits until the service answers, which the real `systemctl start` does.
    fn await_service(&self) {
        eventually("the service answers", Duration::from_secs(40), || {
            let mut health = Command::new(our_binary("etcdctl"));
            health.args(["endpoint", "health"]).envs(self.env.iter().map(|(n, v)| (n, v)));
            (finished(&mut health).code == 0).then_some(())
        });
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.dir.join("pid")).unwrap_or_default();
        if let Ok(pid) = pid.trim().parse()
            && let Err(error) = kill(Pid::from_raw(pid), Signal::SIGKILL)
        {
            eprintln!("the service is gone: {error}");
        }
    }
}

/// The names of the variables that a runbook wants to be set.
fn variables(blocks: &[(String, String)]) -> Vec<&str> {
    let (label, set) = blocks.first().expect("a block");
    assert_eq!(label, "sh set");
    set.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect()
}

#[test]
fn the_runbook_for_one_member_works() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    let mut builder = Server::builder(Kind::Ours, dir.path()).data_dir(&data);
    let cluster = builder.peer();
    let service = builder.command();
    let url = cluster.split_once('=').expect("a pair").1.to_owned();
    // Once by itself, so that there are data to be replaced.
    let server = builder.start();
    let endpoint = server.client_url();
    Tool::Reference.ok(&server, &["put", "lost", "1"]);
    drop(server.stop());
    let machine = Machine::new(
        &dir.path().join("machine"),
        service,
        vec![
            ("BACKUP", text(&recorded::snapshot("etcd-3.7.1", dir.path())).to_owned()),
            ("DATA_DIR", text(&data).to_owned()),
            ("NAME", "default".to_owned()),
            ("PEER_URL", url),
            ("TOKEN", "another".to_owned()),
            ("ETCDCTL_ENDPOINTS", endpoint),
        ],
    );
    machine.run("systemctl start etcd");
    machine.await_service();
    let blocks = blocks("restore-one-member.md");
    assert_eq!(variables(&blocks), ["BACKUP", "DATA_DIR", "NAME", "PEER_URL", "TOKEN"]);
    for (label, commands) in &blocks[1..] {
        assert_eq!(label, "sh");
        match commands.split_once("systemctl start etcd\n") {
            Some((before, after)) => {
                machine.run(&format!("{before}systemctl start etcd"));
                machine.await_service();
                machine.run(after);
            }
            None => drop(machine.run(commands)),
        }
    }
    let put = machine.run("etcdctl put a b -w fields");
    assert!(put.contains("\"Revision\" : 1000000070"), "{put}");
    assert_eq!(machine.run("etcdctl get lost"), "");
    assert!(dir.path().join("data.before-restore/member").is_dir());
}

#[test]
fn the_runbook_for_three_members_works() {
    let dir = tempfile::tempdir().expect("a folder");
    let backup = recorded::snapshot("etcd-3.7.1", dir.path());
    let members = ["m1", "m2", "m3"];
    let mut builders: Vec<_> = members
        .iter()
        .map(|name| {
            let home = dir.path().join(name);
            Server::builder(Kind::Ours, &home).name(name).data_dir(&home.join("data"))
        })
        .collect();
    let cluster = builders.iter_mut().map(|b| b.peer()).collect::<Vec<_>>().join(",");
    let machines: Vec<Machine> = builders
        .into_iter()
        .zip(members)
        .map(|(mut builder, name)| {
            let url = builder.peer().split_once('=').expect("a pair").1.to_owned();
            let mut builder = builder.initial_cluster(&cluster);
            let service = builder.command();
            let client = service
                .get_args()
                .find_map(|arg| arg.to_str()?.strip_prefix("--advertise-client-urls="))
                .expect("a client URL")
                .to_owned();
            let home = dir.path().join(name);
            fs::create_dir_all(home.join("data")).expect("folder");
            let env = vec![
                ("BACKUP", text(&backup).to_owned()),
                ("DATA_DIR", text(&home.join("data")).to_owned()),
                ("NAME", name.to_owned()),
                ("PEER_URL", url),
                ("CLUSTER", cluster.clone()),
                ("TOKEN", "another".to_owned()),
                ("ETCDCTL_ENDPOINTS", client),
            ];
            Machine::new(&home.join("machine"), service, env)
        })
        .collect();
    machines.iter().for_each(|machine| drop(machine.run("systemctl start etcd")));
    machines.iter().for_each(Machine::await_service);
    let blocks = blocks("restore-three-members.md");
    assert_eq!(variables(&blocks), ["BACKUP", "DATA_DIR", "NAME", "PEER_URL", "CLUSTER", "TOKEN"]);
    for (label, commands) in &blocks[1..] {
        match label.as_str() {
            "sh each" => machines.iter().for_each(|machine| drop(machine.run(commands))),
            "sh once" => drop(machines[1].run(commands)),
            other => panic!("{other}"),
        }
        if commands.contains("systemctl start") {
            machines.iter().for_each(Machine::await_service);
        }
    }
    let put = machines[2].run("etcdctl put a b -w fields");
    assert!(put.contains("\"Revision\" : 1000000070"), "{put}");
    for machine in &machines {
        assert_eq!(machine.run("etcdctl get a --print-value-only"), "b\n");
        assert_eq!(machine.run("etcdctl member list").lines().count(), 3);
    }
}
