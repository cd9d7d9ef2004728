//! Concurrent writers, each remembering what it was promised.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use client::{Client, Options};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RequestOp, ResponseHeader, TxnRequest};

/// Longest wait for one answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Connections that the writers share.
const CONNECTIONS: usize = 4;

/// What one request changes. Values are unique in a test, so that each tells its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// One pair.
    Put {
        /// Its key.
        key: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// Two pairs with the same value in one transaction.
    PutBoth {
        /// Their keys.
        keys: [Bytes; 2],
        /// Their value.
        value: Bytes,
    },
    /// One pair that exists goes.
    Delete {
        /// Its key.
        key: Bytes,
    },
}

/// The requests of some writers, as far as they know.
#[derive(Debug, Clone, Default)]
pub struct Outcomes {
    /// Answered with success, and the revision answered.
    pub acknowledged: Vec<(Change, i64)>,
    /// Sent, but never answered: they may have been done or not.
    pub unknown: Vec<Change>,
}

impl Outcomes {
    /// Adds those of another run.
    pub fn extend(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.unknown.extend(other.unknown);
    }

    /// The highest revision that was promised.
    pub fn last_revision(&self) -> i64 {
        self.acknowledged.iter().map(|(_, revision)| *revision).max().unwrap_or(1)
    }
}

/// Writers at work on a thread of their own.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<Outcomes>,
}

impl Load {
    /// Starts `writers` clients of one server. Each sends one request after the other: puts,
    /// transactions of two puts, and deletes of what it has put. `run` makes the values of this
    /// run different from those of others; `value_bytes` is the least length of a value.
    pub fn start(authority: &str, run: u64, writers: usize, value_bytes: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let (stop_seen, count, authority) = (stop.clone(), answered.clone(), authority.to_owned());
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let clients: Vec<Client> = (0..CONNECTIONS)
                    .map(|_| Client::new(&[&authority], Options::default()).expect("a client"))
                    .collect();
                let writers: Vec<_> = (0..writers)
                    .map(|id| {
                        let client = clients[id % CONNECTIONS].clone();
                        let writer = Writer { id, run, value_bytes, client, sent: 0 };
                        tokio::spawn(writer.write_until(stop_seen.clone(), count.clone()))
                    })
                    .collect();
                let mut outcomes = Outcomes::default();
                for writer in writers {
                    outcomes.extend(writer.await.expect("a writer does not panic"));
                }
                outcomes
            })
        };
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(work);
        Self { stop, answered, thread: thread.expect("a thread") }
    }

    /// Requests answered so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends all writers, each after the answer or the error it waits for.
    pub fn finish(self) -> Outcomes {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the load does not panic")
    }
}

/// One client with one request under way at a time.
struct Writer {
    id: usize,
    run: u64,
    value_bytes: usize,
    client: Client,
    sent: u64,
}

impl Writer {
    /// Goes on until told to stop or until a request fails: then it is unknown what it did.
    async fn write_until(mut self, stop: Arc<AtomicBool>, answered: Arc<AtomicU64>) -> Outcomes {
        let mut outcomes = Outcomes::default();
        while !stop.load(Ordering::Relaxed) {
            let change = self.next_change();
            let sent = self.send(&change);
            match tokio::time::timeout(ANSWER_DEADLINE, sent).await {
                Ok(Ok(header)) => {
                    answered.fetch_add(1, Ordering::Relaxed);
                    outcomes.acknowledged.push((change, header.revision));
                }
                Ok(Err(_)) | Err(_) => {
                    outcomes.unknown.push(change);
                    break;
                }
            }
        }
        outcomes
    }

    fn next_change(&mut self) -> Change {
        let n = self.sent;
        self.sent += 1;
        let mut value = format!("{}/{}/{n} ", self.run, self.id);
        let missing = self.value_bytes.saturating_sub(value.len());
        value.extend(std::iter::repeat_n('.', missing));
        let key = |name: &str| Bytes::from(format!("{name}/{}", self.id));
        match n % 8 {
            2 | 6 => Change::PutBoth { keys: [key("a"), key("b")], value: value.into() },
            // The request before it has put it.
            5 => Change::Delete { key: key("k") },
            _ => Change::Put { key: key("k"), value: value.into() },
        }
    }

    async fn send(&self, change: &Change) -> Result<ResponseHeader, tonic::Status> {
        let mut kv = self.client.kv();
        let put = |key: &Bytes, value: &Bytes| PutRequest {
            key: key.clone(),
            value: value.clone(),
            ..PutRequest::default()
        };
        let header = match change {
            Change::Put { key, value } => kv.put(put(key, value)).await?.into_inner().header,
            Change::PutBoth { keys, value } => {
                let op = |key| RequestOp { request: Some(Request::RequestPut(put(key, value))) };
                let success = keys.iter().map(op).collect();
                let txn = TxnRequest { success, ..TxnRequest::default() };
                kv.txn(txn).await?.into_inner().header
            }
            Change::Delete { key } => {
                let delete =
                    DeleteRangeRequest { key: key.clone(), ..DeleteRangeRequest::default() };
                let answer = kv.delete_range(delete).await?.into_inner();
                assert_eq!(answer.deleted, 1, "the pair existed");
                answer.header
            }
        };
        Ok(header.expect("every answer has a header"))
    }
}
