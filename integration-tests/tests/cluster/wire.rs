//! What strangers, old members and broken peers may send to the peer port of a living cluster.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use integration_tests::{Cluster, Kind, Rng, eventually, put, seed, status};
use prost::Message;
use proto::raftpb::{self, MessageType};

use crate::{SOON, assert_term, ours, skipped, target};

/// One member of the cluster, as its peers see it.
struct Port {
    authority: String,
    cluster: String,
    /// The member itself.
    to: u64,
    /// Another one.
    from: u64,
}

/// Headers a peer sends, in which a test can change what it likes.
#[derive(Clone)]
struct Headers(Vec<(&'static str, String)>);

impl Headers {
    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, value.into()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.0.retain(|(known, _)| *known != name);
        self
    }
}

impl Port {
    fn headers(&self) -> Headers {
        Headers(vec![
            ("X-Server-From", format!("{:x}", self.from)),
            ("X-Server-Version", "3.7.1".to_owned()),
            ("X-Min-Cluster-Version", "3.0.0".to_owned()),
            ("X-Etcd-Cluster-Id", self.cluster.clone()),
        ])
    }

    /// Sends one request: the status, the head and as much of the body as comes; `None` when the
    /// connection ends without an answer.
    fn ask(&self, line: &str, headers: &Headers, body: &[u8]) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.authority).expect("the peer port is open");
        stream.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
        let mut head = format!("{line} HTTP/1.1\r\nHost: {}\r\n", self.authority);
        for (name, value) in &headers.0 {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        // A refusal may come before all is sent.
        drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)));
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        // Until the end of the head, then one more read for the body: a failed one has no end.
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            answer.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&answer);
            if let Some((head, body)) = text.split_once("\r\n\r\n")
                && (head.contains(" 204 ") || head.contains(" 200 ") || !body.is_empty())
            {
                break;
            }
        }
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text.split(' ').nth(1)?.parse().ok()?;
        Some((status, text))
    }

    fn raft(&self, body: &[u8]) -> Option<(u16, String)> {
        self.ask("POST /raft", &self.headers(), body)
    }

    fn message(&self, kind: i32) -> raftpb::Message {
        raftpb::Message {
            r#type: Some(kind),
            to: Some(self.to),
            from: Some(self.from),
            ..raftpb::Message::default()
        }
    }
}

/// The follower of a cluster of three, told of by the leader's name.
fn port(cluster: &mut Cluster) -> (Port, usize) {
    let leader = cluster.await_leader();
    let at = (leader + 1) % 3;
    let member = &cluster.members()[at];
    let answer = status(&member.client_authority()).expect("it answers");
    let header = answer.header.expect("a header");
    let port = Port {
        authority: member.peer_authority(),
        cluster: format!("{:x}", header.cluster_id),
        to: header.member_id,
        from: answer.leader,
    };
    (port, leader)
}

/// The second entry of a log, of its first term.
fn entry(data: &'static [u8]) -> raftpb::Entry {
    let data = Some(Bytes::from_static(data));
    raftpb::Entry { term: Some(1), index: Some(2), data, ..raftpb::Entry::default() }
}

/// Body of a snapshot's request.
fn snapshot_body(message: &raftpb::Message, db: &[u8]) -> Vec<u8> {
    let message = message.encode_to_vec();
    let mut body = (message.len() as u64).to_be_bytes().to_vec();
    body.extend_from_slice(&message);
    body.extend_from_slice(db);
    body
}

#[track_caller]
fn refused(answer: Option<(u16, String)>, status: u16, text: &str) {
    let (code, answer) = answer.unwrap_or_else(|| panic!("no answer instead of {status} {text}"));
    assert!(code == status && answer.contains(text), "{status} {text} expected: {answer}");
}

/// A cluster that is troubled and goes on: same leader, same term, no panic.
fn unharmed(cluster: &mut Cluster, leader: usize, term: u64) {
    assert_eq!(cluster.await_leader(), leader);
    let authority = cluster.members()[leader].client_authority();
    put(&authority, "still", "served").expect("served");
    assert_term(&authority, term);
    cluster.await_same_data();
    cluster.assert_no_panic();
}

fn started() -> (Cluster, Port, usize, u64) {
    let mut cluster = Cluster::start(target(), 3, &["--strict-reconfig-check=false"]);
    let (port, leader) = port(&mut cluster);
    let authority = cluster.members()[leader].client_authority();
    put(&authority, "there", "is data").expect("a leader");
    let term = status(&authority).expect("it answers").raft_term;
    (cluster, port, leader, term)
}

#[test]
fn requests_of_strangers_are_refused_by_name() {
    let (mut cluster, port, leader, term) = started();
    let good = port.headers();
    let vote = port.message(MessageType::MsgHeartbeat as i32).encode_to_vec();

    refused(port.ask("GET /raft", &good, b""), 405, "Allow: POST");
    refused(port.ask("POST /raft", &Headers(Vec::new()), &vote), 412, "incompatible version");
    let old = good.clone().with("X-Server-Version", "2.3.0");
    refused(port.ask("POST /raft", &old, &vote), 412, "incompatible version");
    let newer = good.clone().with("X-Min-Cluster-Version", "4.0.0");
    refused(port.ask("POST /raft", &newer, &vote), 412, "incompatible version");
    for path in ["/raft", "/raft/snapshot"] {
        let foreign = good.clone().with("X-Etcd-Cluster-Id", "1");
        let line = format!("POST {path}");
        refused(port.ask(&line, &foreign, &vote), 412, "cluster ID mismatch");
        let unnamed = good.clone().without("X-Etcd-Cluster-Id");
        refused(port.ask(&line, &unnamed, &vote), 412, "cluster ID mismatch");
    }
    // A version nobody can read: refused or dropped, but no success.
    let answer = port.ask("POST /raft", &good.clone().with("X-Server-Version", "abc"), &vote);
    assert!(answer.as_ref().is_none_or(|(code, _)| *code >= 400), "{answer:?}");

    // Streams.
    let to = good.clone().with("X-Raft-To", format!("{:x}", port.to));
    let from = format!("{:x}", port.from);
    let stream = |path: &str, headers: &Headers| port.ask(&format!("GET {path}"), headers, b"");
    refused(stream(&format!("/raft/stream/other/{from}"), &to), 404, "invalid path");
    refused(stream("/raft/stream/message/zz", &to), 404, "invalid from");
    refused(stream("/raft/stream/message/1234", &to), 404, "error sender not found");
    let astray = good.clone().with("X-Raft-To", from.as_str());
    refused(stream(&format!("/raft/stream/msgapp/{from}"), &astray), 412, "to field mismatch");
    refused(port.ask("POST /raft/stream/message/1", &to, b""), 405, "Allow: GET");

    // One that was a member.
    let authority = cluster.members()[leader].client_authority();
    let printed = ours(&authority, "member add gone --learner --peer-urls=http://127.0.0.1:9");
    let gone = printed.split_whitespace().nth(1).expect("an id").to_owned();
    ours(&authority, &format!("member remove {gone}"));
    cluster.await_same_data();
    let removed = to.clone().with("X-Server-From", gone.as_str());
    eventually("the removal is known", SOON, || {
        let (code, text) = stream(&format!("/raft/stream/message/{gone}"), &removed)?;
        (code == 410 && text.contains("removed member")).then_some(())
    });
    let message = raftpb::Message {
        from: Some(u64::from_str_radix(&gone, 16).expect("hex")),
        ..port.message(MessageType::MsgHeartbeat as i32)
    };
    let answer = port.ask("POST /raft", &removed, &message.encode_to_vec());
    assert!(answer.as_ref().is_none_or(|(code, _)| [403, 500].contains(code)), "{answer:?}");
    unharmed(&mut cluster, leader, term);
}

#[test]
fn messages_that_make_no_sense_change_nothing() {
    let (mut cluster, port, leader, term) = started();
    refused(port.raft(b"\xff\xff"), 400, "error unmarshalling raft message");
    for kind in [0, 1, 10, 11, 12, 19, 20, 21, 22, 23, 99] {
        let answer = port.raft(&port.message(kind).encode_to_vec());
        let (code, _) = answer.unwrap_or_else(|| panic!("no answer to type {kind}"));
        assert!(code == 204 || code == 500, "type {kind}: {code}");
    }
    // Which 3.4 takes for its own.
    let astray = raftpb::Message { to: Some(99), ..port.message(MessageType::MsgHeartbeat as i32) };
    if target() == Kind::Ours {
        refused(port.raft(&astray.encode_to_vec()), 500, "error processing raft message");
    }

    // Of times long gone, and answers nobody asked for, from the leader and from a stranger.
    for from in [port.from, 0x1234] {
        for kind in [
            MessageType::MsgApp,
            MessageType::MsgAppResp,
            MessageType::MsgVote,
            MessageType::MsgVoteResp,
            MessageType::MsgHeartbeat,
            MessageType::MsgHeartbeatResp,
            MessageType::MsgPreVote,
            MessageType::MsgPreVoteResp,
            MessageType::MsgReadIndexResp,
            MessageType::MsgTimeoutNow,
        ] {
            let old = raftpb::Message {
                from: Some(from),
                term: Some(1),
                log_term: Some(1),
                index: Some(1),
                commit: Some(1),
                // A context of one byte is too short to be anything.
                context: Some(Bytes::from_static(b"x")),
                entries: vec![entry(b"")],
                ..port.message(kind as i32)
            };
            let answer = port.raft(&old.encode_to_vec());
            assert!(matches!(answer, Some((204, _))), "{kind:?} from {from:x}: {answer:?}");
        }
    }
    unharmed(&mut cluster, leader, term);
}

/// Messages of the present term, each of which ends a member that takes it at its word.
fn impossible(port: &Port, term: u64) -> Vec<raftpb::Message> {
    let of = |kind: MessageType| raftpb::Message { term: Some(term), ..port.message(kind as i32) };
    let far = Some(1 << 40);
    let append = |index, log_term, entry: raftpb::Entry| raftpb::Message {
        index: Some(index),
        log_term: Some(log_term),
        entries: vec![entry],
        ..of(MessageType::MsgApp)
    };
    let at = |index: u64| raftpb::Entry { term: Some(term), index: Some(index), ..entry(b"x") };
    vec![
        raftpb::Message { commit: far, ..of(MessageType::MsgHeartbeat) },
        raftpb::Message { term: Some(u64::MAX), ..of(MessageType::MsgHeartbeat) },
        raftpb::Message { term: None, ..of(MessageType::MsgReadIndex) },
        of(MessageType::MsgReadIndex),
        raftpb::Message { entries: vec![at(1)], ..of(MessageType::MsgProp) },
        raftpb::Message { term: None, index: far, log_term: far, ..of(MessageType::MsgVote) },
        raftpb::Message { term: None, index: far, ..of(MessageType::MsgReadIndexResp) },
        raftpb::Message { index: far, ..of(MessageType::MsgAppResp) },
        append(1 << 40, 0, at((1 << 40) + 1)),
        append(2, 1, at(4)),
        append(2, 1, at(0)),
    ]
}

#[test]
fn messages_that_no_member_sends_change_nothing() {
    if target() == Kind::Reference {
        return skipped("messages that no member sends", "3.4 panics at some of them");
    }
    let (mut cluster, follower, leader, term) = started();
    let to_leader = Port {
        authority: cluster.members()[leader].peer_authority(),
        cluster: follower.cluster.clone(),
        to: follower.from,
        from: follower.to,
    };
    for port in [&follower, &to_leader] {
        for message in impossible(port, term) {
            let answer = port.raft(&message.encode_to_vec());
            assert!(matches!(answer, Some((204, _))), "{message:?}: {answer:?}");
        }
    }
    unharmed(&mut cluster, leader, term);
}

#[test]
fn snapshots_that_are_none_change_nothing() {
    if target() == Kind::Reference {
        return skipped("snapshots that are none", "3.4 panics at some of them");
    }
    let (mut cluster, port, leader, term) = started();
    let post = |body: &[u8]| port.ask("POST /raft/snapshot", &port.headers(), body);
    let heartbeat = port.message(MessageType::MsgHeartbeat as i32);
    refused(post(&snapshot_body(&heartbeat, b"db")), 400, "wrong raft message type");
    // A length without what it measures, or beyond all measure.
    for length in [100, 1 << 40, u64::MAX] {
        let answer = post(&u64::to_be_bytes(length));
        refused(answer, 400, "failed to decode raft message");
    }
    refused(post(b"\0\0\0"), 400, "failed to decode raft message");
    refused(post(b"\0\0\0\0\0\0\0\x02\xff\xff"), 400, "failed to decode raft message");

    let bare = raftpb::Message { term: Some(term), ..port.message(MessageType::MsgSnap as i32) };
    let answer = post(&snapshot_body(&bare, b""));
    assert!(answer.as_ref().is_none_or(|(code, _)| *code >= 204), "{answer:?}");

    // One with a position, of the past and of the future, but with junk for a database.
    let members = [port.from, port.to];
    for index in [1, 1 << 20] {
        let metadata = raftpb::SnapshotMetadata {
            conf_state: Some(raftpb::ConfState {
                voters: members.into(),
                ..raftpb::ConfState::default()
            }),
            index: Some(index),
            term: Some(term),
        };
        let snapshot = raftpb::Snapshot { data: None, metadata: Some(metadata) };
        let message = raftpb::Message { snapshot: Some(snapshot), ..bare.clone() };
        for db in [&b""[..], b"junk", &[0; 40_000]] {
            let answer = post(&snapshot_body(&message, db));
            if index > 1 {
                let (code, text) = answer.expect("an answer");
                assert!((400..600).contains(&code), "{} bytes: {text}", db.len());
            }
        }
    }
    unharmed(&mut cluster, leader, term);
}

/// Sound messages with some bytes changed or missing.
#[test]
fn broken_messages_change_nothing() {
    let (mut cluster, port, leader, term) = started();
    let mut rng = Rng::new(seed());
    for _ in 0..300 {
        let message = raftpb::Message {
            term: Some(1),
            log_term: Some(1),
            index: Some(1),
            entries: vec![entry(b"\x0a\x01x")],
            ..port.message(MessageType::MsgApp as i32)
        };
        let mut bytes = message.encode_to_vec();
        // What makes it a message of the past stays: of the present it could be believed.
        let length = bytes.len();
        let tail = length - 12;
        if rng.below(2) == 0 {
            bytes.truncate(usize::try_from(rng.below(length as u64)).expect("small"));
        } else {
            let at = tail + usize::try_from(rng.below(12)).expect("small");
            bytes[at] ^= 1 << rng.below(8);
        }
        let answer = port.raft(&bytes);
        let (code, text) = answer.expect("an answer");
        assert!([204, 400, 500].contains(&code), "{bytes:x?}: {text}");
        let mut body = snapshot_body(&message, b"");
        body.truncate(usize::try_from(rng.below(body.len() as u64)).expect("small"));
        let (code, text) =
            port.ask("POST /raft/snapshot", &port.headers(), &body).expect("an answer");
        assert!((400..600).contains(&code), "{body:x?}: {text}");
    }
    unharmed(&mut cluster, leader, term);
}
