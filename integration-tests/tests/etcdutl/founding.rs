//! New clusters from one backup: who their members are, what they keep, whom they refuse.

use std::fs;
use std::path::Path;
use std::time::Duration;

use integration_tests::{Builder, Kind, Output, Server, Tool, eventually, hash_kv, status};

use crate::{kept_rows, kept_rows_of, keys, leases, recorded, revision, succeeds, text};

const NAMES: [&str; 3] = ["m1", "m2", "m3"];

/// Restores one member of each builder from `file`, each by a command line of its own that differs
/// in name and places only, and starts them.
fn found(mut builders: Vec<Builder>, file: &Path, dir: &Path, token: &str) -> Vec<Server> {
    let peers: Vec<String> = builders.iter_mut().map(Builder::peer).collect();
    let cluster = peers.join(",");
    for (builder, name) in builders.iter_mut().zip(NAMES) {
        let (data, url) = (dir.join(name), builder.peer_url());
        let stderr = succeeds(&[
            "snapshot",
            "restore",
            text(file),
            "--name",
            name,
            "--data-dir",
            text(&data),
            "--initial-cluster",
            &cluster,
            "--initial-cluster-token",
            token,
            "--initial-advertise-peer-urls",
            &url,
        ]);
        assert_eq!(stderr.matches("\tadded member\t").count(), 3, "{stderr}");
    }
    let start = |(builder, name): (Builder, &str)| {
        let token = format!("--initial-cluster-token={token}");
        builder.data_dir(&dir.join(name)).initial_cluster(&cluster).args([token]).spawn()
    };
    let mut servers: Vec<Server> = builders.into_iter().zip(NAMES).map(start).collect();
    servers.iter_mut().for_each(Server::await_health);
    servers
}

fn builders(dir: &Path) -> Vec<Builder> {
    let builder = |name: &&str| Server::builder(Kind::Ours, &dir.join(name)).name(name);
    NAMES.iter().map(builder).collect()
}

fn cluster_id(server: &Server) -> u64 {
    let told = status(&server.client_authority()).expect("a status");
    told.header.expect("a header").cluster_id
}

/// What a client sees as the same: revision, hash, keys, leases and their keys.
fn is_same(server: &Server, of: &str, hash: u32) {
    assert_eq!(hash_kv(&server.client_authority(), 69), (hash, 69));
    assert_eq!(keys(server), recorded::keys(of));
    assert_eq!(revision(server), 69);
}

#[test]
fn three_members_are_founded_from_one_file_and_refuse_those_of_before() {
    let (of, hash) = ("etcd-3.7.1", 3_866_940_726);
    let dir = tempfile::tempdir().expect("a folder");
    let (before, after) = (dir.path().join("before"), dir.path().join("after"));
    let file = recorded::snapshot(of, dir.path());
    let mut old = found(builders(&before), &file, &before.join("data"), "before");
    old.iter().for_each(|server| is_same(server, of, hash));
    let old_id = cluster_id(&old[0]);
    let found_leases = leases(&old[0]);
    assert!(!found_leases.is_empty());

    // One file for all of the new ones. Two of them come where old members were.
    let one_file = dir.path().join("one-file.db");
    Tool::Ours.ok(&old[1], &["snapshot", "save", text(&one_file)]);
    let ports: Vec<(u16, u16)> = old[1..]
        .iter()
        .map(|server| {
            let port = |authority: String| authority.rsplit_once(':')?.1.parse().ok();
            let pair = (port(server.client_authority()), port(server.peer_authority()));
            (pair.0.expect("a port"), pair.1.expect("a port"))
        })
        .collect();
    old.truncate(1);
    let mut old = old.remove(0);
    old.crash();
    let mut new = builders(&after);
    for (builder, (client, peer)) in new[1..].iter_mut().zip(ports) {
        *builder = builder.clone().on_ports(client, peer);
    }
    let new = found(new, &one_file, &after.join("data"), "after");
    for server in &new {
        is_same(server, of, hash);
        assert_eq!(leases(server), found_leases);
        assert_eq!(kept_rows_of(server), kept_rows(&file));
        assert_ne!(cluster_id(server), old_id);
        assert_eq!(Tool::Reference.ok(server, &["member", "list"]).lines().count(), 3);
    }
    // The old one comes back, asks those at the places it knows, and is turned away.
    old.restart();
    eventually("the old member is refused", Duration::from_secs(30), || {
        assert!(old.ended().is_none(), "{}", old.log());
        old.log().contains("the peer belongs to another cluster").then_some(())
    });
    let put = Tool::Reference.run(&old, &["put", "a", "old", "--command-timeout=1s"]);
    assert_ne!(put.code, 0, "{put:?}");
    Tool::Reference.ok(&new[0], &["put", "a", "new"]);
    for server in &new {
        assert_eq!(Tool::Reference.ok(server, &["get", "a", "--print-value-only"]), "new\n");
    }
}

/// A store with users, roles and a password that is asked for.
fn guarded(server: &Server) {
    for command in [
        "user add root:secret",
        "user grant-role root root",
        "user add reader:word",
        "role add read",
        "role grant-permission read read a b",
        "user grant-role reader read",
        "put a 1",
        "auth enable",
    ] {
        Tool::Reference.ok(server, &command.split(' ').collect::<Vec<_>>());
    }
}

#[test]
fn users_roles_and_passwords_outlive_a_restore() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::builder(Kind::Reference, &dir.path().join("real")).start();
    guarded(&server);
    let file = dir.path().join("guarded.db");
    Tool::Reference.ok(&server, &["snapshot", "save", text(&file), "--user", "root:secret"]);
    drop(server.stop());
    let data = dir.path().join("restored");
    succeeds(&["snapshot", "restore", text(&file), "--data-dir", text(&data)]);

    // Ours does not guard keys yet, so it does not serve those that are to be guarded.
    let mut ours = Server::builder(Kind::Ours, dir.path()).data_dir(&data).spawn();
    assert_eq!(ours.wait(Duration::from_secs(20)).code(), Some(1));
    assert!(ours.log().contains("auth"), "{}", ours.log());

    let out = dir.path().join("out");
    let export = ["export", "--data-dir", text(&data), "--to-data-dir", text(&out)];
    succeeds(&[&export[..], &["--target-version", "3.4"]].concat());
    assert_eq!(kept_rows(&out.join("member/snap/db")), kept_rows(&file));
    let real = Server::builder(Kind::Reference, &dir.path().join("again")).data_dir(&out);
    // Whose peer URL is that of the restore, not of this start.
    let real = real.start();
    let get = |args: &[&str]| Tool::Reference.run(&real, &[&["get", "a"], args].concat());
    let Output { code, stdout, .. } = get(&["--user", "reader:word"]);
    assert_eq!((code, stdout.as_str()), (0, "a\n1\n"));
    assert_ne!(get(&[]).code, 0);
    assert_ne!(get(&["--user", "reader:other"]).code, 0);
    assert!(fs::metadata(&data).is_ok());
}
