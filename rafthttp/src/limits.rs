//! Every bound of this crate, with its unit and its reason.

use std::time::Duration;

/// Bytes of one frame of a stream and of one message in a POST (etcd: 512 MiB).
pub(crate) const FRAME_BYTES_MAX: usize = 512 << 20;
/// Bytes of the message before the database of a snapshot (etcd: 64 MiB).
pub(crate) const SNAPSHOT_MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Bytes of messages being received by POST, all senders together: one of the largest.
pub(crate) const POSTED_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// Bytes of the answer to a one-off request; the largest lists the keys of a lease.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Bytes of an error text that are read from a peer's answer for the log.
pub(crate) const ERROR_TEXT_BYTES_MAX: usize = 1 << 10;

/// Messages between the raft thread and the peer thread, all receivers together; a call that
/// finds no room is dropped and its receivers are reported.
pub(crate) const INBOX_MESSAGES_MAX: usize = 16_384;
/// Bytes of the same.
pub(crate) const INBOX_BYTES_MAX: usize = 128 << 20;
/// Messages queued for one stream (etcd: 4,096).
pub(crate) const STREAM_MESSAGES_MAX: usize = 4_096;
/// Bytes of the same; one message is always taken.
pub(crate) const STREAM_BYTES_MAX: usize = 64 << 20;
/// Messages queued for the posts to one peer (etcd: 64).
pub(crate) const PIPELINE_MESSAGES_MAX: usize = 64;
/// Bytes of the same; one message is always taken.
pub(crate) const PIPELINE_BYTES_MAX: usize = 64 << 20;
/// Posts to one peer at a time (etcd: 4).
pub(crate) const PIPELINE_WORKERS: usize = 4;
/// Snapshots being sent, all receivers together (etcd: 16 waiting requests).
pub(crate) const SNAPSHOT_SENDS_MAX: usize = 16;
/// Snapshots being received at once.
pub(crate) const SNAPSHOT_RECEIVES_MAX: usize = 4;
/// Senders that are no members yet and can be answered by POST; the oldest makes room.
pub(crate) const REMOTES_MAX: usize = 64;
/// Members and remotes with counters of their own; events of further ones are not counted.
pub(crate) const COUNTED_PEERS_MAX: usize = 1_024;
/// Addresses whose undecodable messages are counted apart.
pub(crate) const COUNTED_ADDRESSES_MAX: usize = 64;

/// Half of what is allocated for a frame before any of it has arrived.
pub(crate) const GATHER_AHEAD_BYTES: usize = 1 << 20;
/// Bytes encoded into one write of a stream, beyond which the rest waits for the next.
pub(crate) const WRITE_BYTES: usize = 64 << 10;
/// Capacity of a stream's write buffer that is kept for the next write.
pub(crate) const WRITE_BUFFER_KEPT_BYTES: usize = 1 << 20;
/// Chunks of a database between its source and the connection.
pub(crate) const SNAPSHOT_CHUNKS_MAX: usize = 4;

/// How long the head of a request, and an idle connection may take; the least that reads and
/// writes are given (etcd: 5 s).
pub(crate) const IO_TIMEOUT: Duration = Duration::from_secs(5);
/// Link heartbeats on each stream; three fit into [`IO_TIMEOUT`] (etcd: a third of it).
pub(crate) const LINK_HEARTBEAT: Duration = Duration::from_micros(1_666_667);
/// Shortest time between two dials of one stream reader (etcd: 100 ms).
pub(crate) const REDIAL: Duration = Duration::from_millis(100);
/// What a dial may take beside the election timeout (etcd: 1 s).
pub(crate) const DIAL_BASE: Duration = Duration::from_secs(1);
/// How long an own connection for posts is kept idle: less than the peer keeps it.
pub(crate) const POST_IDLE: Duration = Duration::from_secs(4);
/// What a post may take, beside the time for its bytes at [`POST_BYTES_PER_S`].
pub(crate) const POST_TIMEOUT: Duration = Duration::from_secs(5);
/// The slowest link that posts are made for.
pub(crate) const POST_BYTES_PER_S: usize = 64 << 10;
/// How long a peer may take to store a snapshot it has received whole.
pub(crate) const SNAPSHOT_ANSWER: Duration = Duration::from_secs(600);
/// How long a snapshot's sender may pause.
pub(crate) const SNAPSHOT_PAUSE: Duration = Duration::from_secs(30);
/// Time between two probes of a peer (etcd: 4 s).
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(4);
/// Time between two looks at the probes of a healthy peer (etcd: 30 s).
pub(crate) const PROBE_LOOK: Duration = Duration::from_secs(30);
/// The same at the start and while the peer does not answer (etcd: 5 s).
pub(crate) const PROBE_LOOK_UNHEALTHY: Duration = Duration::from_secs(5);
/// Difference of clocks that is worth a warning (etcd: 1 s).
pub(crate) const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_secs(1);
/// Time between two warnings about a peer that stays away.
pub(crate) const WARN_INTERVAL: Duration = Duration::from_secs(30);
/// Idle time and interval of TCP keepalive probes (etcd: 30 s).
pub(crate) const TCP_KEEPALIVE_S: u32 = 30;

const _: () = assert!(LINK_HEARTBEAT.as_micros() * 3 <= IO_TIMEOUT.as_micros() + 1);
const _: () = assert!(POST_IDLE.as_millis() < IO_TIMEOUT.as_millis());
const _: () = assert!(SNAPSHOT_MESSAGE_BYTES_MAX <= FRAME_BYTES_MAX);
