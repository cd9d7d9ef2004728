//! One key's history and its packed form.
//!
//! A history is its revisions in ascending order. A tombstone ends a generation; the next put
//! begins one with version 1. Only the oldest generation can lack its beginning (compaction
//! removes from the front), so `missing` and `created` are kept once per key.
//!
//! Packed, newest first:
//!
//! ```text
//! | n + flag | item ... item | [missing created]      n = 1..=12 items, flag 0x10: missing > 0
//! item     varint (delta << 2 | tombstone << 1 | has_sub) [sub]
//!          delta: main of the newest item, then how much smaller main is than the item before
//! created  varint (delta << 1 | has_sub) [sub], delta against the oldest item
//! | 0x00 | u32 |                                      the history is in the arena `deep`
//! | 0x0f | n varint | ...                             as the first form, any n (exports only)
//! ```

use base::Revision;

use super::KeyState;
use super::varint;

/// Most revisions of a history kept in its leaf.
pub(super) const INLINE_ITEMS_MAX: usize = 12;
const FLAG_MISSING: u8 = 0x10;
const FORM_DEEP: u8 = 0x00;
const FORM_LONG: u8 = 0x0f;
const COUNT_MASK: u8 = 0x0f;
const _: () = assert!(INLINE_ITEMS_MAX < FORM_LONG as usize);

/// Bound of the packed form of an inline history: 20 bytes per item and for `created`, 10 for
/// `missing`, 1 for the head.
pub(super) const INLINE_BYTES_MAX: usize = (INLINE_ITEMS_MAX + 1) * 20 + 10 + 1;

/// One change of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) rev: Revision,
    pub(super) tombstone: bool,
}

/// What is known of the part of the oldest generation that compaction removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// First revision of the oldest generation.
    pub(super) created: Revision,
    /// Revisions removed from its front; if 0, `created` is the oldest item's revision.
    pub(super) missing: u64,
}

const NO_ITEM: Item = Item { rev: Revision { main: 0, sub: 0 }, tombstone: false };

/// A history short enough for its leaf, unpacked.
#[derive(Clone, Debug)]
pub(super) struct Short {
    items: [Item; INLINE_ITEMS_MAX],
    len: usize,
    pub(super) origin: Origin,
}

/// A packed history, told apart by its first byte.
pub(super) enum Packed<'a> {
    /// Packed items.
    Inline(&'a [u8]),
    /// A slot of the arena.
    Deep(u32),
}

/// Tells what a leaf's payload is.
#[inline]
pub(super) fn packed(payload: &[u8]) -> Packed<'_> {
    match payload {
        [FORM_DEEP, slot @ ..] => {
            let slot = slot.try_into().expect("a deep history's payload is five bytes");
            Packed::Deep(u32::from_le_bytes(slot))
        }
        _ => Packed::Inline(payload),
    }
}

/// The payload that refers to slot `slot` of the arena.
pub(super) fn deep_payload(slot: u32) -> [u8; 5] {
    let [a, b, c, d] = slot.to_le_bytes();
    [FORM_DEEP, a, b, c, d]
}

/// Reads a packed history item by item, newest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    left: usize,
    main: i64,
    first: bool,
    has_missing: bool,
}

impl<'a> Reader<'a> {
    /// Starts reading; `None` if the head is malformed.
    #[inline]
    pub(super) fn new(mut bytes: &'a [u8]) -> Option<Reader<'a>> {
        let (&head, rest) = bytes.split_first()?;
        bytes = rest;
        let left = match head & COUNT_MASK {
            FORM_LONG => varint::take(&mut bytes)? as usize,
            count => usize::from(count),
        };
        if left == 0 || head & !(COUNT_MASK | FLAG_MISSING) != 0 {
            return None;
        }
        let has_missing = head & FLAG_MISSING != 0;
        Some(Reader { bytes, left, main: 0, first: true, has_missing })
    }

    /// The next older item.
    #[inline]
    pub(super) fn item(&mut self) -> Option<Item> {
        self.left = self.left.checked_sub(1)?;
        let word = varint::take(&mut self.bytes)?;
        let delta = i64::try_from(word >> 2).ok()?;
        self.main = if self.first { delta } else { self.main.checked_sub(delta)? };
        self.first = false;
        let sub = if word & 1 == 0 { 0 } else { self.sub()? };
        Some(Item { rev: Revision { main: self.main, sub }, tombstone: word & 2 != 0 })
    }

    fn sub(&mut self) -> Option<i64> {
        i64::try_from(varint::take(&mut self.bytes)?).ok()
    }

    /// What follows the oldest item, once all items are read.
    #[inline]
    pub(super) fn origin(&mut self, oldest: Revision) -> Option<Origin> {
        if !self.has_missing {
            return Some(Origin { created: oldest, missing: 0 });
        }
        let missing = varint::take(&mut self.bytes)?;
        let word = varint::take(&mut self.bytes)?;
        let main = oldest.main.checked_sub(i64::try_from(word >> 1).ok()?)?;
        let sub = if word & 1 == 0 { 0 } else { self.sub()? };
        Some(Origin { created: Revision { main, sub }, missing })
    }

    pub(super) fn items_left(&self) -> usize {
        self.left
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.bytes.is_empty()
    }
}

const SOUND: &str = "leaves hold what was packed into them";

/// The newest put not above main revision `at` of a packed inline history, unless a tombstone
/// came after it, with the reader at what is older.
#[inline]
pub(super) fn visible_at(bytes: &[u8], at: i64) -> Option<(Revision, Reader<'_>)> {
    let mut reader = Reader::new(bytes).expect(SOUND);
    let mut item = reader.item().expect(SOUND);
    while item.rev.main > at {
        if reader.left == 0 {
            return None;
        }
        item = reader.item().expect(SOUND);
    }
    (!item.tombstone).then_some((item.rev, reader))
}

impl Reader<'_> {
    /// The state that the put at `modified`, the item read last, leaves behind.
    pub(super) fn state_of(mut self, modified: Revision) -> KeyState {
        let mut state = KeyState { modified, created: modified, version: 1 };
        while self.left > 0 {
            let older = self.item().expect(SOUND);
            if older.tombstone {
                return state;
            }
            state.version += 1;
            state.created = older.rev;
        }
        let origin = self.origin(state.created).expect(SOUND);
        state.created = origin.created;
        state.version += origin.missing as i64;
        state
    }
}

/// How a packed inline history changes when an item is appended: its first `old_len` bytes
/// become `front`.
pub(super) struct Appended {
    pub(super) old_len: usize,
    front: [u8; APPENDED_BYTES_MAX],
    front_len: usize,
}

/// The head and two items.
const APPENDED_BYTES_MAX: usize = 1 + 2 * 20;

impl Appended {
    pub(super) fn front(&self) -> &[u8] {
        &self.front[..self.front_len]
    }
}

/// Appends `item` to a packed inline history, or `None` if it has no room for one more.
///
/// # Panics
/// If `item` is not above the newest item.
#[inline]
pub(super) fn append(bytes: &[u8], item: Item) -> Option<Appended> {
    let mut reader = Reader::new(bytes).expect(SOUND);
    if reader.left == INLINE_ITEMS_MAX {
        return None;
    }
    let newest = reader.item().expect(SOUND);
    assert_rising(newest.rev, item.rev);
    let mut front = [0; APPENDED_BYTES_MAX];
    front[0] = bytes[0] + 1;
    let at = write_item(&mut front, 1, item, item.rev.main);
    let front_len = write_item(&mut front, at, newest, item.rev.main - newest.rev.main);
    Some(Appended { old_len: bytes.len() - reader.bytes.len(), front, front_len })
}

/// Asserts that a key's next revision is above its newest.
pub(super) fn assert_rising(newest: Revision, next: Revision) {
    assert!(next > newest, "revisions of a key rise: {next:?} is not above {newest:?}");
}

fn write_item(out: &mut [u8], at: usize, item: Item, delta: i64) -> usize {
    let has_sub = item.rev.sub != 0;
    let flags = u64::from(item.tombstone) << 1 | u64::from(has_sub);
    let at = varint::write(out, at, (delta as u64) << 2 | flags);
    if has_sub { varint::write(out, at, item.rev.sub as u64) } else { at }
}

/// Packs `items` (ascending) with `origin` behind `out`.
pub(super) fn pack(items: &[Item], origin: Origin, out: &mut Vec<u8>) {
    let flag = if origin.missing > 0 { FLAG_MISSING } else { 0 };
    if items.len() <= INLINE_ITEMS_MAX {
        out.push(items.len() as u8 | flag);
    } else {
        out.push(FORM_LONG | flag);
        varint::put(out, items.len() as u64);
    }
    let mut newer = 0;
    for (i, item) in items.iter().rev().enumerate() {
        let delta = if i == 0 { item.rev.main } else { newer - item.rev.main };
        newer = item.rev.main;
        let mut bytes = [0; 2 * varint::VARINT_BYTES_MAX];
        let len = write_item(&mut bytes, 0, *item, delta);
        out.extend_from_slice(&bytes[..len]);
    }
    if origin.missing > 0 {
        let has_sub = origin.created.sub != 0;
        varint::put(out, origin.missing);
        varint::put(out, ((newer - origin.created.main) as u64) << 1 | u64::from(has_sub));
        if has_sub {
            varint::put(out, origin.created.sub as u64);
        }
    }
}

impl Short {
    /// A history of one item.
    pub(super) fn new(item: Item, origin: Origin) -> Short {
        let mut items = [NO_ITEM; INLINE_ITEMS_MAX];
        items[0] = item;
        Short { items, len: 1, origin }
    }

    /// Unpacks an inline history.
    #[inline]
    pub(super) fn unpack(bytes: &[u8]) -> Short {
        let mut reader = Reader::new(bytes).expect(SOUND);
        let len = reader.left;
        let mut items = [NO_ITEM; INLINE_ITEMS_MAX];
        for place in items[..len].iter_mut().rev() {
            *place = reader.item().expect(SOUND);
        }
        let origin = reader.origin(items[0].rev).expect(SOUND);
        Short { items, len, origin }
    }

    pub(super) fn items(&self) -> &[Item] {
        &self.items[..self.len]
    }
}

/// The oldest item's index in the generation that holds item `i`.
fn generation_start(items: &[Item], i: usize) -> usize {
    items[..i].iter().rposition(|item| item.tombstone).map_or(0, |tombstone| tombstone + 1)
}

/// How many of the oldest `items` a compaction at `at` removes: all below the newest item not
/// above `at`; that one too if it is a tombstone older than `at`. A tombstone exactly at `at` is
/// kept, also when a put of the same transaction follows it.
pub(super) fn cut(items: &[Item], at: i64) -> usize {
    let not_above = items.partition_point(|item| item.rev.main <= at);
    let Some(newest) = not_above.checked_sub(1) else { return 0 };
    if items[newest].tombstone {
        return if items[newest].rev.main == at { newest } else { newest + 1 };
    }
    let before = newest.checked_sub(1).map(|i| items[i]);
    match before {
        Some(item) if item.tombstone && item.rev.main == at => newest - 1,
        _ => newest,
    }
}

/// The origin once the oldest `cut` of `items` are removed; at least one must remain.
pub(super) fn origin_after(items: &[Item], cut: usize, origin: Origin) -> Origin {
    let start = generation_start(items, cut);
    let missing = (cut - start) as u64 + if start == 0 { origin.missing } else { 0 };
    let created = if start == 0 && origin.missing > 0 { origin.created } else { items[start].rev };
    Origin { created, missing }
}
