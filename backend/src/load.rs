//! Rows of an image become table files, written in order and taken over as they are: no log, no
//! memory tables, no compaction.

use std::path::PathBuf;

use base::schema::Bucket;
use rocksdb::{Cache, IngestExternalFileOptions, SstFileWriter};
use snapshot::{Source, Walk};

use crate::db::Backend;
use crate::image::ImageError;
use crate::options::TABLE_FILE_BYTES;

/// Cache of the writers' options, which never read.
const NO_CACHE_BYTES: usize = 1;

/// Moves the rows that `walk` has left in its bucket into `into`, those that `keep` wants.
pub(crate) fn load_bucket<S: Source>(
    walk: &mut Walk<'_, S>,
    bucket: Bucket,
    into: &Backend,
    keep: &mut impl FnMut(Bucket, &[u8], &[u8]) -> bool,
) -> Result<(), ImageError> {
    let cache = Cache::new_lru_cache(NO_CACHE_BYTES);
    let options = into.inner.options.family(Some(bucket), &cache);
    let mut files = Vec::new();
    let mut more = true;
    while more {
        let path = into.path().join(format!("load-{}-{}", bucket.name(), files.len()));
        more = write_file(walk, bucket, into, &options, &path, keep)?;
        if path.exists() {
            files.push(path);
        }
    }
    take_over(into, bucket, files)
}

/// Fills one table file, or makes none if there is no row. Says whether it was filled to the brim.
fn write_file<S: Source>(
    walk: &mut Walk<'_, S>,
    bucket: Bucket,
    into: &Backend,
    options: &rocksdb::Options,
    path: &PathBuf,
    keep: &mut impl FnMut(Bucket, &[u8], &[u8]) -> bool,
) -> Result<bool, ImageError> {
    let failed = |error| into.inner.engine_error("write a table file", error);
    let mut writer: Option<SstFileWriter<'_>> = None;
    let mut bytes = 0;
    while bytes < TABLE_FILE_BYTES {
        let Some((key, value)) = walk.next_row()? else { break };
        if !keep(bucket, key, value) {
            continue;
        }
        let writer = match &mut writer {
            Some(writer) => writer,
            None => {
                let opened = SstFileWriter::create(options);
                opened.open(path).map_err(failed)?;
                writer.insert(opened)
            }
        };
        writer.put(key, value).map_err(failed)?;
        bytes += (key.len() + value.len()) as u64;
    }
    if let Some(mut writer) = writer {
        writer.finish().map_err(failed)?;
    }
    Ok(bytes >= TABLE_FILE_BYTES)
}

/// Makes the files part of the database, durably and all at once.
fn take_over(into: &Backend, bucket: Bucket, files: Vec<PathBuf>) -> Result<(), ImageError> {
    if files.is_empty() {
        return Ok(());
    }
    let mut options = IngestExternalFileOptions::default();
    options.set_move_files(true);
    let family = into.inner.family(bucket.name());
    let taken = into.inner.db.ingest_external_file_cf_opts(family, &options, files);
    Ok(taken.map_err(|error| into.inner.engine_error("take over table files", error))?)
}
