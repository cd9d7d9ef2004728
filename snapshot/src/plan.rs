//! Pass 1: how long the file will be and where its root will stand.

use crate::error::Result;
use crate::format::{Meta, NO_FREELIST, PAGE_BYTES, u32_of};
use crate::tree::{Builder, Content, Piece, Sink};

/// Pages before the first that holds rows: the two metas.
pub(crate) const FIRST_PAGE: u64 = 2;
/// Transaction of the first meta page; the second has the one before, so the first always wins.
const TXID: u64 = 2;

/// What the meta pages say, known before the first byte is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub(crate) root: u64,
    pub(crate) high_water: u64,
}

impl Plan {
    /// Length of the file in bytes, without a SHA-256 after it.
    pub fn total_bytes(&self) -> u64 {
        self.high_water * PAGE_BYTES as u64
    }

    /// The two meta pages.
    pub(crate) fn meta_pages(&self) -> Vec<u8> {
        let mut pages = Vec::with_capacity(2 * PAGE_BYTES);
        for page in 0..FIRST_PAGE {
            Meta {
                page_bytes: u32_of(PAGE_BYTES),
                root: self.root,
                freelist: NO_FREELIST,
                high_water: self.high_water,
                txid: TXID - page,
            }
            .encode(page, &mut pages);
            pages.resize(pages.len().next_multiple_of(PAGE_BYTES), 0);
        }
        pages
    }
}

/// Takes the lengths of all rows, in the order in which they will be written.
///
/// Costs a few nanoseconds a row and holds one page per tree level.
#[derive(Debug)]
pub struct Planner {
    builder: Builder,
    count: Count,
}

impl Planner {
    /// An image without buckets.
    #[expect(clippy::new_without_default, reason = "an empty plan is no sensible default")]
    pub fn new() -> Self {
        Self { builder: Builder::new(), count: Count { next: FIRST_PAGE } }
    }

    /// Begins the bucket of this name. Names ascend.
    ///
    /// # Errors
    /// [`Unwritable`](crate::Error::Unwritable) if the name is empty, too long or not greater than
    /// the one before.
    pub fn bucket(&mut self, name: &[u8]) -> Result<()> {
        self.builder.bucket(name, &mut self.count)
    }

    /// Adds a row to the bucket that was begun last, by the lengths of key and value in bytes.
    ///
    /// # Errors
    /// [`Unwritable`](crate::Error::Unwritable) if bbolt takes no such row, or no bucket was begun.
    pub fn row(&mut self, key_len: usize, value_len: usize) -> Result<()> {
        let (key, value) = (Piece::length(key_len), Piece::length(value_len));
        self.builder.row(key, value, &mut self.count)
    }

    /// What the rows come to.
    ///
    /// # Errors
    /// None today; the type is that of the writer's.
    pub fn finish(mut self) -> Result<Plan> {
        let root = self.builder.finish(&mut self.count)?;
        Ok(Plan { root, high_water: self.count.next })
    }
}

/// Counts pages.
#[derive(Debug)]
struct Count {
    next: u64,
}

impl Sink for Count {
    const WRITES: bool = false;

    fn page(&mut self, content: Content<'_>) -> Result<u64> {
        let id = self.next;
        self.next += content.pages();
        Ok(id)
    }
}
