//! The log itself: created or opened at a mark, appended to batch by batch, cut into segments.

use crate::error::{Error, Result};
use crate::fs::{Disk, DiskHook, io_error, lock};
use crate::metrics::Stats;
use crate::pipeline::Pipeline;
use crate::record::{Encoder, Entry, HardState, Metadata, SnapshotRecord};
use crate::repair;
use crate::replay::{FileRef, Keep, Recovered, Replay, Start};
use crate::segment::{SEGMENT_BYTES, SegmentName, list, select};
use bytes::Bytes;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Memory kept between two batches; a larger batch gives the rest back.
const BUFFER_KEEP_BYTES_MAX: usize = 4 << 20;

/// A sync that takes longer is worth a warning, as in etcd.
const SLOW_SYNC: Duration = Duration::from_secs(1);

/// How a [`Wal`] is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--unsafe-no-fsync`: appends are not made durable. Default false.
    pub unsafe_no_fsync: bool,
    /// Offset past which a new segment is begun. Default 64,000,000.
    pub segment_bytes: u64,
    /// Index up to which the state kept elsewhere has applied entries: a log that ends before it
    /// is refused. Default 0.
    pub durable_index: u64,
    /// Term of the entry at `durable_index`: a log with another entry there is refused. Default
    /// 0, which is any.
    pub durable_term: u64,
    /// Sees, counts or fails the operations on the disk, for tests. Default none.
    pub disk_hook: Option<Arc<dyn DiskHook>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            unsafe_no_fsync: false,
            segment_bytes: SEGMENT_BYTES,
            durable_index: 0,
            durable_term: 0,
            disk_hook: None,
        }
    }
}

/// A segment whose lock is held.
#[derive(Debug)]
struct Held {
    name: SegmentName,
    path: PathBuf,
    file: File,
}

/// A log open for appending; its segments are locked against other processes.
///
/// After the first failed write or sync nothing more is accepted: what the disk has then is
/// unknown, and only opening the log again can tell.
#[derive(Debug)]
pub struct Wal {
    dir: PathBuf,
    disk: Disk,
    unsafe_no_fsync: bool,
    segment_bytes: u64,
    /// Not empty; the last one is appended to.
    held: Vec<Held>,
    pipeline: Pipeline,
    encoder: Encoder,
    /// Where the next batch goes in the last segment.
    offset: u64,
    metadata: Bytes,
    /// The last one saved.
    state: HardState,
    /// Index of the last entry saved, or of a later mark.
    last_index: u64,
    failed: bool,
    stats: Arc<Stats>,
}

impl Wal {
    /// True when `dir` has a log.
    ///
    /// # Errors
    /// When `dir` cannot be listed.
    pub fn exists(dir: &Path) -> Result<bool> {
        Ok(!list(dir)?.is_empty())
    }

    /// Makes a new log with the mark (0, 0). All of it appears at once under `dir`, or nothing.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when `dir` has a segment; else what the disk says.
    pub fn create(dir: &Path, metadata: &Metadata, options: &Options) -> Result<Self> {
        if Self::exists(dir)? {
            return Err(Error::AlreadyExists { dir: dir.to_owned() });
        }
        let disk = Disk::new(options.disk_hook.clone());
        let name = SegmentName { seq: 0, index: 0 };
        let metadata = Bytes::from(metadata.encode());
        let mut encoder = Encoder::new(0);
        encoder.crc_record();
        encoder.metadata(&metadata);
        encoder.snapshot(&SnapshotRecord::default());
        let file = crate::create::first_segment(&disk, dir, name, &encoder, options.segment_bytes)?;
        let offset = encoder.bytes().len() as u64;
        encoder.clear(BUFFER_KEEP_BYTES_MAX);
        Ok(Self {
            pipeline: Pipeline::start(dir, &disk, options.segment_bytes)?,
            dir: dir.to_owned(),
            disk,
            unsafe_no_fsync: options.unsafe_no_fsync,
            segment_bytes: options.segment_bytes,
            held: vec![Held { name, path: dir.join(name.to_string()), file }],
            encoder,
            offset,
            metadata,
            state: HardState::default(),
            last_index: 0,
            failed: false,
            stats: Arc::default(),
        })
    }

    /// Opens a log for appending behind what it has, and gives all that comes after the mark
    /// `at` = (index, term). A torn last record is cut off (the segment as it was is kept as
    /// `.broken`); bytes behind the data are zeroed, so that they can never be read as records.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has the log open; [`Error::EntriesLost`] when the
    /// log is shorter than its commit index or `options.durable_index`; [`Error::EntryReplaced`]
    /// when it has another entry there; any damage by segment and offset. Nothing is changed in
    /// these cases.
    pub fn open(dir: &Path, at: (u64, u64), options: &Options) -> Result<(Self, Recovered)> {
        let disk = Disk::new(options.disk_hook.clone());
        let start = Start { index: at.0, term: at.1 };
        let held = select(dir, list(dir)?, start.index)?
            .into_iter()
            .map(|name| hold(&disk, dir, name))
            .collect::<Result<Vec<_>>>()?;
        let files = held.iter().map(|held| Ok((held.path.clone(), FileRef::Held(&held.file))));
        let mut replay = Replay::read(Keep::EntriesFrom(start), files)?;
        replay.check_mark(dir, start)?;
        replay.check_reach(dir, start, (options.durable_index, options.durable_term))?;
        let (encoded, metadata) = replay.decode_metadata(dir)?;
        let last = held.last().ok_or_else(|| Error::NoSegment { dir: dir.to_owned() })?;
        let repaired = repair::clean_tail(&disk, dir, &last.path, &last.file, &mut replay.tail)?;
        let recovered = Recovered {
            metadata,
            hard_state: replay.hard_state,
            entries: replay.entries,
            repaired,
        };
        let mut wal = Self {
            pipeline: Pipeline::start(dir, &disk, options.segment_bytes)?,
            dir: dir.to_owned(),
            disk,
            unsafe_no_fsync: options.unsafe_no_fsync,
            segment_bytes: options.segment_bytes,
            held,
            encoder: Encoder::new(replay.tail.crc),
            offset: replay.tail.offset,
            metadata: encoded,
            state: replay.hard_state,
            last_index: replay.last_index,
            failed: false,
            stats: Arc::default(),
        };
        wal.complete_head(replay.tail.has_metadata, replay.tail.has_state)?;
        Ok((wal, recovered))
    }

    /// Durations and bytes so far; the same for the whole life of this `Wal`.
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Index of the last entry saved, or of a later mark.
    pub fn last_index(&self) -> u64 {
        self.last_index
    }

    /// Writes a batch with one system call and says whether it must be synced before anything
    /// about it is promised: yes for entries and for a new term or vote, no for a commit index.
    /// Entries may replace earlier ones of the same index.
    ///
    /// # Errors
    /// What the disk says; then and ever after [`Error::Poisoned`].
    ///
    /// # Panics
    /// When the entries leave a gap: such a log could not be read again.
    pub fn append(&mut self, entries: &[Entry], state: Option<&HardState>) -> Result<bool> {
        let state = state.filter(|state| !state.is_empty());
        self.check_usable()?;
        if entries.is_empty() && state.is_none() {
            return Ok(false);
        }
        let mut next = None;
        for entry in entries {
            match next {
                None => assert!(
                    entry.index <= self.last_index + 1,
                    "entry {} behind entry {}",
                    entry.index,
                    self.last_index
                ),
                Some(next) => assert_eq!(entry.index, next, "entries in order"),
            }
            next = Some(entry.index + 1);
        }
        self.encoder.reserve_for(entries);
        for entry in entries {
            self.encoder.entry(entry);
            self.last_index = entry.index;
        }
        let mut must_sync = !entries.is_empty();
        if let Some(state) = state {
            must_sync |= state.term != self.state.term || state.vote != self.state.vote;
            self.encoder.state(state);
            self.state = *state;
        }
        self.write()?;
        Ok(must_sync)
    }

    /// Makes all that was appended durable, and begins a new segment when this one is full.
    /// Returns how long the disk took.
    ///
    /// # Errors
    /// What the disk says; then and ever after [`Error::Poisoned`]. A failed sync is never tried
    /// again: the kernel may have dropped the bytes and would report success.
    pub fn sync(&mut self) -> Result<Duration> {
        self.check_usable()?;
        if self.offset < self.segment_bytes { self.sync_last() } else { self.cut() }
    }

    /// [`Wal::append`], then [`Wal::sync`] when it must be or when the segment is full.
    ///
    /// # Errors
    /// As these two.
    pub fn save(&mut self, entries: &[Entry], state: Option<&HardState>) -> Result<()> {
        let must_sync = self.append(entries, state)?;
        if must_sync || self.offset >= self.segment_bytes {
            self.sync()?;
        }
        Ok(())
    }

    /// Writes a mark and makes it durable. What it stands for must be durable already.
    ///
    /// # Errors
    /// [`Error::MissingConfState`] for a mark past 0 without membership; else as [`Wal::sync`].
    pub fn save_snapshot(&mut self, mark: &SnapshotRecord) -> Result<Duration> {
        if mark.index > 0 && mark.conf_state.is_none() {
            return Err(Error::MissingConfState { index: mark.index, term: mark.term });
        }
        self.check_usable()?;
        self.encoder.snapshot(mark);
        self.last_index = self.last_index.max(mark.index);
        self.write()?;
        self.sync_last()
    }

    /// Gives up the locks of segments that hold only entries before `index`, so that
    /// [`crate::purge`] may remove them. The segment with `index` stays locked.
    pub fn release_to(&mut self, index: u64) {
        let above = self.held.iter().position(|held| held.name.index >= index);
        let keep_from = above.unwrap_or(self.held.len()).saturating_sub(1);
        self.held.drain(..keep_from);
    }

    /// Makes all durable, removes the spare segment and gives up the locks. Dropping a `Wal` does
    /// the last two only.
    ///
    /// # Errors
    /// As [`Wal::sync`].
    pub fn close(mut self) -> Result<()> {
        self.check_usable()?;
        self.sync_last().map(drop)
    }

    fn check_usable(&self) -> Result<()> {
        if self.failed { Err(Error::Poisoned { dir: self.dir.clone() }) } else { Ok(()) }
    }

    fn last(&self) -> &Held {
        self.held.last().expect("a log holds at least the segment it appends to")
    }

    /// Runs `work`; when it fails, nothing more will be accepted.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let done = work(self);
        self.failed |= done.is_err();
        done
    }

    fn write(&mut self) -> Result<()> {
        self.guarded(|wal| {
            let began = Instant::now();
            let (last, bytes) = (wal.last(), wal.encoder.bytes());
            wal.disk.write_at(&last.file, &last.path, bytes, wal.offset)?;
            let written = bytes.len();
            wal.stats.wrote(written, began.elapsed());
            wal.offset += written as u64;
            wal.encoder.clear(BUFFER_KEEP_BYTES_MAX);
            Ok(())
        })
    }

    fn sync_last(&mut self) -> Result<Duration> {
        self.guarded(|wal| wal.sync_file(wal.last()))
    }

    fn sync_file(&self, held: &Held) -> Result<Duration> {
        if self.unsafe_no_fsync {
            return Ok(Duration::ZERO);
        }
        let began = Instant::now();
        self.disk.sync_data(&held.file, &held.path)?;
        let took = began.elapsed();
        self.stats.fsync.observe(took);
        if took > SLOW_SYNC {
            tracing::warn!(?took, expected_duration = ?SLOW_SYNC, "slow fdatasync");
        }
        Ok(took)
    }

    /// Ends the last segment where its data ends and begins the next one.
    ///
    /// ```text
    /// …a.wal  [records][zeros]   0.tmp [zeros]
    /// …a.wal  [records]          0.tmp [crc][metadata][state][zeros]     both synced
    /// …a.wal  [records]         …b.wal [crc][metadata][state][zeros]     renamed, dir synced
    /// ```
    fn cut(&mut self) -> Result<Duration> {
        self.guarded(|wal| {
            let last = wal.last();
            wal.disk.set_len(&last.file, &last.path, wal.offset)?;
            let mut took = wal.sync_file(last)?;
            let seq = last.name.seq + 1;
            let name = SegmentName { seq, index: wal.last_index + 1 };
            let spare = wal.pipeline.take()?;
            wal.encoder.crc_record();
            wal.encoder.metadata(&wal.metadata);
            if !wal.state.is_empty() {
                wal.encoder.state(&wal.state);
            }
            wal.disk.write_at(&spare.file, &spare.path, wal.encoder.bytes(), 0)?;
            let next = Held { name, path: wal.dir.join(name.to_string()), file: spare.file };
            took += wal.sync_file(&next)?;
            wal.disk.rename(&spare.path, &next.path)?;
            wal.disk.sync_dir(&wal.dir)?;
            wal.offset = wal.encoder.bytes().len() as u64;
            wal.encoder.clear(BUFFER_KEEP_BYTES_MAX);
            wal.held.push(next);
            Ok(took)
        })
    }

    /// Writes what a damaged last segment lacks of its head, so that the log can later be opened
    /// at this segment: nobody may have to read the ones before it for vote and term.
    fn complete_head(&mut self, has_metadata: bool, has_state: bool) -> Result<()> {
        if !has_metadata {
            self.guarded(|wal| wal.disk.set_len(&wal.last().file, &wal.last().path, 0))?;
            self.offset = 0;
            self.encoder.crc_record();
            let metadata = self.metadata.clone();
            self.encoder.metadata(&metadata);
        }
        if !has_state && !self.state.is_empty() {
            let state = self.state;
            self.encoder.state(&state);
        }
        if self.encoder.bytes().is_empty() {
            return Ok(());
        }
        self.write()?;
        self.sync_last().map(drop)
    }
}

fn hold(disk: &Disk, dir: &Path, name: SegmentName) -> Result<Held> {
    let path = dir.join(name.to_string());
    let file = disk.open(&path)?;
    lock(&file, &path)?;
    Ok(Held { name, path, file })
}

/// Removes the oldest segments while there are more than `segments_max` of them and nobody holds
/// them; 0 keeps all. Returns what was removed.
///
/// # Errors
/// When the directory cannot be listed or a segment cannot be opened or removed.
pub fn purge(dir: &Path, segments_max: usize) -> Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    if segments_max == 0 {
        return Ok(removed);
    }
    let names = list(dir)?;
    let surplus = names.len().saturating_sub(segments_max);
    for name in names.into_iter().take(surplus) {
        let path = dir.join(name.to_string());
        let file = File::options().write(true).open(&path);
        let file = file.map_err(|e| io_error("open file", &path, e))?;
        match lock(&file, &path) {
            Ok(()) => Disk::default().remove(&path)?,
            Err(Error::Locked { .. }) => {
                tracing::warn!(path = %path.display(), "failed to lock file");
                break;
            }
            Err(e) => return Err(e),
        }
        removed.push(path);
    }
    Ok(removed)
}
