//! How a backend is opened: memory budgets and the log mode, translated to RocksDB's options.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType,
    DBRecoveryMode, LogLevel, LruCacheOptions,
};

use base::schema::Bucket;

use crate::db::PRIVATE;

/// Bytes in one MiB.
const MIB: usize = 1 << 20;

/// Size of one table file. Rows of `key` arrive in key order, so files never overlap and are
/// moved between levels without being rewritten until compaction deletes from them.
pub(crate) const TABLE_FILE_BYTES: u64 = 32 << 20;

/// Uncompressed size of one block: the unit of reading, caching and checksums. Random reads
/// decompress one each: half the size of RocksDB's advice costs a little more index.
const BLOCK_BYTES: usize = 4 << 10;

/// The cache is cut into 2^n parts, each with a lock. Few threads read, and a part must be much
/// larger than the largest block it is to hold.
const CACHE_SHARD_BITS: i32 = 2;

/// Write buffer of a bucket other than `key`. The `meta` bucket rewrites the same row with
/// every batch, and each version stays in the buffer until it is flushed.
const SMALL_WRITE_BUFFER_BYTES: usize = 4 * MIB;

/// A flushed file with this many deletes among [`DELETION_WINDOW_ROWS`] consecutive rows is
/// compacted soon, so that scans do not walk over long runs of dead rows.
const DELETION_TRIGGER_ROWS: usize = 512;

/// See [`DELETION_TRIGGER_ROWS`].
const DELETION_WINDOW_ROWS: usize = 1024;

/// Whether RocksDB keeps a log of its own beside the raft WAL.
///
/// Neither mode syncs on a write: the raft WAL is what makes an entry durable, and entries
/// above the stored consistent index are applied again after a crash. Both modes recover to a
/// state that some prefix of the written batches produced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogMode {
    /// Every batch is handed to the kernel before [`write`](crate::Backend::write) returns:
    /// nothing is lost when the process dies, a little when the machine does.
    On,
    /// Batches gather in a buffer of the process and reach the log file when it is full or at
    /// [`flush`](crate::Backend::flush): no system call per batch; a killed process replays
    /// a little more of the raft log.
    Buffered,
    /// No log. A crash returns to the last flush of the memory tables, which are flushed all
    /// at once so that buckets agree.
    Off,
}

/// Memory and log settings of a [`Backend`](crate::Backend).
#[derive(Clone, Debug)]
pub struct Options {
    /// RocksDB's own log.
    pub log: LogMode,
    /// Budget of the block cache, which also holds index blocks. Shared by all buckets.
    pub block_cache_bytes: usize,
    /// Size at which the memory table of the `key` bucket is flushed.
    pub write_buffer_bytes: usize,
    /// Bound on all memory tables together.
    pub memtables_bytes: usize,
    /// Bound on the size of RocksDB's log files: at this size the oldest buffers are flushed.
    pub log_bytes_max: u64,
    /// Threads for flushes and compactions.
    pub background_jobs: u8,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            log: LogMode::Buffered,
            block_cache_bytes: 32 * MIB,
            write_buffer_bytes: 16 * MIB,
            memtables_bytes: 48 * MIB,
            log_bytes_max: 64 << 20,
            background_jobs: 2,
        }
    }
}

impl Options {
    /// Options of the whole database.
    pub(crate) fn database(&self) -> rocksdb::Options {
        let mut o = rocksdb::Options::default();
        o.create_if_missing(true);
        o.create_missing_column_families(true);
        o.set_paranoid_checks(true);
        o.set_max_background_jobs(i32::from(self.background_jobs));
        o.set_db_write_buffer_size(self.memtables_bytes);
        o.set_max_total_wal_size(self.log_bytes_max);
        // A torn tail of an unsynced log is normal after a power cut.
        o.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        o.set_manual_wal_flush(self.log == LogMode::Buffered);
        o.set_atomic_flush(self.log == LogMode::Off);
        // One thread writes nearly everything: plain inserts use the position of the last one,
        // which makes ascending keys cheap.
        o.set_allow_concurrent_memtable_write(false);
        o.set_enable_write_thread_adaptive_yield(false);
        o.set_bytes_per_sync(1 << 20);
        o.set_max_open_files(512);
        o.set_skip_stats_update_on_db_open(true);
        o.set_stats_dump_period_sec(0);
        o.set_stats_persist_period_sec(0);
        o.set_log_level(LogLevel::Warn);
        o.set_keep_log_file_num(2);
        o.set_max_log_file_size(MIB);
        o
    }

    /// One descriptor per bucket, and one for the private rows.
    pub(crate) fn families(&self) -> Vec<ColumnFamilyDescriptor> {
        let mut lru = LruCacheOptions::default();
        lru.set_capacity(self.block_cache_bytes);
        lru.set_num_shard_bits(CACHE_SHARD_BITS);
        let cache = Cache::new_lru_cache_opts(&lru);
        let mut families: Vec<_> = Bucket::ALL
            .iter()
            .map(|b| ColumnFamilyDescriptor::new(b.name(), self.family(Some(*b), &cache)))
            .collect();
        families.push(ColumnFamilyDescriptor::new(PRIVATE, self.family(None, &cache)));
        families
    }

    pub(crate) fn family(&self, bucket: Option<Bucket>, cache: &Cache) -> rocksdb::Options {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(cache);
        table.set_block_size(BLOCK_BYTES);
        table.set_format_version(5);
        // Index blocks live in the cache too: memory stays bounded however large the store is.
        // In one piece the index of a file is near a megabyte: a small cache would read it again
        // for every row.
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        table.set_metadata_block_size(BLOCK_BYTES);
        table.set_pin_top_level_index_and_filter(true);
        table.set_cache_index_and_filter_blocks(true);
        table.set_cache_index_and_filter_blocks_with_high_priority(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        let mut o = rocksdb::Options::default();
        o.set_block_based_table_factory(&table);
        // The same compression on every level, so that a file can move down unchanged.
        o.set_compression_type(DBCompressionType::Lz4);
        o.set_target_file_size_base(TABLE_FILE_BYTES);
        o.set_max_bytes_for_level_base(4 * TABLE_FILE_BYTES);
        o.set_level_compaction_dynamic_level_bytes(true);
        o.set_max_write_buffer_number(3);
        if bucket == Some(Bucket::Key) {
            o.set_write_buffer_size(self.write_buffer_bytes);
            o.add_compact_on_deletion_collector_factory(
                DELETION_WINDOW_ROWS,
                DELETION_TRIGGER_ROWS,
                0.5,
            );
        } else {
            o.set_write_buffer_size(SMALL_WRITE_BUFFER_BYTES);
            o.set_arena_block_size(64 << 10);
        }
        o
    }
}
