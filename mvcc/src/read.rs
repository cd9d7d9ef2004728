//! Reads at a revision.

use backend::{Backend, Rows as _};
use base::schema::Bucket;
use base::{KeyRange, Revision, RowKey};
use bytes::Bytes;
use proto::raw::Pairs;

use crate::error::Error;
use crate::index::{Entry, KeyState};
use crate::store::{Shared, Store};

/// Keys a read takes from the index before it lets go of the lock.
const KEYS_PER_LOCK: usize = 512;

/// Rows from which on a walk over neighbours is worth its beginning.
const WALK_ROWS_MIN: usize = 16;

/// How far apart two revisions may be to count as neighbours.
const NEAR: i64 = 4;

/// Times a read of the newest revision starts anew because a compaction overtook it.
const NEWEST_ATTEMPTS: usize = 8;

/// A key and what the index knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMeta {
    /// The key.
    pub key: Bytes,
    /// Its revisions and version at the revision asked for.
    pub state: KeyState,
}

/// What a read of a range found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found<T> {
    /// The first keys of the range, at most as many as asked for, in key order.
    pub items: Vec<T>,
    /// All keys of the range that live at the revision asked for.
    pub count: i64,
    /// The newest revision when the read began.
    pub revision: i64,
}

/// What a read of a range found, as it goes into an answer; see [`Found`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The first pairs of the range.
    pub pairs: Pairs,
    /// All keys of the range that live at the revision asked for.
    pub count: i64,
    /// The newest revision when the read began.
    pub revision: i64,
}

/// The revision a read is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) revision: i64,
    pub(crate) current: i64,
}

impl At {
    /// Checks a requested revision: 0 or below is the newest one.
    pub(crate) fn check(asked: i64, current: i64, compacted: i64) -> Result<At, Error> {
        if asked > current {
            return Err(Error::FutureRev);
        }
        let revision = if asked <= 0 { current } else { asked };
        if revision < compacted {
            return Err(Error::Compacted);
        }
        Ok(At { revision, current })
    }
}

impl Store {
    /// The stored pairs (encoded `mvccpb.KeyValue`) of the first `limit` keys of a range, and the
    /// number of all its keys, at main revision `at`; 0 or below is the newest.
    ///
    /// # Errors
    /// [`Error::FutureRev`], [`Error::Compacted`], or a fatal one.
    pub fn pairs(&self, range: &KeyRange, at: i64, limit: usize) -> Result<Found<Bytes>, Error> {
        self.newest_or_at(at, |at| {
            if range.is_single() {
                return self.single_pair(&range.key, at, limit);
            }
            let mut revs = Vec::with_capacity(limit.min(KEYS_PER_LOCK));
            let count = self.shared.walk(range, at, limit, |entry| revs.push(entry.modified))?;
            let items = self.shared.rows(&revs, Some(at.revision))?;
            Ok(Found { items, count, revision: at.current })
        })
    }

    /// As [`pairs`](Store::pairs), ready to be sent.
    ///
    /// # Errors
    /// As [`pairs`](Store::pairs).
    pub fn page(&self, range: &KeyRange, at: i64, limit: usize) -> Result<Page, Error> {
        self.newest_or_at(at, |at| {
            if range.is_single() {
                let Found { items, count, revision } = self.single_pair(&range.key, at, limit)?;
                return Ok(Page { pairs: items.into_iter().collect(), count, revision });
            }
            let mut revs = Vec::with_capacity(limit.min(KEYS_PER_LOCK));
            let count = self.shared.walk(range, at, limit, |entry| revs.push(entry.modified))?;
            let pairs = self.shared.answer_rows(&revs, at.revision)?;
            Ok(Page { pairs, count, revision: at.current })
        })
    }

    /// The keys and states of the first `limit` keys of a range, from the index alone, and the
    /// number of all its keys, at main revision `at`; 0 or below is the newest.
    ///
    /// # Errors
    /// [`Error::FutureRev`], [`Error::Compacted`].
    pub fn metas(&self, range: &KeyRange, at: i64, limit: usize) -> Result<Found<KeyMeta>, Error> {
        self.newest_or_at(at, |at| {
            let mut items = Vec::with_capacity(limit.min(KEYS_PER_LOCK));
            let count = self.shared.walk(range, at, limit, |entry| items.push(meta(entry)))?;
            Ok(Found { items, count, revision: at.current })
        })
    }

    /// The number of keys in a range at main revision `at`; 0 or below is the newest, which is
    /// counted in O(log n).
    ///
    /// # Errors
    /// [`Error::FutureRev`], [`Error::Compacted`].
    pub fn count(&self, range: &KeyRange, at: i64) -> Result<Found<()>, Error> {
        self.newest_or_at(at, |at| {
            let count = self.shared.walk(range, at, 0, |_| {})?;
            Ok(Found { items: Vec::new(), count, revision: at.current })
        })
    }

    /// What the index knows of one key at the newest revision.
    pub fn stat(&self, key: &[u8]) -> Option<KeyState> {
        self.shared.index.read().get(key, i64::MAX)
    }

    /// The stored pair of one key at the newest revision.
    ///
    /// # Errors
    /// Fatal ones only.
    pub fn pair(&self, key: &Bytes) -> Result<Option<Bytes>, Error> {
        Ok(self.pairs(&KeyRange::single(key.clone()), 0, 1)?.items.pop())
    }

    /// The stored pairs of these put revisions, as [`metas`](Store::metas) gave them.
    ///
    /// # Errors
    /// [`Error::Compacted`] if one of them has been compacted meanwhile, or a fatal one.
    pub fn rows(&self, revisions: &[Revision]) -> Result<Vec<Bytes>, Error> {
        self.shared.rows(revisions, None)
    }

    /// Runs a read at the revision asked for. A read of the newest one that a compaction
    /// overtakes is about a newer revision then.
    fn newest_or_at<T>(
        &self,
        asked: i64,
        mut read: impl FnMut(At) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut attempt = 0;
        loop {
            let at = {
                // The lock makes the pair consistent: both change under it.
                let _index = self.shared.index.read();
                At::check(asked, self.shared.current(), self.shared.compacted())?
            };
            attempt += 1;
            match read(at) {
                Err(Error::Compacted) if asked <= 0 && attempt < NEWEST_ATTEMPTS => {}
                result => return result,
            }
        }
    }

    fn single_pair(&self, key: &[u8], at: At, limit: usize) -> Result<Found<Bytes>, Error> {
        let modified = self.shared.index.read().find(key, at.revision).map(|entry| entry.modified);
        self.shared.check_not_compacted(at)?;
        let count = i64::from(modified.is_some());
        let items = match modified {
            Some(rev) if limit > 0 => vec![self.shared.row(rev, Some(at.revision))?],
            _ => Vec::new(),
        };
        Ok(Found { items, count, revision: at.current })
    }
}

impl Shared {
    /// Visits the first `limit` keys of `range`, letting go of the lock now and then, and counts
    /// all.
    pub(crate) fn walk(
        &self,
        range: &KeyRange,
        at: At,
        limit: usize,
        mut visit: impl FnMut(Entry<'_>),
    ) -> Result<i64, Error> {
        if range.is_single() {
            let index = self.index.read();
            let entry = index.find(&range.key, at.revision);
            let count = i64::from(entry.is_some());
            if let Some(entry) = entry.filter(|_| limit > 0) {
                visit(entry);
            }
            self.check_not_compacted(at)?;
            return Ok(count);
        }
        let mut delivered = 0;
        let mut rest = range.clone();
        loop {
            let ask = (limit - delivered).min(KEYS_PER_LOCK);
            let scan = self.index.read().range(&rest, at.revision, ask, &mut visit);
            delivered += scan.delivered;
            let count = match scan.next {
                Some(next) if delivered < limit => {
                    rest.key = next;
                    continue;
                }
                Some(next) => self.count_rest(range, next, delivered, at.revision),
                None => delivered as i64,
            };
            self.check_not_compacted(at)?;
            return Ok(count);
        }
    }

    /// The number of keys of `range`, of which `delivered` lie before `next`.
    fn count_rest(&self, range: &KeyRange, next: Bytes, delivered: usize, at: i64) -> i64 {
        let mut total = delivered as u64;
        let mut rest = KeyRange { key: next, end: range.end.clone() };
        loop {
            let (count, next) = self.index.read().count_step(&rest, at);
            total += count;
            match next {
                Some(next) => rest.key = next,
                None => return total.cast_signed(),
            }
        }
    }

    fn check_not_compacted(&self, at: At) -> Result<(), Error> {
        // The compacted revision is published before the index forgets anything below it.
        if at.revision < self.compacted() { Err(Error::Compacted) } else { Ok(()) }
    }

    /// The stored pair of one put revision, which a read at main revision `at` came upon.
    pub(crate) fn row(&self, rev: Revision, at: Option<i64>) -> Result<Bytes, Error> {
        let row = self.backend.get(Bucket::Key, &RowKey::put(rev).encode())?;
        row.ok_or_else(|| self.missing(rev, at))
    }

    /// The stored pairs of many put revisions, as [`row`](Shared::row).
    pub(crate) fn rows(&self, revs: &[Revision], at: Option<i64>) -> Result<Vec<Bytes>, Error> {
        match revs {
            [] => Ok(Vec::new()),
            [rev] => Ok(vec![self.row(*rev, at)?]),
            _ => self.many_rows(revs, at),
        }
    }

    /// Rows that are fetched together share one allocation.
    fn many_rows(&self, revs: &[Revision], at: Option<i64>) -> Result<Vec<Bytes>, Error> {
        let missing = |rev| self.missing(rev, at);
        let mut rows = Vec::with_capacity(revs.len());
        for revs in revs.chunks(KEYS_PER_LOCK) {
            let (mut buffer, mut ends) = (Vec::new(), Vec::with_capacity(revs.len()));
            visit_rows(&self.backend, revs, missing, |row| {
                if ends.is_empty() {
                    // Rows of a range are usually alike.
                    buffer.reserve(row.len() * (revs.len() + revs.len() / 8));
                }
                buffer.extend_from_slice(row);
                ends.push(buffer.len());
            })?;
            let buffer = Bytes::from(buffer);
            let mut start = 0;
            for end in ends {
                rows.push(buffer.slice(start..end));
                start = end;
            }
        }
        Ok(rows)
    }

    /// The same rows as the pairs of an answer.
    fn answer_rows(&self, revs: &[Revision], at: i64) -> Result<Pairs, Error> {
        let missing = |rev| self.missing(rev, Some(at));
        let mut pairs = Pairs::default();
        for revs in revs.chunks(KEYS_PER_LOCK) {
            let mut part = Vec::new();
            visit_rows(&self.backend, revs, missing, |row| {
                if part.is_empty() {
                    part.reserve(Pairs::room(revs.len() + revs.len() / 8, row.len()));
                }
                Pairs::append(&mut part, row);
            })?;
            pairs.push_part(part, revs.len());
        }
        Ok(pairs)
    }

    /// A row the index knew of is not there: it was compacted meanwhile, or the store is damaged.
    fn missing(&self, rev: Revision, at: Option<i64>) -> Error {
        if at.unwrap_or(rev.main) < self.compacted() {
            Error::Compacted
        } else {
            Error::Row { rev, detail: "the index knows it but it is not stored" }
        }
    }
}

/// Calls `visit` with the row of each revision, in the order given.
fn visit_rows(
    backend: &Backend,
    revs: &[Revision],
    missing: impl Fn(Revision) -> Error,
    mut visit: impl FnMut(&[u8]),
) -> Result<(), Error> {
    let keys: Vec<_> = revs.iter().map(|rev| RowKey::put(*rev).encode()).collect();
    let mut absent = None;
    let each = |i: usize, row: Option<&[u8]>| match row {
        Some(row) => visit(row),
        None => absent = absent.or(Some(revs[i])),
    };
    if are_neighbours(revs) {
        backend.walk_get(Bucket::Key, &keys, each)?;
    } else {
        backend.multi_get(Bucket::Key, &keys, each)?;
    }
    absent.map_or(Ok(()), |rev| Err(missing(rev)))
}

/// Whether most of these revisions follow the one before closely: keys written in their order
/// are stored side by side.
fn are_neighbours(revs: &[Revision]) -> bool {
    let follows = |pair: &&[Revision]| {
        let (main, sub) = (pair[1].main - pair[0].main, pair[1].sub - pair[0].sub);
        match main {
            0 => (1..=NEAR).contains(&sub),
            main => (1..=NEAR).contains(&main),
        }
    };
    revs.len() >= WALK_ROWS_MIN && revs.windows(2).filter(follows).count() * 4 >= revs.len() * 3
}

pub(crate) fn meta(entry: Entry<'_>) -> KeyMeta {
    KeyMeta { key: entry.key.to_bytes(), state: entry.state() }
}

/// The least row key of main revision `main`; that of 0 for a negative one.
pub(crate) fn row_bound(main: i64) -> base::RowKeyBytes {
    RowKey::put(Revision::new(main.max(0), 0)).encode()
}
