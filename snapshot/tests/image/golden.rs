//! Bytes and hashes that real etcd agreed to.

use std::io::Write;

use sha2::{Digest, Sha256};
use snapshot::{Error, HashingWriter, Reader, Status, has_trailer_size, verify_trailer};

use crate::support::{Buckets, PAGE, buckets, noise, read, revision, u16_at, write};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn an_empty_bucket_makes_the_smallest_file() {
    let image = write(&buckets(&[("key", &[])]));
    assert_eq!(image.len(), 3 * PAGE);
    let mut expected = unhex(
        "0200000000000000 0200 0100 00000000  01000000 10000000 03000000 20000000  6b6579
         0000000000000000 0000000000000000  0000000000000000 0200 0000 00000000"
            .replace('\n', "")
            .as_str(),
    );
    expected.resize(PAGE, 0);
    assert_eq!(hex(&image[2 * PAGE..]), hex(&expected));
    // Root 2, no freelist, high water 3, transactions 2 and 1.
    assert_eq!(
        hex(&image[..72]),
        "00000000000000000400000000000000edda0ced02000000001000000000000002000000000000000000000000\
         000000ffffffffffffffff03000000000000000200000000000000"
    );
    assert_eq!(hex(&image[PAGE + 64..PAGE + 72]), "0100000000000000");
    assert_eq!(u16_at(&image, PAGE), 1);
}

#[test]
fn a_file_without_buckets_can_be_read() {
    let image = write(&buckets(&[]));
    let reader = Reader::open(image).unwrap();
    reader.check().unwrap();
    assert_eq!(read(&reader).unwrap(), []);
}

/// The backend that real etcd 3.7.1 started from when it was made by hand.
fn hand_made() -> Buckets {
    let member = br#"{"id":14402914879349585701,"peerURLs":["http://127.0.0.1:37011"],"name":"scratch","clientURLs":["http://127.0.0.1:37010"]}"#;
    let mut leased = unhex("0a016c 1004 1804 2001 2a06");
    leased.extend_from_slice(b"leased");
    leased.extend_from_slice(&unhex("30ef9baf8589cf959a12"));
    let mut tombstone = revision(6);
    tombstone.push(b't');
    let key: Vec<(Vec<u8>, Vec<u8>)> = vec![
        (revision(2), unhex("0a0161 1002 1802 2001 2a0131")),
        (revision(3), unhex("0a0162 1003 1803 2001 2a0132")),
        (revision(4), leased),
        (revision(5), unhex("0a0161 1002 1805 2002 2a023131")),
        (tombstone, unhex("0a0162")),
    ];
    let mut all = buckets(&[
        ("alarm", &[]),
        ("auth", &[(b"authRevision", &3_u64.to_be_bytes())]),
        ("authRoles", &[(b"r", &unhex("0a0172 1208 0802 120161 1a0163"))]),
        ("authUsers", &[]),
        ("cluster", &[(b"clusterVersion", b"3.7.0")]),
        ("key", &[]),
        ("lease", &[(&unhex("1234567890abcdef"), &unhex("08ef9baf8589cf959a12 10d804"))]),
        ("members", &[(b"c7e16ec5d9d1f725", member)]),
        ("members_removed", &[]),
        (
            "meta",
            &[
                (b"confState", br#"{"voters":[14402914879349585701],"auto_leave":false}"#),
                (b"consistent_index", &12_u64.to_be_bytes()),
                (b"storageVersion", b"3.7.0"),
                (b"term", &2_u64.to_be_bytes()),
            ],
        ),
    ]);
    all[5].1 = key;
    all
}

#[test]
fn a_small_backend_has_the_bytes_that_real_etcd_started_from() {
    let image = write(&hand_made());
    assert_eq!(
        hex(&Sha256::digest(&image)),
        "7eef299f9641d13af57c8a16e60f3fec2d81d00a4a02fce905fb633f90764613"
    );
    let status = Reader::open(image).unwrap().status().unwrap();
    let version = "3.7.0".to_owned();
    let expected = Status {
        hash: 1_889_347_483,
        revision: 6,
        live_keys: 2,
        rows: 14,
        size_bytes: 12_288,
        version,
    };
    assert_eq!(status, expected);
}

/// All rows of a 3.7.1 backend after five requests and a compaction.
fn after_compaction() -> Buckets {
    let member = br#"{"id":13594938048226511617,"peerURLs":["http://127.0.0.1:38611"],"name":"default","clientURLs":["http://127.0.0.1:38610"]}"#;
    let mut tombstone = revision(5);
    tombstone.push(b't');
    let mut compacted = revision(5);
    compacted.truncate(17);
    buckets(&[
        ("alarm", &[]),
        ("auth", &[(b"authRevision", &1_u64.to_be_bytes())]),
        ("authRoles", &[]),
        ("authUsers", &[]),
        ("cluster", &[(b"clusterVersion", b"3.7.0")]),
        (
            "key",
            &[
                (&revision(4), &unhex("0a0568656c6c6f1004180420012a05776f726c64")),
                (&tombstone, &unhex("0a03666f6f")),
                (&revision(6), &unhex("0a026b321006180620012a027632")),
            ],
        ),
        ("lease", &[]),
        ("members", &[(b"bcaaec2033fbcb01", member)]),
        ("members_removed", &[]),
        (
            "meta",
            &[
                (b"confState", br#"{"voters":[13594938048226511617],"auto_leave":false}"#),
                (b"consistent_index", &11_u64.to_be_bytes()),
                (b"finishedCompactRev", &compacted),
                (b"scheduledCompactRev", &compacted),
                (b"storageVersion", b"3.7.0"),
                (b"term", &2_u64.to_be_bytes()),
            ],
        ),
    ])
}

#[test]
fn the_hash_of_a_known_state_is_etcds() {
    let status = Reader::open(write(&after_compaction())).unwrap().status().unwrap();
    assert_eq!((status.hash, status.revision, status.live_keys), (1_851_578_687, 6, 2));
    assert_eq!(status.version, "3.7.0");
}

#[test]
fn a_row_that_only_marks_a_revision_has_the_empty_key() {
    let bumped = buckets(&[("key", &[(&revision(1065), b"")])]);
    let status = Reader::open(write(&bumped)).unwrap().status().unwrap();
    assert_eq!((status.revision, status.live_keys, status.version.as_str()), (1065, 1, ""));
}

#[test]
fn rows_of_key_that_etcd_cannot_have_written_are_named() {
    for (key, value, reason) in [
        (&b"x"[..], &b""[..], "row key is not a revision"),
        (&revision(7), b"\x0a\x09foo", "failed to decode Protobuf message"),
    ] {
        let image = write(&buckets(&[("key", &[(key, value)])]));
        let reader = Reader::open(image).unwrap();
        reader.check().unwrap();
        let text = reader.status().unwrap_err().to_string();
        assert!(text.starts_with(&format!("bucket key: row {}: {reason}", hex(key))), "{text}");
    }
}

#[test]
fn the_trailer_is_the_hash_of_all_before_it() {
    let data = noise(1, 3 * PAGE);
    let mut hashing = HashingWriter::new(Vec::new());
    for part in data.chunks(1000) {
        hashing.write_all(part).unwrap();
    }
    let mut file = hashing.finish_with_trailer().unwrap();
    assert_eq!(file.len(), 3 * PAGE + 32);
    assert_eq!(file[3 * PAGE..], Sha256::digest(&data)[..]);
    assert_eq!(verify_trailer(&file).unwrap(), 3 * PAGE as u64);
    file[5] ^= 1;
    let text = verify_trailer(&file).unwrap_err().to_string();
    let decimal = format!("{:?}", Sha256::digest(&data).to_vec()).replace(',', "");
    assert!(text.starts_with(&format!("expected sha256 {decimal}, got [")), "{text}");
    assert!(text.ends_with(']'), "{text}");
}

#[test]
fn a_file_without_trailer_is_told_by_its_length() {
    for (length, has) in [(0, false), (32, true), (4096, false), (4128, true), (4127, false)] {
        assert_eq!(has_trailer_size(length), has, "{length}");
    }
    let error = verify_trailer(&vec![0; 4096]).unwrap_err();
    assert!(matches!(error, Error::NoTrailer { bytes: 4096 }));
    assert_eq!(error.to_string(), "sha256 checksum not found [bytes: 4096]");
}
