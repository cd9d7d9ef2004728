//! The rows of a database as a portable file, and back: what members send one another and
//! operators keep.

use std::io;
use std::ops::ControlFlow;

use base::schema::Bucket;
use snapshot::{Plan, Planner, Reader, Source, Writer};

use crate::db::Backend;
use crate::error::Error;
use crate::load::load_bucket;
use crate::rows::{CacheUse, Rows};

/// Why an image could not be written or loaded.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The database.
    #[error(transparent)]
    Backend(#[from] Error),
    /// The file's form, or the disk it is on.
    #[error(transparent)]
    File(#[from] snapshot::Error),
    /// A bucket that no etcd has.
    #[error("unknown bucket {0:?}")]
    UnknownBucket(String),
}

/// Calls `bucket` for every bucket in the order of names, and `row` for each of its rows.
///
/// # Errors
/// [`ImageError::Backend`], and [`ImageError::File`] for what the calls fail with.
pub fn visit<V>(
    rows: &impl Rows,
    visitor: &mut V,
    bucket: impl Fn(&mut V, &[u8]) -> snapshot::Result<()>,
    row: impl Fn(&mut V, Bucket, &[u8], &[u8]) -> snapshot::Result<()>,
) -> Result<(), ImageError> {
    for name in Bucket::ALL {
        bucket(visitor, name.name().as_bytes())?;
        let mut failed = None;
        rows.scan(name, b"", None, CacheUse::Bypass, |key, value| {
            match row(visitor, name, key, value) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
    }
    Ok(())
}

/// Measures the image of `rows`: a walk over all of them. To be written from the same view.
///
/// # Errors
/// [`ImageError::Backend`], and [`ImageError::File`] for rows that the file cannot hold.
pub fn plan(rows: &impl Rows) -> Result<Plan, ImageError> {
    let mut planner = Planner::new();
    visit(rows, &mut planner, Planner::bucket, |planner, _, key, value| {
        planner.row(key.len(), value.len())
    })?;
    Ok(planner.finish()?)
}

/// Writes the image of `rows` from beginning to end.
///
/// # Errors
/// As [`plan`], and what `out` fails with.
pub fn write<W: io::Write>(rows: &impl Rows, plan: Plan, out: W) -> Result<W, ImageError> {
    let mut writer = Writer::new(out, plan)?;
    visit(rows, &mut writer, Writer::bucket, |writer, _, key, value| writer.row(key, value))?;
    Ok(writer.finish()?)
}

/// Loads an image into an empty database, which then holds exactly its rows.
///
/// # Errors
/// The first thing that is wrong with the image; what was loaded by then is to be dropped.
pub fn load<S: Source>(image: &Reader<S>, into: &Backend) -> Result<(), ImageError> {
    load_rows(image, into, |_, _, _| true)
}

/// As [`load`], with those rows only that `keep` wants. It sees all, in order.
///
/// # Errors
/// As [`load`].
pub fn load_rows<S: Source>(
    image: &Reader<S>,
    into: &Backend,
    mut keep: impl FnMut(Bucket, &[u8], &[u8]) -> bool,
) -> Result<(), ImageError> {
    let mut walk = image.walk();
    while let Some(name) = walk.next_bucket()? {
        let name = String::from_utf8_lossy(name).into_owned();
        let bucket = Bucket::from_name(&name).ok_or(ImageError::UnknownBucket(name))?;
        load_bucket(&mut walk, bucket, into, &mut keep)?;
    }
    into.inner.measure()?;
    into.flush()?;
    Ok(())
}
