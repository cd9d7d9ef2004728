//! Persisted freelists in all their forms, and pages that nothing refers to.

use snapshot::{Error, Reader};

use crate::support::{Buckets, PAGE, buckets, change_metas, noise, read, write};

fn rows() -> Buckets {
    let mut rows = buckets(&[("key", &[]), ("meta", &[(b"term", b"1")])]);
    rows[0].1 = (0..300_u64).map(|i| (i.to_be_bytes().to_vec(), noise(i, 100))).collect();
    rows
}

/// An image whose freelist, of `pages` pages, holds `ids`, and which has `spare` further pages.
fn with_freelist(ids: &[u64], long: bool, pages: usize, spare: usize) -> Vec<u8> {
    let mut image = write(&rows());
    let id = (image.len() / PAGE) as u64;
    let mut page = Vec::new();
    page.extend_from_slice(&id.to_le_bytes());
    page.extend_from_slice(&0x10_u16.to_le_bytes());
    let count = if long { 0xffff } else { ids.len() as u16 };
    page.extend_from_slice(&count.to_le_bytes());
    page.extend_from_slice(&(pages as u32 - 1).to_le_bytes());
    if long {
        page.extend_from_slice(&(ids.len() as u64).to_le_bytes());
    }
    for id in ids {
        page.extend_from_slice(&id.to_le_bytes());
    }
    assert!(page.len() <= pages * PAGE);
    page.resize(pages * PAGE, 0xaa);
    image.extend_from_slice(&page);
    image.resize(image.len() + spare * PAGE, 0xbb);
    let high_water = (image.len() / PAGE) as u64;
    change_metas(&mut image, |meta| {
        meta[32..40].copy_from_slice(&id.to_le_bytes());
        meta[40..48].copy_from_slice(&high_water.to_le_bytes());
    });
    image
}

/// The page of the freelist.
fn first_free() -> u64 {
    (write(&rows()).len() / PAGE) as u64
}

fn lines(image: Vec<u8>) -> Vec<String> {
    let reader = Reader::open(image).unwrap();
    // The rows do not depend on it.
    assert_eq!(read(&reader).unwrap(), rows());
    match reader.check() {
        Ok(()) => Vec::new(),
        Err(Error::Integrity { count, lines }) => {
            assert_eq!(count, lines.len() as u64);
            lines
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn whole_freelists_of_all_forms_are_accepted() {
    let list = first_free();
    assert_eq!(lines(with_freelist(&[], false, 1, 0)), [""; 0]);
    for long in [false, true] {
        let free: Vec<u64> = (list + 2..list + 802).collect();
        assert_eq!(lines(with_freelist(&free, long, 2, 800)), [""; 0], "{long}");
    }
    // So many that the count does not fit into its 16 bits.
    let free: Vec<u64> = (list + 140..list + 140 + 70_000).collect();
    assert_eq!(lines(with_freelist(&free, true, 140, 70_000)), [""; 0]);
}

#[test]
fn pages_neither_used_nor_free_are_found() {
    let list = first_free();
    let found = lines(with_freelist(&[list + 1], false, 1, 3));
    let expected = [list + 2, list + 3].map(|id| format!("page {id}: unreachable unfreed"));
    assert_eq!(found, expected);
    // Without a freelist nobody says that they are not free.
    let mut image = with_freelist(&[], false, 1, 3);
    change_metas(&mut image, |meta| meta[32..40].fill(0xff));
    assert_eq!(lines(image), [""; 0]);
}

#[test]
fn freelists_that_lie_are_found() {
    let list = first_free();
    let end = list + 3;
    for (ids, expected) in [
        (vec![list + 1, list + 1, list + 2], format!("page {}: already freed", list + 1)),
        (vec![3, list + 1, list + 2], "page 3: reachable freed".to_owned()),
        (vec![list, list + 1, list + 2], format!("page {list}: reachable freed")),
        (vec![1, list + 1, list + 2], format!("page 1: out of bounds: {end} (stack: [])")),
        (vec![list + 1, list + 2, end], format!("page {end}: out of bounds: {end} (stack: [])")),
        (vec![list + 2, list + 1], format!("page {}: out of order on the freelist", list + 1)),
    ] {
        assert_eq!(lines(with_freelist(&ids, false, 1, 2)), [expected], "{ids:?}");
    }
}

#[test]
fn freelists_that_claim_more_than_their_pages_are_found() {
    let list = first_free();
    let at = list as usize * PAGE;
    let too_many =
        |count: u64| format!("page {list}: {count} free pages do not fit on the freelist");
    let mut short = with_freelist(&[], false, 1, 0);
    short[at + 10..at + 12].copy_from_slice(&511_u16.to_le_bytes());
    assert_eq!(lines(short), [too_many(511)]);
    for count in [510, u64::MAX, u64::MAX / 8, 1 << 61] {
        let mut long = with_freelist(&[], true, 1, 0);
        long[at + 16..at + 24].copy_from_slice(&count.to_le_bytes());
        assert_eq!(lines(long), [too_many(count)]);
    }
    let mut overflow = with_freelist(&[], true, 1, 0);
    overflow[at + 12..at + 16].fill(0xff);
    let last = list + u64::from(u32::MAX);
    let stack = format!("page {last}: out of bounds: {} (stack: [{list}])", list + 1);
    assert_eq!(lines(overflow)[0], stack);
    let mut not_one = with_freelist(&[], true, 1, 0);
    not_one[at + 8] = 0x02;
    let text = format!("page {list}: is not the freelist that the meta page says it is");
    assert_eq!(lines(not_one)[0], text);
}
