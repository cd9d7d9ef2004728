//! The directory `member/snap`: `.snap` files, each a mark of the log with the membership at it,
//! and `.snap.db` files, images of a backend that a leader sent.

use crate::error::{Error, Result};
use crate::fs::{Disk, DiskHook, io_error};
use crate::record::{SnapshotRecord, decode_conf_state, encode_conf_state};
use crate::wire::{Fields, WireError, put_bytes, put_bytes_head, put_number};
use base::ConfState;
use bytes::Bytes;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Mode of `.snap` files, as etcd's: they hold no keys and values.
const SNAP_MODE: u32 = 0o666;

/// The content of a `.snap` file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Index of the last entry in the snapshot.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// The membership at `index`.
    pub conf_state: ConfState,
    /// The document of [`crate::store_document`].
    pub data: Bytes,
}

/// The snapshots of a member. Files that cannot be read are set aside as `.broken`.
#[derive(Clone, Debug)]
pub struct SnapDir {
    dir: PathBuf,
    disk: Disk,
}

impl SnapDir {
    /// Makes the directory if it is not there, and removes what interrupted work left in it:
    /// files whose names begin with `tmp` or `db.tmp`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn open(dir: &Path, disk_hook: Option<Arc<dyn DiskHook>>) -> Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|e| io_error("create directory", dir, e))?;
        let snap_dir = Self { dir: dir.to_owned(), disk: Disk::new(disk_hook) };
        for name in snap_dir.file_names()? {
            if name.starts_with("tmp") || name.starts_with("db.tmp") {
                snap_dir.disk.remove(&dir.join(name))?;
            }
        }
        Ok(snap_dir)
    }

    /// Writes a `.snap` file durably, name included; on an error there is none.
    ///
    /// # Errors
    /// What the disk says.
    pub fn save(&self, snapshot: &Snapshot) -> Result<()> {
        let path = self.dir.join(file_name(snapshot.term, snapshot.index));
        let written = self.write_durably(&path, &encode(snapshot));
        if written.is_err()
            && let Err(e) = self.disk.remove(&path)
        {
            tracing::warn!(error = %e, "snapshot file is left behind");
        }
        written
    }

    fn write_durably(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let file = self.disk.create_with_mode(path, SNAP_MODE)?;
        self.disk.set_len(&file, path, 0)?;
        self.disk.write_at(&file, path, bytes, 0)?;
        self.disk.sync_data(&file, path)?;
        self.disk.sync_dir(&self.dir)
    }

    /// The newest snapshot that can be read and that the log has a mark for. Those that cannot be
    /// read are renamed to `.broken`.
    ///
    /// # Errors
    /// [`Error::NoSnap`] when there is none; what the disk says.
    pub fn load_newest(&self, marks: &[SnapshotRecord]) -> Result<Snapshot> {
        let mut names = self.file_names()?;
        names.retain(|name| name.ends_with(".snap"));
        // By name, the term first: that is the order etcd looks in.
        for name in names.iter().rev() {
            let path = self.dir.join(name);
            match self.load(&path) {
                Ok(snapshot) => {
                    let (index, term) = (snapshot.index, snapshot.term);
                    if marks.iter().any(|mark| mark.index == index && mark.term == term) {
                        return Ok(snapshot);
                    }
                }
                Err(e @ Error::BadSnap { .. }) => {
                    let broken = self.dir.join(format!("{name}.broken"));
                    tracing::warn!(error = %e, "snapshot file is set aside as .broken");
                    self.disk.rename(&path, &broken)?;
                }
                Err(e) => return Err(e),
            }
        }
        Err(Error::NoSnap { dir: self.dir.clone() })
    }

    /// Reads one `.snap` file.
    ///
    /// # Errors
    /// [`Error::BadSnap`] when it is not what was written; what the disk says.
    pub fn load(&self, path: &Path) -> Result<Snapshot> {
        let bytes = std::fs::read(path).map_err(|e| io_error("read file", path, e))?;
        decode(&bytes.into()).map_err(|reason| Error::BadSnap { path: path.to_owned(), reason })
    }

    /// Where the image of a backend that belongs to the snapshot at `index` is.
    pub fn db_path(&self, index: u64) -> PathBuf {
        self.dir.join(format!("{index:016x}.snap.db"))
    }

    /// Removes the images that belong to snapshots before `index`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn release_dbs(&self, index: u64) -> Result<()> {
        for name in self.file_names()? {
            let older = name
                .strip_suffix(".snap.db")
                .and_then(|hex| u64::from_str_radix(hex, 16).ok())
                .is_some_and(|of| of < index);
            if older {
                self.disk.remove(&self.dir.join(name))?;
            }
        }
        Ok(())
    }

    /// Removes the oldest `.snap` files and, counted apart, the oldest `.snap.db` files beyond
    /// `files_max` of each; 0 keeps all. Returns what was removed.
    ///
    /// # Errors
    /// What the disk says.
    pub fn purge(&self, files_max: usize) -> Result<Vec<PathBuf>> {
        let mut removed = Vec::new();
        if files_max == 0 {
            return Ok(removed);
        }
        let names = self.file_names()?;
        for suffix in [".snap.db", ".snap"] {
            let of_kind: Vec<_> = names.iter().filter(|name| name.ends_with(suffix)).collect();
            let surplus = of_kind.len().saturating_sub(files_max);
            for name in of_kind.into_iter().take(surplus) {
                let path = self.dir.join(name);
                self.disk.remove(&path)?;
                removed.push(path);
            }
        }
        Ok(removed)
    }

    /// Names of the plain files, sorted.
    fn file_names(&self) -> Result<Vec<String>> {
        let failed = |e| io_error("list directory", &self.dir, e);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            match entry.file_type() {
                Ok(kind) if kind.is_file() => {
                    names.extend(entry.file_name().into_string().ok());
                }
                Ok(_) => {}
                // Removed by the purge since it was listed.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(failed(e)),
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

fn file_name(term: u64, index: u64) -> String {
    format!("{term:016x}-{index:016x}.snap")
}

/// snappb.snapshot { crc 1, data 2 } around raftpb.Snapshot { data 1, metadata 2 }.
fn encode(snapshot: &Snapshot) -> Vec<u8> {
    let mut metadata = Vec::new();
    put_bytes(&mut metadata, 1, &encode_conf_state(&snapshot.conf_state));
    put_number(&mut metadata, 2, snapshot.index);
    put_number(&mut metadata, 3, snapshot.term);
    let mut inner = Vec::with_capacity(snapshot.data.len() + metadata.len() + 24);
    if !snapshot.data.is_empty() {
        put_bytes(&mut inner, 1, &snapshot.data);
    }
    put_bytes(&mut inner, 2, &metadata);
    let mut out = Vec::with_capacity(inner.len() + 24);
    put_number(&mut out, 1, u64::from(crc32c::crc32c(&inner)));
    put_bytes_head(&mut out, 2, inner.len());
    out.extend_from_slice(&inner);
    out
}

/// The snapshot, or what is wrong with the file.
fn decode(bytes: &Bytes) -> std::result::Result<Snapshot, String> {
    let (crc, inner) = decode_outer(bytes).map_err(|e| e.to_string())?;
    if inner.is_empty() || crc == 0 {
        return Err("empty snapshot".to_owned());
    }
    if u64::from(crc32c::crc32c(inner)) != crc {
        return Err("crc mismatch".to_owned());
    }
    decode_inner(bytes, inner).map_err(|e| e.to_string())
}

fn decode_outer(bytes: &[u8]) -> std::result::Result<(u64, &[u8]), WireError> {
    let (mut crc, mut inner) = (0, &[][..]);
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => crc = value.varint()?,
            2 => inner = value.bytes()?,
            _ => {}
        }
    }
    Ok((crc, inner))
}

fn decode_inner(bytes: &Bytes, inner: &[u8]) -> std::result::Result<Snapshot, WireError> {
    let mut snapshot = Snapshot::default();
    let mut fields = Fields::new(inner);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => snapshot.data = bytes.slice_ref(value.bytes()?),
            2 => {
                let mut metadata = Fields::new(value.bytes()?);
                while let Some((number, value)) = metadata.next()? {
                    match number {
                        1 => snapshot.conf_state = decode_conf_state(value.bytes()?)?,
                        2 => snapshot.index = value.varint()?,
                        3 => snapshot.term = value.varint()?,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(snapshot)
}

#[cfg(test)]
mod tests;
