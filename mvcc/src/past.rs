//! The store as the watch hub's source of past events.

use std::ops::ControlFlow;

use backend::CacheUse;
use base::schema::Bucket;
use base::{KeyRange, Revision, RowKey};
use bytes::Bytes;

use crate::error::Error;
use crate::hash::visit_rows;
use crate::store::Store;
use crate::watch::{History, ReadFailed};

impl History for Store {
    fn compacted_revision(&self) -> i64 {
        self.shared.compacted()
    }

    fn scan(
        &self,
        from: i64,
        to: i64,
        f: &mut dyn FnMut(RowKey, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadFailed> {
        // Streams that catch up tend to read the same recent rows.
        let visit = |row, _: &[u8], value: &[u8]| f(row, value);
        visit_rows(&self.shared.backend, from, to, CacheUse::Fill, visit).map_err(|error| {
            self.shared.progress.fail("read past changes", error);
            ReadFailed
        })
    }

    fn row(&self, rev: Revision) -> Option<Bytes> {
        match backend::Rows::get(&self.shared.backend, Bucket::Key, &RowKey::put(rev).encode()) {
            Ok(row) => row,
            Err(error) => {
                self.shared.progress.fail("read a previous pair", error.into());
                None
            }
        }
    }

    fn pair_at(&self, key: &[u8], main: i64) -> Option<Bytes> {
        if main <= 0 {
            return None;
        }
        let range = KeyRange::single(Bytes::copy_from_slice(key));
        match self.pairs(&range, main, 1) {
            Ok(mut found) => found.items.pop(),
            Err(Error::Compacted | Error::FutureRev) => None,
            Err(error) => {
                self.shared.progress.fail("read a previous pair", error);
                None
            }
        }
    }
}
