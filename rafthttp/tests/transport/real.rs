//! The distribution's real etcd 3.4 as the other member of a cluster of two.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::support::{Member, Raw, eventually};
use proto::raftpb::{self, MessageType};
use tokio::net::TcpListener;

/// `REFERENCE_ETCD_DIR`, else `/usr/bin`.
fn binary() -> PathBuf {
    let dir = std::env::var_os("REFERENCE_ETCD_DIR").unwrap_or_else(|| "/usr/bin".into());
    let path = PathBuf::from(dir).join("etcd");
    assert!(path.exists(), "{} is missing: run `scripts/reference.sh`", path.display());
    path
}

/// The process, killed with the test.
struct Etcd(Child);

impl Drop for Etcd {
    fn drop(&mut self) {
        self.0.kill().expect("kill");
        self.0.wait().expect("wait");
    }
}

/// A free port; between here and its use another may take it, which the test would report.
async fn free_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    format!("http://{}", listener.local_addr().expect("bound"))
}

/// Answers as a follower that takes everything.
fn follow(member: &Member, message: &raftpb::Message) -> Option<raftpb::Message> {
    let kind = MessageType::try_from(message.r#type?).ok()?;
    let answer = match kind {
        MessageType::MsgVote => MessageType::MsgVoteResp,
        MessageType::MsgHeartbeat => MessageType::MsgHeartbeatResp,
        MessageType::MsgApp => MessageType::MsgAppResp,
        _ => return None,
    };
    let last = message.entries.last().map_or(message.index, |e| e.index);
    Some(raftpb::Message {
        term: message.term,
        index: last.filter(|_| kind == MessageType::MsgApp),
        context: message.context.clone(),
        ..member.message(answer, message.from?, 0)
    })
}

/// Puts over the JSON gateway, in base64; the body of the answer.
async fn put(client_url: &str) -> String {
    let address = client_url.trim_start_matches("http://").parse().expect("an address");
    let mut raw = Raw::connect(address).await;
    let body = "{\"key\":\"Zm9v\",\"value\":\"YmFy\"}";
    raw.send(format!(
        "POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
    .await;
    String::from_utf8(raw.rest().await).expect("text")
}

#[tokio::test]
async fn a_real_member_is_elected_and_commits_through_us() {
    let dir = tempfile::tempdir().expect("a folder");
    let (client, peer) = (free_url().await, free_url().await);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let ours = format!("http://{}", listener.local_addr().expect("bound"));
    let (token, urls) = ("rafthttp-real", [peer.clone(), ours.clone()]);
    let ids = urls.clone().map(|url| base::ids::member_id(&[url], token, None));
    let us = Member::start_on(listener, ids[1], base::ids::cluster_id(&ids));
    us.transport.add_peer(ids[0], &urls[..1]);
    let data = dir.path().join("data").to_string_lossy().into_owned();
    let flags = [
        ("name", "a"),
        ("data-dir", &data),
        ("listen-client-urls", &client),
        ("advertise-client-urls", &client),
        ("listen-peer-urls", &peer),
        ("initial-advertise-peer-urls", &peer),
        ("initial-cluster-token", token),
        ("initial-cluster", &format!("a={peer},b={ours}")),
    ];
    let log = std::fs::File::create(dir.path().join("log")).expect("a file");
    let etcd = Command::new(binary())
        .args(flags.iter().map(|(flag, value)| format!("--{flag}={value}")))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    let _etcd = Etcd(etcd.expect("etcd starts"));

    let us = Arc::new(us);
    let follower = tokio::spawn(answer_all(us.clone()));
    eventually("etcd is there", || us.transport.active_since(ids[0])).await;
    let start = Instant::now();
    let answer = loop {
        let answer = put(&client).await;
        if answer.starts_with("HTTP/1.1 200 OK\r\n") {
            break answer;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{answer}");
    };
    assert!(answer.contains("\"revision\":\""), "{answer}");
    follower.abort();
    let stats = us.transport.stats().peers[&ids[0]].clone();
    assert!(stats.received_bytes > 100 && stats.sent_bytes > 100, "{stats:?}");
    let paths = us.opened.lock().clone();
    for kind in ["message", "msgapp"] {
        let path = format!("/raft/stream/{kind}/{:x}", ids[0]);
        assert!(paths.contains(&path), "etcd has opened {path}: {paths:?}");
    }
}

async fn answer_all(us: Arc<Member>) {
    loop {
        let messages = std::mem::take(&mut *us.host.messages.lock());
        us.transport.send(messages.iter().filter_map(|m| follow(&us, m)).collect());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
