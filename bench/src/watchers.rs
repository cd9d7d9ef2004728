//! A thousand watchers of one key: each put must reach all of them before the next is sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prost::Message as _;
use proto::etcdserverpb as pb;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::error::Error;
use crate::grpc::{Call, Connection, Messages};
use crate::load;
use crate::requests::{self, Dice, Noise};
use crate::stats::{Latencies, Sample};

/// Streams are opened in groups, so that none waits behind a thousand others.
const OPENING: usize = 50;

/// CPU time of the server up to now.
type Cpu<'a> = &'a (dyn Fn() -> Result<Option<Duration>, Error> + Sync);

/// Counts events and wakes the writer when a put has reached everyone.
struct Arrivals {
    events: AtomicU64,
    wanted: AtomicU64,
    reached: Notify,
}

/// Runs the load; the operations of its figures are events, their latency runs from the put
/// being sent to the last watcher having seen it.
///
/// # Errors
/// Any operation that fails, any watch that ends.
pub(crate) async fn run(
    endpoint: SocketAddr,
    watchers: usize,
    connections: usize,
    puts: u64,
    cpu: Cpu<'_>,
) -> Result<(Sample, Option<Duration>), Error> {
    let connections = load::connect(endpoint, connections).await?;
    let arrivals = Arc::new(Arrivals {
        events: AtomicU64::new(0),
        wanted: AtomicU64::new(0),
        reached: Notify::new(),
    });
    let mut tasks = JoinSet::new();
    open_all(&connections, watchers, &arrivals, &mut tasks).await?;
    let before = cpu()?;
    let writer = Connection::open(endpoint).await?;
    let call = Call::new("/etcdserverpb.KV/Put");
    let (noise, mut dice) = (Noise::new(), Dice::new(1));
    let mut latencies = Latencies::default();
    let each = u64::try_from(watchers).unwrap_or(0);
    let start = Instant::now();
    for number in 1..=puts {
        arrivals.wanted.store(number * each, Ordering::Relaxed);
        let value = noise.value(&mut dice, requests::VALUE_BYTES);
        let sent = Instant::now();
        writer.unary(&call, requests::put(requests::key(0), value)).await?;
        while arrivals.events.load(Ordering::Relaxed) < number * each {
            tokio::select! {
                () = arrivals.reached.notified() => {}
                Some(ended) = tasks.join_next() => return Err(end_of(ended)),
            }
        }
        latencies.push(sent.elapsed());
    }
    let wall = start.elapsed();
    let spent = cpu()?.zip(before).map(|(after, before)| after.saturating_sub(before));
    tasks.abort_all();
    Ok((Sample::new(puts * each, wall, &mut latencies), spent))
}

fn end_of(ended: Result<Result<(), Error>, tokio::task::JoinError>) -> Error {
    match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) | Err(_) => Error::Answer("a watch ended"),
    }
}

/// Opens a stream per watcher and waits until each watch is announced.
async fn open_all(
    connections: &[Connection],
    watchers: usize,
    arrivals: &Arc<Arrivals>,
    tasks: &mut JoinSet<Result<(), Error>>,
) -> Result<(), Error> {
    let call = Call::new("/etcdserverpb.Watch/Watch");
    let request = requests::watch(requests::key(0));
    for first in (0..watchers).step_by(OPENING) {
        let mut opening = JoinSet::new();
        for number in first..(first + OPENING).min(watchers) {
            let connection = connections[number % connections.len()].clone();
            let (call, request) = (call.clone(), request.clone());
            opening.spawn(async move {
                let mut messages = connection.stream(&call, request).await?;
                let created = decode(&mut messages).await?;
                if created.created && !created.canceled {
                    Ok(messages)
                } else {
                    Err(Error::Answer("the watch was not created"))
                }
            });
        }
        while let Some(opened) = opening.join_next().await {
            let messages = opened.map_err(|_| Error::Answer("a watcher panicked"))??;
            tasks.spawn(count(messages, arrivals.clone()));
        }
    }
    Ok(())
}

async fn decode(messages: &mut Messages) -> Result<pb::WatchResponse, Error> {
    let message = messages.next().await?;
    pb::WatchResponse::decode(message).map_err(|_| Error::Answer("not a watch response"))
}

async fn count(mut messages: Messages, arrivals: Arc<Arrivals>) -> Result<(), Error> {
    loop {
        let response = decode(&mut messages).await?;
        if response.canceled {
            return Err(Error::Answer("a watch was cancelled"));
        }
        let events = u64::try_from(response.events.len()).unwrap_or(0);
        let before = arrivals.events.fetch_add(events, Ordering::Relaxed);
        if before + events >= arrivals.wanted.load(Ordering::Relaxed) {
            arrivals.reached.notify_one();
        }
    }
}
