//! A whole log written by hand, which a real etcd 3.7.1 started on.

use crate::support::{Dir, offsets};
use bytes::Bytes;
use std::fs;
use wal::{Entry, EntryKind, HardState, Metadata, Options, Wal};

/// The first 936 bytes of the log; their SHA-256 is
/// a6d84effe773f856030c80416b10792c543ba71faf9604187598d29fe7efe1be.
const GOLDEN: &[u8] = include_bytes!("../fixtures/hand-written-936.bin");

/// Where each record begins, and its CRC.
const RECORDS: [(u64, u32); 18] = [
    (0, 0),
    (16, 0x4b201681),
    (56, 0x0869643f),
    (80, 0xa005cced),
    (208, 0xac0da830),
    (232, 0xbb976667),
    (256, 0xadfbf4a4),
    (352, 0x4af1b6fb),
    (408, 0x2463164b),
    (456, 0x363fa1aa),
    (504, 0x595209d0),
    (560, 0x4f1ebcda),
    (624, 0xe2f399b7),
    (680, 0x17496413),
    (728, 0x7e99eadb),
    (776, 0x64d6595a),
    (832, 0xaffe49cd),
    (896, 0x27728b10),
];

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b' ').collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn request(index: u64, parts: &[&[u8]]) -> Entry {
    Entry { kind: EntryKind::Normal, term: 2, index, data: Bytes::from(parts.concat()) }
}

fn header(id_low: u8) -> Vec<u8> {
    let mut header = hex("a2060b08");
    header.push(id_low);
    header.extend(hex("80c4889180c092f701"));
    header
}

fn entries() -> Vec<Entry> {
    let member =
        br#"{"id":14402914879349585701,"peerURLs":["http://127.0.0.1:37011"],"name":"scratch"}"#;
    let conf_change = [&hex("0800100018a5eec7ceddd8dbf0c7012252"), &member[..]].concat();
    let lease = "ef9baf8589cf959a12";
    vec![
        Entry { kind: EntryKind::ConfChange, term: 1, index: 1, data: conf_change.into() },
        request(2, &[]),
        request(
            3,
            &[
                &header(0x81),
                &hex("aa512e08a5eec7ceddd8dbf0c7011221 0a07"),
                b"scratch",
                &hex("1216"),
                b"http://127.0.0.1:37010",
            ],
        ),
        request(4, &[&header(0x82), &hex("a251070a05332e372e30")]),
        request(5, &[&hex("22060a0161120131"), &header(0x83)]),
        request(6, &[&hex("22060a0162120132"), &header(0x84)]),
        request(7, &[&hex("420d08d80410"), &hex(lease), &header(0x85)]),
        request(8, &[&hex("22150a016c12066c656173656418"), &hex(lease), &header(0x86)]),
        request(9, &[&hex("22070a016112023131"), &header(0x87)]),
        request(10, &[&hex("2a030a0162"), &header(0x88)]),
        request(11, &[&header(0x89), &hex("824b030a0172")]),
        request(12, &[&header(0x8a), &hex("9a4b0d0a0172120808021201611a0163")]),
        request(13, &[&hex("22110a056166746572120877616c2d6f6e6c79"), &header(0x8b)]),
    ]
}

#[test]
fn the_hand_written_log_is_written_byte_for_byte() {
    let dir = Dir::new();
    let node = 0xc7e16ec5d9d1f725;
    let metadata = Metadata { node_id: node, cluster_id: 0xcc3f05ad43b71204 };
    let mut wal = Wal::create(&dir.wal, &metadata, &Options::default()).unwrap();
    let entries = entries();
    wal.save(&entries[..1], Some(&HardState { term: 1, vote: 0, commit: 1 })).unwrap();
    wal.save(&entries[1..], Some(&HardState { term: 2, vote: node, commit: 13 })).unwrap();
    let segment = dir.segments().remove(0);
    drop(wal);
    let bytes = fs::read(&segment).unwrap();
    assert_eq!(bytes.len(), 64_000_000);
    let ends = offsets(&segment);
    let begins: Vec<u64> = RECORDS.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(ends[..18], begins);
    assert_eq!(ends[18], 936);
    assert!(bytes[..936] == *GOLDEN, "the records differ from the golden ones");
    assert!(bytes[936..].iter().all(|b| *b == 0));
}

#[test]
fn the_hand_written_log_is_read() {
    let dir = Dir::new();
    fs::create_dir(&dir.wal).unwrap();
    let segment = dir.wal.join("0000000000000000-0000000000000000.wal");
    fs::write(&segment, GOLDEN).unwrap();
    let read = wal::read_all(&dir.wal, (0, 0)).unwrap();
    assert_eq!(read.metadata.node_id, 0xc7e16ec5d9d1f725);
    assert_eq!(read.metadata.cluster_id, 0xcc3f05ad43b71204);
    assert_eq!(read.hard_state, HardState { term: 2, vote: read.metadata.node_id, commit: 13 });
    assert_eq!(read.entries, entries());
}

#[test]
fn each_record_of_the_hand_written_log_carries_the_running_crc() {
    for (i, (offset, crc)) in RECORDS.iter().enumerate() {
        let mut at = *offset as usize + 11;
        let mut stored = 0u32;
        for shift in (0..).step_by(7) {
            stored |= u32::from(GOLDEN[at] & 0x7f) << shift;
            at += 1;
            if GOLDEN[at - 1] & 0x80 == 0 {
                break;
            }
        }
        assert_eq!(stored, *crc, "record {i} at {offset}");
    }
}
