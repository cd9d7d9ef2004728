//! The loads: closed loops of clients over a few connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::error::Error;
use crate::grpc::{Call, Connection};
use crate::requests::{self, Dice, Noise};
use crate::server;
use crate::stats::{Latencies, Sample};
use crate::watchers;

/// The loads, by the names of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Load {
    /// Puts of 512 clients over 32 connections.
    Put512,
    /// Puts of one client.
    Put1,
    /// Linearizable gets of 64 clients over 8 connections.
    Get,
    /// Writes the keys of the page load.
    Fill,
    /// Pages of 500 keys out of 110,000, 8 clients.
    Page,
    /// 1,000 watchers of one key over 20 connections.
    Watch,
    /// Puts of 256 clients over 33 connections, a third of them to each of three members.
    ClusterPut,
    /// Linearizable gets of 64 clients over 9 connections, likewise.
    ClusterGet,
}

/// What a load is sent to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Where it listens: one member, or all of a cluster.
    pub(crate) endpoints: Vec<SocketAddr>,
    /// The processes whose cost is counted; none are when empty.
    pub(crate) pids: Vec<u32>,
}

/// Operations in place of a load's own number.
#[derive(Clone, Copy, Default)]
pub(crate) struct Scale {
    /// The number, if any.
    pub(crate) ops: Option<u64>,
}

/// Who sends a load, and how much of it.
#[derive(Clone, Copy)]
struct Shape {
    clients: usize,
    connections: usize,
    ops: u64,
}

impl Load {
    /// The name as on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Load::Put512 => "put512",
            Load::Put1 => "put1",
            Load::Get => "get",
            Load::Fill => "fill",
            Load::Page => "page",
            Load::Watch => "watch",
            Load::ClusterPut => "cluster-put",
            Load::ClusterGet => "cluster-get",
        }
    }

    fn shape(self) -> Shape {
        let shape = |clients, connections, ops| Shape { clients, connections, ops };
        match self {
            Load::Put512 => shape(512, 32, 360_000),
            Load::Put1 => shape(1, 1, 4_000),
            Load::Get => shape(64, 8, 80_000),
            Load::Fill => shape(8, 2, requests::PAGE_KEYS.div_ceil(requests::FILL_TXN_OPS)),
            Load::Page => shape(8, 8, 400),
            Load::Watch => shape(1_000, 20, 200),
            Load::ClusterPut => shape(256, 33, 150_000),
            Load::ClusterGet => shape(64, 9, 60_000),
        }
    }
}

/// Runs `load` against `target`.
///
/// # Errors
/// Any operation that fails.
pub(crate) fn measure(load: Load, target: &Target, scale: Scale) -> Result<Sample, Error> {
    let first = *target.endpoints.first().ok_or(Error::Answer("there is no endpoint"))?;
    let mut shape = load.shape();
    shape.ops = scale.ops.unwrap_or(shape.ops);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::System { action: "build runtime", source })?;
    let cpu = || -> Result<Option<Duration>, Error> {
        let spent = target.pids.iter().map(|pid| server::cpu_time(*pid));
        let spent = spent.collect::<Result<Vec<_>, _>>()?;
        Ok((!spent.is_empty()).then(|| spent.iter().sum()))
    };
    let (sample, cpu) = runtime.block_on(async {
        if load == Load::Watch {
            let Shape { clients, connections, ops } = shape;
            return watchers::run(first, clients, connections, ops, &cpu).await;
        }
        let mut connections = Vec::with_capacity(shape.connections);
        for number in 0..shape.connections {
            let endpoint = target.endpoints[number % target.endpoints.len()];
            connections.push(Connection::open(endpoint).await?);
        }
        let before = cpu()?;
        let sample = closed_loop(load, shape, &connections).await?;
        let after = cpu()?;
        Ok((sample, after.zip(before).map(|(after, before)| after.saturating_sub(before))))
    })?;
    let rss_mib = target.pids.first().map(|pid| server::rss_mib(*pid)).transpose()?;
    Ok(Sample { rss_mib, ..sample.with_cpu(cpu) })
}

/// Opens `count` connections.
///
/// # Errors
/// One of them cannot be made.
pub(crate) async fn connect(endpoint: SocketAddr, count: usize) -> Result<Vec<Connection>, Error> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(Connection::open(endpoint).await?);
    }
    Ok(connections)
}

/// Writes `keys` keys of the put loads.
///
/// # Errors
/// Any transaction that fails.
pub(crate) fn fill(endpoint: SocketAddr, keys: u64) -> Result<(), Error> {
    const CLIENTS: u64 = 16;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::System { action: "build runtime", source })?;
    runtime.block_on(async {
        let connections = connect(endpoint, 2).await?;
        let next = Arc::new(AtomicU64::new(0));
        let mut clients: JoinSet<Result<(), Error>> = JoinSet::new();
        for number in 0..CLIENTS {
            let connection = connections[usize::from(number % 2 == 1)].clone();
            let (next, mut dice, noise) = (next.clone(), Dice::new(number + 1), Noise::new());
            clients.spawn(async move {
                let call = Call::new(path(Load::Fill));
                loop {
                    let first = next.fetch_add(requests::FILL_TXN_OPS, Ordering::Relaxed);
                    if first >= keys {
                        return Ok(());
                    }
                    let last = (first + requests::FILL_TXN_OPS).min(keys);
                    let value = |number| {
                        let value = noise.value(&mut dice, requests::VALUE_BYTES);
                        (requests::key(number), value)
                    };
                    let request = requests::fill_with((first..last).map(value));
                    connection.unary(&call, request).await?;
                }
            });
        }
        while let Some(done) = clients.join_next().await {
            done.map_err(|_| Error::Answer("a client panicked"))??;
        }
        Ok(())
    })
}

/// Every client sends its next operation when the one before is answered.
async fn closed_loop(
    load: Load,
    shape: Shape,
    connections: &[Connection],
) -> Result<Sample, Error> {
    let next = Arc::new(AtomicU64::new(0));
    let noise = Noise::new();
    let mut clients = JoinSet::new();
    let room = usize::try_from(shape.ops).unwrap_or(0) / shape.clients * 2;
    let start = Instant::now();
    for number in 0..shape.clients {
        let client = Client {
            connection: connections[number % connections.len()].clone(),
            call: Call::new(path(load)),
            dice: Dice::new(u64::try_from(number).unwrap_or(0) + 1),
            noise: noise.clone(),
            latencies: Latencies::with_capacity(room),
        };
        clients.spawn(client.run(load, next.clone(), shape.ops));
    }
    let mut latencies = Latencies::default();
    while let Some(done) = clients.join_next().await {
        let failed = |_| Error::Answer("a client panicked");
        latencies.append(done.map_err(failed)??);
    }
    Ok(Sample::new(shape.ops, start.elapsed(), &mut latencies))
}

fn path(load: Load) -> &'static str {
    match load {
        Load::Put512 | Load::Put1 | Load::Watch | Load::ClusterPut => "/etcdserverpb.KV/Put",
        Load::Get | Load::Page | Load::ClusterGet => "/etcdserverpb.KV/Range",
        Load::Fill => "/etcdserverpb.KV/Txn",
    }
}

struct Client {
    connection: Connection,
    call: Call,
    dice: Dice,
    noise: Noise,
    latencies: Latencies,
}

impl Client {
    async fn run(mut self, load: Load, next: Arc<AtomicU64>, ops: u64) -> Result<Latencies, Error> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= ops {
                return Ok(self.latencies);
            }
            let request = self.request(load, number);
            let start = Instant::now();
            let answer = self.connection.unary(&self.call, request).await?;
            self.latencies.push(start.elapsed());
            check(load, &answer)?;
        }
    }

    fn request(&mut self, load: Load, number: u64) -> Bytes {
        let dice = &mut self.dice;
        match load {
            Load::Put512 | Load::Put1 | Load::Watch | Load::ClusterPut => {
                let key = requests::key(dice.below(requests::KEYS));
                requests::put(key, self.noise.value(dice, requests::VALUE_BYTES))
            }
            Load::Get | Load::ClusterGet => {
                requests::get(requests::key(dice.below(requests::KEYS)))
            }
            Load::Fill => requests::fill(number * requests::FILL_TXN_OPS, &self.noise, dice),
            Load::Page => requests::page(0),
        }
    }
}

/// An answer without its data would make a server look fast.
fn check(load: Load, answer: &Bytes) -> Result<(), Error> {
    let least = match load {
        Load::Put512 | Load::Put1 | Load::Watch | Load::Fill | Load::ClusterPut => 1,
        // A key may not have been written yet.
        Load::ClusterGet => 1,
        Load::Get => requests::VALUE_BYTES,
        Load::Page => requests::PAGE_VALUE_BYTES * 500,
    };
    if answer.len() < least { Err(Error::Answer("too short for what was asked")) } else { Ok(()) }
}

/// Waits until the server answers a linearizable read; gives the moment it did.
///
/// # Errors
/// It did not within `patience`, or `alive` says that it is gone.
pub(crate) fn first_read(
    endpoint: SocketAddr,
    patience: Duration,
    alive: &mut dyn FnMut() -> bool,
) -> Result<Instant, Error> {
    const PAUSE: Duration = Duration::from_millis(2);
    const TRY: Duration = Duration::from_secs(2);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::System { action: "build runtime", source })?;
    let end = Instant::now() + patience;
    runtime.block_on(async {
        let call = Call::new(path(Load::Get));
        loop {
            let read = async {
                let connection = Connection::open(endpoint).await?;
                connection.unary(&call, requests::get(requests::key(0))).await
            };
            if let Ok(Ok(_)) = tokio::time::timeout(TRY, read).await {
                return Ok(Instant::now());
            }
            if Instant::now() > end || !alive() {
                return Err(Error::Answer("no answer to a first read"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
}
