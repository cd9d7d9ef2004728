//! Metrics under etcd's names: atomics written by their owners, rendered at a scrape.
//!
//! Nothing on the way of a request looks up a label: every combination that can occur has a
//! cell of its own, found by an index known when the code was written.

mod cell;
mod grpc;
mod network;
mod page;
mod process;
mod text;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use proto::request::Kind;

use crate::listen::Traffic;

pub(crate) use cell::{Counter, Gauge, Histogram};
pub(crate) use grpc::{Method, Methods, Shape};

/// Kinds of applied requests, sorted; label `op`.
pub(crate) const OPS: [&str; 13] = [
    "Alarm",
    "ClusterMemberAttrSet",
    "ClusterVersionSet",
    "Compaction",
    "ConfChange",
    "DeleteRange",
    "DowngradeInfoSet",
    "LeaseCheckpoint",
    "LeaseGrant",
    "LeaseRevoke",
    "Put",
    "Range",
    "Txn",
];

/// Which kind of `OPS` the data of a log entry is, by its first field; a configuration change
/// is no request. Nothing is decoded.
pub(crate) fn op_of_entry(data: &[u8], is_request: bool) -> Option<usize> {
    let named = |name: &str| OPS.iter().position(|op| *op == name);
    if !is_request {
        return named("ConfChange");
    }
    // The tag of a length-delimited field; requests above number 100 follow their header.
    match data.first()? {
        0x1a => named("Range"),
        0x22 => Some(OP_PUT),
        0x2a => named("DeleteRange"),
        0x32 => named("Txn"),
        0x3a => named("Compaction"),
        0x42 => named("LeaseGrant"),
        0x4a => named("LeaseRevoke"),
        0x52 => named("Alarm"),
        0x5a => named("LeaseCheckpoint"),
        0xa2 => {
            let header = usize::from(*data.get(2)?);
            let field = data.get(3usize.checked_add(header)?..)?;
            match field {
                [0xa2, 0x51, ..] => named("ClusterVersionSet"),
                [0xaa, 0x51, ..] => named("ClusterMemberAttrSet"),
                [0xb2, 0x51, ..] => named("DowngradeInfoSet"),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The place of the most frequent kind.
const OP_PUT: usize = 10;

/// Kinds of requests, sorted; label `type`.
pub(crate) const REQUEST_TYPES: [&str; 10] = [
    "Alarm",
    "Compaction",
    "DeleteRange",
    "LeaseCheckpoint",
    "LeaseGrant",
    "LeaseRevoke",
    "Put",
    "Range",
    "ReadonlyTxn",
    "Txn",
];

/// A request whose duration is measured; the discriminants index `REQUEST_TYPES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestType {
    /// Alarm.
    Alarm,
    /// Compact.
    Compaction,
    /// DeleteRange.
    DeleteRange,
    /// A checkpoint of leases.
    LeaseCheckpoint,
    /// LeaseGrant.
    LeaseGrant,
    /// LeaseRevoke.
    LeaseRevoke,
    /// Put.
    Put,
    /// Range.
    Range,
    /// A Txn that can change nothing.
    ReadonlyTxn,
    /// Txn.
    Txn,
}

impl RequestType {
    /// That of an entry; auth requests are not counted.
    pub(crate) fn of(kind: Kind) -> Option<RequestType> {
        Some(match kind {
            Kind::Alarm => RequestType::Alarm,
            Kind::Compaction => RequestType::Compaction,
            Kind::DeleteRange => RequestType::DeleteRange,
            Kind::LeaseCheckpoint => RequestType::LeaseCheckpoint,
            Kind::LeaseGrant => RequestType::LeaseGrant,
            Kind::LeaseRevoke => RequestType::LeaseRevoke,
            Kind::Put => RequestType::Put,
            Kind::Range => RequestType::Range,
            Kind::Txn => RequestType::Txn,
            _ => return None,
        })
    }
}

/// Checks of `/livez` and `/readyz`: label values `type` and `name`, sorted by name.
pub(crate) const CHECKS: [(&str, &str); 5] = [
    ("readyz", "data_corruption"),
    ("readyz", "linearizable_read"),
    ("readyz", "non_learner"),
    ("livez", "serializable_read"),
    ("readyz", "serializable_read"),
];

/// Runs of one health check.
#[derive(Debug, Default)]
pub(crate) struct CheckCell {
    success: Counter,
    error: Counter,
    last: Gauge,
}

/// RPCs by the version their client announces. Versions are few and known; all others share a
/// label, so that no client can grow the page.
#[derive(Debug, Default)]
pub(crate) struct ClientRequests {
    /// `[version][unary, stream]`.
    known: [[Counter; 2]; CLIENT_VERSIONS.len()],
}

/// Versions a client may announce; the first is for none, the last for any other.
const CLIENT_VERSIONS: [&str; 10] =
    ["unknown", "3.0", "3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "3.7", "other"];

impl ClientRequests {
    /// Counts an RPC.
    pub(crate) fn count(&self, version: Option<&str>, stream: bool) {
        let at = match version {
            None => 0,
            Some(version) => {
                let known = CLIENT_VERSIONS[1..9].iter().position(|v| *v == version);
                known.map_or(CLIENT_VERSIONS.len() - 1, |at| at + 1)
            }
        };
        self.known[at][usize::from(stream)].inc();
    }

    /// Version, kind and count of what occurred, sorted.
    fn list(&self) -> Vec<(String, &'static str, u64)> {
        let mut rows = Vec::new();
        for (version, pair) in CLIENT_VERSIONS.iter().zip(&self.known) {
            for (kind, counter) in ["unary", "stream"].iter().zip(pair) {
                if counter.get() > 0 {
                    rows.push(((*version).to_owned(), *kind, counter.get()));
                }
            }
        }
        rows.sort();
        rows
    }
}

/// Everything the server counts itself.
#[derive(Debug)]
#[allow(missing_docs, reason = "each field is named in the page by family and help text")]
pub(crate) struct Metrics {
    pub lease_granted: Counter,
    pub lease_renewed: Counter,
    pub lease_revoked: Counter,
    pub lease_expired: Counter,
    pub lease_ttl: Histogram<24>,
    pub puts: Counter,
    pub deletes: Counter,
    pub ranges: Counter,
    pub txns: Counter,
    pub put_bytes: Gauge,
    pub compaction_keys: Counter,
    pub compaction_last: Gauge,
    pub compaction_pause_ms: Histogram<13>,
    pub compaction_ms: Histogram<14>,
    pub index_pause_ms: Histogram<14>,
    pub watch_control_seconds: Histogram<14>,
    pub watch_progress_seconds: Histogram<14>,
    pub watch_event_seconds: Histogram<14>,
    pub watch_batch_seconds: Histogram<14>,
    pub hash_seconds: Histogram<15>,
    pub hash_rev_seconds: Histogram<15>,
    pub commit_seconds: Histogram<14>,
    pub defrag_seconds: Histogram<13>,
    pub defrag_inflight: Gauge,
    pub backend_snapshot_seconds: Histogram<17>,
    pub snap_encode_seconds: Histogram<14>,
    pub snap_save_seconds: Histogram<14>,
    pub snap_fsync_seconds: Histogram<14>,
    pub traffic: Arc<Traffic>,
    pub watch_receive_failures: Counter,
    pub keepalive_receive_failures: Counter,
    pub client_requests: ClientRequests,
    pub proposals_failed: Counter,
    pub proposals_pending: Gauge,
    pub read_index_failures: Counter,
    pub slow_read_indexes: Counter,
    pub slow_applies: Counter,
    pub grpc: Methods,
    health_success: Counter,
    health_failures: Counter,
    apply_seconds: [[Histogram<20>; 2]; OPS.len()],
    request_seconds: [[Histogram<14>; 2]; REQUEST_TYPES.len()],
    range_seconds: [Histogram<20>; 2],
    checks: [CheckCell; CHECKS.len()],
    scrapes: AtomicU64,
    extensive: bool,
    /// Cluster versions seen, the current one last.
    versions: Mutex<Vec<String>>,
    /// What the log counts itself.
    wal: OnceLock<Arc<wal::Stats>>,
}

impl Metrics {
    /// Everything at zero; `extensive` adds the durations of RPCs.
    pub(crate) fn new(extensive: bool) -> Metrics {
        use cell::{
            COMPACTION_MS, DEFRAG, DISK, HASH, INDEX_PAUSE_MS, INNER, PAUSE_MS, SNAPSHOT, TTL,
        };
        Metrics {
            lease_granted: Counter::default(),
            lease_renewed: Counter::default(),
            lease_revoked: Counter::default(),
            lease_expired: Counter::default(),
            lease_ttl: Histogram::new(&TTL),
            puts: Counter::default(),
            deletes: Counter::default(),
            ranges: Counter::default(),
            txns: Counter::default(),
            put_bytes: Gauge::default(),
            compaction_keys: Counter::default(),
            compaction_last: Gauge::default(),
            compaction_pause_ms: Histogram::new(&PAUSE_MS),
            compaction_ms: Histogram::new(&COMPACTION_MS),
            index_pause_ms: Histogram::new(&INDEX_PAUSE_MS),
            watch_control_seconds: Histogram::new(&DISK),
            watch_progress_seconds: Histogram::new(&DISK),
            watch_event_seconds: Histogram::new(&DISK),
            watch_batch_seconds: Histogram::new(&DISK),
            hash_seconds: Histogram::new(&HASH),
            hash_rev_seconds: Histogram::new(&HASH),
            commit_seconds: Histogram::new(&DISK),
            defrag_seconds: Histogram::new(&DEFRAG),
            defrag_inflight: Gauge::default(),
            backend_snapshot_seconds: Histogram::new(&SNAPSHOT),
            snap_encode_seconds: Histogram::new(&DISK),
            snap_save_seconds: Histogram::new(&DISK),
            snap_fsync_seconds: Histogram::new(&DISK),
            traffic: Arc::default(),
            watch_receive_failures: Counter::default(),
            keepalive_receive_failures: Counter::default(),
            client_requests: ClientRequests::default(),
            proposals_failed: Counter::default(),
            proposals_pending: Gauge::default(),
            read_index_failures: Counter::default(),
            slow_read_indexes: Counter::default(),
            slow_applies: Counter::default(),
            grpc: Methods::new(),
            health_success: Counter::default(),
            health_failures: Counter::default(),
            apply_seconds: std::array::from_fn(|_| pair(&INNER)),
            request_seconds: std::array::from_fn(|_| pair(&DISK)),
            range_seconds: pair(&INNER),
            checks: std::array::from_fn(|_| CheckCell::default()),
            scrapes: AtomicU64::new(0),
            extensive,
            versions: Mutex::new(Vec::new()),
            wal: OnceLock::new(),
        }
    }

    /// Shows what this log counts; the first counts.
    pub(crate) fn watch_wal(&self, stats: Arc<wal::Stats>) {
        self.wal.get_or_init(|| stats);
    }

    /// Whether durations of RPCs are wanted.
    pub(crate) fn is_extensive(&self) -> bool {
        self.extensive
    }

    /// Notes a range, however it was asked for.
    pub(crate) fn range_done(&self, took: std::time::Duration, success: bool) {
        self.range_seconds[usize::from(success)].observe(took);
    }

    /// Notes the end of a request.
    pub(crate) fn request_done(&self, kind: RequestType, took: std::time::Duration, success: bool) {
        self.request_seconds[kind as usize][usize::from(success)].observe(took);
    }

    /// Notes an applied request; `op` indexes the kinds of applied requests.
    pub(crate) fn applied(&self, op: usize, took: std::time::Duration, success: bool) {
        self.apply_seconds[op][usize::from(success)].observe(took);
    }

    /// Notes the answer to `/health`.
    pub(crate) fn health_answered(&self, success: bool) {
        if success { &self.health_success } else { &self.health_failures }.inc();
    }

    /// Notes the run of a health check.
    pub(crate) fn check_done(&self, group: &str, name: &str, success: bool) {
        if let Some(at) = CHECKS.iter().position(|&(g, n)| g == group && n == name) {
            let check = &self.checks[at];
            if success { &check.success } else { &check.error }.inc();
            check.last.set(i64::from(success));
        }
    }

    /// Notes the cluster version (`major.minor`).
    pub(crate) fn cluster_version_set(&self, version: String) {
        let mut versions = self.versions.lock();
        versions.retain(|v| *v != version);
        versions.push(version);
    }

    /// The page of metrics.
    pub(crate) fn page(&self, mut scrape: Scrape) -> String {
        let versions = self.versions.lock().clone();
        let current = versions.last().cloned();
        scrape.cluster_versions =
            versions.into_iter().map(|v| (v.clone(), Some(&v) == current.as_ref())).collect();
        scrape.cluster_versions.sort();
        let page = page::render(self, &scrape);
        self.scrapes.fetch_add(1, Ordering::Relaxed);
        page
    }
}

fn pair<const N: usize>(bounds: &'static [f64; N]) -> [Histogram<N>; 2] {
    [Histogram::new(bounds), Histogram::new(bounds)]
}

/// What others know, read when the page is asked for.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "each field is named in the page by family and help text")]
pub(crate) struct Scrape {
    pub member_id: u64,
    pub members: Vec<u64>,
    pub features: Vec<(&'static str, &'static str, bool)>,
    pub alarms: Vec<(u64, String)>,
    pub compact_revision: i64,
    pub current_revision: i64,
    pub keys: u64,
    pub watch_events: u64,
    pub pending_events: u64,
    pub slow_watchers: u64,
    pub watch_streams: u64,
    pub watchers: u64,
    pub open_views: u64,
    pub db_bytes: u64,
    pub db_used_bytes: u64,
    pub has_leader: bool,
    pub is_leader: bool,
    pub is_learner: bool,
    pub late_heartbeats: u64,
    pub leader_changes: u64,
    pub applied_index: u64,
    pub committed_index: u64,
    pub quota_bytes: i64,
    pub cluster_versions: Vec<(String, bool)>,
    pub peers: rafthttp::Stats,
}

#[cfg(test)]
mod tests;
