//! What a read needs of the key-value store, so that one range and one compare serve both the
//! published store and a write in progress.

use base::KeyRange;
use bytes::Bytes;
use mvcc::{Found, KeyMeta, KeyState, Page};

use crate::error::ApplyError;

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The request is refused.
    #[error(transparent)]
    Refused(#[from] ApplyError),
    /// The store failed.
    #[error(transparent)]
    Store(mvcc::Error),
}

impl From<mvcc::Error> for ReadError {
    fn from(error: mvcc::Error) -> Self {
        match error {
            mvcc::Error::Compacted => Self::Refused(ApplyError::Compacted),
            mvcc::Error::FutureRev => Self::Refused(ApplyError::FutureRev),
            other => Self::Store(other),
        }
    }
}

/// A state of the keys to read from. Revision 0 or below means its newest state.
pub trait Source {
    /// The newest revision; a write in progress counts only when it is committed.
    fn revision(&self) -> i64;
    /// The revision compacted at; -1 if there was never a compaction.
    fn compacted_revision(&self) -> i64;
    /// Encoded pairs of a range.
    fn pairs(&self, range: &KeyRange, at: i64, limit: usize) -> Result<Found<Bytes>, ReadError>;
    /// The same, ready to be sent.
    fn page(&self, range: &KeyRange, at: i64, limit: usize) -> Result<Page, ReadError> {
        let Found { items, count, revision } = self.pairs(range, at, limit)?;
        Ok(Page { pairs: items.into_iter().collect(), count, revision })
    }
    /// The same from the index alone.
    fn metas(&self, range: &KeyRange, at: i64, limit: usize) -> Result<Found<KeyMeta>, ReadError>;
    /// The number of keys in a range.
    fn count(&self, range: &KeyRange, at: i64) -> Result<Found<()>, ReadError>;
    /// The encoded pairs of keys that [`metas`](Source::metas) gave.
    fn rows(&self, metas: &[KeyMeta]) -> Result<Vec<Bytes>, ReadError>;
    /// What the index knows of one key in the newest state.
    fn stat(&self, key: &Bytes) -> Result<Option<KeyState>, ReadError>;
    /// The encoded pair of one key in the newest state.
    fn pair(&self, key: &Bytes) -> Result<Option<Bytes>, ReadError>;
}
