//! The open database.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use base::schema::Bucket;
use rocksdb::{
    BottommostLevelCompaction, ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB,
    FlushOptions, WriteOptions, properties,
};

use crate::batch::WriteBatch;
use crate::error::Error;
use crate::layout::Layout;
use crate::next::NextBackend;
use crate::options::{LogMode, Options};
use crate::rows::{Source, rows_from_source};
use crate::size::{Running, Sizes};
use crate::view::ReadView;

/// Name of the column family of the private rows.
pub(crate) const PRIVATE: &str = "private";

/// Private row with the number of the layout of rows.
const LAYOUT_KEY: &[u8] = b"layout";

/// The layout this program writes: one family per bucket, rows as etcd 3.7 stores them.
const LAYOUT: u32 = 1;

/// The rows of a member. A clone is another handle of the same database, for any thread.
#[derive(Clone)]
pub struct Backend {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) db: DB,
    pub(crate) running: Running,
    number: u64,
    path: PathBuf,
    pub(crate) options: Options,
    write_options: WriteOptions,
    pub(crate) layout: Arc<Layout>,
    /// Declared after `db`, so that the folder goes only when RocksDB has left it.
    pub(crate) obsolete: RemoveOnDrop,
}

/// Removes a folder when dropped, if it was condemned before.
pub(crate) struct RemoveOnDrop {
    path: PathBuf,
    condemned: AtomicBool,
}

impl RemoveOnDrop {
    pub(crate) fn condemn(&self) {
        self.condemned.store(true, Relaxed);
    }

    pub(crate) fn pardon(&self) {
        self.condemned.store(false, Relaxed);
    }
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if self.condemned.load(Relaxed)
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            // The next open tries again: `CURRENT` does not name this folder.
            tracing::warn!(path = %self.path.display(), %error, "remove replaced backend folder");
        }
    }
}

impl Backend {
    /// Opens the database in `dir` (a member's `snap/db`), creating it if there is none, and
    /// removes sub-folders an interrupted [`create_next`](Backend::create_next) left behind.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process has it open; [`Error::BoltFile`] if `dir` is a file;
    /// [`Error::UnknownLayout`] if a newer program wrote it; otherwise what failed.
    pub fn open(dir: impl AsRef<Path>, options: &Options) -> Result<Backend, Error> {
        let layout = Arc::new(Layout::lock(dir.as_ref())?);
        match layout.current()? {
            Some(number) => {
                let backend = Backend::open_folder(Arc::clone(&layout), number, options)?;
                let staged = layout.staged()?.filter(|staged| *staged != number);
                // Only now is it clear that nothing else is needed.
                layout.remove_stale(&[Some(number), staged].map(|n| n.unwrap_or(number)))?;
                Ok(backend)
            }
            None => {
                layout.remove_stale(&[])?;
                layout.unstage()?;
                let number = layout.next()?;
                let backend = Backend::create_folder(Arc::clone(&layout), number, options)?;
                layout.switch(number)?;
                Ok(backend)
            }
        }
    }

    /// Creates an empty database beside this one, to be loaded and then put in its place.
    ///
    /// # Errors
    /// What failed on the disk.
    pub fn create_next(&self) -> Result<NextBackend, Error> {
        let layout = &self.inner.layout;
        let number = layout.next()?;
        let options = &self.inner.options;
        let next = Backend::create_folder(Arc::clone(layout), number, options)?;
        Ok(NextBackend::new(next, self.clone(), number))
    }

    /// The database that was staged before the process ended and did not take over, if there is
    /// one. [Install](NextBackend::install) it, or drop it, which removes it.
    ///
    /// # Errors
    /// What failed on the disk.
    pub fn staged(&self) -> Result<Option<NextBackend>, Error> {
        let layout = &self.inner.layout;
        let Some(number) = layout.staged()? else { return Ok(None) };
        if number == self.inner.number || !layout.folder(number).is_dir() {
            layout.unstage()?;
            return Ok(None);
        }
        let staged = Backend::open_folder(Arc::clone(layout), number, &self.inner.options)?;
        Ok(Some(NextBackend::new(staged, self.clone(), number)))
    }

    fn create_folder(layout: Arc<Layout>, number: u64, o: &Options) -> Result<Backend, Error> {
        crate::layout::create_dir(&layout.folder(number))?;
        let backend = Backend::open_rocksdb(layout, number, o)?;
        let mut batch = backend.batch();
        batch.private_put(LAYOUT_KEY, LAYOUT.to_string().as_bytes());
        backend.write(batch)?;
        backend.flush()?;
        Ok(backend)
    }

    fn open_folder(layout: Arc<Layout>, number: u64, o: &Options) -> Result<Backend, Error> {
        let path = layout.folder(number);
        if !path.is_dir() {
            let detail = "CURRENT names it but it does not exist".to_owned();
            return Err(Error::Damaged { path, detail });
        }
        let backend = Backend::open_rocksdb(layout, number, o)?;
        let found = backend.source().private_get(LAYOUT_KEY)?;
        match found.as_deref().map(String::from_utf8_lossy) {
            Some(text) if text == LAYOUT.to_string() => Ok(backend),
            found => Err(Error::UnknownLayout {
                path,
                found: found.map_or_else(|| "(none)".to_owned(), |text| text.into_owned()),
                supported: LAYOUT,
            }),
        }
    }

    fn open_rocksdb(layout: Arc<Layout>, number: u64, o: &Options) -> Result<Backend, Error> {
        let path = layout.folder(number);
        let failed = |source| Error::Engine { action: "open", path: path.clone(), source };
        let database = o.database();
        let mut families = o.families();
        // Families of a newer layout must be opened too before its number can be read.
        for name in DB::list_cf(&database, &path).unwrap_or_default() {
            if families.iter().all(|f| f.name() != name) {
                families.push(ColumnFamilyDescriptor::new(name, rocksdb::Options::default()));
            }
        }
        let db = DB::open_cf_descriptors(&database, &path, families).map_err(failed)?;
        let mut write_options = WriteOptions::default();
        write_options.disable_wal(o.log == LogMode::Off);
        let inner = Inner {
            db,
            running: Running::default(),
            obsolete: RemoveOnDrop { path: path.clone(), condemned: AtomicBool::new(false) },
            number,
            path,
            options: o.clone(),
            write_options,
            layout,
        };
        inner.measure()?;
        Ok(Backend { inner: Arc::new(inner) })
    }

    /// An empty batch for this database.
    pub fn batch(&self) -> WriteBatch {
        WriteBatch { backend: self.clone(), ops: rocksdb::WriteBatch::default() }
    }

    /// Writes a batch: visible at once and as a whole, durable after the next
    /// [`flush`](Backend::flush).
    ///
    /// # Errors
    /// [`Error::Engine`], fatal.
    ///
    /// # Panics
    /// If the batch was made for another database.
    pub fn write(&self, batch: WriteBatch) -> Result<(), Error> {
        assert!(Arc::ptr_eq(&self.inner, &batch.backend.inner), "batch of another database");
        let bytes = batch.ops.size_in_bytes() as u64;
        self.inner
            .db
            .write_opt(batch.ops, &self.inner.write_options)
            .map_err(|e| self.inner.engine_error("write a batch", e))?;
        self.inner.count_written(bytes)
    }

    /// Makes every batch written so far durable: syncs RocksDB's log, or writes the memory
    /// tables where there is none.
    ///
    /// # Errors
    /// [`Error::Engine`], fatal.
    pub fn flush(&self) -> Result<(), Error> {
        match self.inner.options.log {
            LogMode::On | LogMode::Buffered => self
                .inner
                .db
                .flush_wal(true)
                .map_err(|e| self.inner.engine_error("sync the log", e)),
            LogMode::Off => self.flush_tables(),
        }
    }

    /// Pins the present moment.
    pub fn view(&self) -> ReadView<'_> {
        ReadView::new(&self.inner)
    }

    /// Gives back the room of deleted rows (etcd's defragmentation). Reads and writes go on
    /// meanwhile; the calling thread waits for minutes on a large database.
    ///
    /// # Errors
    /// [`Error::Engine`] or [`Error::Background`], fatal.
    pub fn compact(&self) -> Result<(), Error> {
        self.flush_tables()?;
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
        for family in self.inner.families() {
            self.inner.db.compact_range_cf_opt(family, None::<&[u8]>, None::<&[u8]>, &options);
        }
        self.background_error()?;
        self.inner.measure()?;
        Ok(())
    }

    /// Measures the room the database takes: some microseconds, and one per table file.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn sizes(&self) -> Result<Sizes, Error> {
        self.inner.sizes()
    }

    /// The `allocated` of [`sizes`](Backend::sizes) for hot paths: the last measurement (taken
    /// about once per MiB) plus everything written since.
    pub fn allocated_bytes(&self) -> u64 {
        self.inner.running.allocated()
    }

    /// Looks whether a flush or compaction in the background has failed. To be polled; what it
    /// finds is fatal, because memory is then ahead of what the disk will ever hold.
    ///
    /// # Errors
    /// [`Error::Background`].
    pub fn background_error(&self) -> Result<(), Error> {
        let count = self
            .inner
            .db
            .property_int_value(properties::BACKGROUND_ERRORS)
            .map_err(|e| self.inner.engine_error("read a property", e))?
            .unwrap_or(0);
        match count {
            0 => Ok(()),
            count => Err(Error::Background { path: self.inner.path.clone(), count }),
        }
    }

    /// The numbered folder in use.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Writes all memory tables to table files.
    fn flush_tables(&self) -> Result<(), Error> {
        let families: Vec<_> = self.inner.families().collect();
        self.inner
            .db
            .flush_cfs_opt(&families, &FlushOptions::default())
            .map_err(|e| self.inner.engine_error("flush", e))
    }

    fn source(&self) -> Source<'_> {
        Source { inner: &self.inner, snapshot: None }
    }
}

rows_from_source!(Backend);

impl Inner {
    pub(crate) fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("every family is opened or created by open_rocksdb")
    }

    fn families(&self) -> impl Iterator<Item = &ColumnFamily> {
        Bucket::ALL.iter().map(|b| b.name()).chain([PRIVATE]).map(|name| self.family(name))
    }

    pub(crate) fn engine_error(&self, action: &'static str, source: rocksdb::Error) -> Error {
        Error::Engine { action, path: self.path.clone(), source }
    }
}
