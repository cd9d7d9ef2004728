//! Which page a row comes to, and what both passes must agree on.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Write};

use proptest::prelude::*;
use snapshot::{Error, FileWriter, Plan, Planner, Reader, Writer};

use crate::support::{Buckets, PAGE, Rows, noise, read, revision, u16_at, u32_at, u64_at, write};

const BRANCH: usize = 1;
const LEAF: usize = 2;

/// Walks the pages in file order and checks the rules of packing; gives the number of branches.
fn check_pages(image: &[u8]) -> usize {
    let (mut at, mut branches) = (2 * PAGE, 0);
    while at < image.len() {
        let page = &image[at..];
        let (flags, count, overflow) = (u16_at(page, 8), u16_at(page, 10), u32_at(page, 12));
        assert_eq!(u64_at(page, 0), (at / PAGE) as u64);
        let lengths = |i: usize| match flags {
            BRANCH => u32_at(page, 20 + 16 * i),
            _ => u32_at(page, 24 + 16 * i) + u32_at(page, 28 + 16 * i),
        };
        let bytes = 16 + (0..count).map(|i| 16 + lengths(i)).sum::<usize>();
        assert_eq!(overflow, bytes.div_ceil(PAGE) - 1, "pages of {bytes} bytes");
        match flags {
            BRANCH => {
                branches += 1;
                assert!(count >= 2, "a branch has {count} children");
                assert!(bytes <= PAGE * 9 / 10 || count <= 3, "{count} children, {bytes} bytes");
            }
            _ => {
                assert_eq!(flags, LEAF);
                assert!(bytes <= PAGE * 9 / 10 || count == 1, "{count} rows, {bytes} bytes");
            }
        }
        let end = at + (overflow + 1) * PAGE;
        assert!(image[at + bytes..end].iter().all(|byte| *byte == 0), "the tail is zero");
        at = end;
    }
    assert_eq!(at, image.len());
    branches
}

/// Writes in two passes and in one, checks everything, and gives the number of branches.
fn check_image(buckets: &Buckets) -> usize {
    let image = write(buckets);
    let mut writer = FileWriter::new(Cursor::new(Vec::new())).unwrap();
    for (name, rows) in buckets {
        writer.bucket(name).unwrap();
        for (key, value) in rows {
            writer.row(key, value).unwrap();
        }
    }
    let out = writer.finish().unwrap();
    assert_eq!(out.position(), image.len() as u64);
    assert!(out.into_inner() == image, "one pass and two passes differ");
    let branches = check_pages(&image);
    let reader = Reader::open(image).unwrap();
    reader.check().unwrap();
    assert!(read(&reader).unwrap() == *buckets, "other rows than were written");
    branches
}

fn one_bucket(rows: Rows) -> Buckets {
    vec![(b"key".to_vec(), rows)]
}

/// `count` rows with keys of `key_len` and values of `value_len` bytes.
fn numbered(count: usize, key_len: usize, value_len: usize) -> Buckets {
    let row = |i: usize| {
        let mut key = (i as u64).to_be_bytes().to_vec();
        key.resize(key_len, 0);
        (key, noise(i as u64, value_len))
    };
    one_bucket((0..count).map(row).collect())
}

#[test]
fn a_leaf_is_inline_up_to_a_quarter_page() {
    for (value_len, pages) in [(1024 - 32 - 8, 3), (1024 - 32 - 7, 4)] {
        assert_eq!(write(&numbered(1, 8, value_len)).len(), pages * PAGE, "{value_len}");
        check_image(&numbered(1, 8, value_len));
    }
}

#[test]
fn every_number_of_leaves_makes_a_proper_tree() {
    // A row to a leaf; the branches hold 111 children each.
    let branches: Vec<usize> = (1..=230).map(|n| check_image(&numbered(n, 17, 3600))).collect();
    let changes: Vec<usize> =
        (1..branches.len()).filter(|i| branches[*i] != branches[i - 1]).map(|i| i + 1).collect();
    // From one leaf to a branch, to two branches under a root, to three.
    assert_eq!(changes, [2, 112, 223]);
    assert_eq!(branches[222], 4);
}

#[test]
fn keys_that_fill_a_page_make_branches_of_two_or_three() {
    for key_len in [1_500, 2_000, 5_000, 32_768] {
        for count in 1..=24 {
            check_image(&numbered(count, key_len, 10));
        }
    }
}

#[test]
fn many_rows_and_large_values_are_read_back() {
    let mut rows: Rows = (0..40_000).map(|i| (revision(i + 2), noise(i as u64, 40))).collect();
    for (i, len) in [(10, 4_063), (11, 4_064), (20_000, 20_000), (39_999, 3 << 20)] {
        rows[i].1 = noise(7, len);
    }
    let mut all = one_bucket(rows);
    all.insert(0, (b"alarm".to_vec(), Vec::new()));
    all.push((b"meta".to_vec(), vec![(b"term".to_vec(), Vec::new())]));
    assert!(check_image(&all) > 3);
}

#[test]
fn many_buckets_make_a_root_of_many_pages() {
    let bucket = |i: u32| {
        let rows = (0..i % 60).map(|k| (k.to_be_bytes().to_vec(), vec![1; 30])).collect();
        (format!("bucket {i:06}").into_bytes(), rows)
    };
    assert!(check_image(&(0..2_000).map(bucket).collect()) > 2);
}

fn rows() -> impl Strategy<Value = Rows> {
    let key = prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 1..30),
        1 => (any::<u64>(), 500..4_000_usize).prop_map(|(seed, len)| noise(seed, len)),
    ];
    let value = prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 0..60),
        1 => (any::<u64>(), 1_000..14_000_usize).prop_map(|(seed, len)| noise(seed, len)),
    ];
    let size = prop_oneof![Just(0..1), Just(1..5), Just(0..150)];
    size.prop_flat_map(move |size| {
        proptest::collection::btree_map(key.clone(), value.clone(), size)
    })
    .prop_map(|rows: BTreeMap<_, _>| rows.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_written_is_read(
        buckets in proptest::collection::btree_map("[a-z_]{1,12}", rows(), 0..12)
    ) {
        check_image(&buckets.into_iter().map(|(name, rows)| (name.into_bytes(), rows)).collect());
    }
}

fn plan(lengths: &[usize]) -> Plan {
    let mut planner = Planner::new();
    planner.bucket(b"key").unwrap();
    for len in lengths {
        planner.row(8, *len).unwrap();
    }
    planner.finish().unwrap()
}

fn write_as(plan: Plan, lengths: &[usize], out: &mut Vec<u8>) -> Result<(), Error> {
    let mut writer = Writer::new(out, plan)?;
    writer.bucket(b"key")?;
    for (i, len) in lengths.iter().enumerate() {
        writer.row(&i.to_be_bytes(), &vec![0; *len])?;
    }
    writer.finish().map(drop)
}

#[test]
fn rows_that_changed_between_the_passes_are_noticed() {
    let lengths = [4_000, 100, 9_000, 4_000, 50];
    for (i, other) in [
        &[4_000, 100, 9_000, 4_000, 5_000][..],
        &[4_000, 100, 9_000, 4_000, 50, 4_000],
        &[4_000, 100, 9_000, 4_000],
        &[4_000, 100, 9_000],
        &[],
        &[9_000, 100, 9_000, 4_000, 50],
        &[40_000],
    ]
    .into_iter()
    .enumerate()
    {
        let mut out = Vec::new();
        let error = write_as(plan(&lengths), other, &mut out).unwrap_err();
        assert!(matches!(error, Error::NotAsPlanned { .. }), "{i}: {error}");
        assert!(out.len() as u64 <= plan(&lengths).total_bytes(), "{i}: {} bytes", out.len());
    }
    write_as(plan(&lengths), &lengths, &mut Vec::new()).unwrap();
}

#[test]
fn what_bbolt_would_not_take_is_refused() {
    let mut planner = Planner::new();
    assert!(planner.row(1, 1).is_err(), "a row before any bucket");
    assert!(planner.bucket(b"").is_err());
    planner.bucket(b"b").unwrap();
    assert!(planner.bucket(b"b").is_err());
    assert!(planner.bucket(b"a").is_err());
    for (key_len, value_len, good) in [
        (0, 1, false),
        (1, 0, true),
        (32_768, 0, true),
        (32_769, 0, false),
        (1, (1 << 31) - 2, true),
        (1, (1 << 31) - 1, false),
    ] {
        assert_eq!(planner.row(key_len, value_len).is_ok(), good, "{key_len} {value_len}");
    }
    assert!(planner.finish().unwrap().total_bytes() > 1 << 31);

    let mut writer = FileWriter::new(Cursor::new(Vec::new())).unwrap();
    writer.bucket(b"key").unwrap();
    writer.row(b"b", b"").unwrap();
    assert!(writer.row(b"b", b"").is_err());
    assert!(writer.row(b"a", &[0; 5_000]).is_err());
    writer.row(b"c", &[0; 5_000]).unwrap();
    assert!(writer.row(b"bb", b"").is_err());
    let image = writer.finish().unwrap().into_inner();
    let rows = vec![(b"b".to_vec(), Vec::new()), (b"c".to_vec(), vec![0; 5_000])];
    assert_eq!(read(&Reader::open(image).unwrap()).unwrap(), one_bucket(rows));
}

/// Fails once it has taken so many bytes.
#[derive(Debug)]
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn after_a_failed_write_there_is_no_file() {
    assert!(Writer::new(Full(PAGE), plan(&[1])).is_err());
    let lengths = vec![4_000; 300];
    let plan = plan(&lengths);
    for pages in 2..plan.total_bytes() as usize / PAGE {
        let mut writer = Writer::new(Full(pages * PAGE), plan).unwrap();
        writer.bucket(b"key").unwrap();
        let mut failures = 0;
        for (i, len) in lengths.iter().enumerate() {
            match writer.row(&i.to_be_bytes(), &vec![0; *len]) {
                Ok(()) => assert_eq!(failures, 0, "a row is taken after a failed write"),
                Err(_) => failures += 1,
            }
        }
        assert!(writer.finish().is_err());
    }
}
