//! How much room the database takes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use base::schema::Bucket;
use rocksdb::properties;

use crate::db::{Inner, PRIVATE};
use crate::error::Error;

/// Bytes written after which the running figure is measured again.
const MEASURE_EVERY_BYTES: u64 = 1 << 20;

/// Room taken by the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of live table files and of what waits in memory to become one. What a quota
    /// bounds; deleted rows count until a compaction drops them.
    pub allocated: u64,
    /// The part of `allocated` that compaction could not give back. Positive, and never more
    /// than `allocated`.
    pub in_use: u64,
}

/// The figure between two measurements: the last one plus what was written since.
#[derive(Default)]
pub(crate) struct Running {
    measured: AtomicU64,
    written: AtomicU64,
}

impl Running {
    pub(crate) fn allocated(&self) -> u64 {
        self.measured.load(Relaxed) + self.written.load(Relaxed)
    }
}

impl Inner {
    /// Counts a written batch, and measures again from time to time.
    pub(crate) fn count_written(&self, bytes: u64) -> Result<(), Error> {
        let before = self.running.written.fetch_add(bytes, Relaxed);
        if before + bytes >= MEASURE_EVERY_BYTES {
            self.measure()?;
        }
        Ok(())
    }

    /// Measures the database and restarts the running figure from there.
    pub(crate) fn measure(&self) -> Result<Sizes, Error> {
        let (mut tables, mut memory, mut live) = (0, 0, 0);
        let names = Bucket::ALL.iter().map(|b| b.name()).chain([PRIVATE]);
        for name in names {
            tables += self.property(name, properties::LIVE_SST_FILES_SIZE)?;
            memory += self.property(name, properties::CUR_SIZE_ALL_MEM_TABLES)?;
            live += self.property(name, properties::ESTIMATE_LIVE_DATA_SIZE)?;
        }
        // An empty database still takes a page of log and manifest.
        let allocated = (tables + memory).max(1);
        self.running.written.store(0, Relaxed);
        self.running.measured.store(allocated, Relaxed);
        Ok(Sizes { allocated, in_use: (live + memory).clamp(1, allocated) })
    }

    fn property(&self, family: &str, name: &rocksdb::properties::PropName) -> Result<u64, Error> {
        let value = self
            .db
            .property_int_value_cf(self.family(family), name)
            .map_err(|e| self.engine_error("read a property", e))?;
        Ok(value.unwrap_or(0))
    }
}
