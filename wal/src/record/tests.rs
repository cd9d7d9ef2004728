//! The worked records of real logs, byte for byte, and the decoder on foreign bytes.

use super::*;
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

const NODE: u64 = 0x8ddab73534be950c;
const CLUSTER: u64 = 0x8c2ff40632fd55ca;

/// Entry 1 of a member: the conf change that adds it, as etcd 3.4.23 wrote it.
fn first_entry() -> Entry {
    let mut data = hex("08001000188caafaa5d3e6aded8d012252");
    data.extend_from_slice(
        br#"{"id":10221683743416816908,"peerURLs":["http://127.0.0.1:31380"],"name":"default"}"#,
    );
    Entry { kind: EntryKind::ConfChange, term: 1, index: 1, data: data.into() }
}

#[test]
fn the_head_of_a_log_is_byte_for_byte_that_of_etcd() {
    let mut encoder = Encoder::new(0);
    encoder.crc_record();
    encoder.metadata(&Metadata { node_id: NODE, cluster_id: CLUSTER }.encode());
    encoder.snapshot(&SnapshotRecord::default());
    encoder.entry(&first_entry());
    encoder.state(&HardState { term: 1, vote: 0, commit: 1 });
    encoder.entry(&Entry { term: 2, index: 2, ..Entry::default() });

    let mut expected = hex("0400000000000084 08041000 00000000");
    expected.extend(hex(
        "2000000000000000 0801 10978bb5cf0b 1a16 088caafaa5d3e6aded8d01 10caabf597e380fd978c01",
    ));
    expected.extend(hex("0e00000000000082 0805 10bcc6f3f00a 1a04 0800 1000 0000"));
    expected.extend(hex("7500000000000083 0802 1092d2a4f709 1a6b 0801 1001 1801 2263"));
    expected.extend_from_slice(&first_entry().data);
    expected.extend(hex("000000"));
    expected.extend(hex("1000000000000000 0803 10bf87ebe705 1a06 0801 1000 1801"));
    expected.extend(hex("1000000000000000 0802 10bfd6fa9c0e 1a06 0800 1002 1802"));
    assert_eq!(encoder.bytes(), expected);
    assert_eq!(encoder.crc, 0xe39eab3f);
}

#[test]
fn entries_of_both_forms_decode_to_the_same() {
    let put = hex("220a0a03666f6f1203626172 a2060b0885b0d3e6a8c0a8869501");
    let mut form_a = hex("0800 1002 1805 221a");
    form_a.extend_from_slice(&put);
    let mut form_b = hex("1002 1805 221a");
    form_b.extend_from_slice(&put);
    let expected = Entry { term: 2, index: 5, data: put.into(), ..Entry::default() };
    assert_eq!(Entry::decode(&form_a.into()).unwrap(), expected);
    assert_eq!(Entry::decode(&form_b.into()).unwrap(), expected);
}

#[test]
fn unknown_fields_are_skipped_and_wrong_wire_types_are_not() {
    let state = hex("0802 1003 1804 2005 2a020102 3500000000 390000000000000000");
    assert_eq!(HardState::decode(&state).unwrap(), HardState { term: 2, vote: 3, commit: 4 });
    assert_eq!(HardState::decode(&hex("0a00")).unwrap_err(), WireError::Malformed);
    assert_eq!(Metadata::decode(&hex("0d00000000")).unwrap_err(), WireError::Malformed);
    assert_eq!(SnapshotRecord::decode(&hex("1805")).unwrap_err(), WireError::Malformed);
    let unknown = Entry::decode(&hex("0803 1001 1801").into()).unwrap_err();
    assert_eq!(unknown, WireError::UnknownEntryType);
}

#[test]
fn a_mark_of_three_voters_and_a_learner_is_that_of_etcd() {
    let bytes =
        hex("08840110021a2c 0899defce3b9c3a7d715 088f90f4c59fa1f1ac62 0896b395aadbf1e58fac01 \
         10eefe9fbab385a787ac01 2800");
    let mark = SnapshotRecord::decode(&bytes).unwrap();
    let conf_state = mark.conf_state.clone().unwrap();
    assert_eq!((mark.index, mark.term), (132, 2));
    assert_eq!(conf_state.voters.len(), 3);
    assert_eq!(conf_state.learners, [0xac0e9c2b3747ff6e]);
    assert!(conf_state.voters.is_sorted());
    let mut again = Vec::new();
    mark.encode_into(&mut again);
    assert_eq!(again, bytes);
}

#[test]
fn id_lists_are_read_packed_too() {
    let conf_state = decode_conf_state(&hex("0a03010280 01 1001 1202 0203 2801")).unwrap_err();
    assert_eq!(conf_state, WireError::Truncated, "a packed list ends inside a number");
    let conf_state = decode_conf_state(&hex("0a0401028001 1001 1202 0203 2801")).unwrap();
    assert_eq!(conf_state.voters, [1, 2, 128]);
    assert_eq!(conf_state.learners, [1, 2, 3]);
    assert!(conf_state.auto_leave);
}

#[test]
fn the_length_word_carries_the_padding_only_when_there_is_some() {
    for (len, word, padding) in [
        (16, 16u64, 0),
        (25, 0x8700_0000_0000_0019, 7),
        (117, 0x8300_0000_0000_0075, 3),
        (159, 0x8100_0000_0000_009f, 1),
    ] {
        assert_eq!(join_word(len), (word, padding));
        assert_eq!(split_word(word), (len as u64, padding as u64));
    }
    let without_flag = 0x0700_0000_0000_0010;
    assert_eq!(split_word(without_flag), (16, 0), "bits 56 to 58 count only under bit 63");
    assert_eq!(split_word(u64::MAX), (LENGTH_MASK, 7));
}

fn entries() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![
        Just(EntryKind::Normal),
        Just(EntryKind::ConfChange),
        Just(EntryKind::ConfChangeV2)
    ];
    let data = proptest::collection::vec(any::<u8>(), 0..600);
    (kind, any::<u64>(), any::<u64>(), data).prop_map(|(kind, term, index, data)| Entry {
        kind,
        term,
        index,
        data: data.into(),
    })
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        entries in proptest::collection::vec(entries(), 1..8),
        crc in any::<u32>(),
        ids in proptest::collection::vec(any::<u64>(), 0..4),
    ) {
        let mut encoder = Encoder::new(crc);
        for entry in &entries {
            encoder.entry(entry);
        }
        let mark = SnapshotRecord {
            index: 1, term: 2, conf_state: Some(ConfState { learners: ids, ..Default::default() }),
        };
        encoder.snapshot(&mark);
        let bytes = Bytes::copy_from_slice(encoder.bytes());
        let mut at = 0;
        let mut running = crc;
        let mut decoded = Vec::new();
        while at < bytes.len() {
            prop_assert_eq!(at % 8, 0);
            let word = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
            let (len, padding) = split_word(word);
            let record = Record::decode(&bytes.slice(at + 8..at + 8 + len as usize)).unwrap();
            running = crc32c::crc32c_append(running, &record.data);
            prop_assert_eq!(record.crc, running);
            at += 8 + (len + padding) as usize;
            match RecordKind::from_number(record.kind) {
                Some(RecordKind::Entry) => decoded.push(Entry::decode(&record.data).unwrap()),
                _ => prop_assert_eq!(&SnapshotRecord::decode(&record.data).unwrap(), &mark),
            }
        }
        prop_assert_eq!(decoded, entries);
    }

    #[test]
    fn foreign_bytes_are_refused_or_read_but_never_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200)
    ) {
        let bytes = Bytes::from(bytes);
        let decoded = [
            Record::decode(&bytes).is_ok(),
            Entry::decode(&bytes).is_ok(),
            HardState::decode(&bytes).is_ok(),
            SnapshotRecord::decode(&bytes).is_ok(),
            Metadata::decode(&bytes).is_ok(),
        ];
        prop_assert!(decoded.len() == 5);
    }
}
