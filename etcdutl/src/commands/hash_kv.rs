//! `hashkv`: the hash members compare, of a database or a snapshot.

use std::path::{Path, PathBuf};
use std::time::Duration;

use backend::{Backend, image};
use base::schema::Bucket;
use mvcc::{KvHash, Store};
use snapshot::Reader;

use crate::failure::Failure;
use crate::files;
use crate::print::{self, Format};
use crate::progress::Progress;

/// Runs the command.
///
/// # Errors
/// When the path holds neither, or the revision is not in it.
pub(super) fn run(
    path: &Path,
    revision: i64,
    timeout: Duration,
    format: Format,
) -> Result<String, Failure> {
    let found = std::fs::metadata(path).map_err(Failure::io("stat", path))?;
    let hash = match found.is_dir() {
        true => hash(super::open(path, timeout)?, revision)?,
        false => of_image(path, revision, timeout)?,
    };
    Ok(print::hash_kv(format, &hash))
}

fn hash(backend: Backend, revision: i64) -> Result<KvHash, Failure> {
    Ok(Store::open(backend, mvcc::Options::default())?.store.hash_kv(revision)?)
}

/// Of a file: its keys are brought into a database that is gone afterwards.
fn of_image(path: &Path, revision: i64, timeout: Duration) -> Result<KvHash, Failure> {
    let file = files::open_shared(path, timeout)?;
    let reader = Reader::open(&file)?;
    let scratch = Scratch::make()?;
    let backend = Backend::open(scratch.0.join("db"), &backend::Options::default())?;
    let mut progress = Progress::new("reading", reader.size_bytes());
    image::load_rows(&reader, &backend, |bucket, key, value| {
        progress.add(key.len() + value.len());
        matches!(bucket, Bucket::Key | Bucket::Meta)
    })?;
    drop(progress);
    hash(backend, revision)
}

/// A folder among the temporary files that only we may enter; removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Self, Failure> {
        use std::os::unix::fs::DirBuilderExt as _;
        let dir = std::env::temp_dir().join(format!("etcdutl-hashkv-{}", std::process::id()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&dir);
        made.map(|()| Self(dir.clone())).map_err(Failure::io("mkdir", &dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            crate::complain(&format!("Warning: {} is left behind: {error}", self.0.display()));
        }
    }
}
