//! Private rows: what a restart from the index file needs and the index does not hold.
//!
//! | key | value | written for |
//! |---|---|---|
//! | `L`, row key of a put | lease (8 bytes), key | every put with a lease |
//! | `T`, row key of a tombstone | key | tombstones compacted away above the stamp of the file |
//!
//! The first kind stays at least while it is its key's newest change, the second until the next
//! index file.
//!
//! They are in no bucket, so no hash and no snapshot sees them.

use std::ops::ControlFlow;

use backend::{Rows, WriteBatch};
use base::{Revision, RowKey};

use crate::error::Error;

const LEASED: u8 = b'L';
const TOMBSTONE: u8 = b'T';

/// Longest key of these rows.
const KEY_BYTES_MAX: usize = 19;

struct PrivateKey {
    bytes: [u8; KEY_BYTES_MAX],
    len: usize,
}

impl PrivateKey {
    fn new(kind: u8, row: RowKey) -> PrivateKey {
        let row = row.encode();
        let mut bytes = [kind; KEY_BYTES_MAX];
        bytes[1..=row.len()].copy_from_slice(&row);
        PrivateKey { bytes, len: 1 + row.len() }
    }
}

impl std::ops::Deref for PrivateKey {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Notes a put with a lease.
pub(crate) fn put_leased(batch: &mut WriteBatch, rev: Revision, key: &[u8], lease: i64) {
    let value = [&lease.to_be_bytes(), key].concat();
    batch.private_put(&PrivateKey::new(LEASED, RowKey::put(rev)), &value);
}

/// Deletes the note of a put with a lease.
pub(crate) fn delete_leased(batch: &mut WriteBatch, rev: Revision) {
    batch.private_delete(&PrivateKey::new(LEASED, RowKey::put(rev)));
}

/// Notes a tombstone whose row is deleted.
pub(crate) fn put_tombstone(batch: &mut WriteBatch, rev: Revision, key: &[u8]) {
    batch.private_put(&PrivateKey::new(TOMBSTONE, RowKey::tombstone(rev)), key);
}

/// Deletes the notes of tombstones up to main revision `to`.
pub(crate) fn delete_tombstones(batch: &mut WriteBatch, to: i64) {
    batch.private_delete_range(&[TOMBSTONE], &first(TOMBSTONE, to.saturating_add(1)));
}

/// Visits the notes of puts with a lease in revision order: revision, key, lease.
pub(crate) fn each_leased(
    rows: &impl Rows,
    mut visit: impl FnMut(Revision, &[u8], i64),
) -> Result<(), Error> {
    each(rows, LEASED, 0, |row, value| match value.split_first_chunk::<8>() {
        Some((lease, key)) => {
            visit(row.rev, key, i64::from_be_bytes(*lease));
            Ok(())
        }
        None => Err(Error::Row { rev: row.rev, detail: "its private note is malformed" }),
    })
}

/// Visits the notes of tombstones from main revision `from` on.
pub(crate) fn each_tombstone(
    rows: &impl Rows,
    from: i64,
    mut visit: impl FnMut(Revision, &[u8]),
) -> Result<(), Error> {
    each(rows, TOMBSTONE, from, |row, key| {
        visit(row.rev, key);
        Ok(())
    })
}

fn each(
    rows: &impl Rows,
    kind: u8,
    from: i64,
    mut visit: impl FnMut(RowKey, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut result = Ok(());
    rows.private_scan(&first(kind, from), Some(&[kind + 1]), |key, value| {
        let row = key.get(1..).ok_or(base::Error::RowKey { len: 0 }).and_then(RowKey::decode);
        result = match row {
            Ok(row) => visit(row, value),
            Err(error) => Err(error.into()),
        };
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    result
}

/// The least key of a kind at main revision `main`.
fn first(kind: u8, main: i64) -> PrivateKey {
    PrivateKey::new(kind, RowKey::put(Revision::new(main.max(0), 0)))
}
