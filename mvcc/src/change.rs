//! What an entry changed, for watchers and for those who follow the keys.

use base::Revision;
use bytes::Bytes;

/// All changes of one entry, which share one main revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The main revision.
    pub revision: i64,
    /// The changes, in order of their sub revision.
    pub events: Vec<Event>,
}

/// Whether a key was put or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A put.
    Put,
    /// A deletion.
    Delete,
}

/// One change of one key. Clones share the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Put or delete.
    pub kind: EventKind,
    /// The key.
    pub key: Bytes,
    /// Encoded `mvccpb.KeyValue` as watchers see it: the stored pair of a put; for a deletion
    /// the key and, as `mod_revision`, the revision of the deletion.
    pub kv: Bytes,
    /// The revision of the change.
    pub rev: Revision,
    /// Row of the pair the key had before this main revision, if it lived then: what watchers
    /// get as `prev_kv`. May be compacted by the time it is read.
    pub prev: Option<Revision>,
}
