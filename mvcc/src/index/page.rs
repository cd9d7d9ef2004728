//! A packed, sorted run of keys with a payload each.
//!
//! ```text
//! data:  | prefix | n suffix payload | n suffix payload | ...      n = suffix length, varint
//!                   ^ offs[0]          ^ offs[1]
//! heads: first four bytes of each suffix as a big-endian number: most of a search ends in them
//! ```

use std::cmp::Ordering;

use super::varint;

/// Most entries of a page.
pub(super) const PAGE_ENTRIES_MAX: usize = 64;
/// A page of two or more entries is split beyond this size: it bounds what an insert moves.
pub(super) const PAGE_BYTES_MAX: usize = 8 << 10;

/// A sorted run of at most [`PAGE_ENTRIES_MAX`] keys that share a prefix.
#[derive(Debug)]
pub(super) struct Page {
    data: Vec<u8>,
    heads: [u32; PAGE_ENTRIES_MAX],
    offs: [u32; PAGE_ENTRIES_MAX],
    prefix_len: u32,
    len: u32,
}

impl Default for Page {
    fn default() -> Page {
        Page {
            data: Vec::new(),
            heads: [0; PAGE_ENTRIES_MAX],
            offs: [0; PAGE_ENTRIES_MAX],
            prefix_len: 0,
            len: 0,
        }
    }
}

fn common_prefix_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// The first four bytes as a number that orders as they do; shorter runs are filled with zeros,
/// so equal heads decide nothing.
#[inline]
fn head(suffix: &[u8]) -> u32 {
    if let Some(bytes) = suffix.first_chunk::<4>() {
        return u32::from_be_bytes(*bytes);
    }
    let mut bytes = [0; 4];
    bytes[..suffix.len()].copy_from_slice(suffix);
    u32::from_be_bytes(bytes)
}

impl Page {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether one more entry must not be added before the page is split.
    pub(super) fn is_full(&self) -> bool {
        self.len() == PAGE_ENTRIES_MAX || (self.len() >= 2 && self.data.len() > PAGE_BYTES_MAX)
    }

    pub(super) fn data_bytes(&self) -> usize {
        self.data.len()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.data.capacity()
    }

    #[inline]
    pub(super) fn prefix(&self) -> &[u8] {
        &self.data[..self.prefix_len as usize]
    }

    #[inline]
    fn end(&self, i: usize) -> usize {
        if i + 1 < self.len() { self.offs[i + 1] as usize } else { self.data.len() }
    }

    /// Suffix and payload of entry `i`.
    #[inline]
    pub(super) fn entry(&self, i: usize) -> (&[u8], &[u8]) {
        let mut bytes = &self.data[self.offs[i] as usize..self.end(i)];
        let first = bytes[0];
        if first < 0x80 {
            return bytes[1..].split_at(usize::from(first));
        }
        let len = varint::take(&mut bytes).expect("pages hold what was written to them");
        bytes.split_at(len as usize)
    }

    #[inline]
    fn suffix(&self, i: usize) -> &[u8] {
        self.entry(i).0
    }

    #[inline]
    pub(super) fn payload(&self, i: usize) -> &[u8] {
        self.entry(i).1
    }

    pub(super) fn key(&self, i: usize) -> Vec<u8> {
        [self.prefix(), self.suffix(i)].concat()
    }

    /// The place of `key`, or where it would be inserted.
    #[inline]
    pub(super) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let prefix = self.prefix();
        let Some(rest) = key.strip_prefix(prefix) else {
            return Err(if key < prefix { 0 } else { self.len() });
        };
        let heads = &self.heads[..self.len()];
        let wanted = head(rest);
        let mut low = heads.partition_point(|&head| head < wanted);
        let same = heads[low..].iter().take_while(|&&head| head == wanted).count();
        let mut high = low + same;
        while low < high {
            let middle = (low + high) / 2;
            match self.suffix(middle).cmp(rest) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// The first place whose key is not below `key`.
    pub(super) fn lower_bound(&self, key: &[u8]) -> usize {
        self.search(key).unwrap_or_else(|place| place)
    }

    /// Opens or closes room so that `range` of the data becomes `new_len` bytes long.
    fn resize(&mut self, start: usize, old_len: usize, new_len: usize) {
        if new_len > old_len {
            let more = new_len - old_len;
            if self.data.capacity() - self.data.len() < more {
                self.data.reserve_exact(more + self.data.len() / 8 + 16);
            }
            let tail = self.data.len();
            self.data.resize(tail + more, 0);
            self.data.copy_within(start + old_len..tail, start + new_len);
        } else {
            self.data.copy_within(start + old_len.., start + new_len);
            self.data.truncate(self.data.len() - (old_len - new_len));
        }
    }

    fn shift_offs(&mut self, from: usize, old_len: usize, new_len: usize) {
        let delta = (new_len as u32).wrapping_sub(old_len as u32);
        let len = self.len();
        for off in &mut self.offs[from..len] {
            *off = off.wrapping_add(delta);
        }
    }

    /// Replaces the payload of entry `i`.
    pub(super) fn set_payload(&mut self, i: usize, payload: &[u8]) {
        self.set_payload_front(i, self.payload(i).len(), payload);
    }

    /// Replaces the first `old_len` bytes of entry `i`'s payload.
    pub(super) fn set_payload_front(&mut self, i: usize, old_len: usize, front: &[u8]) {
        let start = self.end(i) - self.payload(i).len();
        if old_len != front.len() {
            self.resize(start, old_len, front.len());
            self.shift_offs(i + 1, old_len, front.len());
        }
        self.data[start..start + front.len()].copy_from_slice(front);
    }

    /// Inserts `key` at place `i`, which must be where [`Page::search`] wants it.
    pub(super) fn insert(&mut self, i: usize, key: &[u8], payload: &[u8]) {
        assert!(self.len() < PAGE_ENTRIES_MAX, "a full page must be split first");
        if !key.starts_with(self.prefix()) {
            let keep = common_prefix_len(key, self.prefix());
            self.set_prefix_len(keep);
        } else if self.len() >= 8 && self.data.capacity() - self.data.len() < key.len() + 24 {
            // About to grow: see first whether a longer shared prefix saves the growth.
            self.lengthen_prefix(Some(key));
        }
        let suffix = &key[self.prefix_len as usize..];
        let mut size = [0u8; varint::VARINT_BYTES_MAX];
        let size_len = varint::write(&mut size, 0, suffix.len() as u64);
        let entry_len = size_len + suffix.len() + payload.len();
        let start = if i < self.len() { self.offs[i] as usize } else { self.data.len() };
        self.resize(start, 0, entry_len);
        self.shift_offs(i, 0, entry_len);
        let len = self.len();
        self.offs.copy_within(i..len, i + 1);
        self.heads.copy_within(i..len, i + 1);
        self.offs[i] = start as u32;
        self.heads[i] = head(suffix);
        self.len += 1;
        let mut at = start;
        for part in [&size[..size_len], suffix, payload] {
            self.data[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
    }

    /// Removes entry `i`.
    pub(super) fn remove(&mut self, i: usize) {
        let start = self.offs[i] as usize;
        let old_len = self.end(i) - start;
        self.resize(start, old_len, 0);
        self.shift_offs(i + 1, old_len, 0);
        let len = self.len();
        self.offs.copy_within(i + 1..len, i);
        self.heads.copy_within(i + 1..len, i);
        self.len -= 1;
        if self.data.capacity() > 256 && self.data.capacity() > 2 * self.data.len() {
            self.data.shrink_to(self.data.len() + self.data.len() / 8);
        }
    }

    /// Moves the entries from place `at` on into a new page; both get their longest prefix.
    pub(super) fn split_off(&mut self, at: usize) -> Page {
        let right = self.copy_range(at, self.len());
        *self = self.copy_range(0, at);
        right
    }

    /// Appends all entries of `right`, whose keys must be above those here.
    pub(super) fn append(&mut self, right: &Page) {
        let mut merged = Page::default();
        let first = if self.len() > 0 { self.key(0) } else { right.key(0) };
        let last = right.key(right.len() - 1);
        let prefix_len = common_prefix_len(&first, &last);
        let bytes = self.data.len() + right.data.len() + PAGE_ENTRIES_MAX;
        merged.start(&first[..prefix_len], bytes);
        for page in [&*self, right] {
            for i in 0..page.len() {
                let (suffix, payload) = page.entry(i);
                merged.push_parts(page.prefix(), suffix, payload);
            }
        }
        merged.data.shrink_to_fit();
        *self = merged;
    }

    /// Gives spare memory back.
    pub(super) fn seal(&mut self) {
        self.lengthen_prefix(None);
        self.data.shrink_to_fit();
    }

    /// The place that cuts the page into halves of about equal size, `1..len`.
    pub(super) fn middle(&self) -> usize {
        let half = self.data.len() / 2;
        let place = self.offs[..self.len()].partition_point(|&off| (off as usize) < half);
        place.clamp(1, self.len() - 1)
    }

    fn start(&mut self, prefix: &[u8], bytes: usize) {
        self.data.reserve_exact(bytes);
        self.data.extend_from_slice(prefix);
        self.prefix_len = prefix.len() as u32;
    }

    /// Appends an entry given as parts of which the first is at least as long as, or a part of,
    /// this page's prefix.
    fn push_parts(&mut self, prefix: &[u8], suffix: &[u8], payload: &[u8]) {
        let own = self.prefix_len as usize;
        let (front, tail) = if own <= prefix.len() {
            (&prefix[own..], suffix)
        } else {
            (&[][..], &suffix[own - prefix.len()..])
        };
        let i = self.len();
        self.offs[i] = self.data.len() as u32;
        self.len += 1;
        varint::put(&mut self.data, (front.len() + tail.len()) as u64);
        let start = self.data.len();
        self.data.extend_from_slice(front);
        self.data.extend_from_slice(tail);
        self.heads[i] = head(&self.data[start..]);
        self.data.extend_from_slice(payload);
    }

    fn copy_range(&self, from: usize, to: usize) -> Page {
        let shared = common_prefix_len(self.suffix(from), self.suffix(to - 1));
        self.rebuilt(from, to, self.prefix_len as usize + shared)
    }

    fn set_prefix_len(&mut self, prefix_len: usize) {
        *self = self.rebuilt(0, self.len(), prefix_len);
    }

    fn lengthen_prefix(&mut self, also: Option<&[u8]>) {
        if self.len() == 0 {
            return;
        }
        let old = self.prefix_len as usize;
        let mut shared = common_prefix_len(self.suffix(0), self.suffix(self.len() - 1));
        if let Some(key) = also {
            shared = shared.min(common_prefix_len(self.suffix(0), &key[old..]));
        }
        if shared > 0 {
            self.set_prefix_len(old + shared);
        }
    }

    fn rebuilt(&self, from: usize, to: usize, prefix_len: usize) -> Page {
        let mut page = Page::default();
        if from == to {
            return page;
        }
        let prefix = self.key(from);
        let old = self.prefix_len as usize;
        let longer = old.saturating_sub(prefix_len);
        let entries = self.end(to - 1) - self.offs[from] as usize;
        // Each entry's length field may grow by a byte or two with the suffix.
        let bytes = prefix_len + entries + (to - from) * (longer + 2);
        page.start(&prefix[..prefix_len], bytes);
        for i in from..to {
            let (suffix, payload) = self.entry(i);
            page.push_parts(self.prefix(), suffix, payload);
        }
        page.data.shrink_to(page.data.len() + page.data.len() / 16);
        page
    }
}

/// The shortest key above `left` and not above `right`.
pub(super) fn separator<'a>(left: &[u8], right: &'a [u8]) -> &'a [u8] {
    debug_assert!(left < right);
    &right[..common_prefix_len(left, right) + 1]
}
