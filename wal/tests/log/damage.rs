//! What each kind of damage leads to: a repair that loses nothing promised, or a refusal that
//! names file and offset and changes nothing.

use crate::support::{Dir, add_record, entry, offsets, small, state};
use std::fs;
use std::path::PathBuf;
use wal::{Options, Wal, read_all, valid_snapshots};

/// A log whose last record is one entry of about 2,000 bytes that begins and ends amid a sector;
/// the state says that only the entries before it are committed.
fn log_with_long_last_record() -> (Dir, PathBuf, u64) {
    let dir = Dir::new();
    let mut wal = dir.create(&Options { segment_bytes: 64_000, ..Options::default() });
    wal.save(&[entry(1, 1, b"a"), entry(2, 1, b"b")], Some(&state(1, 7, 0))).unwrap();
    wal.save(&[entry(3, 1, &[3; 700])], Some(&state(1, 7, 3))).unwrap();
    wal.save(&[entry(4, 1, &[4; 2000])], None).unwrap();
    drop(wal);
    let segment = dir.segments().remove(0);
    let at = offsets(&segment);
    let last = at[at.len() - 2];
    (dir, segment, last)
}

/// Damages the log, expects a repair with this text, and that the log then goes on.
fn expect_repair(damage: impl FnOnce(&mut Vec<u8>, usize), cause: &str) {
    let (dir, segment, last) = log_with_long_last_record();
    let mut bytes = fs::read(&segment).unwrap();
    damage(&mut bytes, last as usize);
    fs::write(&segment, &bytes).unwrap();
    let read = read_all(&dir.wal, (0, 0)).unwrap();
    assert_eq!(read.entries.len(), 3, "a reader leaves the torn record out");
    valid_snapshots(&dir.wal).unwrap();
    assert_eq!(fs::read(&segment).unwrap(), bytes, "and changes nothing");

    let (mut wal, recovered) = dir.open();
    assert_eq!(recovered.entries.len(), 3);
    let repaired = recovered.repaired.expect("repaired");
    let cause = cause.replace("FILE", &segment.display().to_string());
    let cause = cause.replace("OFFSET", &last.to_string());
    assert_eq!(repaired.cause, cause);
    assert_eq!((&repaired.segment, repaired.offset), (&segment, last));
    assert_eq!(fs::read(&repaired.backup).unwrap(), bytes, "the copy is the whole old file");
    assert_eq!(repaired.backup.extension().unwrap(), "broken");
    assert_eq!(fs::metadata(&segment).unwrap().len(), last, "the segment keeps its short length");

    wal.save(&[entry(4, 2, b"again")], Some(&state(2, 7, 4))).unwrap();
    drop(wal);
    let (_, recovered) = dir.open();
    assert_eq!(recovered.repaired, None);
    assert_eq!(recovered.entries.last(), Some(&entry(4, 2, b"again")));
}

/// Damages the log, expects this error from every reader, and that no file is touched.
fn expect_refusal(damage: impl FnOnce(&mut Vec<u8>, usize), error: &str) {
    let (dir, segment, last) = log_with_long_last_record();
    let mut bytes = fs::read(&segment).unwrap();
    damage(&mut bytes, last as usize);
    fs::write(&segment, &bytes).unwrap();
    let error = error.replace("FILE", &segment.display().to_string());
    for refused in [
        Wal::open(&dir.wal, (0, 0), &small()).unwrap_err(),
        read_all(&dir.wal, (0, 0)).unwrap_err(),
        valid_snapshots(&dir.wal).unwrap_err(),
    ] {
        let refused = refused.to_string();
        match error.strip_suffix("..") {
            Some(start) => assert!(refused.starts_with(start), "{refused}"),
            None => assert_eq!(refused, error),
        }
    }
    assert_eq!(fs::read(&segment).unwrap(), bytes);
    assert_eq!(dir.names().len(), 1, "no copy, no spare: {:?}", dir.names());
}

const TORN: &str = "unexpected EOF: in file 'FILE' at position: OFFSET";

#[test]
fn a_whole_sector_of_zeros_in_the_last_record_is_repaired() {
    let zero = |bytes: &mut Vec<u8>, last: usize| {
        let sector = (last / 512 + 2) * 512;
        bytes[sector..sector + 512].fill(0);
    };
    expect_repair(zero, TORN);
}

#[test]
fn zeros_in_the_last_and_partial_sector_are_repaired() {
    let zero = |bytes: &mut Vec<u8>, last: usize| {
        let end = (last + 8 + 2020) / 512 * 512;
        assert!(end > last && bytes[end..end + 8] != [0; 8]);
        bytes[end..].fill(0);
    };
    expect_repair(zero, TORN);
}

#[test]
fn a_file_that_ends_inside_a_length_word_is_repaired() {
    expect_repair(|bytes, last| bytes.truncate(last + 3), "unexpected EOF");
}

#[test]
fn a_file_that_ends_inside_a_record_is_repaired() {
    let cause = "unexpected EOF: [wal] max entry size limit exceeded when reading \"FILE\", \
                 recBytes: 2020, fileSize(1404) - offset(OFFSET) - padBytes(4) = entryLimit(496)";
    expect_repair(|bytes, last| bytes.truncate(last + 500), cause);
}

#[test]
fn a_file_that_ends_eight_bytes_before_its_record_is_repaired() {
    let cut = |bytes: &mut Vec<u8>, last: usize| bytes.truncate(last + 2020 + 4);
    expect_repair(cut, "unexpected EOF");
}

#[test]
fn a_length_word_past_the_end_of_the_file_is_repaired() {
    let cause = "unexpected EOF: [wal] max entry size limit exceeded when reading \"FILE\", \
                 recBytes: 1099511627776, fileSize(64000) - offset(OFFSET) - padBytes(0) = \
                 entryLimit(63096)";
    let long = |bytes: &mut Vec<u8>, last: usize| {
        bytes[last..last + 8].copy_from_slice(&(1u64 << 40).to_le_bytes());
    };
    expect_repair(long, cause);
}

#[test]
fn a_flipped_bit_in_the_last_record_is_refused() {
    expect_refusal(|bytes, last| bytes[last + 1000] ^= 1, "walpb: crc mismatch: expected: ..");
}

#[test]
fn a_flipped_bit_in_an_earlier_record_is_refused_even_beside_zeros() {
    let flip = |bytes: &mut Vec<u8>, last: usize| {
        let record = last - 300;
        bytes[record] ^= 0x10;
    };
    expect_refusal(flip, "walpb: crc mismatch: expected: ..");
}

#[test]
fn a_refusal_names_the_stored_and_the_computed_crc() {
    let (dir, segment, last) = log_with_long_last_record();
    let mut bytes = fs::read(&segment).unwrap();
    // The crc field of the last record: flipping its lowest bit changes "expected" only.
    let low = bytes[last as usize + 11];
    bytes[last as usize + 11] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let error = read_all(&dir.wal, (0, 0)).unwrap_err().to_string();
    let (_, numbers) = error.split_once("expected: ").unwrap();
    let (expected, rest) = numbers.split_once(" computed: ").unwrap();
    let (computed, place) = rest.split_once(": ").unwrap();
    let expected = u32::from_str_radix(expected, 16).unwrap();
    let computed = u32::from_str_radix(computed, 16).unwrap();
    assert_eq!(expected ^ computed, 1);
    assert_eq!(computed & 0x7f, u32::from(low & 0x7f));
    assert_eq!(place, format!("in file '{}' at position: {last}", segment.display()));
}

#[test]
fn damage_in_an_earlier_segment_is_refused_and_not_repaired() {
    let flip: fn(&mut Vec<u8>) = |bytes| bytes[300] ^= 4;
    let zero_sector: fn(&mut Vec<u8>) = |bytes| bytes[1024..1536].fill(0);
    let cut: fn(&mut Vec<u8>) = |bytes| bytes.truncate(2000);
    for (damage, start) in [
        (flip, "walpb: crc mismatch"),
        (zero_sector, "walpb: crc mismatch"),
        (cut, "unexpected EOF: [wal] max entry size limit exceeded"),
    ] {
        let dir = Dir::new();
        let mut wal = dir.create(&small());
        wal.save(&[entry(1, 1, &[1; 9000])], Some(&state(1, 1, 0))).unwrap();
        wal.save(&[entry(2, 1, b"b")], None).unwrap();
        drop(wal);
        let segment = dir.segments().remove(0);
        let mut bytes = fs::read(&segment).unwrap();
        damage(&mut bytes);
        fs::write(&segment, &bytes).unwrap();
        for error in [
            Wal::open(&dir.wal, (0, 0), &small()).unwrap_err(),
            valid_snapshots(&dir.wal).unwrap_err(),
        ] {
            assert!(error.to_string().starts_with(start), "{error}");
            assert!(error.to_string().contains(&segment.display().to_string()), "{error}");
        }
        assert_eq!(fs::read(&segment).unwrap(), bytes);
        assert_eq!(dir.names().len(), 2);
    }
}

#[test]
fn the_end_of_an_earlier_segment_lost_whole_breaks_the_chain() {
    let dir = Dir::new();
    let mut wal = dir.create(&small());
    wal.save(&[entry(1, 1, &[1; 4000])], Some(&state(1, 1, 0))).unwrap();
    wal.save(&[entry(2, 1, &[2; 5000])], None).unwrap();
    drop(wal);
    let segments = dir.segments();
    let at = offsets(&segments[0]);
    let file = fs::File::options().write(true).open(&segments[0]).unwrap();
    file.set_len(at[at.len() - 2]).unwrap();
    let error = Wal::open(&dir.wal, (0, 0), &small()).unwrap_err().to_string();
    assert!(error.starts_with("walpb: crc mismatch"), "{error}");
    assert!(error.ends_with(&format!("in file '{}' at position: 0", segments[1].display())));
}

#[test]
fn a_torn_record_that_was_committed_is_refused_and_nothing_is_cut() {
    for (commit, durable_index) in [(4, 0), (3, 4)] {
        let dir = Dir::new();
        let mut wal = dir.create(&small());
        // The state reaches the log before the entry it commits only in this test.
        wal.save(&[entry(1, 1, b"a"), entry(2, 1, b"b")], None).unwrap();
        wal.save(&[entry(3, 1, b"c")], Some(&state(1, 7, commit))).unwrap();
        wal.save(&[entry(4, 1, &[4; 2000])], None).unwrap();
        drop(wal);
        let segment = dir.segments().remove(0);
        let at = offsets(&segment);
        let mut bytes = fs::read(&segment).unwrap();
        bytes.truncate(at[at.len() - 2] as usize + 100);
        fs::write(&segment, &bytes).unwrap();
        let options = Options { durable_index, ..small() };
        let error = Wal::open(&dir.wal, (0, 0), &options).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "wal: the log ends at index 3, in file '{}' at position: {}, but index 4 was \
                 committed or applied: entries are lost",
                segment.display(),
                at[at.len() - 2]
            )
        );
        assert_eq!(fs::read(&segment).unwrap(), bytes);
        assert_eq!(dir.names().len(), 1);
    }
}

#[test]
fn a_log_that_fell_back_to_replaced_entries_is_refused() {
    let dir = Dir::new();
    let mut wal = dir.create(&small());
    wal.save(&[entry(1, 1, b"a"), entry(2, 1, b"old"), entry(3, 1, b"old")], None).unwrap();
    wal.save(&[entry(2, 2, b"new")], Some(&state(2, 7, 1))).unwrap();
    drop(wal);
    let segment = dir.segments().remove(0);
    let at = offsets(&segment);
    let file = fs::File::options().write(true).open(&segment).unwrap();
    file.set_len(at[at.len() - 3]).unwrap();
    let options = |durable_term| Options { durable_index: 2, durable_term, ..small() };
    let error = Wal::open(&dir.wal, (0, 0), &options(2)).unwrap_err().to_string();
    assert!(error.starts_with("wal: entry 2 of the log"), "{error}");
    assert!(error.ends_with("has term 1, but it was applied with term 2: entries are lost"));
    Wal::open(&dir.wal, (0, 0), &options(1)).expect("the entry that was applied");
    Wal::open(&dir.wal, (0, 0), &options(0)).expect("any term");
}

#[test]
fn a_zero_word_ends_the_log_and_what_lies_behind_is_never_read_again() {
    let (dir, segment, last) = log_with_long_last_record();
    let mut bytes = fs::read(&segment).unwrap();
    let sector_end = (last as usize).next_multiple_of(512);
    bytes[last as usize..sector_end].fill(0);
    fs::write(&segment, &bytes).unwrap();
    let (mut wal, recovered) = dir.open();
    assert_eq!(recovered.entries.len(), 3);
    assert_eq!(recovered.repaired, None, "this is the normal end of a log");
    let cleaned = fs::read(&segment).unwrap();
    assert_eq!(cleaned.len(), 64_000, "the length is kept");
    assert!(cleaned[last as usize..].iter().all(|b| *b == 0), "the remainder is zeroed");
    // An entry as long as the lost one, so that a boundary would fall on old bytes.
    wal.save(&[entry(4, 2, b"x")], None).unwrap();
    drop(wal);
    assert_eq!(dir.open().1.entries.len(), 4);
}

#[test]
fn a_zero_word_before_data_in_the_same_sector_is_refused() {
    // One bit of the word 16 is all it takes; no torn write leaves this, sectors are whole.
    let flip = |bytes: &mut Vec<u8>, last: usize| bytes[last..last + 8].fill(0);
    expect_refusal(flip, "wal: zero length before data: in file 'FILE' at position: ..");
}

#[test]
fn a_record_of_an_unknown_kind_is_refused() {
    for kind in [0, 6, 99] {
        let (dir, segment, _) = log_with_long_last_record();
        add_record(&segment, kind, b"data");
        let at = offsets(&segment);
        let error = Wal::open(&dir.wal, (0, 0), &small()).unwrap_err().to_string();
        let place = format!("in file '{}' at position: {}", segment.display(), at[at.len() - 2]);
        assert_eq!(error, format!("unexpected block type {kind}: {place}"));
    }
}

/// The kind of a record is outside of its CRC: rules about what may stand where must find a bit
/// that was flipped there.
#[test]
fn a_record_taken_for_another_kind_is_refused() {
    for (segment, record, kinds, error) in [
        (1, 0, [4, 5], "wal: segment without crc record at its head"),
        (1, 1, [1, 3], "wal: segment without metadata record at its head"),
        (1, 1, [1, 5], "wal: segment without metadata record at its head"),
        (0, 2, [5, 1], "wal: conflicting metadata found"),
        (0, 2, [5, 4], "walpb: crc mismatch"),
        // The entry that replaces another: without it the log would seem complete.
        (1, 5, [2, 3], "wal: hard state goes back in term"),
        // The last state, taken for an entry with the commit index as its index.
        (1, 6, [3, 2], "wal: entry without index, term or conf change"),
        (1, 6, [3, 1], "wal: conflicting metadata found"),
    ] {
        let dir = Dir::new();
        let mut wal = dir.create(&small());
        wal.save(&[entry(1, 1, &[1; 9000])], Some(&state(1, 7, 0))).unwrap();
        wal.save(&[entry(2, 1, b"b"), entry(3, 1, b"c")], None).unwrap();
        wal.save(&[entry(3, 2, b"new")], Some(&state(2, 7, 2))).unwrap();
        drop(wal);
        let path = dir.segments().remove(segment);
        let mut bytes = fs::read(&path).unwrap();
        let at = offsets(&path)[record];
        let kind = &mut bytes[at as usize + 9];
        assert_eq!(*kind, kinds[0], "segment {segment}, record {record}");
        *kind = kinds[1];
        fs::write(&path, &bytes).unwrap();
        let refused = Wal::open(&dir.wal, (0, 0), &small()).unwrap_err().to_string();
        assert!(refused.starts_with(error), "{kinds:?}: {refused}");
        let place = format!("in file '{}' at position: {at}", path.display());
        assert!(refused.ends_with(&place), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn different_metadata_is_refused() {
    let (dir, segment, _) = log_with_long_last_record();
    add_record(&segment, 1, &[0x08, 0x09, 0x10, 0x01]);
    let error = Wal::open(&dir.wal, (0, 0), &small()).unwrap_err().to_string();
    assert!(error.starts_with("wal: conflicting metadata found: in file"), "{error}");
}

#[test]
fn an_entry_that_is_no_message_is_refused_with_its_place() {
    let (dir, segment, _) = log_with_long_last_record();
    add_record(&segment, 2, &[0xff; 12]);
    let error = read_all(&dir.wal, (0, 0)).unwrap_err().to_string();
    assert!(error.starts_with("proto: integer overflow: in file"), "{error}");
    let (dir, segment, _) = log_with_long_last_record();
    add_record(&segment, 2, &[0x10, 0x01, 0x18, 0x09]);
    let error = read_all(&dir.wal, (0, 0)).unwrap_err().to_string();
    assert!(error.contains("current entry[Index: 9, Term: 1], len(ents): 4"), "{error}");
    assert!(error.contains(&segment.display().to_string()), "{error}");
}

#[test]
fn a_log_without_metadata_or_without_records_is_refused() {
    let (dir, segment, _) = log_with_long_last_record();
    fs::write(&segment, b"").unwrap();
    let error = Wal::open(&dir.wal, (0, 0), &small()).unwrap_err().to_string();
    assert!(error.starts_with("wal: snapshot not found"), "{error}");
    fs::remove_file(&segment).unwrap();
    let error = Wal::open(&dir.wal, (0, 0), &small()).unwrap_err().to_string();
    assert_eq!(error, format!("wal: file not found: '{}'", dir.wal.display()));
}

#[test]
fn every_flipped_bit_before_the_end_is_found() {
    let dir = Dir::new();
    let mut wal = dir.create(&Options { segment_bytes: 1024, ..Options::default() });
    wal.save(&[entry(1, 1, b"first"), entry(2, 1, b"second")], Some(&state(1, 7, 1))).unwrap();
    wal.save(&[entry(3, 1, &[0x33; 40])], Some(&state(1, 7, 3))).unwrap();
    drop(wal);
    let segment = dir.segments().remove(0);
    let good = fs::read(&segment).unwrap();
    let expected = read_all(&dir.wal, (0, 0)).unwrap().entries;
    let end = *offsets(&segment).last().unwrap() as usize;
    for bit in 0..end * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&segment, &bytes).unwrap();
        // A flip may be refused, may shorten the log like a torn write (then the commit index
        // tells that entries are missing), or may hit padding; it never yields other entries.
        let options = Options { durable_index: 3, segment_bytes: 1024, ..Options::default() };
        if let Ok((_, recovered)) = Wal::open(&dir.wal, (0, 0), &options) {
            assert_eq!(recovered.entries, expected, "bit {bit}");
        }
        for name in dir.names() {
            if name.ends_with(".broken") {
                fs::remove_file(dir.wal.join(name)).unwrap();
            }
        }
    }
}
