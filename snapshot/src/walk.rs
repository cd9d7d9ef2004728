//! From the root down to every row, in order.
//!
//! ```text
//!   root tree:   branch … leaf ─▶ (name, root page) or (name, inline leaf)
//!   bucket tree: branch ┐                         each branch waits with its next child's key,
//!                branch ┐ leaf ─▶ row, row, row   which bounds the keys below the current one
//! ```

use crate::error::{Error, Result};
use crate::format::{BUCKET_FLAG, BUCKET_HEAD_BYTES, Kind, u64_at};
use crate::page::{Page, Place, list};
use crate::plan::FIRST_PAGE;
use crate::reader::Reader;
use crate::source::Source;

/// Deepest tree that is read. One level of 4 KiB pages holds a hundred children and bbolt keeps at
/// least two, so no file of 2^32 pages comes near.
const DEPTH_MAX: usize = 64;

/// Walks an image bucket by bucket and row by row, both in ascending order.
///
/// A call that fails has stepped over what is broken, so that a checker can go on; everybody else
/// stops at the first error. [`Error::Corrupt`] names page and byte.
#[derive(Debug)]
pub struct Walk<'r, S> {
    reader: &'r Reader<S>,
    used: PageSet,
    buckets: Cursor,
    rows: Option<Cursor>,
}

impl<'r, S: Source> Walk<'r, S> {
    pub(crate) fn new(reader: &'r Reader<S>) -> Self {
        let mut used = PageSet::new(reader.high_water());
        used.insert(0, FIRST_PAGE);
        Self { reader, used, buckets: Cursor::at(reader.root(), 0), rows: None }
    }

    /// Goes to the next bucket and gives its name. Rows of the one before that were not read are
    /// left out, and not checked.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::Io`].
    pub fn next_bucket(&mut self) -> Result<Option<&[u8]>> {
        self.rows = None;
        if !self.buckets.advance(self.reader, &mut self.used)? {
            return Ok(None);
        }
        let Some(leaf) = &self.buckets.leaf else { return Ok(None) };
        self.rows = Some(open_bucket(leaf)?);
        Ok(Some(leaf.key()))
    }

    /// Goes to the next row of the bucket and gives its key and value.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::Io`].
    pub fn next_row(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let Some(rows) = &mut self.rows else { return Ok(None) };
        if !rows.advance(self.reader, &mut self.used)? {
            return Ok(None);
        }
        let Some(leaf) = &rows.leaf else { return Ok(None) };
        match leaf.word() {
            0 => Ok(Some((leaf.key(), leaf.value()))),
            1 => leaf.corrupt_row("a bucket inside a bucket, which etcd does not make"),
            _ => leaf.corrupt_row("unknown element flags"),
        }
    }

    /// The pages passed so far.
    pub(crate) fn used(&mut self) -> &mut PageSet {
        &mut self.used
    }
}

/// The rows of the bucket whose header the leaf's element holds.
fn open_bucket(leaf: &Page) -> Result<Cursor> {
    if leaf.word() != u64::from(BUCKET_FLAG) {
        return leaf.corrupt_row("a row outside of any bucket");
    }
    let value = leaf.value();
    let (Some(root), Some(inline)) = (u64_at(value, 0), value.get(BUCKET_HEAD_BYTES..)) else {
        return leaf.corrupt_row("a bucket without header");
    };
    match root {
        0 => {
            let at = leaf.row_end() - inline.len() as u64;
            Ok(Cursor::inline(Page::inline(leaf.id, at, inline)?))
        }
        _ if !inline.is_empty() => leaf.corrupt_row("a bucket with both a root page and a leaf"),
        _ => Ok(Cursor::at(root, leaf.id)),
    }
}

impl Page {
    /// An error in the element read last.
    fn corrupt_row<T>(&self, what: &str) -> Result<T> {
        let offset = self.row_end() - (self.key().len() + self.value().len()) as u64;
        let problem = format!("page {}: {what}", self.id);
        Err(Error::Corrupt { page: self.id, offset, problem })
    }
}

/// A position in one tree.
#[derive(Debug)]
struct Cursor {
    /// The tree's root, until it is entered.
    root: Option<u64>,
    /// The page that names the root.
    from: u64,
    branches: Vec<Branch>,
    leaf: Option<Page>,
}

/// A branch above the current leaf.
#[derive(Debug)]
struct Branch {
    page: Page,
    /// The child that is next, and its key.
    next: Option<(Vec<u8>, u64)>,
    /// Why there is no further child; told when those before were visited.
    damage: Option<Error>,
}

impl Cursor {
    fn at(root: u64, from: u64) -> Self {
        Self { root: Some(root), from, branches: Vec::new(), leaf: None }
    }

    fn inline(leaf: Page) -> Self {
        Self { root: None, from: leaf.id, branches: Vec::new(), leaf: Some(leaf) }
    }

    /// Goes to the next element of the leaves.
    fn advance<S: Source>(&mut self, reader: &Reader<S>, used: &mut PageSet) -> Result<bool> {
        loop {
            if let Some(leaf) = &mut self.leaf
                && leaf.advance(reader)?
            {
                return Ok(true);
            }
            self.leaf = None;
            let Some((child, place)) = self.next_child(reader)? else { return Ok(false) };
            self.enter(child, place, reader, used)?;
        }
    }

    /// The page to go to next, and what is known of it.
    fn next_child<S: Source>(&mut self, reader: &Reader<S>) -> Result<Option<(u64, Place)>> {
        if let Some(root) = self.root.take() {
            return Ok(Some((root, Place { stack: vec![root], ..Place::default() })));
        }
        while let Some(branch) = self.branches.last_mut() {
            let Some((key, child)) = branch.next.take() else {
                let damage = branch.damage.take();
                self.branches.pop();
                match damage {
                    Some(damage) => return Err(damage),
                    None => continue,
                }
            };
            branch.read_next(reader);
            let next_key = branch.next.as_ref().map(|(key, _)| key);
            let upper = next_key.or(branch.page.place.upper.as_ref()).cloned();
            let mut stack = branch.page.place.stack.clone();
            stack.push(child);
            return Ok(Some((child, Place { stack, lower: Some(key), upper })));
        }
        Ok(None)
    }

    /// Reads a page, which must not have been read before.
    fn enter<S: Source>(
        &mut self,
        id: u64,
        place: Place,
        reader: &Reader<S>,
        used: &mut PageSet,
    ) -> Result<()> {
        // Errors name the byte of the page with the reference: the page itself may not exist.
        let from = self.branches.last().map_or(self.from, |branch| branch.page.id);
        let offset = from * reader.page_bytes() as u64;
        let refuse = |problem| Err(Error::Corrupt { page: id, offset, problem });
        let end = reader.high_water();
        if id < FIRST_PAGE || id >= end {
            return refuse(format!("page {id}: out of bounds: {end} (stack: {})", list(&place)));
        }
        if used.contains(id) {
            return refuse(format!("page {id}: multiple references (stack: {})", list(&place)));
        }
        if self.branches.len() == DEPTH_MAX {
            return refuse(format!("page {id}: deeper than {DEPTH_MAX} levels"));
        }
        used.insert(id, 1);
        let page = Page::read(reader, id, place)?;
        for more in id + 1..=id + u64::from(page.overflow) {
            if used.contains(more) {
                let stack = list(&page.place);
                return refuse(format!("page {more}: multiple references (stack: {stack})"));
            }
            used.insert(more, 1);
        }
        match page.kind {
            Kind::Branch => {
                let mut branch = Branch { page, next: None, damage: None };
                branch.read_next(reader);
                self.branches.push(branch);
            }
            _ => self.leaf = Some(page),
        }
        Ok(())
    }
}

impl Branch {
    fn read_next<S: Source>(&mut self, reader: &Reader<S>) {
        match self.page.advance(reader) {
            Ok(true) => self.next = Some((self.page.key().to_vec(), self.page.word())),
            Ok(false) => {}
            Err(damage) => self.damage = Some(damage),
        }
    }
}

/// One bit per page.
#[derive(Debug)]
pub(crate) struct PageSet {
    bits: Vec<u64>,
}

impl PageSet {
    /// An empty set for pages below `end`.
    pub(crate) fn new(end: u64) -> Self {
        let words = usize::try_from(end / 64 + 1).unwrap_or(usize::MAX);
        Self { bits: vec![0; words] }
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        let word = usize::try_from(id / 64).ok().and_then(|word| self.bits.get(word));
        word.is_some_and(|word| word & (1 << (id % 64)) != 0)
    }

    /// Adds `count` pages from `id` on.
    pub(crate) fn insert(&mut self, id: u64, count: u64) {
        for id in id..id + count {
            let word = usize::try_from(id / 64).ok().and_then(|word| self.bits.get_mut(word));
            if let Some(word) = word {
                *word |= 1 << (id % 64);
            }
        }
    }
}
