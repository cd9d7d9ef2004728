//! What `etcdutl snapshot status` tells of a file.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use base::RowKey;
use base::schema::{Bucket, STORAGE_VERSION};
use prost::Message;
use proto::mvccpb::KeyValue;

use crate::audit::{Seen, audit};
use crate::error::{Error, Result};
use crate::page::hex;
use crate::reader::Reader;
use crate::source::Source;

/// The state an image holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// CRC-32C of all names of buckets, keys and values, in order.
    pub hash: u32,
    /// Main revision of the last row of bucket `key`; 0 if there is none.
    pub revision: i64,
    /// Keys that exist: what etcdutl since 3.6 calls total keys.
    pub live_keys: u64,
    /// Rows of all buckets: what older tools call total keys.
    pub rows: u64,
    /// Length of the database in bytes, without what follows its pages.
    pub size_bytes: u64,
    /// Version of the schema, such as `3.7.0`; empty before 3.6.
    pub version: String,
}

pub(crate) fn status<S: Source>(reader: &Reader<S>) -> Result<Status> {
    let mut seen = Summary::default();
    audit(reader, &mut |what| match what {
        Seen::Bucket(name) => seen.bucket(name),
        Seen::Row(key, value) => seen.row(key, value),
    })?;
    if let Some(error) = seen.error {
        return Err(error);
    }
    Ok(Status {
        hash: seen.hash,
        revision: seen.revision,
        live_keys: seen.live.len() as u64,
        rows: seen.rows,
        size_bytes: reader.size_bytes(),
        version: seen.version,
    })
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Summary {
    hash: u32,
    revision: i64,
    rows: u64,
    version: String,
    bucket: Option<Bucket>,
    /// Two independent, randomly keyed hashes of each live key: two of a hundred billion keys
    /// share them with a chance below 10^-16, and nobody can choose keys that do.
    live: HashSet<(u64, u64)>,
    hashers: (RandomState, RandomState),
    /// The first row that makes no sense.
    error: Option<Error>,
}

impl Summary {
    fn bucket(&mut self, name: &[u8]) {
        self.hash = crc32c::crc32c_append(self.hash, name);
        self.bucket = std::str::from_utf8(name).ok().and_then(Bucket::from_name);
    }

    fn row(&mut self, key: &[u8], value: &[u8]) {
        self.hash = crc32c::crc32c_append(self.hash, key);
        self.hash = crc32c::crc32c_append(self.hash, value);
        self.rows += 1;
        match self.bucket {
            Some(Bucket::Key) => {
                if self.error.is_none()
                    && let Err(reason) = self.revision(key, value)
                {
                    let bucket = Bucket::Key.name();
                    self.error = Some(Error::Row { bucket, key: hex(key), reason });
                }
            }
            Some(Bucket::Meta) if key == STORAGE_VERSION => {
                self.version = String::from_utf8_lossy(value).into_owned();
            }
            _ => {}
        }
    }

    fn revision(&mut self, key: &[u8], value: &[u8]) -> std::result::Result<(), String> {
        let row = RowKey::decode(key).map_err(|error| error.to_string())?;
        let kv = KeyValue::decode(value).map_err(|error| error.to_string())?;
        self.revision = row.rev.main;
        let mark = (self.hashers.0.hash_one(&kv.key), self.hashers.1.hash_one(&kv.key));
        if row.tombstone {
            self.live.remove(&mark)
        } else {
            self.live.insert(mark)
        };
        Ok(())
    }
}
