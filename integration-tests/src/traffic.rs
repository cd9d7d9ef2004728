//! Clients that go on whatever happens to the cluster, and remember every call.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::{Client, Options};
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::response_op::Response;
use proto::etcdserverpb::{
    Compare, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest,
};
use tonic::{Code, Status};

use crate::calls::{Action, Call, Calls};
use crate::{Rng, eventually};

/// Who calls what.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Clients that know one member each, in turn.
    pub pinned: usize,
    /// Clients that know all members.
    pub roaming: usize,
    /// Keys they share.
    pub keys: u64,
    /// Pause of a client between its calls.
    pub pause: Duration,
    /// How long a client waits for an answer.
    pub deadline: Duration,
    /// How long a write that fails with `Unavailable` is tried again; what fails then, or
    /// otherwise, is given up. Without it nothing is tried again.
    pub patience: Option<Duration>,
    /// Of the keys and actions.
    pub seed: u64,
}

impl Plan {
    /// Eight clients and ten keys: some hundred calls a second, of which a search finds the order.
    pub fn new(seed: u64) -> Self {
        Self {
            pinned: 6,
            roaming: 2,
            keys: 10,
            pause: Duration::from_millis(15),
            deadline: Duration::from_millis(300),
            patience: None,
            seed,
        }
    }

    /// Clients that take no for an answer only after five seconds.
    pub fn patient(seed: u64) -> Self {
        let patience = Some(Duration::from_secs(5));
        let deadline = Duration::from_secs(2);
        Self { pinned: 0, roaming: 6, patience, deadline, ..Self::new(seed) }
    }
}

/// Clients at work on a thread of their own.
#[derive(Debug)]
pub struct Traffic {
    clock: Clock,
    thread: JoinHandle<Calls>,
}

/// What the clients and the test share.
#[derive(Debug, Clone)]
struct Clock {
    start: Instant,
    stop: Arc<AtomicBool>,
    /// When the latest write was called that was acknowledged, in nanoseconds.
    last_write: Arc<AtomicU64>,
}

impl Clock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Traffic {
    /// Starts the clients of these members, `host:port` parted by commas.
    pub fn start(endpoints: &str, plan: Plan) -> Self {
        let clock =
            Clock { start: Instant::now(), stop: Arc::default(), last_write: Arc::default() };
        let (seen, endpoints) = (clock.clone(), endpoints.to_owned());
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let endpoints: Vec<&str> = endpoints.split(',').collect();
                let clients: Vec<_> = (0..plan.pinned + plan.roaming)
                    .map(|id| {
                        let known = if id < plan.pinned {
                            vec![endpoints[id % endpoints.len()]]
                        } else {
                            endpoints.clone()
                        };
                        let caller = Caller::new(id, &known, plan.clone(), seen.clone());
                        tokio::spawn(caller.call_until_told())
                    })
                    .collect();
                let mut calls = Calls::default();
                for client in clients {
                    calls.extend(client.await.expect("a client does not panic"));
                }
                calls
            })
        };
        let thread = std::thread::Builder::new().name("traffic".to_owned()).spawn(work);
        Self { clock, thread: thread.expect("a thread") }
    }

    /// The clock of the calls.
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Waits for the acknowledgement of a write that was called after `moment`.
    pub fn await_write_after(&self, moment: Duration, deadline: Duration) {
        eventually("a write is acknowledged", deadline, || {
            let last = Duration::from_nanos(self.clock.last_write.load(Ordering::Relaxed));
            (last > moment).then_some(())
        });
    }

    /// Ends all clients, each after the answer it waits for.
    pub fn finish(self) -> Calls {
        self.clock.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the traffic does not panic")
    }
}

/// One client with one call under way at a time.
struct Caller {
    id: usize,
    client: Client,
    plan: Plan,
    clock: Clock,
    rng: Rng,
    /// Values written so far.
    written: u64,
    /// The value of each key this client saw last.
    seen: HashMap<u64, Bytes>,
    calls: Calls,
}

/// Why a call has no answer.
enum Failure {
    Late,
    Answered(Status),
}

impl Caller {
    fn new(id: usize, known: &[&str], plan: Plan, clock: Clock) -> Self {
        let options = Options { connect_timeout: Duration::from_millis(500), ..Options::default() };
        let client = Client::new(known, options).expect("a client");
        let rng = Rng::new(plan.seed.wrapping_add(id as u64));
        let (seen, calls) = (HashMap::new(), Calls::default());
        Self { id, client, plan, clock, rng, written: 0, seen, calls }
    }

    async fn call_until_told(mut self) -> Calls {
        while !self.clock.stop.load(Ordering::Relaxed) {
            match self.plan.patience {
                None => drop(self.call().await),
                Some(patience) => self.write_patiently(patience).await,
            }
            tokio::time::sleep(self.plan.pause).await;
        }
        self.calls
    }

    /// One write, tried again with another value until it is acknowledged.
    async fn write_patiently(&mut self, patience: Duration) {
        let began = Instant::now();
        let key = self.rng.below(self.plan.keys);
        loop {
            let action = self.put();
            let why = match self.make(key, action).await {
                Ok(()) => return,
                Err(Failure::Answered(status)) if !is_worth_a_try(&status) => {
                    self.calls.given_up.push(format!("{:?}: {status}", self.clock.now()));
                    return;
                }
                Err(Failure::Answered(status)) => status.to_string(),
                Err(Failure::Late) => format!("no answer in {:?}", self.plan.deadline),
            };
            if began.elapsed() > patience {
                let took = began.elapsed();
                self.calls.given_up.push(format!("{:?}: after {took:?}: {why}", self.clock.now()));
                return;
            }
            self.client.connection().move_on().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn call(&mut self) -> Result<(), Failure> {
        let key = self.rng.below(self.plan.keys);
        let action = match (self.rng.below(10), self.seen.get(&key).cloned()) {
            (0..5, _) => self.put(),
            (5..7, Some(seen)) => {
                let Action::Put(value) = self.put() else { panic!("a put is a put") };
                Action::Swap(seen, value)
            }
            _ => Action::Read(None),
        };
        self.make(key, action).await
    }

    fn put(&mut self) -> Action {
        self.written += 1;
        Action::Put(format!("{}/{}", self.id, self.written).into())
    }

    /// Makes one call and writes it down.
    async fn make(&mut self, number: u64, action: Action) -> Result<(), Failure> {
        let key = Bytes::from(format!("key{number}"));
        let called = self.clock.now();
        let sent = send(&self.client, &key, &action);
        let answer = match tokio::time::timeout(self.plan.deadline, sent).await {
            Ok(answer) => answer.map_err(Failure::Answered),
            Err(_) => Err(Failure::Late),
        };
        let returned = self.clock.now();
        match answer {
            Ok((done, revision)) => {
                let (value, is_write) = match &done {
                    Action::Put(value) | Action::Swap(_, value) => (Some(value.clone()), true),
                    Action::Read(found) => (found.clone(), false),
                };
                match value {
                    Some(value) => self.seen.insert(number, value),
                    None => self.seen.remove(&number),
                };
                if is_write {
                    let nanos = u64::try_from(called.as_nanos()).expect("a short test");
                    self.clock.last_write.fetch_max(nanos, Ordering::Relaxed);
                }
                let answer = Some((returned, revision));
                self.calls.all.push(Call { key, action: done, called, answer });
                Ok(())
            }
            Err(failure) => {
                // A read that failed tells nothing.
                if !matches!(action, Action::Read(_)) {
                    self.calls.all.push(Call { key, action, called, answer: None });
                }
                Err(failure)
            }
        }
    }
}

/// Whether a client tries again: the member says that it is unavailable, or it is gone.
fn is_worth_a_try(status: &Status) -> bool {
    status.code() == Code::Unavailable || std::error::Error::source(status).is_some()
}

/// Sends one call: what was done, and the revision of the answer.
async fn send(client: &Client, key: &Bytes, action: &Action) -> Result<(Action, i64), Status> {
    let mut kv = client.kv();
    let range = RangeRequest { key: key.clone(), ..RangeRequest::default() };
    let found =
        |answer: RangeResponse| Action::Read(answer.kvs.into_iter().next().map(|pair| pair.value));
    let put = |value: &Bytes| PutRequest {
        key: key.clone(),
        value: value.clone(),
        ..PutRequest::default()
    };
    let (done, header) = match action {
        Action::Read(_) => {
            let answer = kv.range(range).await?.into_inner();
            let header = answer.header;
            (found(answer), header)
        }
        Action::Put(value) => (action.clone(), kv.put(put(value)).await?.into_inner().header),
        Action::Swap(from, to) => {
            let compare = Compare {
                result: CompareResult::Equal.into(),
                target: CompareTarget::Value.into(),
                key: key.clone(),
                target_union: Some(TargetUnion::Value(from.clone())),
                ..Compare::default()
            };
            let op = |request| vec![RequestOp { request: Some(request) }];
            let txn = TxnRequest {
                compare: vec![compare],
                success: op(Request::RequestPut(put(to))),
                failure: op(Request::RequestRange(range)),
            };
            let answer = kv.txn(txn).await?.into_inner();
            let header = answer.header;
            match answer.responses.into_iter().next().and_then(|op| op.response) {
                Some(Response::ResponsePut(_)) => (action.clone(), header),
                Some(Response::ResponseRange(range)) => (found(range), header),
                other => panic!("a transaction of one put answered {other:?}"),
            }
        }
    };
    Ok((done, header.expect("every answer has a header").revision))
}
