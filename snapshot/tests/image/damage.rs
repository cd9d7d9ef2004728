//! Damaged files: an error or the harmless change of a row, never a panic or an endless walk.

use std::cell::Cell;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use snapshot::{Error, HashingWriter, Reader, verify_trailer};

use crate::support::{
    Buckets, Counted, PAGE, buckets, change_metas, noise, read, revision, u16_at, u32_at, write,
};

/// A file with all that the format has: inline and empty buckets, three levels, overflow.
fn sample() -> Buckets {
    let mut all = buckets(&[
        ("alarm", &[]),
        ("key", &[]),
        ("members", &[(b"8e9e05c52164694d", b"{}"), (b"8e9e05c52164694e", b"")]),
        ("meta", &[(b"storageVersion", b"3.7.0")]),
    ]);
    let key = |i: u64| [revision(i as i64 + 2), noise(i, 1_200)].concat();
    all[1].1 = (0..7).map(|i| (key(i), noise(i, 30))).collect();
    all[1].1[4].1 = noise(9, 5_000);
    all
}

/// Everything a reader can do with a file.
fn use_it(bytes: &[u8]) -> Result<Buckets, Error> {
    // Each walk reads a page once; the pages of the metas are read to tell the page size.
    let limit = 3 * bytes.len() + 16 * PAGE;
    let source = Counted { bytes, read: Cell::new(0), limit };
    let reader = Reader::open(source)?;
    let checked = reader.check();
    let found = read(&reader);
    if checked.is_ok() {
        found.as_ref().expect("a file without a problem can be read");
    }
    // Rows of the sample are no revisions; only the walk of it is of interest here.
    drop(reader.status());
    checked.and(found)
}

/// Tries a file; `Ok(true)` when it reads well but holds other rows.
fn try_one(bytes: &[u8], sample: &Buckets, what: &str, at: usize) -> Result<bool, Error> {
    let outcome = catch_unwind(AssertUnwindSafe(|| use_it(bytes)));
    let outcome = outcome.unwrap_or_else(|_| panic!("panic with {what} at byte {at}"));
    outcome
        .map(|rows| rows != *sample)
        .inspect_err(|error| assert!(!error.to_string().is_empty(), "{what} at byte {at}"))
}

#[test]
fn no_flipped_byte_makes_the_reader_panic() {
    let sample = sample();
    let mut image = write(&sample);
    let (mut refused, mut changed) = (0, 0);
    for at in 0..image.len() {
        for mask in [1 << (at % 8), 0xff] {
            image[at] ^= mask;
            match try_one(&image, &sample, "a flip", at) {
                Err(_) => refused += 1,
                Ok(true) => changed += 1,
                Ok(false) => {}
            }
            image[at] ^= mask;
        }
    }
    assert!(refused > 3_000, "{refused} of {} flips were noticed", 2 * image.len());
    assert!(changed > 10_000, "{changed} flips changed rows");
}

#[test]
fn no_truncation_passes_for_a_file() {
    let sample = sample();
    let image = write(&sample);
    for length in 0..image.len() {
        let found = try_one(&image[..length], &sample, "an end", length);
        assert!(found.is_err(), "{length} of {} bytes", image.len());
    }
}

/// What a restore compares before it believes anything: each bit counts.
#[test]
fn no_flip_and_no_truncation_of_a_backup_keeps_its_hash() {
    let image = write(&sample());
    let mut hashing = HashingWriter::new(Vec::new());
    hashing.write_all(&image).unwrap();
    let mut backup = hashing.finish_with_trailer().unwrap();
    assert_eq!(verify_trailer(&backup).unwrap(), image.len() as u64);
    for length in 0..backup.len() {
        assert!(verify_trailer(&backup[..length]).is_err(), "{length} of {}", backup.len());
    }
    for at in 0..backup.len() {
        backup[at] ^= 1 << (at % 8);
        assert!(verify_trailer(&backup).is_err(), "a flip at byte {at}");
        backup[at] ^= 1 << (at % 8);
    }
}

/// Numbers that bounds are off by one at, and pages of the sample.
fn numbers() -> impl Strategy<Value = u64> {
    static EDGES: [u64; 6] = [0xff, 0xffff, 0xffff_ffff, 1 << 31, 1 << 63, u64::MAX];
    prop_oneof![4 => 0..24_u64, 1 => proptest::sample::select(&EDGES[..]), 1 => any::<u64>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_set_of_changed_numbers_makes_the_reader_panic(
        changes in proptest::collection::vec((0..24_usize, 0..24_usize, 0..3_u32, numbers()), 1..6),
        metas in proptest::option::of((0..6_usize, numbers())),
    ) {
        let mut image = write(&sample());
        let pages = image.len() / PAGE;
        for (page, word, width, number) in changes {
            let width = 2 << width;
            let at = (2 + page % (pages - 2)) * PAGE + word * 4;
            image[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
        }
        if let Some((word, number)) = metas {
            let at = 8 + word * 8;
            let bytes = number.to_le_bytes();
            change_metas(&mut image, |meta| meta[at..at + 8].copy_from_slice(&bytes));
        }
        drop(use_it(&image));
    }
}

#[test]
fn bytes_after_the_pages_are_nobodys() {
    let mut image = write(&sample());
    image.extend_from_slice(&noise(3, 40_000));
    assert_eq!(use_it(&image).unwrap(), sample());
}

#[test]
fn either_meta_page_is_enough() {
    let image = write(&sample());
    for page in 0..2 {
        let mut bytes = image.clone();
        bytes[page * PAGE..][..PAGE].fill(0x55);
        assert_eq!(use_it(&bytes).unwrap(), sample(), "without meta {page}");
    }
    for (fill, reason) in [(0..PAGE, "invalid database"), (72..80, "checksum error")] {
        let mut bytes = image.clone();
        for page in 0..2 {
            bytes[page * PAGE..][fill.clone()].fill(0x55);
        }
        assert_eq!(use_it(&bytes).unwrap_err().to_string(), reason);
    }
    let mut bytes = image;
    change_metas(&mut bytes, |meta| meta[4] = 3);
    assert_eq!(use_it(&bytes).unwrap_err().to_string(), "version mismatch");
}

#[test]
fn the_newer_meta_page_wins() {
    let mut image = write(&sample());
    let root = image[32..40].to_vec();
    // The first meta gets a root that is none; then the second becomes the newer one.
    change_metas(&mut image, |meta| meta[16] = if meta[48] == 2 { 1 } else { root[0] });
    let text = use_it(&image).unwrap_err().to_string();
    assert!(text.starts_with("page 0: meta: root on page 1 of "), "{text}");
    change_metas(&mut image, |meta| meta[48] = if meta[48] == 1 { 9 } else { 2 });
    assert_eq!(use_it(&image).unwrap(), sample());
}

#[test]
fn metas_with_a_valid_sum_are_not_believed_either() {
    for (at, bytes, text) in [
        (8, &0_u32.to_le_bytes()[..], "page 0: meta: page size 0"),
        (8, &3000_u32.to_le_bytes(), "page 0: meta: page size 3000"),
        (8, &(1_u32 << 31).to_le_bytes(), "page 0: meta: page size 2147483648"),
        (16, &0_u64.to_le_bytes(), "page 0: meta: root on page 0 of "),
        (16, &u64::MAX.to_le_bytes(), "page 0: meta: root on page 18446744073709551615 of "),
        (32, &1_u64.to_le_bytes(), "page 0: meta: freelist on page 1 of "),
        (32, &(u64::MAX - 1).to_le_bytes(), "page 0: meta: freelist on page 18446744073709551614"),
        (40, &u64::MAX.to_le_bytes(), "page 0: meta: 18446744073709551615 pages in a file of "),
        (40, &2_u64.to_le_bytes(), "page 0: meta: root on page "),
        (16, &2_u64.to_le_bytes(), "page 2: "),
    ] {
        let mut image = write(&sample());
        change_metas(&mut image, |meta| meta[at..at + bytes.len()].copy_from_slice(bytes));
        let reader = Reader::open(image);
        let error = reader.and_then(|reader| read(&reader).map(drop)).unwrap_err();
        assert!(error.to_string().starts_with(text), "{error} is not {text}");
    }
}

/// Pages of a database under construction; root and high water follow from them.
fn pages(pages: &[Vec<u8>]) -> Vec<u8> {
    let mut image = write(&buckets(&[]))[..2 * PAGE].to_vec();
    for page in pages {
        image.extend_from_slice(page);
        image.resize(image.len().next_multiple_of(PAGE), 0);
    }
    let high_water = (image.len() / PAGE) as u64;
    change_metas(&mut image, |meta| meta[40..48].copy_from_slice(&high_water.to_le_bytes()));
    image
}

/// A page with these heads of elements and this data.
fn page(id: u64, flags: u16, elements: &[[u32; 4]], data: &[u8]) -> Vec<u8> {
    let mut page = id.to_le_bytes().to_vec();
    page.extend_from_slice(&flags.to_le_bytes());
    page.extend_from_slice(&(elements.len() as u16).to_le_bytes());
    page.extend_from_slice(&0_u32.to_le_bytes());
    for word in elements.iter().flatten() {
        page.extend_from_slice(&word.to_le_bytes());
    }
    page.extend_from_slice(data);
    page
}

/// A root on page 2 with one bucket `k`, whose root is on page 3.
fn root() -> Vec<u8> {
    page(2, 2, &[[1, 16, 1, 16]], &[&b"k"[..], &3_u64.to_le_bytes(), &[0; 8]].concat())
}

fn refusal(image: Vec<u8>) -> String {
    let reader = Reader::open(image).unwrap();
    let first = read(&reader).unwrap_err();
    let Error::Corrupt { problem, offset, .. } = &first else { panic!("{first}") };
    assert!(first.to_string().ends_with(&format!("(byte {offset})")));
    match reader.check() {
        Err(Error::Integrity { lines, .. }) => assert_eq!(&lines[0], problem),
        other => panic!("the check says {other:?}, the walk {problem}"),
    }
    problem.clone()
}

#[test]
fn every_rule_of_a_page_is_checked() {
    const FULL: u32 = 4096 - 32;
    for (what, elements, data, text) in [
        ("gap", vec![[0, 17, 1, 0]], &b"ab"[..], "page 3: element 0 begins at 33, not at 32"),
        ("lie", vec![[0, u32::MAX, 1, 0]], b"a", "page 3: element 0 begins at 4294967311, not"),
        ("empty key", vec![[0, 16, 0, 1]], b"a", "page 3: element 0 with a key of 0 and a value"),
        ("long", vec![[0, 16, 32769, 1]], b"a", "page 3: element 0 with a key of 32769 and a"),
        ("huge", vec![[0, 16, 1, u32::MAX]], b"a", "page 3: element 0 with a key of 1 and a value"),
        ("beyond", vec![[0, 16, 1, FULL]], b"a", "page 3: element 0 reaches beyond the page"),
        ("nested", vec![[1, 16, 1, 0]], b"a", "page 3: a bucket inside a bucket, which etcd does"),
        ("flags", vec![[2, 16, 1, 0]], b"a", "page 3: unknown element flags"),
        (
            "order",
            vec![[0, 32, 1, 0], [0, 17, 1, 0]],
            b"ba",
            "the key[1]=(hex)61 on leaf page(3) needs to be > (found <) than previous element \
             (hex)62. Stack: [3]",
        ),
        (
            "twice",
            vec![[0, 32, 1, 0], [0, 17, 1, 0]],
            b"aa",
            "the key[1]=(hex)61 on leaf page(3) needs to be > (found =) than previous element \
             (hex)61. Stack: [3]",
        ),
    ] {
        let found = refusal(pages(&[root(), page(3, 2, &elements, data)]));
        assert!(found.starts_with(text), "{what}: {found}");
    }
    let good = pages(&[root(), page(3, 2, &[[0, 16, 1, FULL - 1]], b"a")]);
    Reader::open(good).unwrap().check().unwrap();
}

#[test]
fn every_rule_of_a_page_head_is_checked() {
    let whole = page(3, 2, &[], b"");
    for (at, bytes, text) in [
        (0, &[4_u8][..], "assertion failed: Page expected to be: 3, but self identifies as 4"),
        (8, &[0], "unexpected page type (flags: 0) for pgId:3"),
        (8, &[3], "unexpected page type (flags: 3) for pgId:3"),
        (9, &[1], "unexpected page type (flags: 102) for pgId:3"),
        (8, &[4], "page 3: invalid type: meta (stack: [3])"),
        (8, &[0x10], "page 3: invalid type: freelist (stack: [3])"),
        (8, &[1], "page 3: 0 elements on a branch page"),
        (10, &[0xff, 0xff], "page 3: 65535 elements on a leaf page"),
        (10, &[0, 1], "page 3: 256 elements do not fit on 4096 bytes"),
        (10, &[0xfe, 0xff], "page 3: 65534 elements do not fit on 4096 bytes"),
        (12, &[1], "page 4: out of bounds: 4 (stack: [3])"),
        (12, &[0xff; 4], "page 4294967298: out of bounds: 4 (stack: [3])"),
    ] {
        let mut damaged = whole.clone();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(refusal(pages(&[root(), damaged])), text);
    }
}

#[test]
fn every_rule_of_a_bucket_is_checked() {
    let inline = |count: u16, rest: &[u8]| {
        let head = page(0, 2, &vec![[0, 16, 1, 0]; usize::from(count)], b"");
        [&[0; 16][..], &head, rest].concat()
    };
    let mut wrong_id = inline(0, b"");
    wrong_id[16] = 2;
    let mut branch = inline(0, b"");
    branch[24] = 1;
    let paged = [&3_u64.to_le_bytes()[..], &[0; 8], b"x"].concat();
    for (flags, value, text) in [
        (1, inline(0, b""), ""),
        (1, inline(1, b"a"), ""),
        (1, inline(0, b"x"), "page 2: 1 bytes after an inline page"),
        (1, inline(1, b""), "page 2: element 0 reaches beyond the page"),
        (1, wrong_id, "page 2: inline bucket without a leaf page"),
        (1, branch, "page 2: inline bucket without a leaf page"),
        (1, vec![0; 16], "page 2: inline bucket without a leaf page"),
        (1, vec![0; 31], "page 2: inline bucket without a leaf page"),
        (1, vec![0; 15], "page 2: a bucket without header"),
        (1, paged, "page 2: a bucket with both a root page and a leaf"),
        (0, inline(0, b""), "page 2: a row outside of any bucket"),
        (3, inline(0, b""), "page 2: a row outside of any bucket"),
    ] {
        let data = [&b"k"[..], &value].concat();
        let image = pages(&[page(2, 2, &[[flags, 16, 1, value.len() as u32]], &data)]);
        if text.is_empty() {
            Reader::open(image).unwrap().check().unwrap();
        } else {
            assert_eq!(refusal(image), text);
        }
    }
}

/// A branch with children of one-byte keys.
fn branch(id: u64, children: &[(u8, u32)]) -> Vec<u8> {
    let key = |i: usize| (16 * (children.len() - i) + i) as u32;
    let elements: Vec<_> =
        children.iter().enumerate().map(|(i, (_, child))| [key(i), 1, *child, 0]).collect();
    let keys: Vec<u8> = children.iter().map(|(key, _)| *key).collect();
    page(id, 1, &elements, &keys)
}

fn leaf(id: u64, keys: &[u8]) -> Vec<u8> {
    let pos = |i: usize| (16 * (keys.len() - i) + i) as u32;
    let elements: Vec<_> = (0..keys.len()).map(|i| [0, pos(i), 1, 0]).collect();
    page(id, 2, &elements, keys)
}

#[test]
fn references_between_pages_are_checked() {
    let long = |mut page: Vec<u8>| {
        page[12] = 1;
        page
    };
    for (what, tree, text) in [
        (
            "a loop",
            vec![branch(3, &[(b'a', 3), (b'b', 4)])],
            "page 3: multiple references \
          (stack: [3 3])",
        ),
        ("the root", vec![branch(3, &[(b'a', 2)])], "page 2: multiple references (stack: [3 2])"),
        ("a meta", vec![branch(3, &[(b'a', 1)])], "page 1: out of bounds: 4 (stack: [3 1])"),
        ("beyond", vec![branch(3, &[(b'a', 4)])], "page 4: out of bounds: 4 (stack: [3 4])"),
        (
            "twice",
            vec![branch(3, &[(b'a', 4), (b'b', 4)]), leaf(4, b"a")],
            "page 4: multiple references (stack: [3 4])",
        ),
        (
            "overflow over a page that was read",
            vec![branch(3, &[(b'a', 5), (b'b', 4)]), long(leaf(4, b"b")), leaf(5, b"a")],
            "page 5: multiple references (stack: [3 4])",
        ),
        (
            "a page within overflow",
            vec![branch(3, &[(b'a', 4), (b'b', 5)]), long(leaf(4, b"a")), leaf(5, b"b")],
            "page 5: multiple references (stack: [3 5])",
        ),
        (
            "a key before its branch",
            vec![branch(3, &[(b'b', 4), (b'c', 5)]), leaf(4, b"ab"), leaf(5, b"c")],
            "the first key[0]=(hex)61 on leaf page(4) needs to be >= the key in the ancestor \
             (62). Stack: [3 4]",
        ),
        (
            "a key after the next branch",
            vec![branch(3, &[(b'a', 4), (b'c', 5)]), leaf(4, b"ac"), leaf(5, b"c")],
            "the key[1]=(hex)63 on leaf page(4) needs to be < than key of the next element in \
             ancestor (hex)63. Stack: [3 4]",
        ),
        (
            "a key after an ancestor's next branch",
            vec![
                branch(3, &[(b'a', 4), (b'f', 6)]),
                branch(4, &[(b'a', 5)]),
                leaf(5, b"ag"),
                leaf(6, b"f"),
            ],
            "the key[1]=(hex)67 on leaf page(5) needs to be < than key of the next element in \
             ancestor (hex)66. Stack: [3 4 5]",
        ),
    ] {
        let tree: Vec<Vec<u8>> = std::iter::once(root()).chain(tree).collect();
        assert_eq!(refusal(pages(&tree)), text, "{what}");
    }
}

#[test]
fn one_damaged_page_does_not_hide_another() {
    let mut tree = vec![root(), branch(3, &[(b'a', 4), (b'c', 5), (b'e', 6)])];
    tree.extend([leaf(4, b"ba"), leaf(5, b"cd"), leaf(7, b"e")]);
    let error = Reader::open(pages(&tree)).unwrap().check().unwrap_err();
    let Error::Integrity { count: 2, lines } = &error else { panic!("{error}") };
    assert!(lines[0].starts_with("the key[1]=(hex)61 on leaf page(4)"), "{}", lines[0]);
    assert!(lines[1].starts_with("assertion failed: Page expected to be: 6"), "{}", lines[1]);
    let text = error.to_string();
    let head = "snapshot file integrity check failed. 2 errors found.\nthe key[1]";
    assert!(text.starts_with(head), "{text}");
}

#[test]
fn the_text_of_much_damage_is_bounded() {
    // Keys of 32,000 bytes, in the wrong order wherever there are two.
    let rows: Vec<_> = (0..60_u8).map(|i| (vec![i; 32_000], Vec::new())).collect();
    let mut image = write(&vec![(b"k".to_vec(), rows)]);
    let mut at = 2 * PAGE;
    while at < image.len() {
        let page_bytes = (1 + u32_at(&image, at + 12)) * PAGE;
        if u16_at(&image, at + 8) == 1 {
            // The last child's key becomes the smallest.
            let last = at + 16 * u16_at(&image, at + 10);
            let key = last + u32_at(&image, last);
            image[key] = 0;
            image[key + 1] = 0;
        }
        at += page_bytes;
    }
    let error = Reader::open(image).unwrap().check().unwrap_err();
    let Error::Integrity { count, lines } = &error else { panic!("{error}") };
    assert!(*count > lines.len() as u64, "{count} problems, all told");
    let text = error.to_string();
    assert!(text.len() < 1_300_000, "{} bytes of text", text.len());
}

#[test]
fn a_chain_of_branches_ends() {
    let chain = |length: u64| {
        let mut tree = vec![root()];
        tree.extend((3..3 + length).map(|id| branch(id, &[(b'a', id as u32 + 1)])));
        tree.push(leaf(3 + length, b"a"));
        pages(&tree)
    };
    Reader::open(chain(60)).unwrap().check().unwrap();
    let text = refusal(chain(70));
    assert_eq!(text, "page 67: deeper than 64 levels");
}

#[test]
fn other_page_sizes_are_read() {
    for size in [1024_usize, 8192, 16_384, 65_536] {
        let image = write(&buckets(&[("key", &[(b"a", b"1")])]));
        let mut other = vec![0; 3 * size];
        for page in 0..3 {
            let len = size.min(PAGE);
            other[page * size..][..len].copy_from_slice(&image[page * PAGE..][..len]);
        }
        for page in 0..2 {
            let mut whole = other[page * size..][..80].to_vec();
            whole.resize(2 * PAGE, 0);
            change_metas(&mut whole, |meta| {
                meta[8..12].copy_from_slice(&(size as u32).to_le_bytes());
            });
            other[page * size..][..80].copy_from_slice(&whole[..80]);
        }
        let rows = buckets(&[("key", &[(b"a", b"1")])]);
        assert_eq!(read(&Reader::open(other.clone()).unwrap()).unwrap(), rows, "{size}");
        // By the second meta alone.
        other[16..80].fill(0);
        assert_eq!(read(&Reader::open(other).unwrap()).unwrap(), rows, "{size}, second meta");
    }
}
