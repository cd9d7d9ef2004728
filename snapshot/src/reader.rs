//! Opening a file: page size, current meta, bounds.

use crate::audit;
use crate::error::{Error, Result};
use crate::format::{Kind, META_END, Meta, NO_FREELIST, PAGE_BYTES_READ, PageHead};
use crate::plan::FIRST_PAGE;
use crate::source::Source;
use crate::status::{self, Status};
use crate::walk::Walk;

/// Most pages of a file that is read: 16 TiB at 4 KiB each. Bounds the bits kept of pages.
const PAGES_MAX: u64 = 1 << 32;

/// An image, or the live database of a stopped member. A SHA-256 after the last page, or the
/// preallocated rest of a live file, is not looked at.
#[derive(Debug)]
pub struct Reader<S> {
    source: S,
    page_bytes: usize,
    meta: Meta,
}

impl<S: Source> Reader<S> {
    /// Finds the page size and the newer of the two meta pages, of which one may be damaged.
    ///
    /// # Errors
    /// [`Error::NotADatabase`] if no meta page is valid, [`Error::Corrupt`] if the file is shorter
    /// than its meta says or the meta is inconsistent, [`Error::Io`].
    pub fn open(source: S) -> Result<Self> {
        let io = |source| Error::Io { action: "read", offset: 0, source };
        let length = source.length().map_err(io)?;
        let first = read_meta(&source, length, 0)?;
        let (page_bytes, second) = match first {
            Ok((_, first)) => {
                let size = usize::try_from(first.page_bytes).unwrap_or(usize::MAX);
                if !PAGE_BYTES_READ.contains(&size) || !size.is_power_of_two() {
                    return corrupt_meta(0, 24, format!("page size {size}"));
                }
                (size, read_meta(&source, length, size)?)
            }
            Err(reason) => find_second(&source, length, reason)?,
        };
        if length < FIRST_PAGE * page_bytes as u64 {
            return Err(Error::NotADatabase { reason: "invalid database" });
        }
        let newer_second = match (&first, &second) {
            (Ok((_, first)), Ok((_, second))) => second.txid > first.txid,
            (first, _) => first.is_err(),
        };
        let page = u64::from(newer_second);
        let (head, meta) = if newer_second { second } else { first }
            .map_err(|reason| Error::NotADatabase { reason })?;
        let reader = Self { source, page_bytes, meta };
        reader.check_meta(page, head, length)?;
        Ok(reader)
    }

    fn check_meta(&self, page: u64, head: PageHead, length: u64) -> Result<()> {
        let at = page * self.page_bytes as u64;
        let Meta { page_bytes, root, freelist, high_water, .. } = self.meta;
        let pages = length / self.page_bytes as u64;
        if head.id != page || head.flags != Kind::Meta.flags() {
            let problem = format!("page {page}: head is not that of a meta page");
            return Err(Error::Corrupt { page, offset: at, problem });
        }
        if usize::try_from(page_bytes) != Ok(self.page_bytes) {
            return corrupt_meta(page, at + 24, "metas differ in page size".to_owned());
        }
        if high_water > pages || high_water > PAGES_MAX {
            let what = format!("{high_water} pages in a file of {pages}");
            return corrupt_meta(page, at + 56, what);
        }
        if root < FIRST_PAGE || root >= high_water {
            return corrupt_meta(page, at + 32, format!("root on page {root} of {high_water}"));
        }
        if freelist != NO_FREELIST && (freelist < FIRST_PAGE || freelist >= high_water) {
            let what = format!("freelist on page {freelist} of {high_water}");
            return corrupt_meta(page, at + 48, what);
        }
        Ok(())
    }

    /// The buckets and rows from the beginning. Checks what it passes; what it does not reach and
    /// the freelist are for [`Self::check`].
    pub fn walk(&self) -> Walk<'_, S> {
        Walk::new(self)
    }

    /// Reads all pages and reports all damage, as `etcdutl snapshot status` does first.
    ///
    /// # Errors
    /// [`Error::Integrity`] with a line per problem, [`Error::Io`].
    pub fn check(&self) -> Result<()> {
        audit::audit(self, &mut |_| {})
    }

    /// What `etcdutl snapshot status` tells, from one pass that also does what [`Self::check`]
    /// does. Takes some 40 bytes of memory for each live key.
    ///
    /// # Errors
    /// [`Error::Integrity`], [`Error::Row`] if a row of `key` is not one, [`Error::Io`].
    pub fn status(&self) -> Result<Status> {
        status::status(self)
    }

    /// Length of the database in bytes: its pages, without what follows them in the file.
    pub fn size_bytes(&self) -> u64 {
        self.meta.high_water * self.page_bytes as u64
    }

    /// Reads within the pages.
    pub(crate) fn fill(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let read = self.source.read_range(offset, buf);
        read.map_err(|source| Error::Io { action: "read", offset, source })
    }
}

impl<S> Reader<S> {
    pub(crate) fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    pub(crate) fn high_water(&self) -> u64 {
        self.meta.high_water
    }

    pub(crate) fn root(&self) -> u64 {
        self.meta.root
    }

    pub(crate) fn freelist(&self) -> Option<u64> {
        (self.meta.freelist != NO_FREELIST).then_some(self.meta.freelist)
    }
}

/// A meta page, or why it is none.
type MetaPage = std::result::Result<(PageHead, Meta), &'static str>;

/// Reads the meta page at `offset`.
fn read_meta<S: Source>(source: &S, length: u64, offset: usize) -> Result<MetaPage> {
    let offset = offset as u64;
    if length < offset + META_END as u64 {
        return Ok(Err("invalid database"));
    }
    let mut bytes = [0; META_END];
    let read = source.read_range(offset, &mut bytes);
    read.map_err(|source| Error::Io { action: "read", offset, source })?;
    let Some(head) = PageHead::decode(&bytes) else { return Ok(Err("invalid database")) };
    Ok(Meta::decode(&bytes).map(|meta| (head, meta)))
}

/// Finds the second meta page when the first cannot tell the page size.
fn find_second<S: Source>(
    source: &S,
    length: u64,
    reason: &'static str,
) -> Result<(usize, MetaPage)> {
    let (smallest, largest) = PAGE_BYTES_READ.into_inner();
    let sizes = std::iter::successors(Some(smallest), |size| Some(size * 2));
    for size in sizes.take_while(|size| *size <= largest) {
        if let Ok((head, meta)) = read_meta(source, length, size)?
            && usize::try_from(meta.page_bytes) == Ok(size)
        {
            return Ok((size, Ok((head, meta))));
        }
    }
    Err(Error::NotADatabase { reason })
}

fn corrupt_meta<T>(page: u64, offset: u64, what: String) -> Result<T> {
    Err(Error::Corrupt { page, offset, problem: format!("page {page}: meta: {what}") })
}
