//! The index on disk: all keys with their packed histories, in key order.
//!
//! ```text
//!   "KVINDEX1" | stamp                      everything up to this main revision is in the file
//!   len | crc | entries                     blocks; each crc goes on from all before
//!   ...           entry: shared, rest, history: a length each, then the bytes of rest, history
//!   0   | crc | keys | newest               the end; newest: greatest main revision in the file
//! ```
//!
//! The file is *fuzzy*: it is written beside the writer, so keys visited late have changes above
//! the stamp. Whoever loads it replays the rows above the stamp and skips what is known.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use parking_lot::RwLock;

use crate::error::Error;
use crate::index::{Builder, TreeIndex};
use crate::kv::put_varint;

const MAGIC: &[u8; 8] = b"KVINDEX1";
const NAME: &str = "key-index";
const TMP_NAME: &str = "key-index.tmp";

/// Keys taken from the index under one hold of its lock.
const KEYS_PER_LOCK: usize = 256;

/// Size at which a block is closed.
const BLOCK_BYTES: usize = 64 << 10;

/// Bound on the size of a block that is read: one entry can be large by itself, because requests
/// and with them keys are bounded by configuration only.
const BLOCK_BYTES_MAX: usize = 1 << 30;

/// Bytes written between two syncs, so that no large one holds up the log of the member.
const SYNC_EVERY_BYTES: u64 = 4 << 20;

/// Why a file cannot be used. Nothing is lost: all rows are read instead.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("read it: {0}")]
    Io(#[from] io::Error),
    #[error("it is not an index file")]
    Magic,
    #[error("checksum of the block at byte {0} does not match")]
    Checksum(u64),
    #[error("the block at byte {0} is malformed")]
    Malformed(u64),
    #[error("{0}")]
    Build(#[from] crate::index::BuildError),
    #[error("it ends early or goes on after its end")]
    Length,
    #[error("it knows revision {file}, the rows end at {rows}")]
    Ahead { file: i64, rows: i64 },
}

/// An index read from a file.
pub(crate) struct Loaded {
    pub(crate) index: TreeIndex,
    pub(crate) stamp: i64,
}

pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// Removes the file and what an interrupted write left.
pub(crate) fn remove(folder: &Path) -> io::Result<()> {
    for name in [NAME, TMP_NAME] {
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Writes the index, which holds everything up to `stamp`, under a temporary name.
/// `go_on` is asked now and then; `Ok(None)` if it refused.
pub(crate) fn write_tmp(
    folder: &Path,
    index: &RwLock<TreeIndex>,
    stamp: i64,
    go_on: impl Fn() -> bool,
) -> Result<Option<Tmp>, Error> {
    let path = folder.join(TMP_NAME);
    let failed = |action, source| Error::IndexFile { action, path: path.clone(), source };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .map_err(|e| failed("create", e))?;
    let mut out = Output::new(file);
    let header = [&MAGIC[..], &stamp.to_be_bytes()].concat();
    out.crc = crc32c::crc32c(&header);
    out.raw(&header).map_err(|e| failed("write", e))?;
    let mut from = Some(Bytes::new());
    while let Some(at) = from {
        if !go_on() {
            return Ok(None);
        }
        from = index.read().states(&at, KEYS_PER_LOCK, |key, history| out.entry(key, history));
        out.newest = index.read().newest();
        if out.block.len() >= BLOCK_BYTES || from.is_none() {
            out.close_block().map_err(|e| failed("write", e))?;
        }
    }
    out.finish().map_err(|e| failed("write", e))?;
    Ok(Some(Tmp { folder: folder.to_owned() }))
}

/// A file that is complete and durable but for its name.
#[must_use = "the file counts only once it is named"]
pub(crate) struct Tmp {
    folder: PathBuf,
}

impl Tmp {
    /// Gives the file its name, durably.
    pub(crate) fn install(self) -> Result<(), Error> {
        let path = path(&self.folder);
        let renamed = fs::rename(self.folder.join(TMP_NAME), &path)
            .and_then(|()| File::open(&self.folder)?.sync_all());
        renamed.map_err(|source| Error::IndexFile { action: "rename", path, source })
    }
}

struct Output {
    file: File,
    block: Vec<u8>,
    last_key: Vec<u8>,
    key: Vec<u8>,
    keys: u64,
    newest: i64,
    crc: u32,
    unsynced: u64,
}

impl Output {
    fn new(file: File) -> Output {
        Output {
            file,
            block: Vec::with_capacity(2 * BLOCK_BYTES),
            last_key: Vec::new(),
            key: Vec::new(),
            keys: 0,
            newest: 0,
            crc: 0,
            unsynced: 0,
        }
    }

    fn entry(&mut self, key: crate::index::Key<'_>, history: &[u8]) {
        self.key.clear();
        key.append_to(&mut self.key);
        let pairs = self.key.iter().zip(&self.last_key);
        let shared = pairs.take_while(|(a, b)| a == b).count();
        let rest = &self.key[shared..];
        for len in [shared, rest.len(), history.len()] {
            put_varint(&mut self.block, len as u64);
        }
        self.block.extend_from_slice(rest);
        self.block.extend_from_slice(history);
        std::mem::swap(&mut self.key, &mut self.last_key);
        self.keys += 1;
    }

    fn close_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let block = std::mem::take(&mut self.block);
        self.framed(u32::try_from(block.len()).map_err(io::Error::other)?, &block)?;
        self.block = block;
        self.block.clear();
        Ok(())
    }

    fn framed(&mut self, len: u32, payload: &[u8]) -> io::Result<()> {
        self.crc = crc32c::crc32c_append(self.crc, payload);
        let head = [len.to_be_bytes(), self.crc.to_be_bytes()].concat();
        self.raw(&head)?;
        self.raw(payload)
    }

    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= SYNC_EVERY_BYTES {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        let end = [self.keys.to_be_bytes(), self.newest.to_be_bytes()].concat();
        self.framed(0, &end)?;
        self.file.sync_all()
    }
}

/// Reads the file of a folder; `None` if there is none. `rows_newest`: the greatest revision the
/// rows tell of, which the file must not be ahead of.
pub(crate) fn load(folder: &Path, rows_newest: i64) -> Result<Option<Loaded>, Unusable> {
    let file = match File::open(path(folder)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let size = file.metadata()?.len();
    let mut input = Input { file: BufReader::with_capacity(1 << 20, file), at: 0, size, crc: 0 };
    let (magic, stamp) = (input.array::<8>()?, input.array::<8>()?);
    if &magic != MAGIC {
        return Err(Unusable::Magic);
    }
    input.crc = crc32c::crc32c_append(crc32c::crc32c(&magic), &stamp);
    let stamp = i64::from_be_bytes(stamp);
    let mut builder = Builder::new();
    let mut keys = 0;
    let mut block = Vec::new();
    let mut key = Vec::new();
    while input.block(&mut block)? {
        let mut rest = &block[..];
        while !rest.is_empty() {
            let history = take_entry(&mut rest, &mut key).ok_or(Unusable::Malformed(input.at))?;
            builder.push(&key, history)?;
            keys += 1;
        }
    }
    let (Some((key_count, rest)), at) = (block.split_first_chunk::<8>(), input.at) else {
        return Err(Unusable::Malformed(input.at));
    };
    let newest: [u8; 8] = rest.try_into().map_err(|_| Unusable::Malformed(at))?;
    if u64::from_be_bytes(*key_count) != keys || input.at != size {
        return Err(Unusable::Length);
    }
    let newest = i64::from_be_bytes(newest).max(stamp);
    if newest > rows_newest {
        return Err(Unusable::Ahead { file: newest, rows: rows_newest });
    }
    Ok(Some(Loaded { index: builder.finish(), stamp }))
}

struct Input {
    file: BufReader<File>,
    at: u64,
    size: u64,
    crc: u32,
}

impl Input {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unusable> {
        let mut bytes = [0; N];
        if self.size - self.at < N as u64 {
            return Err(Unusable::Length);
        }
        self.file.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    /// Reads a block; `false` if it is the end, whose payload is in `block` then.
    fn block(&mut self, block: &mut Vec<u8>) -> Result<bool, Unusable> {
        let start = self.at;
        let len = u32::from_be_bytes(self.array()?);
        let crc = u32::from_be_bytes(self.array()?);
        let size = if len == 0 { 16 } else { len as usize };
        if size as u64 > self.size - self.at || size > BLOCK_BYTES_MAX {
            return Err(Unusable::Length);
        }
        block.resize(size, 0);
        self.file.read_exact(block)?;
        self.at += size as u64;
        self.crc = crc32c::crc32c_append(self.crc, block);
        if self.crc == crc { Ok(len > 0) } else { Err(Unusable::Checksum(start)) }
    }
}

/// Takes an entry off the front of a block: `key` becomes its key.
fn take_entry<'a>(rest: &mut &'a [u8], key: &mut Vec<u8>) -> Option<&'a [u8]> {
    let shared = take_len(rest)?;
    let (own, history) = (take_len(rest)?, take_len(rest)?);
    if shared > key.len() {
        return None;
    }
    key.truncate(shared);
    let (suffix, after) = rest.split_at_checked(own)?;
    key.extend_from_slice(suffix);
    let (history, after) = after.split_at_checked(history)?;
    *rest = after;
    Some(history)
}

fn take_len(rest: &mut &[u8]) -> Option<usize> {
    usize::try_from(crate::kv::varint(rest)?).ok()
}
