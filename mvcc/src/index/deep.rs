//! Histories too long for their leaf.

use base::Revision;

use super::KeyState;
use super::history::{self, Item, Origin};

const TOMBSTONE: u64 = 1 << 63;

/// A revision with its tombstone mark in 16 bytes.
#[derive(Clone, Copy, Debug)]
struct Cell {
    main: i64,
    sub_and_mark: u64,
}

impl Cell {
    fn new(item: Item) -> Cell {
        let mark = if item.tombstone { TOMBSTONE } else { 0 };
        Cell { main: item.rev.main, sub_and_mark: item.rev.sub as u64 | mark }
    }

    fn item(self) -> Item {
        let sub = (self.sub_and_mark & !TOMBSTONE) as i64;
        Item {
            rev: Revision { main: self.main, sub },
            tombstone: self.sub_and_mark & TOMBSTONE != 0,
        }
    }
}

/// A long history, ascending, with the places at which generations begin.
#[derive(Debug)]
pub(super) struct Deep {
    cells: Vec<Cell>,
    /// Index of the first cell of each generation but the oldest.
    starts: Vec<u32>,
    origin: Origin,
}

impl Default for Deep {
    fn default() -> Deep {
        let created = Revision { main: 0, sub: 0 };
        Deep { cells: Vec::new(), starts: Vec::new(), origin: Origin { created, missing: 0 } }
    }
}

impl Deep {
    pub(super) fn new(items: &[Item], origin: Origin) -> Deep {
        let mut deep = Deep { origin, ..Deep::default() };
        deep.cells.reserve(items.len());
        for &item in items {
            deep.push(item);
        }
        deep
    }

    pub(super) fn push(&mut self, item: Item) {
        if self.newest().is_some_and(|newest| newest.tombstone) {
            self.starts.push(u32::try_from(self.cells.len()).expect("fewer than 2^32 revisions"));
        }
        self.cells.push(Cell::new(item));
    }

    pub(super) fn newest(&self) -> Option<Item> {
        self.cells.last().map(|cell| cell.item())
    }

    pub(super) fn items(&self) -> Vec<Item> {
        self.cells.iter().map(|cell| cell.item()).collect()
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Deep>()
            + self.cells.capacity() * size_of::<Cell>()
            + self.starts.capacity() * size_of::<u32>()
    }

    /// The index of the newest put not above `at`, unless a tombstone came after it.
    pub(super) fn visible_at(&self, at: i64) -> Option<(Revision, usize)> {
        // Most reads are of the newest revision.
        let newest = self.cells.len() - 1;
        let i = if self.cells[newest].main <= at {
            newest
        } else {
            self.cells.partition_point(|cell| cell.main <= at).checked_sub(1)?
        };
        let item = self.cells[i].item();
        (!item.tombstone).then_some((item.rev, i))
    }

    /// The state that item `i`, a put, leaves behind.
    pub(super) fn state_of(&self, i: usize) -> KeyState {
        let generation = match self.starts.last() {
            Some(&start) if start as usize <= i => self.starts.len(),
            _ => self.starts.partition_point(|&start| start as usize <= i),
        };
        let start = generation.checked_sub(1).map_or(0, |g| self.starts[g] as usize);
        let missing = if start == 0 { self.origin.missing } else { 0 };
        let created = if missing > 0 { self.origin.created } else { self.cells[start].item().rev };
        let version = (i - start + 1) as i64 + missing as i64;
        KeyState { modified: self.cells[i].item().rev, created, version }
    }

    /// Removes what a compaction at `at` removes, telling each item, and whether any remain.
    pub(super) fn compact(&mut self, at: i64, mut removed: impl FnMut(Item)) -> bool {
        // Only items up to `at` and the one after matter for the cut.
        let not_above = self.cells.partition_point(|cell| cell.main <= at);
        let from = not_above.saturating_sub(2);
        let head: Vec<Item> = self.cells[from..not_above].iter().map(|c| c.item()).collect();
        let cut = if head.is_empty() { 0 } else { from + history::cut(&head, at) };
        if cut == 0 {
            return true;
        }
        for cell in &self.cells[..cut] {
            removed(cell.item());
        }
        if cut == self.cells.len() {
            self.cells.clear();
            return false;
        }
        let generation = self.starts.partition_point(|&start| start as usize <= cut);
        if generation == 0 {
            let oldest = self.cells[0].item().rev;
            if self.origin.missing == 0 {
                self.origin.created = oldest;
            }
            self.origin.missing += cut as u64;
        } else {
            let start = self.starts[generation - 1] as usize;
            self.origin.created = self.cells[start].item().rev;
            self.origin.missing = (cut - start) as u64;
        }
        self.cells.drain(..cut);
        self.cells.shrink_to(self.cells.len() * 2);
        self.starts.drain(..generation);
        for start in &mut self.starts {
            *start -= cut as u32;
        }
        true
    }

    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }
}
