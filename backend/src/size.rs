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
    /// The part of `allocated` that holds rows not deleted, estimated from the number of deletes
    /// that still wait for a compaction. Positive, and never more than `allocated`.
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

    /// Measures what is allocated and restarts the running figure from there.
    pub(crate) fn measure(&self) -> Result<u64, Error> {
        let mut allocated = 0;
        for name in Bucket::ALL.iter().map(|b| b.name()).chain([PRIVATE]) {
            allocated += self.property(name, properties::LIVE_SST_FILES_SIZE)?;
            allocated += self.property(name, properties::CUR_SIZE_ALL_MEM_TABLES)?;
        }
        let allocated = allocated.max(1);
        self.running.written.store(0, Relaxed);
        self.running.measured.store(allocated, Relaxed);
        Ok(allocated)
    }

    /// Measures both figures.
    pub(crate) fn sizes(&self) -> Result<Sizes, Error> {
        let allocated = self.measure()?;
        let key = Bucket::Key.name();
        let mut entries = self.property(key, properties::NUM_ENTRIES_ACTIVE_MEM_TABLE)?
            + self.property(key, properties::NUM_ENTRIES_IMM_MEM_TABLES)?;
        let mut deletes = self.property(key, properties::NUM_DELETES_ACTIVE_MEM_TABLE)?
            + self.property(key, properties::NUM_DELETES_IMM_MEM_TABLES)?;
        let files = self.db.live_files().map_err(|e| self.engine_error("list tables", e))?;
        for file in files.iter().filter(|file| file.column_family_name == key) {
            entries += file.num_entries;
            deletes += file.num_deletions;
        }
        // Nearly everything is in `key`, and there each delete ends exactly one row.
        let live = entries.saturating_sub(2 * deletes);
        let share = if entries == 0 { 1.0 } else { live as f64 / entries as f64 };
        let in_use = (allocated as f64 * share) as u64;
        Ok(Sizes { allocated, in_use: in_use.clamp(1, allocated) })
    }

    fn property(&self, family: &str, name: &rocksdb::properties::PropName) -> Result<u64, Error> {
        let value = self
            .db
            .property_int_value_cf(self.family(family), name)
            .map_err(|e| self.engine_error("read a property", e))?;
        Ok(value.unwrap_or(0))
    }
}
