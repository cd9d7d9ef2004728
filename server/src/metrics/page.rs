//! The page of metrics: every family, sorted by name.

use std::sync::atomic::Ordering;

use super::cell::{Counter, Gauge, Histogram, Reading};
use super::grpc::{CODES, Method};
use super::network;
use super::process::Process;
use super::text::{Kind, Labels, Page, to_f64};
use super::{CHECKS, Metrics, OPS, REQUEST_TYPES, Scrape};

impl Page {
    fn counter(&mut self, name: &'static str, help: &'static str, counter: &Counter) {
        self.number(name, Kind::Counter, help, to_f64(counter.get()));
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, gauge: &Gauge) {
        self.number(name, Kind::Gauge, help, signed(gauge.get()));
    }

    pub(super) fn number(
        &mut self,
        name: &'static str,
        kind: Kind,
        help: &'static str,
        value: f64,
    ) {
        self.family(name, kind, help);
        self.sample(&[], value);
    }

    fn times<const N: usize>(
        &mut self,
        name: &'static str,
        help: &'static str,
        histogram: &Histogram<N>,
    ) {
        self.family(name, Kind::Histogram, help);
        self.histogram(&[], &histogram.read());
    }

    /// A histogram that shows only once it has an observation.
    fn observed<const N: usize>(&mut self, labels: Labels<'_>, histogram: &Histogram<N>) {
        let reading = histogram.read();
        if reading.total > 0 {
            self.histogram(labels, &reading);
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "metrics are floats by format")]
fn signed(value: i64) -> f64 {
    value as f64
}

/// Writes the page.
pub(super) fn render(m: &Metrics, s: &Scrape) -> String {
    let mut page = Page::default();
    debugging(&mut page, m, s);
    debugging_compaction(&mut page, m, s);
    debugging_mvcc(&mut page, m, s);
    debugging_server(&mut page, m, s);
    disk(&mut page, m);
    proxy(&mut page);
    mvcc(&mut page, m, s);
    network::render(&mut page, m, s);
    server(&mut page, m, s);
    leadership(&mut page, m, s);
    progress(&mut page, m, s);
    snap(&mut page, m);
    grpc(&mut page, m);
    process(&mut page, m, &Process::read());
    page.finish()
}

fn debugging(p: &mut Page, m: &Metrics, s: &Scrape) {
    p.family("etcd_cluster_version", Kind::Gauge, "1 for the current cluster version.");
    for (version, current) in &s.cluster_versions {
        p.sample(&[("cluster_version", version)], f64::from(u8::from(*current)));
    }
    p.number("etcd_debugging_auth_revision", Kind::Gauge, "Revision of the auth store.", 1.0);
    let zero = Histogram::new(&super::cell::DISK);
    p.times(
        "etcd_debugging_disk_backend_commit_rebalance_duration_seconds",
        "Always empty: the backend does not rebalance pages.",
        &zero,
    );
    p.times(
        "etcd_debugging_disk_backend_commit_spill_duration_seconds",
        "Always empty: the backend does not spill pages.",
        &zero,
    );
    p.times(
        "etcd_debugging_disk_backend_commit_write_duration_seconds",
        "Time to write one batch to the backend.",
        &m.commit_seconds,
    );
    p.counter("etcd_debugging_lease_granted_total", "Leases granted.", &m.lease_granted);
    p.counter("etcd_debugging_lease_renewed_total", "Leases renewed.", &m.lease_renewed);
    p.counter("etcd_debugging_lease_revoked_total", "Leases revoked.", &m.lease_revoked);
    p.times("etcd_debugging_lease_ttl_total", "TTLs granted, in seconds.", &m.lease_ttl);
}

fn debugging_compaction(p: &mut Page, m: &Metrics, s: &Scrape) {
    p.number(
        "etcd_debugging_mvcc_compact_revision",
        Kind::Gauge,
        "Revision of the last compaction, -1 if there was none.",
        signed(s.compact_revision),
    );
    p.number(
        "etcd_debugging_mvcc_current_revision",
        Kind::Gauge,
        "Current revision of the store.",
        signed(s.current_revision),
    );
    p.counter(
        "etcd_debugging_mvcc_db_compaction_keys_total",
        "Revisions deleted by compactions.",
        &m.compaction_keys,
    );
    p.gauge(
        "etcd_debugging_mvcc_db_compaction_last",
        "Unix time of the last finished compaction.",
        &m.compaction_last,
    );
    p.times(
        "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
        "Time of one batch of a compaction, in milliseconds.",
        &m.compaction_pause_ms,
    );
    p.times(
        "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
        "Time of a compaction, in milliseconds.",
        &m.compaction_ms,
    );
}

fn debugging_mvcc(p: &mut Page, m: &Metrics, s: &Scrape) {
    p.number(
        "etcd_debugging_mvcc_events_total",
        Kind::Counter,
        "Events handed to watch streams.",
        to_f64(s.watch_events),
    );
    p.times(
        "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
        "Time of a compaction of the index, in milliseconds.",
        &m.index_pause_ms,
    );
    p.number("etcd_debugging_mvcc_keys_total", Kind::Gauge, "Live keys.", to_f64(s.keys));
    p.number(
        "etcd_debugging_mvcc_pending_events_total",
        Kind::Gauge,
        "Events queued for watch streams.",
        to_f64(s.pending_events),
    );
    p.number(
        "etcd_debugging_mvcc_slow_watcher_total",
        Kind::Gauge,
        "Watchers that are catching up.",
        to_f64(s.slow_watchers),
    );
    p.gauge(
        "etcd_debugging_mvcc_total_put_size_in_bytes",
        "Bytes of keys and values put by this process.",
        &m.put_bytes,
    );
    p.number(
        "etcd_debugging_mvcc_watch_stream_total",
        Kind::Gauge,
        "Open watch streams.",
        to_f64(s.watch_streams),
    );
    p.number(
        "etcd_debugging_mvcc_watcher_total",
        Kind::Gauge,
        "Open watchers.",
        to_f64(s.watchers),
    );
}

fn debugging_server(p: &mut Page, m: &Metrics, s: &Scrape) {
    p.family("etcd_debugging_server_alarms", Kind::Gauge, "1 for each raised alarm.");
    for (member, alarm) in &s.alarms {
        p.sample(&[("alarm_type", alarm), ("server_id", &format!("{member:x}"))], 1.0);
    }
    p.counter(
        "etcd_debugging_server_lease_expired_total",
        "Leases revoked because they expired.",
        &m.lease_expired,
    );
    p.times(
        "etcd_debugging_server_watch_send_loop_control_stream_duration_seconds",
        "Time to send one control answer of a watch stream.",
        &m.watch_control_seconds,
    );
    p.times(
        "etcd_debugging_server_watch_send_loop_progress_duration_seconds",
        "Time of one pass of progress notifications.",
        &m.watch_progress_seconds,
    );
    p.times(
        "etcd_debugging_server_watch_send_loop_watch_stream_duration_per_event_seconds",
        "Time to prepare one event for a watch stream.",
        &m.watch_event_seconds,
    );
    p.times(
        "etcd_debugging_server_watch_send_loop_watch_stream_duration_seconds",
        "Time to prepare one batch of events for a watch stream.",
        &m.watch_batch_seconds,
    );
    p.times(
        "etcd_debugging_snap_save_marshalling_duration_seconds",
        "Time to encode a .snap file.",
        &m.snap_encode_seconds,
    );
    p.times(
        "etcd_debugging_snap_save_total_duration_seconds",
        "Time to save a .snap file.",
        &m.snap_save_seconds,
    );
    let v2 = "Always 0: there is no v2 store.";
    p.number("etcd_debugging_store_expires_total", Kind::Counter, v2, 0.0);
    p.number("etcd_debugging_store_watch_requests_total", Kind::Counter, v2, 0.0);
    p.number("etcd_debugging_store_watchers", Kind::Gauge, v2, 0.0);
}

fn disk(p: &mut Page, m: &Metrics) {
    p.times(
        "etcd_disk_backend_commit_duration_seconds",
        "Time to commit one batch to the backend.",
        &m.commit_seconds,
    );
    p.times(
        "etcd_disk_backend_defrag_duration_seconds",
        "Time of a defragmentation.",
        &m.defrag_seconds,
    );
    p.times(
        "etcd_disk_backend_snapshot_duration_seconds",
        "Time a snapshot of the backend was open.",
        &m.backend_snapshot_seconds,
    );
    p.gauge("etcd_disk_defrag_inflight", "1 while a defragmentation runs.", &m.defrag_inflight);
    let stats = m.wal.get().cloned().unwrap_or_default();
    let log = |p: &mut Page, name, help, histogram: &wal::Histogram| {
        p.family(name, Kind::Histogram, help);
        p.histogram(&[], &of_wal(histogram));
    };
    log(p, "etcd_disk_wal_fsync_duration_seconds", "Time of one sync of the WAL.", &stats.fsync);
    p.number(
        "etcd_disk_wal_write_bytes_total",
        Kind::Gauge,
        "Bytes written to the WAL.",
        to_f64(stats.write_bytes()),
    );
    log(p, "etcd_disk_wal_write_duration_seconds", "Time of one append to the WAL.", &stats.write);
}

/// A histogram of the log in our form.
fn of_wal(histogram: &wal::Histogram) -> Reading {
    let (counts, total) = histogram.cumulated();
    let bounds = (0..wal::Histogram::BUCKETS).map(wal::Histogram::bound_seconds);
    Reading { rows: bounds.zip(counts).collect(), total, sum: histogram.sum_seconds() }
}

/// Families of the gRPC proxy, which servers show, too.
fn proxy(p: &mut Page) {
    let help = "Moves in a gRPC proxy only.";
    p.number("etcd_grpc_proxy_cache_hits_total", Kind::Gauge, help, 0.0);
    p.number("etcd_grpc_proxy_cache_keys_total", Kind::Gauge, help, 0.0);
    p.number("etcd_grpc_proxy_cache_misses_total", Kind::Gauge, help, 0.0);
    p.number("etcd_grpc_proxy_events_coalescing_total", Kind::Counter, help, 0.0);
    p.number("etcd_grpc_proxy_watchers_coalescing_total", Kind::Gauge, help, 0.0);
}

fn mvcc(p: &mut Page, m: &Metrics, s: &Scrape) {
    p.number(
        "etcd_mvcc_db_open_read_transactions",
        Kind::Gauge,
        "Pinned views of the backend.",
        to_f64(s.open_views),
    );
    p.number(
        "etcd_mvcc_db_total_size_in_bytes",
        Kind::Gauge,
        "Bytes the backend occupies.",
        to_f64(s.db_bytes),
    );
    p.number(
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        Kind::Gauge,
        "Bytes of the backend in use.",
        to_f64(s.db_used_bytes),
    );
    p.counter("etcd_mvcc_delete_total", "Deletes executed.", &m.deletes);
    p.times("etcd_mvcc_hash_duration_seconds", "Time of a whole hash.", &m.hash_seconds);
    p.times("etcd_mvcc_hash_rev_duration_seconds", "Time of a KV hash.", &m.hash_rev_seconds);
    p.counter("etcd_mvcc_put_total", "Puts executed.", &m.puts);
    p.counter("etcd_mvcc_range_total", "Ranges executed.", &m.ranges);
    p.counter("etcd_mvcc_txn_total", "Txns with more than one operation.", &m.txns);
}

fn server(p: &mut Page, m: &Metrics, s: &Scrape) {
    p.family("etcd_server_apply_duration_seconds", Kind::Histogram, "Time to apply one request.");
    for (op, pair) in OPS.iter().zip(&m.apply_seconds) {
        for (success, histogram) in ["false", "true"].iter().zip(pair) {
            p.observed(&[("op", op), ("success", success), ("version", "v3")], histogram);
        }
    }
    p.family("etcd_server_client_requests_total", Kind::Counter, "RPCs by client version.");
    for (version, kind, count) in m.client_requests.list() {
        p.sample(&[("client_api_version", &version), ("type", kind)], to_f64(count));
    }
    p.family("etcd_server_feature_enabled", Kind::Gauge, "Whether a feature gate is on.");
    for (name, stage, on) in &s.features {
        p.sample(&[("name", name), ("stage", stage)], f64::from(u8::from(*on)));
    }
    p.family("etcd_server_go_version", Kind::Gauge, "The toolchain of this server.");
    p.sample(&[("server_go_version", crate::config::TOOLCHAIN)], 1.0);
}

fn progress(p: &mut Page, m: &Metrics, s: &Scrape) {
    p.number(
        "etcd_server_proposals_applied_total",
        Kind::Gauge,
        "Applied index.",
        to_f64(s.applied_index),
    );
    p.number(
        "etcd_server_proposals_committed_total",
        Kind::Gauge,
        "Committed index.",
        to_f64(s.committed_index),
    );
    p.counter("etcd_server_proposals_failed_total", "Failed proposals.", &m.proposals_failed);
    p.gauge("etcd_server_proposals_pending", "Waiting proposals.", &m.proposals_pending);
    p.number(
        "etcd_server_quota_backend_bytes",
        Kind::Gauge,
        "Effective quota.",
        signed(s.quota_bytes),
    );
    p.family("etcd_server_range_duration_seconds", Kind::Histogram, "Time of one range.");
    for (success, histogram) in ["false", "true"].iter().zip(&m.range_seconds) {
        p.observed(&[("success", success)], histogram);
    }
    p.counter(
        "etcd_server_read_indexes_failed_total",
        "Failed read barriers.",
        &m.read_index_failures,
    );
    p.family("etcd_server_request_duration_seconds", Kind::Histogram, "Time of one request.");
    for (success, at) in [("false", 0), ("true", 1)] {
        for (kind, pair) in REQUEST_TYPES.iter().zip(&m.request_seconds) {
            p.observed(&[("success", success), ("type", kind)], &pair[at]);
        }
    }
    p.counter("etcd_server_slow_apply_total", "Slowly applied requests.", &m.slow_applies);
    p.counter(
        "etcd_server_slow_read_indexes_total",
        "Late or stale answers to read barriers.",
        &m.slow_read_indexes,
    );
    p.number(
        "etcd_server_snapshot_apply_in_progress_total",
        Kind::Gauge,
        "1 while a received snapshot is applied.",
        0.0,
    );
    p.family("etcd_server_version", Kind::Gauge, "The version of this server.");
    p.sample(&[("server_version", base::version::SERVER)], 1.0);
}

fn leadership(p: &mut Page, m: &Metrics, s: &Scrape) {
    let flag = |p: &mut Page, name, help, on: bool| {
        p.number(name, Kind::Gauge, help, f64::from(u8::from(on)));
    };
    flag(p, "etcd_server_has_leader", "Whether a leader is known.", s.has_leader);
    p.counter("etcd_server_health_failures", "Answers 503 on /health.", &m.health_failures);
    p.counter("etcd_server_health_success", "Answers 200 on /health.", &m.health_success);
    p.family("etcd_server_healthcheck", Kind::Gauge, "Last result of a health check.");
    for (&(group, name), check) in CHECKS.iter().zip(&m.checks) {
        if check.success.get() + check.error.get() > 0 {
            p.sample(&[("name", name), ("type", group)], signed(check.last.get()));
        }
    }
    p.family("etcd_server_healthchecks_total", Kind::Counter, "Health checks by outcome.");
    for (&(group, name), check) in CHECKS.iter().zip(&m.checks) {
        for (status, counter) in [("error", &check.error), ("success", &check.success)] {
            if counter.get() > 0 {
                let labels = [("name", name), ("status", status), ("type", group)];
                p.sample(&labels, to_f64(counter.get()));
            }
        }
    }
    p.number(
        "etcd_server_heartbeat_send_failures_total",
        Kind::Counter,
        "Heartbeats sent late.",
        to_f64(s.late_heartbeats),
    );
    p.family("etcd_server_id", Kind::Gauge, "The id of this member.");
    p.sample(&[("server_id", &format!("{:x}", s.member_id))], 1.0);
    flag(p, "etcd_server_is_leader", "Whether this member leads.", s.is_leader);
    flag(p, "etcd_server_is_learner", "Whether this member has no vote.", s.is_learner);
    p.number(
        "etcd_server_leader_changes_seen_total",
        Kind::Counter,
        "Leader changes seen.",
        to_f64(s.leader_changes),
    );
    p.number(
        "etcd_server_learner_promote_successes",
        Kind::Counter,
        "Learners promoted by this member.",
        0.0,
    );
}

fn snap(p: &mut Page, m: &Metrics) {
    let received = "Moves when a snapshot is received from the leader.";
    let zero = Histogram::new(&super::cell::DISK);
    p.times("etcd_snap_db_fsync_duration_seconds", received, &zero);
    let zero = Histogram::new(&super::cell::RECEIVE);
    p.times("etcd_snap_db_save_total_duration_seconds", received, &zero);
    p.times(
        "etcd_snap_fsync_duration_seconds",
        "Time to write and sync a .snap file.",
        &m.snap_fsync_seconds,
    );
}

fn labels(method: &Method) -> [(&str, &str); 3] {
    [
        ("grpc_method", method.name),
        ("grpc_service", method.service),
        ("grpc_type", method.shape.as_str()),
    ]
}

fn grpc(p: &mut Page, m: &Metrics) {
    let shown = |count: u64, method: &Method| method.pre_created || count > 0;
    let methods = m.grpc.all();
    p.family("grpc_server_handled_total", Kind::Counter, "RPCs finished, by status code.");
    let mut codes: Vec<usize> = (0..CODES.len()).collect();
    codes.sort_by_key(|&at| CODES[at]);
    for at in codes {
        for method in methods {
            let count = method.handled[at].get();
            if shown(count, method) {
                let [name, service, shape] = labels(method);
                p.sample(&[("grpc_code", CODES[at]), name, service, shape], to_f64(count));
            }
        }
    }
    p.family("grpc_server_handling_seconds", Kind::Histogram, "Time of RPCs.");
    for method in methods.iter().filter(|_| m.extensive) {
        let reading = method.handling.read();
        if shown(reading.total, method) {
            p.histogram(&labels(method), &reading);
        }
    }
    let mut family = |name, help, pick: fn(&Method) -> &Counter| {
        p.family(name, Kind::Counter, help);
        for method in methods {
            let count = pick(method).get();
            if shown(count, method) {
                p.sample(&labels(method), to_f64(count));
            }
        }
    };
    family("grpc_server_msg_received_total", "Messages received.", |m| &m.received);
    family("grpc_server_msg_sent_total", "Messages sent.", |m| &m.sent);
    family("grpc_server_started_total", "RPCs begun.", |m| &m.started);
}

fn process(p: &mut Page, m: &Metrics, now: &Process) {
    let mut value = |name, kind, help, value: Option<f64>| {
        p.family(name, kind, help);
        if let Some(value) = value {
            p.sample(&[], value);
        }
    };
    let fds = now.open_fds.map(to_f64);
    let limit = now.max_fds.map(to_f64);
    value("os_fd_limit", Kind::Gauge, "Soft limit of file descriptors.", limit);
    value("os_fd_used", Kind::Gauge, "Open file descriptors.", fds);
    let name = "process_cpu_seconds_total";
    value(name, Kind::Counter, "User and system CPU time.", now.cpu_seconds);
    value("process_max_fds", Kind::Gauge, "Soft limit of file descriptors.", limit);
    let name = "process_network_receive_bytes_total";
    value(name, Kind::Counter, "Bytes received by the network namespace.", now.received);
    let name = "process_network_transmit_bytes_total";
    value(name, Kind::Counter, "Bytes sent by the network namespace.", now.transmitted);
    value("process_open_fds", Kind::Gauge, "Open file descriptors.", fds);
    let name = "process_resident_memory_bytes";
    value(name, Kind::Gauge, "Resident memory.", now.resident_bytes);
    let name = "process_start_time_seconds";
    value(name, Kind::Gauge, "Start of the process, in unix seconds.", now.start_seconds);
    value("process_virtual_memory_bytes", Kind::Gauge, "Virtual memory.", now.virtual_bytes);
    let name = "process_virtual_memory_max_bytes";
    value(name, Kind::Gauge, "Limit of virtual memory.", now.virtual_max_bytes);
    let name = "promhttp_metric_handler_requests_in_flight";
    value(name, Kind::Gauge, "Scrapes in progress.", Some(1.0));
    p.family("promhttp_metric_handler_requests_total", Kind::Counter, "Scrapes, by status code.");
    let scrapes = m.scrapes.load(Ordering::Relaxed);
    for (code, count) in [("200", scrapes), ("500", 0), ("503", 0)] {
        p.sample(&[("code", code)], to_f64(count));
    }
}
