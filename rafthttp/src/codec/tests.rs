//! Recorded frames of real members, both ways and cut anywhere.

use super::*;
use bytes::BytesMut;
use proptest::prelude::*;

/// Bytes from hexadecimal digits; blanks and braces are for the reader.
fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).expect("digits");
        u8::from_str_radix(text, 16).expect("digits")
    };
    digits.chunks(2).map(byte).collect()
}

fn message(kind: MessageType) -> raftpb::Message {
    raftpb::Message { r#type: Some(kind as i32), ..Default::default() }
}

/// Decodes a stream cut into chunks of this size.
fn decode_all(decoder: &mut Decoder, bytes: &Bytes, chunk: usize) -> Vec<Decoded> {
    let mut all = Vec::new();
    for at in (0..bytes.len()).step_by(chunk) {
        decoder.push(bytes.slice(at..bytes.len().min(at + chunk)));
        while let Some(decoded) = decoder.next().expect("good frames") {
            all.push(decoded);
        }
    }
    all
}

fn decode(kind: StreamKind, from: u64, to: u64, bytes: &Bytes) -> Vec<Decoded> {
    let whole = decode_all(&mut Decoder::new(kind, from, to), bytes, usize::MAX);
    for chunk in [1, 2, 3, 7, 8, 9, 64] {
        assert_eq!(decode_all(&mut Decoder::new(kind, from, to), bytes, chunk), whole);
    }
    whole
}

fn messages(decoded: Vec<Decoded>) -> Vec<raftpb::Message> {
    let message = |d| match d {
        Decoded::Message(message) => *message,
        Decoded::Heartbeat { .. } => panic!("a heartbeat"),
    };
    decoded.into_iter().map(message).collect()
}

fn encode(kind: StreamKind, messages: &[raftpb::Message]) -> Bytes {
    let mut encoder = Encoder::new(kind);
    let mut out = BytesMut::new();
    messages.iter().for_each(|m| encoder.encode(m, &mut out));
    out.freeze()
}

#[test]
fn link_heartbeats_of_all_versions_are_known() {
    let old = hex("000000000000001e 0808 1000 1800 2000 2800 3000 4000
                   4a0a12080a02280010001800 5000 5800");
    let new = hex("0000000000000002 0808");
    for (bytes, len) in [(old, 38), (new, 10)] {
        let decoded = decode(StreamKind::Message, 7, 9, &bytes);
        assert_eq!(decoded, [Decoded::Heartbeat { bytes: len }]);
    }
    let decoded = decode(StreamKind::MsgApp, 7, 9, &hex("00 00"));
    assert_eq!(decoded, [Decoded::Heartbeat { bytes: 1 }, Decoded::Heartbeat { bytes: 1 }]);
}

#[test]
fn our_link_heartbeats_are_those_of_3_7() {
    for (kind, bytes) in
        [(StreamKind::Message, "0000000000000002 0808"), (StreamKind::MsgApp, "00")]
    {
        let mut out = BytesMut::new();
        Encoder::new(kind).heartbeat(&mut out);
        assert_eq!(out.freeze(), hex(bytes));
    }
}

#[test]
fn a_heartbeat_with_addresses_is_a_message() {
    let bytes = hex("000000000000001b 0808 10b8c8d5bdc498c4dc27 18c3e5b3bad081c2b4b801 2002 4005");
    let got = messages(decode(StreamKind::Message, 7, 9, &bytes));
    let want = raftpb::Message {
        to: Some(0x27b910c447b56438),
        from: Some(0xb869080d074cf2c3),
        term: Some(2),
        commit: Some(5),
        ..message(MessageType::MsgHeartbeat)
    };
    assert_eq!(got, [want]);
    assert_eq!(encode(StreamKind::Message, &got), bytes);
}

#[test]
fn votes_of_3_4_and_3_7_are_read() {
    let old = hex("0000000000000030 0805 10a79190ec9c9dd5d2d101 1890ebafce87b6ba81d101 2002 2801
                   3002 4000 4a0a12080a02280010001800 5000 5800");
    let got = messages(decode(StreamKind::Message, 7, 9, &old));
    assert_eq!(got[0].from, Some(0xd102e9b079cbf590));
    assert_eq!(got[0].to, Some(0xd1a554e9cd8408a7));
    assert_eq!((got[0].term, got[0].log_term, got[0].index), (Some(2), Some(1), Some(2)));
    assert_eq!(encode(StreamKind::Message, &got), old, "set fields are sent again");

    let new = hex("000000000000001d 0811 10b8c8d5bdc498c4dc27 18c3e5b3bad081c2b4b801 2002 2801
                   3002");
    let want = raftpb::Message {
        to: Some(0x27b910c447b56438),
        from: Some(0xb869080d074cf2c3),
        term: Some(2),
        log_term: Some(1),
        index: Some(2),
        ..message(MessageType::MsgPreVote)
    };
    assert_eq!(messages(decode(StreamKind::Message, 7, 9, &new)), std::slice::from_ref(&want));
    assert_eq!(encode(StreamKind::Message, &[want]), new);
}

/// The stream of a 3.4.23 leader; two entries are of the recorded size with other content.
fn session_3_4() -> Bytes {
    let entry = |index: &str, len: usize| {
        let mut entry = hex(&format!("0800 1002 18{index}")).to_vec();
        let data = len - entry.len() - if len > 130 { 3 } else { 2 };
        entry.push(0x22);
        prost::encoding::encode_varint(data as u64, &mut entry);
        entry.resize(len, 0x61);
        entry
    };
    let mut bytes = BytesMut::new();
    bytes.extend_from_slice(&hex(
        "02 0000000000000038 0803 10a79190ec9c9dd5d2d101 1890ebafce87b6ba81d101 2002 2801 3002
         3a06080010021803 4002 4a0a12080a02280010001800 5000 5800",
    ));
    for (index, len) in [("04", 0x8f), ("05", 0x42)] {
        bytes.extend_from_slice(&hex("01 0000000000000001"));
        bytes.extend_from_slice(&(len as u64).to_be_bytes());
        bytes.extend_from_slice(&entry(index, len));
        bytes.extend_from_slice(&hex("0000000000000003"));
    }
    bytes.extend_from_slice(&hex("01 0000000000000000 0000000000000004"));
    bytes.extend_from_slice(&hex("00"));
    bytes.extend_from_slice(&hex("01 0000000000000000 0000000000000005"));
    bytes.freeze()
}

#[test]
fn a_3_4_leaders_appends_are_followed() {
    let (leader, follower) = (0xd102e9b079cbf590, 0xd1a554e9cd8408a7);
    let mut decoded = decode(StreamKind::MsgApp, leader, follower, &session_3_4());
    assert_eq!(decoded.remove(4), Decoded::Heartbeat { bytes: 1 });
    let got = messages(decoded);
    let facts: Vec<_> = got
        .iter()
        .map(|m| (m.log_term, m.index, m.entries.len(), m.commit, m.from, m.to, m.term))
        .collect();
    let (from, to, two) = (Some(leader), Some(follower), Some(2));
    assert_eq!(
        facts,
        [
            (Some(1), Some(2), 1, Some(2), from, to, two),
            (two, Some(3), 1, Some(3), from, to, two),
            (two, Some(4), 1, Some(3), from, to, two),
            (two, Some(5), 0, Some(4), from, to, two),
            (two, Some(5), 0, Some(5), from, to, two),
        ]
    );
    assert_eq!(got[0].entries[0].data, None);
    assert_eq!(got[1].entries[0].index, Some(4));
    assert_eq!(got[1].entries[0].data.as_ref().map(Bytes::len), Some(0x8f - 6 - 3));
}

#[test]
fn a_3_7_leaders_appends_are_followed_and_ours_are_the_same_bytes() {
    let bytes =
        hex("02 0000000000000025 0803 10b8c8d5bdc498c4dc27 18c3e5b3bad081c2b4b801 2002 2801 3002
         3a0410021803 4002
         01 0000000000000001 0000000000000040 1002 1804 223a a2060b088186d495aac0e8e1f201 aa5129
         08c3e5b3bad081c2b4b801 121c 0a027061 1216 687474703a2f2f3132372e302e302e313a3338363330
         0000000000000003
         01 0000000000000001 000000000000001e 1002 1805 2218 a2060b088286d495aac0e8e1f201
         a25107 0a05332e302e30 0000000000000003
         01 0000000000000000 0000000000000004");
    let got = messages(decode(StreamKind::MsgApp, 0xb869080d074cf2c3, 0x27b910c447b56438, &bytes));
    let indexes: Vec<_> = got.iter().map(|m| (m.index, m.log_term, m.commit)).collect();
    assert_eq!(
        indexes,
        [
            (Some(2), Some(1), Some(2)),
            (Some(3), Some(2), Some(3)),
            (Some(4), Some(2), Some(3)),
            (Some(5), Some(2), Some(4)),
        ]
    );
    assert_eq!(encode(StreamKind::MsgApp, &got), bytes);
}

#[test]
fn a_join_continues_from_the_rejected_probe() {
    let entry = "0801 1002 1842 2269 08c0baa0dcacc0e8ee1f 1003 18f0f59cd6c7e485d326 2251
        7b226964223a323738343933383836353032313336393037322c227065657255524c73223a5b22687474703a
        2f2f3132372e302e302e313a3337313131225d2c2269734c6561726e6572223a747275657d";
    let bytes = hex(&format!(
        "02 0000000000000091 0803 10f0f59cd6c7e485d326 18ddbfb8f4ffa6b4997a 2002 2802 3041
         3a71 {entry} 4042
         01 0000000000000000 0000000000000042
         01 0000000000000001 0000000000000020 1002 1843 221a 220b 0a05706f737430 12027630
         a2060a 08c2baa0dcacc0e8ee1f 0000000000000042
         01 0000000000000000 0000000000000043"
    ));
    let got = messages(decode(StreamKind::MsgApp, 0x7a32d137fe8e1fdd, 0x26a617247ac73af0, &bytes));
    let indexes: Vec<_> = got.iter().map(|m| (m.index, m.entries.len(), m.commit)).collect();
    assert_eq!(
        indexes,
        [
            (Some(0x41), 1, Some(0x42)),
            (Some(0x42), 0, Some(0x42)),
            (Some(0x42), 1, Some(0x42)),
            (Some(0x43), 0, Some(0x43)),
        ]
    );
    assert_eq!(encode(StreamKind::MsgApp, &got), bytes);
}

#[test]
fn a_probe_of_an_older_term_starts_afresh_twice() {
    let probe =
        "02 0000000000000025 0803 10b8c8d5bdc498c4dc27 18c3e5b3bad081c2b4b801 2003 2802 3042
                 3a04 1003 1843 4042";
    let got = messages(decode(
        StreamKind::MsgApp,
        0xb869080d074cf2c3,
        0x27b910c447b56438,
        &hex(&format!("{probe} {probe}")),
    ));
    assert_eq!(encode(StreamKind::MsgApp, &got), hex(&format!("{probe} {probe}")));
    let next =
        raftpb::Message { log_term: Some(3), index: Some(0x43), entries: vec![], ..got[0].clone() };
    let all = [got[0].clone(), next];
    let end = hex("01 0000000000000000 0000000000000042");
    assert!(encode(StreamKind::MsgApp, &all).ends_with(&end));
}

#[test]
fn acknowledgements_have_the_recorded_bytes() {
    let (to, from) = (Some(0x7a32d137fe8e1fdd), Some(0x26a617247ac73af0));
    let term = Some(2);
    let answer = |kind| raftpb::Message { to, from, term, ..message(kind) };
    let reject = raftpb::Message {
        index: Some(0x41),
        reject: Some(true),
        ..answer(MessageType::MsgAppResp)
    };
    let context = Some(hex("0100000000000000"));
    let heartbeat =
        raftpb::Message { commit: Some(0x49), context, ..answer(MessageType::MsgHeartbeat) };
    for (message, bytes) in [
        (
            answer(MessageType::MsgHeartbeatResp),
            "0809 10ddbfb8f4ffa6b4997a 18f0f59cd6c7e485d326 2002",
        ),
        (reject, "0804 10ddbfb8f4ffa6b4997a 18f0f59cd6c7e485d326 2002 3041 5001"),
        (
            heartbeat,
            "0808 10ddbfb8f4ffa6b4997a 18f0f59cd6c7e485d326 2002 4049 6208 0100000000000000",
        ),
    ] {
        let mut frame = encode(StreamKind::Message, std::slice::from_ref(&message));
        assert_eq!(frame.split_off(8), hex(bytes));
        assert_eq!(decode_message(hex(bytes)), Ok(message));
    }
}

#[test]
fn fields_of_other_implementations_are_skipped() {
    // A number under 14, two more numbers, and a nested message under 14.
    for extra in ["70 05 78 07 8001 09", "72 02 0808", "68 01"] {
        let got = decode_message(hex(&format!("0805 1001 {extra} 1802"))).expect("a vote");
        assert_eq!((got.to, got.from), (Some(1), Some(2)), "{extra}");
    }
}

#[test]
fn what_is_no_message_is_refused() {
    let deep = [0x7b].repeat(100_000);
    let nested_in_entry = {
        let mut bytes = vec![0x3a];
        prost::encoding::encode_varint(deep.len() as u64, &mut bytes);
        bytes.extend_from_slice(&deep);
        bytes
    };
    for bytes in [hex("ff ff"), hex("08"), hex("3a 05 10"), deep.into(), nested_in_entry.into()] {
        assert_eq!(decode_message(bytes), Err(DecodeError::Malformed));
    }
    assert_eq!(decode_message(Bytes::new()), Ok(raftpb::Message::default()));
}

#[test]
fn nesting_under_14_costs_no_stack() {
    let mut bytes: Vec<u8> = Vec::new();
    for _ in 0..20_000 {
        let mut outer = vec![0x72];
        prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
        outer.append(&mut bytes);
        bytes = outer;
    }
    assert_eq!(decode_message(bytes.into()), Ok(raftpb::Message::default()));
}

#[test]
fn lengths_are_bounded_and_not_believed() {
    let refused = [
        (StreamKind::Message, "ff00000000000000"),
        (StreamKind::Message, "0000000020000001"),
        (StreamKind::MsgApp, "02 0000000020000001"),
        (StreamKind::MsgApp, "01 0000000000000001 0000000020000001"),
    ];
    for (kind, bytes) in refused {
        let mut decoder = Decoder::new(kind, 1, 2);
        decoder.push(hex(bytes));
        assert_eq!(decoder.next(), Err(DecodeError::TooLong), "{bytes}");
    }
    let waiting = [
        (StreamKind::Message, "0000000020000000"),
        (StreamKind::MsgApp, "02 0000000020000000"),
        (StreamKind::MsgApp, "01 ffffffffffffffff"),
        (StreamKind::MsgApp, "01 ffffffffffffffff 0000000000000002 1802"),
    ];
    for (kind, bytes) in waiting {
        let mut decoder = Decoder::new(kind, 1, 2);
        decoder.push(hex(bytes));
        assert_eq!(decoder.next(), Ok(None), "{bytes}");
    }
    let mut decoder = Decoder::new(StreamKind::MsgApp, 1, 2);
    decoder.push(hex("03"));
    assert_eq!(decoder.next(), Err(DecodeError::FrameType(3)));
}

#[test]
fn entries_without_bytes_count_against_the_bound() {
    let mut decoder = Decoder::new(StreamKind::MsgApp, 1, 2);
    decoder.push(hex("01 ffffffffffffffff"));
    let empty = Bytes::from(vec![0; 8 * 65_536]);
    let most = crate::limits::FRAME_BYTES_MAX / size_of::<raftpb::Entry>() / 65_536 + 2;
    let ended = (0..most).find_map(|_| {
        decoder.push(empty.clone());
        decoder.next().err()
    });
    assert_eq!(ended, Some(DecodeError::TooLong));
}

#[test]
fn a_frame_in_one_chunk_is_not_copied() {
    let data = Bytes::from(vec![7; 1000]);
    let entry = raftpb::Entry { index: Some(3), data: Some(data), ..Default::default() };
    let append = raftpb::Message { entries: vec![entry], ..message(MessageType::MsgApp) };
    let bytes = encode(StreamKind::Message, &[append]);
    let mut decoder = Decoder::new(StreamKind::Message, 1, 2);
    decoder.push(bytes.clone());
    let Ok(Some(Decoded::Message(got))) = decoder.next() else { panic!("a message") };
    let data = got.entries[0].data.clone().expect("data");
    assert!(bytes.as_ptr_range().contains(&data.as_ptr()));
}

#[test]
fn local_and_unknown_types_do_not_travel() {
    let travelling: Vec<i32> = (-1..30)
        .filter(|n| travels(&raftpb::Message { r#type: Some(*n), ..Default::default() }))
        .collect();
    assert_eq!(travelling, [2, 3, 4, 5, 6, 7, 8, 9, 13, 14, 15, 16, 17, 18]);
    assert!(!travels(&raftpb::Message::default()));
}

fn entry() -> impl Strategy<Value = raftpb::Entry> {
    let data = prop::option::of(prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from));
    (prop::option::of(0..3), 0_u64..4, 0_u64..300, data).prop_map(|(kind, term, index, data)| {
        raftpb::Entry { r#type: kind, term: Some(term), index: Some(index), data }
    })
}

fn append() -> impl Strategy<Value = raftpb::Message> {
    (1_u64..4, 0_u64..4, 0_u64..6, prop::collection::vec(entry(), 0..4), 0_u64..9).prop_map(
        |(term, log_term, index, mut entries, commit)| {
            for (n, entry) in entries.iter_mut().enumerate() {
                entry.index = Some(index + 1 + n as u64);
            }
            raftpb::Message {
                to: Some(9),
                from: Some(7),
                term: Some(term),
                log_term: Some(log_term),
                index: Some(index),
                entries,
                commit: Some(commit),
                ..message(MessageType::MsgApp)
            }
        },
    )
}

proptest! {
    #[test]
    fn appends_survive_the_stream_in_any_chunks(
        appends in prop::collection::vec(append(), 0..12),
        cut in 1_usize..50,
    ) {
        for kind in StreamKind::ALL {
            let bytes = encode(kind, &appends);
            let decoded = decode_all(&mut Decoder::new(kind, 7, 9), &bytes, cut);
            prop_assert_eq!(messages(decoded), appends.clone());
        }
    }

    #[test]
    fn no_bytes_break_the_decoders(
        bytes in prop::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..200),
        cut in 1_usize..50,
    ) {
        for kind in StreamKind::ALL {
            let mut decoder = Decoder::new(kind, 7, 9);
            'stream: for chunk in bytes.chunks(cut) {
                decoder.push(Bytes::copy_from_slice(chunk));
                loop {
                    match decoder.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'stream,
                    }
                }
            }
        }
    }
}
