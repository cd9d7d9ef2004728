//! Puts at a fixed pace, whether or not the server keeps up. How long one takes is counted from
//! the moment it was due, so that a server that stands still is not spared the puts that could
//! not be sent meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::error::Error;
use crate::grpc::{Call, Connection};
use crate::load;
use crate::requests::{self, Dice, Noise};
use crate::stats::Latencies;

/// Connections the puts are spread over.
const CONNECTIONS: usize = 8;

/// What is put, and how fast.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// Puts due in every second.
    pub(crate) puts_per_s: u32,
    /// How long they go on before what is to be watched begins.
    pub(crate) before: Duration,
    /// Keys they are drawn from.
    pub(crate) keys: u64,
}

/// What the puts found.
pub(crate) struct Puts {
    /// 99 of 100 due before took at most this long.
    pub(crate) p99_before_us: f64,
    /// The same of those due during what was watched.
    pub(crate) p99_during_us: f64,
    /// How long that was.
    pub(crate) during: Duration,
}

/// Puts at this pace before and during `work`, which runs on a thread of its own and tells how
/// long it took.
///
/// # Errors
/// Those of `work`, and of any put.
pub(crate) fn puts(
    endpoint: SocketAddr,
    pace: Pace,
    work: impl FnOnce() -> Result<Duration, Error> + Send + 'static,
) -> Result<Puts, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::System { action: "build runtime", source })?;
    runtime.block_on(async {
        let connections = load::connect(endpoint, CONNECTIONS).await?;
        let mut sender = Sender::new(connections, pace);
        let start = Instant::now();
        let before = sender.run(tokio::time::sleep_until(start + pace.before)).await?;
        let work = tokio::task::spawn_blocking(work);
        let mut outcome = None;
        let during = sender.run(async { outcome = Some(work.await) }).await?;
        let panicked = Error::Answer("the watched work panicked");
        let took = outcome.and_then(Result::ok).ok_or(panicked)??;
        Ok(Puts {
            p99_before_us: before.await_all().await?,
            p99_during_us: during.await_all().await?,
            during: took,
        })
    })
}

/// Sends puts when they are due.
struct Sender {
    connections: Vec<Connection>,
    ticks: tokio::time::Interval,
    pace: Pace,
    dice: Dice,
    noise: Noise,
    sent: usize,
}

impl Sender {
    fn new(connections: Vec<Connection>, pace: Pace) -> Self {
        let mut ticks = interval(Duration::from_secs(1) / pace.puts_per_s);
        // What was missed is sent at once, each with the moment it was due.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        Sender { connections, ticks, pace, dice: Dice::new(11), noise: Noise::new(), sent: 0 }
    }

    /// Sends until `end`.
    async fn run(&mut self, end: impl Future<Output = ()>) -> Result<Waiting, Error> {
        tokio::pin!(end);
        let mut waiting = Waiting(JoinSet::new());
        loop {
            let due = tokio::select! {
                () = &mut end => return Ok(waiting),
                due = self.ticks.tick() => due,
            };
            self.sent += 1;
            let connection = self.connections[self.sent % self.connections.len()].clone();
            let key = requests::key(self.dice.below(self.pace.keys));
            let put = requests::put(key, self.noise.value(&mut self.dice, requests::VALUE_BYTES));
            waiting.0.spawn(async move {
                connection.unary(&Call::new("/etcdserverpb.KV/Put"), put).await?;
                Ok(due.elapsed())
            });
        }
    }
}

/// Puts that may not be answered yet.
struct Waiting(JoinSet<Result<Duration, Error>>);

impl Waiting {
    /// Their 99th percentile once all are.
    async fn await_all(mut self) -> Result<f64, Error> {
        let mut latencies = Latencies::default();
        while let Some(done) = self.0.join_next().await {
            latencies.push(done.map_err(|_| Error::Answer("a put panicked"))??);
        }
        Ok(latencies.quantile_us(0.99))
    }
}
