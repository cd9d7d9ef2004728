//! The check of a whole file: every page either reached exactly once or free.

use crate::error::{Error, Result};
use crate::format::{Kind, PAGE_HEAD_BYTES};
use crate::page::head_of;
use crate::plan::FIRST_PAGE;
use crate::reader::Reader;
use crate::source::Source;
use crate::walk::{PageSet, Walk};

/// Problems of which the text is kept; the rest is counted.
const LINES_MAX: usize = 1000;
/// Bytes of text after which no more is kept: a line may show two keys of 32 KiB in hex.
const LINES_BYTES_MAX: usize = 1 << 20;
/// Bytes of the freelist that are read at once.
const FREELIST_BYTES: usize = 64 << 10;
/// Count of a freelist whose true count stands before its ids.
const COUNT_IS_IN_FIRST: u16 = 0xffff;

/// What the walk of an audit passes.
pub(crate) enum Seen<'a> {
    /// A bucket begins.
    Bucket(&'a [u8]),
    /// A row of it: key and value.
    Row(&'a [u8], &'a [u8]),
}

/// Reads all pages, shows buckets and rows to `visit`, and reports all damage.
pub(crate) fn audit<S: Source>(reader: &Reader<S>, visit: &mut impl FnMut(Seen<'_>)) -> Result<()> {
    let mut found = Found::default();
    let mut walk = reader.walk();
    let free = match reader.freelist() {
        Some(page) => Some(read_freelist(reader, page, walk.used(), &mut found)?),
        None => None,
    };
    walk_all(&mut walk, visit, &mut found)?;
    if let Some(free) = free {
        compare(&free, walk.used(), reader.high_water(), &mut found);
    }
    found.into_result()
}

fn walk_all<S: Source>(
    walk: &mut Walk<'_, S>,
    visit: &mut impl FnMut(Seen<'_>),
    found: &mut Found,
) -> Result<()> {
    loop {
        match walk.next_bucket() {
            Ok(Some(name)) => visit(Seen::Bucket(name)),
            Ok(None) => return Ok(()),
            Err(error) => found.note_damage(error)?,
        }
        loop {
            match walk.next_row() {
                Ok(Some((key, value))) => visit(Seen::Row(key, value)),
                Ok(None) => break,
                Err(error) => found.note_damage(error)?,
            }
        }
    }
}

/// The pages a freelist holds; its own count as used.
fn read_freelist<S: Source>(
    reader: &Reader<S>,
    page: u64,
    used: &mut PageSet,
    found: &mut Found,
) -> Result<PageSet> {
    let mut free = PageSet::new(reader.high_water());
    let page_bytes = reader.page_bytes() as u64;
    let at = page * page_bytes;
    let mut head = [0; PAGE_HEAD_BYTES + 8];
    reader.fill(at, &mut head)?;
    let head_and_kind = match head_of(reader, page, &head, &[page]) {
        Ok(head_and_kind) => head_and_kind,
        Err(error) => {
            found.note_damage(error)?;
            return Ok(free);
        }
    };
    let (page_head, Kind::Freelist) = head_and_kind else {
        found.note(format!("page {page}: is not the freelist that the meta page says it is"));
        return Ok(free);
    };
    used.insert(page, u64::from(page_head.overflow) + 1);
    let (first, count) = match page_head.count {
        COUNT_IS_IN_FIRST => (1, crate::format::u64_at(&head, PAGE_HEAD_BYTES).unwrap_or(0)),
        count => (0, u64::from(count)),
    };
    let room = (u64::from(page_head.overflow) + 1) * page_bytes - PAGE_HEAD_BYTES as u64;
    if count > room / 8 - first {
        found.note(format!("page {page}: {count} free pages do not fit on the freelist"));
        return Ok(free);
    }
    let ids_at = at + PAGE_HEAD_BYTES as u64 + first * 8;
    read_ids(reader, ids_at, count, &mut free, found)?;
    Ok(free)
}

fn read_ids<S: Source>(
    reader: &Reader<S>,
    mut at: u64,
    count: u64,
    free: &mut PageSet,
    found: &mut Found,
) -> Result<()> {
    let mut left = count * 8;
    let mut last = 0;
    let mut buf = vec![0; FREELIST_BYTES];
    while left > 0 {
        let len = usize::try_from(left).map_or(FREELIST_BYTES, |left| left.min(FREELIST_BYTES));
        let bytes = buf.get_mut(..len).unwrap_or_default();
        reader.fill(at, bytes)?;
        for id in bytes.as_chunks::<8>().0.iter().map(|id| u64::from_le_bytes(*id)) {
            if id < FIRST_PAGE || id >= reader.high_water() {
                let end = reader.high_water();
                found.note(format!("page {id}: out of bounds: {end} (stack: [])"));
            } else if free.contains(id) {
                found.note(format!("page {id}: already freed"));
            } else if id < last {
                found.note(format!("page {id}: out of order on the freelist"));
            }
            last = id;
            free.insert(id, u64::from(id < reader.high_water()));
        }
        at += len as u64;
        left -= len as u64;
    }
    Ok(())
}

/// Every page is either in use or free.
fn compare(free: &PageSet, used: &PageSet, high_water: u64, found: &mut Found) {
    for id in FIRST_PAGE..high_water {
        match (used.contains(id), free.contains(id)) {
            (true, true) => found.note(format!("page {id}: reachable freed")),
            (false, false) => found.note(format!("page {id}: unreachable unfreed")),
            _ => {}
        }
    }
}

/// Problems found so far.
#[derive(Debug, Default)]
struct Found {
    count: u64,
    lines: Vec<String>,
    bytes: usize,
}

impl Found {
    fn note(&mut self, line: String) {
        self.count += 1;
        if self.lines.len() < LINES_MAX && self.bytes < LINES_BYTES_MAX {
            self.bytes += line.len();
            self.lines.push(line);
        }
    }

    /// Notes damage; other errors end the audit.
    fn note_damage(&mut self, error: Error) -> Result<()> {
        match error {
            Error::Corrupt { problem, .. } => {
                self.note(problem);
                Ok(())
            }
            other => Err(other),
        }
    }

    fn into_result(self) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        Err(Error::Integrity { count: self.count, lines: self.lines })
    }
}
