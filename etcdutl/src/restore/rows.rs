//! The rows of a restored member: those of the snapshot, but for the membership.

use std::fs::File;
use std::path::{Path, PathBuf};

use backend::{Backend, image};
use base::schema::{self, Bucket};
use base::{Member, Revision, RowKey};
use snapshot::{Reader, TRAILER_BYTES};

use super::founders::Founders;
use super::raft_files;
use crate::failure::Failure;
use crate::log::{self, Field};
use crate::progress::Progress;

/// A snapshot that looks like one.
pub(super) struct Image {
    path: PathBuf,
    file: File,
    /// Whether the SHA-256 at its end is to be compared.
    is_hash_checked: bool,
}

impl Image {
    /// Looks at the length only: that decides whether there is a hash.
    pub(super) fn open(path: &Path, file: File, skip_hash_check: bool) -> Result<Self, Failure> {
        let bytes = file.metadata().map_err(Failure::io("stat", path))?.len();
        if !skip_hash_check && !snapshot::has_trailer_size(bytes) {
            let text = "snapshot missing hash but --skip-hash-check=false";
            return Err(Failure::Refused(text.to_owned()));
        }
        Ok(Self { path: path.to_owned(), file, is_hash_checked: !skip_hash_check })
    }

    /// Runs `work` while the hash is computed beside it. A wrong hash is the error to tell,
    /// whatever else came of it.
    fn checked<T>(&self, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        std::thread::scope(|scope| {
            let hash = scope.spawn(|| match self.is_hash_checked {
                true => snapshot::verify_trailer(&self.file),
                false => Ok(TRAILER_BYTES),
            });
            let done = work();
            match hash.join() {
                Ok(Ok(_)) => done,
                Ok(Err(error)) => Err(error.into()),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Says which file it is that is damaged.
    fn blame(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Snapshot(error @ snapshot::Error::Corrupt { .. }) => {
                let path = self.path.display();
                Failure::Refused(format!("snapshot file {path} is damaged: {error}"))
            }
            other => other,
        }
    }
}

/// Makes the backend at `path`.
pub(super) fn restore(
    image: &Image,
    path: &Path,
    founders: &Founders,
    bump_revision: u64,
) -> Result<(), Failure> {
    let backend = Backend::open(path, &backend::Options::default())?;
    let loaded = image.checked(|| load(&image.file, &backend));
    let latest = loaded.map_err(|failure| image.blame(failure))?;
    log::info("Trimming membership information from the backend...", &[]);
    let mut batch = backend.batch();
    for member in &founders.members {
        let key = Member::row_key(member.id);
        batch.put(Bucket::Members, key.as_bytes(), member.to_json().as_bytes());
    }
    let index = raft_files::last_index(founders);
    batch.put(Bucket::Meta, schema::CONSISTENT_INDEX, &index.to_be_bytes());
    batch.put(Bucket::Meta, schema::TERM, &raft_files::TERM.to_be_bytes());
    if bump_revision > 0 {
        let bumped = bumped(latest, bump_revision)?;
        let row = RowKey::put(bumped).encode();
        batch.put(Bucket::Key, &row, b"");
        batch.put(Bucket::Meta, schema::SCHEDULED_COMPACT, &row);
    }
    backend.write(batch)?;
    Ok(backend.flush()?)
}

/// Loads all rows but the membership, and gives the newest revision.
fn load(file: &File, backend: &Backend) -> Result<i64, Failure> {
    let reader = Reader::open(file)?;
    let mut progress = Progress::new("restoring", reader.size_bytes());
    let (mut latest, mut bad) = (0, None);
    image::load_rows(&reader, backend, |bucket, key, value| {
        progress.add(key.len() + value.len());
        match bucket {
            Bucket::Members | Bucket::MembersRemoved => false,
            Bucket::Key => {
                match RowKey::decode(key) {
                    Ok(row) => latest = row.rev.main,
                    Err(error) => bad = bad.take().or(Some(error)),
                }
                true
            }
            _ => true,
        }
    })?;
    match bad {
        Some(error) => Err(Failure::Refused(format!("bucket key: {error}"))),
        None => Ok(latest),
    }
}

/// The revision `by` above the newest one.
fn bumped(latest: i64, by: u64) -> Result<Revision, Failure> {
    let new = i64::try_from(by).ok().and_then(|by| latest.checked_add(by));
    let new = new.ok_or_else(|| {
        Failure::Refused(format!("revision {latest} cannot be raised by {by}: it would overflow"))
    })?;
    let number = |of: u64| Field::Number(i64::try_from(of).unwrap_or(i64::MAX));
    let fields = [
        ("latest-revision", Field::Number(latest)),
        ("bump-amount", number(by)),
        ("new-latest-revision", Field::Number(new)),
    ];
    log::info("bumping latest revision", &fields);
    log::info("marking revision compacted", &[("revision", Field::Number(new))]);
    Ok(Revision::new(new, 0))
}
