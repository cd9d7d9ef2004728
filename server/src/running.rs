//! A running server: its threads, and the order in which they begin and end.
//!
//! ```text
//!   sockets ─▶ data ─▶ raft ─▶ peers ─▶ background, metrics ─▶ publish ─▶ clients
//!   stop: clients ─▶ leadership ─▶ metrics, background ─▶ raft, log ─▶ peers ─▶ backend
//! ```

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use mvcc::WatchHub;
use rafthttp::{Dial, Local, Transport};
use raftnode::RaftNode;
use tokio::sync::{mpsc, oneshot};

use crate::background;
use crate::backup::Backups;
use crate::bootstrap::{self, Booted};
use crate::config::{Config, Retention};
use crate::facts::MemberFacts;
use crate::fatal;
use crate::http::{Facts, Router, Side};
use crate::lease_keeper::Keeper;
use crate::listen::{
    self, Bound, Companion, Door, Entrance, Serve, Servers, SideServer, SocketOptions, bind_all,
    connection_limit,
};
use crate::log_disk::FailStop;
use crate::logging::List;
use crate::machine::{LeadershipLog, Machine, Surroundings};
use crate::metrics::Metrics;
use crate::peers::{
    BootAsk, ImageSender, MemberHost, Outbox, PeerDial, PeerServer, PeerService, Peers,
    ReceivedImages,
};
use crate::proposer::{Answer, Limits, Proposer};
use crate::replies::Replies;
use crate::rpc;
use crate::signals::End;
use crate::snapshots::{Purger, Snapshotter};
use crate::state::{Shared, StatusBoard, StoreSlot};
use crate::tls_setup::{ClientTls, PeerTls};

/// Time between two looks whether a member that waits to be published was removed.
const REMOVED_LOOK: Duration = Duration::from_millis(50);

/// Sockets bound before anything else is touched.
struct Sockets {
    peer: Vec<(Bound, Door)>,
    client: Vec<Entrance>,
    metrics: Vec<(Bound, Door)>,
    client_tls: ClientTls,
    peer_tls: PeerTls,
}

impl Sockets {
    fn bind(config: &Config) -> Result<Sockets, String> {
        let options = SocketOptions { reuse_port: config.reuse_port };
        let peers = &config.listen_peer_urls;
        tracing::info!("listen-peer-urls" = %List(peers), "configuring peer listeners");
        let peer_tls = PeerTls::new(config)?;
        let peer = with_doors(bind_all(peers, options)?, |bound| peer_tls.door(bound));
        let clients = &config.listen_client_urls;
        tracing::info!("listen-client-urls" = %List(clients), "configuring client listeners");
        let split = !config.listen_client_http_urls.is_empty();
        if let Some(url) = config.listen_client_http_urls.iter().find(|u| clients.contains(u)) {
            return Err(format!(
                "cannot bind both --listen-client-urls and --listen-client-http-urls on the \
                 same url {url}"
            ));
        }
        let client_tls = ClientTls::new(config)?;
        let serve = if split { Serve::Grpc } else { Serve::Both };
        let enter = |serve| {
            let tls = &client_tls;
            move |bound: Bound| {
                let door = tls.door(&bound);
                (bound, door, serve)
            }
        };
        let mut client: Vec<Entrance> =
            bind_all(clients, options)?.into_iter().map(enter(serve)).collect();
        let http = bind_all(&config.listen_client_http_urls, options)?;
        client.extend(http.into_iter().map(enter(Serve::Http)));
        let metrics = bind_all(&config.listen_metrics_urls, options)?;
        let metrics = with_doors(metrics, |bound| client_tls.metrics_door(bound));
        Ok(Sockets { peer, client, metrics, client_tls, peer_tls })
    }
}

fn with_doors(bounds: Vec<Bound>, door: impl Fn(&Bound) -> Door) -> Vec<(Bound, Door)> {
    let with = |bound: Bound| {
        let door = door(&bound);
        (bound, door)
    };
    bounds.into_iter().map(with).collect()
}

/// A thread with a runtime of its own that runs until it is told to end.
struct Loop {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Loop {
    /// Runs what `make` gives, made on the thread, until told to end or done.
    fn start<F, R>(name: &str, make: F) -> Result<Loop, String>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output = ()>,
    {
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| format!("start thread {name}: {e}"))?;
        let body = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = make() => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)
            .map_err(|e| format!("start thread {name}: {e}"))?;
        Ok(Loop { stop, thread })
    }

    fn stop(self) {
        // A loop that has ended needs no telling.
        self.stop.send(()).ok();
        if self.thread.join().is_err() {
            tracing::error!("a background thread panicked");
        }
    }
}

/// A server that serves.
pub(crate) struct Running {
    shared: Arc<Shared>,
    node: RaftNode,
    servers: Servers,
    metrics: SideServer,
    peers: PeerServer,
    background: Loop,
    snapshots: Loop,
    dirs: bootstrap::DataDir,
}

impl Running {
    /// Starts everything and returns when clients are served.
    ///
    /// # Errors
    /// The text of etcd's start-up failure.
    pub(crate) fn start(config: Config, end: SyncSender<End>) -> Result<Running, String> {
        let limit = connection_limit()?;
        let sockets = Sockets::bind(&config)?;
        let retention = config.auto_compaction.clone()?;
        let runtime = peer_runtime()?;
        let dial: Arc<dyn Dial> = Arc::new(PeerDial::new(sockets.peer_tls));
        let ask = BootAsk { dial: dial.clone(), runtime: &runtime };
        let metrics = Arc::new(Metrics::new(config.extensive_metrics));
        let store_options = bootstrap::store_options(&config, &metrics);
        let booted = bootstrap::boot(&config, store_options, &ask).map_err(|e| chain(&e))?;
        tracing::info!("bootstrap successfully");
        let restarted = booted.members.is_empty();
        let network = Network { dial, runtime: runtime.handle().clone() };
        let Member { shared, node, snapshots, dirs } =
            Member::start(config, booted, &network, metrics, end)?;
        let facts: Arc<dyn Facts> = Arc::new(MemberFacts(shared.clone()));
        sockets.client_tls.log_start(&shared.config);
        for (name, listeners) in [("peer", &sockets.peer), ("metrics", &sockets.metrics)] {
            for (bound, _) in listeners {
                tracing::info!(address = bound.address, "serving {name} traffic");
            }
        }
        let pages = Router::new(Side::Peer, facts.clone());
        let transport = shared.peers.transport().clone();
        let service = PeerService::new(transport, pages, shared.clone());
        let peers = PeerServer::start(runtime, sockets.peer, service, shared.config.peer_timeouts)
            .map_err(|e| format!("start thread peer: {e}"))?;
        if restarted && shared.config.gates.enabled("InitialCorruptCheck") {
            check_corruption(&shared)?;
        }
        let (background, published) = start_background(&shared, retention)?;
        let router = Router::new(Side::Metrics, facts.clone());
        let metrics =
            SideServer::start("metrics", sockets.metrics, &router).map_err(|e| e.to_string())?;
        background::log_serving(&shared);
        // A member that was removed is never published; the caller learns why.
        while !shared.board.removed.load(Ordering::Acquire) {
            match published.recv_timeout(REMOVED_LOOK) {
                Ok(()) => break,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("the background thread ended".to_owned());
                }
            }
        }
        let servers = serve_clients(&shared, facts, sockets.client, limit)?;
        Ok(Running { shared, node, servers, metrics, peers, background, snapshots, dirs })
    }

    /// Stops everything in order.
    pub(crate) fn stop(self) {
        let shared = self.shared;
        log_close(&shared, "closing etcd server");
        // These streams never end by themselves; everything else may finish what it is at.
        shared.hub.close();
        shared.closing.close();
        self.servers.stop(shared.config.request_timeout());
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(shared.leave_leadership()),
            Err(error) => tracing::warn!(error = %error, "leadership transfer failed"),
        }
        self.metrics.stop();
        self.background.stop();
        shared.proposer.close();
        // Applies what is committed, then closes the log.
        self.node.stop();
        shared.peers.transport().stop();
        self.peers.stop();
        self.snapshots.stop();
        if let Err(error) = shared.store().backend().flush() {
            fatal::die("failed to make the backend durable", &error);
        }
        log_close(&shared, "closed etcd server");
        drop(shared);
        drop(self.dirs);
    }
}

fn log_close(shared: &Shared, what: &str) {
    let config = &shared.config;
    tracing::info!(
        name = config.name,
        "data-dir" = %config.data_dir.display(),
        "advertise-peer-urls" = %List(&config.advertise_peer_urls),
        "advertise-client-urls" = %List(&config.advertise_client_urls),
        "{what}"
    );
}

/// An error and its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The replicated part of a server.
struct Member {
    shared: Arc<Shared>,
    node: RaftNode,
    snapshots: Loop,
    dirs: bootstrap::DataDir,
}

/// What reaches other members.
struct Network {
    dial: Arc<dyn Dial>,
    runtime: tokio::runtime::Handle,
}

fn peer_runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("start thread peer: {e}"))
}

/// Compares this member's keys with the others' before anybody is served.
fn check_corruption(shared: &Shared) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("corruption check: {e}"))?;
    runtime.block_on(crate::corruption::initial(shared)).inspect_err(|error| {
        tracing::error!(error, "checkInitialHashKV failed");
    })
}

/// The transport and what it serves.
struct Wires {
    host: Arc<MemberHost>,
    peers: Peers,
    images: Arc<ReceivedImages>,
    sender: Arc<ImageSender>,
}

impl Wires {
    fn start(
        config: &Config,
        booted: &Booted,
        stores: &Arc<StoreSlot>,
        network: &Network,
        board: &Arc<StatusBoard>,
        end: SyncSender<End>,
    ) -> Wires {
        let images = ReceivedImages::new(stores.clone(), booted.dirs.snap.clone());
        let state = booted.machine.state().clone();
        let host = Arc::new(MemberHost::new(state.clone(), images.clone(), board.clone(), end));
        let local = Local {
            member_id: booted.member_id,
            cluster_id: booted.cluster_id,
            peer_urls: config.advertise_peer_urls.iter().map(ToString::to_string).collect(),
        };
        let options = rafthttp::Options {
            local,
            election_timeout: config.election,
            server_version: base::version::SERVER.to_owned(),
            io_timeouts: config.peer_timeouts,
        };
        let transport =
            Transport::start(options, host.clone(), network.dial.clone(), &network.runtime);
        let peers = Peers::new(transport.clone(), booted.member_id);
        peers.set_all(state.cluster.read().members.iter());
        // What the log will tell soon: founders are known from the start, others can be answered.
        for member in &booted.members {
            if booted.boot.founders.is_empty() {
                peers.introduce(member);
            } else {
                peers.set(member);
            }
        }
        let sender = ImageSender::new(stores.clone(), transport);
        Wires { host, peers, images, sender }
    }
}

impl Member {
    fn start(
        config: Config,
        booted: Booted,
        network: &Network,
        metrics: Arc<Metrics>,
        end: SyncSender<End>,
    ) -> Result<Member, String> {
        let store = booted.machine.store().clone();
        let stores = StoreSlot::new(store.clone());
        let board = Arc::new(StatusBoard::default());
        let wires = Wires::start(&config, &booted, &stores, network, &board, end.clone());
        let Booted { dirs, wal, recovered, boot, machine, snap_dir, member_id, cluster_id, .. } =
            booted;
        let state = machine.state().clone();
        go_on(&metrics, wal.stats(), &state);
        let hub = WatchHub::start(Arc::new(store.clone()), store.current_revision())
            .map_err(|e| format!("start watch thread: {e}"))?;
        let keeper = Arc::new(Keeper::default());
        board.snapshot_index.store(boot.snapshot.index, Ordering::Relaxed);
        let replies: Arc<Replies<Answer>> = Replies::new(listen::default_shards());
        let (jobs, wanted) = mpsc::channel(1);
        let machine = Machine::new(
            machine,
            Surroundings {
                member_id,
                cluster_id,
                replies: replies.clone(),
                hub: hub.clone(),
                keeper: keeper.clone(),
                metrics: metrics.clone(),
                board: board.clone(),
                snapshots: jobs,
                end,
                snapshot_count: config.snapshot_count,
                slow: config.warning_apply,
                stores: stores.clone(),
                store_options: bootstrap::store_options(&config, &metrics),
                peers: wires.peers.clone(),
                images: wires.images,
                snap_dir: snap_dir.clone(),
            },
        );
        let outbox = Outbox::new(wires.peers.transport().clone(), wires.sender.clone());
        let node = RaftNode::start(
            &raft_config(&config, member_id),
            recovered,
            &boot,
            raftnode::Surroundings {
                disk: Box::new(FailStop(wal)),
                machine: Box::new(machine),
                transport: Box::new(outbox),
                observer: Box::new(LeadershipLog::new(member_id)),
            },
        )
        .map_err(|e| chain(&e))?;
        let raft = node.handle();
        wires.host.set_raft(raft.clone());
        wires.sender.set_raft(raft.clone());
        let limits = limits(&config);
        let proposer = Proposer::new(raft.clone(), replies, metrics.clone(), member_id, limits);
        let snapshotter = Snapshotter {
            dir: snap_dir.clone(),
            stores: stores.clone(),
            raft: raft.clone(),
            metrics: metrics.clone(),
        };
        let purger = purger(&config, snap_dir, &dirs.wal);
        let snapshots = Loop::start("snap", move || async move {
            tokio::join!(snapshotter.run(wanted), purger.run());
        })?;
        let quota = apply::quota::Quota::from_flag(config.quota_backend_bytes);
        let shared = Arc::new(Shared {
            config,
            cluster_id,
            member_id,
            stores,
            state,
            raft,
            proposer,
            peers: wires.peers,
            backups: Backups::new(metrics.clone()),
            keeper,
            hub,
            metrics,
            board,
            quota,
            closing: rpc::Closing::default(),
        });
        hasten_election(&shared);
        Ok(Member { shared, node, snapshots, dirs })
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        request_bytes_max: usize::try_from(config.max_request_bytes).unwrap_or(usize::MAX),
        timeout: config.request_timeout(),
        prefer_revokes: config.gates.enabled("PriorityRequest"),
    }
}

/// Counters that go on from what is stored.
fn go_on(metrics: &Metrics, stats: Arc<wal::Stats>, state: &apply::State) {
    metrics.watch_wal(stats);
    if let Some(version) = state.cluster.read().version {
        metrics.cluster_version_set(format!("{}.{}", version.major, version.minor));
    }
}

fn raft_config(config: &Config, member_id: u64) -> raftnode::Config {
    let ticks = u32::try_from(config.election_ticks()).unwrap_or(u32::MAX);
    raftnode::Config {
        id: member_id,
        tick: config.heartbeat,
        election_ticks: ticks,
        pre_vote: config.pre_vote,
        election_spread_ticks: ticks,
        catch_up_entries: config.snapshot_catchup_entries,
    }
}

/// A member that is alone has nobody to wait for; others hasten when they have met.
fn hasten_election(shared: &Shared) {
    if !shared.is_alone() {
        return;
    }
    let config = &shared.config;
    let ticks = u32::try_from(config.election_ticks()).unwrap_or(u32::MAX).saturating_sub(1);
    let id = format!("{:x}", shared.member_id);
    tracing::info!(
        "local-member-id" = id,
        "forward-ticks" = ticks,
        "election-ticks" = ticks + 1,
        "election-timeout" = crate::logging::go_duration(config.election),
        "started as single-node; fast-forwarding election ticks"
    );
    shared.raft.advance_ticks(ticks);
}

fn purger(config: &Config, snap_dir: wal::SnapDir, wal_dir: &Path) -> Purger {
    let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let interval = crate::logging::go_duration(crate::snapshots::PURGE_INTERVAL);
    for (dir, suffix, max) in [
        (config.snap_dir(), "snap.db", config.max_snapshots),
        (config.snap_dir(), "snap", config.max_snapshots),
        (wal_dir.to_path_buf(), "wal", config.max_wals),
    ] {
        tracing::info!(dir = %dir.display(), suffix, max, interval, "started to purge file");
    }
    Purger {
        snap_dir,
        wal_dir: wal_dir.to_path_buf(),
        snapshots_max: count(config.max_snapshots),
        wals_max: count(config.max_wals),
    }
}

/// Starts the loops beside requests; the receiver is told when the cluster knows this member.
fn start_background(
    shared: &Arc<Shared>,
    retention: Retention,
) -> Result<(Loop, std::sync::mpsc::Receiver<()>), String> {
    let shared = shared.clone();
    let (published, is_published) = std::sync::mpsc::sync_channel(1);
    let run = move || async move {
        let mut loops = background::start(&shared, retention, published);
        while let Some(ended) = loops.join_next().await {
            if let Err(error) = ended {
                tracing::error!(error = %error, "a background loop failed");
            }
        }
    };
    Ok((Loop::start("background", run)?, is_published))
}

/// Opens the client ports.
fn serve_clients(
    shared: &Arc<Shared>,
    facts: Arc<dyn Facts>,
    sockets: Vec<Entrance>,
    limit: usize,
) -> Result<Servers, String> {
    let config = &shared.config;
    let router = Router::client(facts, config.cors.clone(), config.host_whitelist.clone());
    let grpc = rpc_service(shared);
    let replies = shared.proposer.replies();
    let companion: Companion = Arc::new(move |shard| Box::pin(replies.clone().run_outlet(shard)));
    let settings = listen::Settings {
        max_concurrent_streams: config.max_concurrent_streams,
        keepalive: config.keepalive,
        ping_spacing: config.ping_spacing,
        name_clients: config.client_tls.client_cert_auth,
        traffic: shared.metrics.traffic.clone(),
    };
    let told: Vec<_> = sockets
        .iter()
        .map(|(bound, _, serve)| {
            (bound.address.clone(), bound.is_plain(), bound.is_secure(), *serve)
        })
        .collect();
    let shards = listen::default_shards();
    let servers = Servers::start(sockets, limit, shards, &grpc, &router, &companion, &settings)
        .map_err(|e| e.to_string())?;
    for (address, plain, secure, serve) in told {
        tracing::info!("ready to serve client requests");
        let traffic = match serve {
            Serve::Both => "grpc+http",
            Serve::Grpc => "grpc",
            Serve::Http => "http",
        };
        if plain {
            tracing::info!(
                traffic,
                address,
                "serving client traffic insecurely; this is strongly discouraged!"
            );
        }
        if secure {
            tracing::info!(traffic, address, "serving client traffic securely");
        }
    }
    Ok(servers)
}

fn rpc_service(shared: &Arc<Shared>) -> rpc::Grpc<Shared> {
    let config = &shared.config;
    let settings = rpc::Settings {
        request_bytes_max: usize::try_from(config.max_request_bytes).unwrap_or(usize::MAX),
        txn_ops_max: usize::try_from(config.max_txn_ops).unwrap_or(usize::MAX),
        election_timeout: config.election,
        watch_progress_interval: config.watch_progress_interval,
        slow_request: config.warning_unary,
    };
    rpc::Grpc::new(shared.clone(), settings, shared.metrics.clone())
}
