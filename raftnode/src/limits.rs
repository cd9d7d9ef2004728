//! Every bound of this crate, with its unit and its reason.

/// Bytes that proposals may hold in the inbox before `propose` waits for room.
pub(crate) const INBOX_BYTES_MAX: usize = 64 << 20;

/// What one proposal weighs at least, so that the byte bound is a message bound too.
pub(crate) const PROPOSAL_WEIGHT_MIN: usize = 16 << 10;

/// Proposals that fit into the inbox at once: the message bound that the two above imply.
pub(crate) const INBOX_PROPOSALS_MAX: usize = INBOX_BYTES_MAX / PROPOSAL_WEIGHT_MIN;
const _: () = assert!(INBOX_PROPOSALS_MAX == 4_096);
// One proposal of any size must fit, and a weight is counted in `u32` permits.
const _: () = assert!(INBOX_BYTES_MAX <= u32::MAX as usize);

/// Peer messages waiting in the inbox; more are refused and the caller drops them, as a
/// network may.
pub(crate) const INBOX_MESSAGES_MAX: usize = 4_096;

/// Bytes of peer messages waiting in the inbox; one message is always taken.
pub(crate) const INBOX_MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Readers waiting for a read index at once; more are refused.
pub(crate) const READ_WAITERS_MAX: usize = 65_536;

/// Bytes of entries in one append message, and in one batch given to the state machine
/// (etcd: 1 MiB for both).
pub(crate) const MESSAGE_BYTES_MAX: u64 = 1 << 20;

/// Append messages in flight to one follower (etcd: 512).
pub(crate) const INFLIGHT_MESSAGES_MAX: usize = 512;

/// Entries kept in memory behind the applied index for followers that lag (etcd: 5,000).
pub const CATCH_UP_ENTRIES: u64 = 5_000;

/// Bytes kept in memory behind the applied index for followers that lag; a follower further
/// behind gets a snapshot. etcd counts entries only, which big values turn into gigabytes.
pub(crate) const CATCH_UP_BYTES_MAX: usize = 64 << 20;

/// The log in memory is shortened whenever applied moved this far (etcd: 100).
pub(crate) const COMPACT_STEP_ENTRIES: u64 = 100;

/// Terms a peer may be ahead of this member: more elections than any cluster holds, and few
/// enough that the largest number cannot be reached at once.
pub(crate) const TERMS_AHEAD_MAX: u64 = 1 << 56;

/// A read index that was not confirmed is asked for again after this time (etcd: 500 ms).
pub(crate) const READ_INDEX_RETRY_MS: u64 = 500;

/// What an entry costs beside its data: its place in the log and its record on disk.
pub(crate) const ENTRY_OVERHEAD_BYTES: usize = 64;

/// Waiting batches that the apply thread joins into one, so that one does not grow without
/// end: a batch holds up to [`MESSAGE_BYTES_MAX`].
pub(crate) const MERGED_BATCHES_MAX: usize = 16;
