//! Pass 2: the pages, in file order.

use std::io::{self, Seek, SeekFrom, Write};

use crate::error::{Error, Result};
use crate::format::{PAGE_BYTES, u32_of};
use crate::plan::{FIRST_PAGE, Plan};
use crate::tree::{Builder, Content, Piece, Sink};

/// Writes the image that was planned, front to back, one `write_all` per page (three when a row
/// needs several pages). Rows and buckets must come as they were planned.
///
/// A row that is [`Unwritable`](Error::Unwritable) is not added, that is all. After any other error
/// what was written is of no use, nothing more is, and `finish` fails.
#[derive(Debug)]
pub struct Writer<W> {
    builder: Builder,
    pages: Pages<W>,
    plan: Plan,
}

impl<W: Write> Writer<W> {
    /// Writes the meta pages.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn new(out: W, plan: Plan) -> Result<Self> {
        let mut pages = Pages::new(out, plan.high_water);
        pages.put(&plan.meta_pages())?;
        Ok(Self { builder: Builder::new(), pages, plan })
    }

    /// Begins the bucket of this name. Names ascend.
    ///
    /// # Errors
    /// [`Error::Unwritable`] for a bad name or order, [`Error::NotAsPlanned`], [`Error::Io`].
    pub fn bucket(&mut self, name: &[u8]) -> Result<()> {
        self.builder.bucket(name, &mut self.pages)
    }

    /// Adds a row to the bucket that was begun last. Keys ascend.
    ///
    /// # Errors
    /// [`Error::Unwritable`] for a bad row or order, [`Error::NotAsPlanned`], [`Error::Io`].
    pub fn row(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.builder.row(Piece::of(key), Piece::of(value), &mut self.pages)
    }

    /// Writes the last pages. Does not flush.
    ///
    /// # Errors
    /// [`Error::NotAsPlanned`] unless exactly the planned pages were written, [`Error::Io`].
    pub fn finish(mut self) -> Result<W> {
        let root = self.builder.finish(&mut self.pages)?;
        if self.pages.next != self.plan.high_water {
            return Err(Error::NotAsPlanned { reason: "fewer pages than planned" });
        }
        if root != self.plan.root {
            return Err(Error::NotAsPlanned { reason: "the root is on another page" });
        }
        Ok(self.pages.out)
    }
}

/// Writes an image in one pass to a place that can seek: the meta pages are filled in at the end.
#[derive(Debug)]
pub struct FileWriter<W> {
    builder: Builder,
    pages: Pages<W>,
}

impl<W: Write + Seek> FileWriter<W> {
    /// Leaves room for the meta pages. `out` must be empty and at its beginning.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn new(out: W) -> Result<Self> {
        let mut pages = Pages::new(out, u64::MAX);
        pages.put(&[0; 2 * PAGE_BYTES])?;
        Ok(Self { builder: Builder::new(), pages })
    }

    /// Begins the bucket of this name. Names ascend.
    ///
    /// # Errors
    /// [`Error::Unwritable`] for a bad name or order, [`Error::Io`].
    pub fn bucket(&mut self, name: &[u8]) -> Result<()> {
        self.builder.bucket(name, &mut self.pages)
    }

    /// Adds a row to the bucket that was begun last. Keys ascend.
    ///
    /// # Errors
    /// [`Error::Unwritable`] for a bad row or order, [`Error::Io`].
    pub fn row(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.builder.row(Piece::of(key), Piece::of(value), &mut self.pages)
    }

    /// Writes the last pages and the metas, and leaves `out` at its end. Flushes, but does not
    /// sync.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(mut self) -> Result<W> {
        let root = self.builder.finish(&mut self.pages)?;
        let plan = Plan { root, high_water: self.pages.next };
        let mut out = self.pages.out;
        let mut write = || -> io::Result<()> {
            out.seek(SeekFrom::Start(0))?;
            out.write_all(&plan.meta_pages())?;
            out.seek(SeekFrom::End(0))?;
            out.flush()
        };
        write().map_err(|source| Error::Io { action: "write meta pages", offset: 0, source })?;
        Ok(out)
    }
}

/// Writes pages one after the other.
#[derive(Debug)]
struct Pages<W> {
    out: W,
    /// Id of the next page.
    next: u64,
    /// No page may reach beyond.
    end: u64,
    /// The page on its way out.
    page: Vec<u8>,
    /// A page was refused or may have been written in part.
    failed: bool,
}

impl<W: Write> Pages<W> {
    fn new(out: W, end: u64) -> Self {
        let page = Vec::with_capacity(PAGE_BYTES);
        Self { out, next: FIRST_PAGE, end, page, failed: false }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let offset = self.next * PAGE_BYTES as u64;
        self.out.write_all(bytes).map_err(|source| Error::Io { action: "write", offset, source })
    }

    fn write(&mut self, content: Content<'_>, pages: u64) -> Result<()> {
        const ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
        let padding = content.bytes.next_multiple_of(PAGE_BYTES) - content.bytes;
        let mut page = std::mem::take(&mut self.page);
        page.clear();
        let overflow = u32_of(usize::try_from(pages - 1).unwrap_or(usize::MAX));
        content.encode_heads(self.next, overflow, &mut page);
        if pages == 1 {
            page.extend_from_slice(content.data);
            page.resize(PAGE_BYTES, 0);
            self.put(&page)?;
        } else {
            self.put(&page)?;
            self.put(content.data)?;
            self.put(ZEROS.get(..padding).unwrap_or_default())?;
        }
        self.page = page;
        Ok(())
    }
}

impl<W: Write> Sink for Pages<W> {
    const WRITES: bool = true;

    fn page(&mut self, content: Content<'_>) -> Result<u64> {
        let (id, pages) = (self.next, content.pages());
        if self.failed {
            return Err(Error::NotAsPlanned { reason: "an earlier page was not written" });
        }
        self.failed = true;
        if pages > self.end - id {
            return Err(Error::NotAsPlanned { reason: "more pages than planned" });
        }
        self.write(content, pages)?;
        self.next = id + pages;
        self.failed = false;
        Ok(id)
    }
}
