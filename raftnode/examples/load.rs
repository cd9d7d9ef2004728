//! What one write costs this crate: proposers on one runtime thread, a state machine that only
//! answers, and a real log on disk.
//!
//! ```text
//! cargo run --release -p raftnode --example load -- <dir> <proposers> <writes> <bytes>
//! ```
//!
//! The processor time is that of the whole process: proposers, runtime and node.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use raftnode::{
    ApplyOutcome, Boot, CommittedBatch, ConfVerdict, Config, Founder, Handle, InstallSnapshot,
    NoTransport, RaftNode, StateMachine, Surroundings,
};
use tokio::sync::oneshot;
use wal::{EntryKind, Metadata, Options, Recovered, Wal};

const MEMBER: u64 = 1;

type Answers = Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>>;

/// Answers whoever proposed an entry; its id is the first eight bytes.
struct AnsweringMachine {
    answers: Answers,
    batches: Arc<Mutex<u64>>,
}

impl StateMachine for AnsweringMachine {
    fn apply(&mut self, batch: CommittedBatch) -> ApplyOutcome {
        *self.batches.lock().expect("batches") += 1;
        let mut answers = self.answers.lock().expect("answers");
        for entry in &batch.entries {
            let id = entry.data.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
            if let Some(answer) = id.and_then(|id| answers.remove(&id)) {
                answer.send(()).expect("the proposer waits");
            }
        }
        let conf_change = batch.entries.last().is_some_and(|e| e.kind != EntryKind::Normal);
        let verdict = conf_change.then_some(ConfVerdict::Reject);
        ApplyOutcome { applied: batch.last_index(), verdict }
    }

    fn install(&mut self, _snapshot: InstallSnapshot) {}
}

/// Processor time of this process so far.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("proc");
    let after_name = stat.rsplit(')').next().expect("a name in parentheses");
    let ticks = |nth: usize| -> u64 {
        after_name.split_whitespace().nth(nth).and_then(|field| field.parse().ok()).expect("ticks")
    };
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

fn start(dir: &Path, answers: &Answers, batches: &Arc<Mutex<u64>>) -> RaftNode {
    let metadata = Metadata { node_id: MEMBER, cluster_id: 1 };
    let disk = Wal::create(dir, &metadata, &Options::default()).expect("create the log");
    let founder = Founder { id: MEMBER, conf_change: Bytes::from_static(b"founder") };
    let boot = Boot { founders: vec![founder], ..Boot::default() };
    let machine = AnsweringMachine { answers: answers.clone(), batches: batches.clone() };
    let surroundings = Surroundings {
        disk: Box::new(disk),
        machine: Box::new(machine),
        transport: Box::new(NoTransport),
        observer: Box::new(()),
    };
    RaftNode::start(&Config::new(MEMBER), Recovered::default(), &boot, surroundings).expect("start")
}

async fn propose(handle: Handle, answers: Answers, ids: std::ops::Range<u64>, bytes: usize) {
    for id in ids {
        let mut data = BytesMut::with_capacity(bytes.max(8));
        data.put_u64(id);
        data.resize(bytes.max(8), b'x');
        let (answer, answered) = oneshot::channel();
        answers.lock().expect("answers").insert(id, answer);
        handle.propose(data.freeze()).await.expect("taken");
        answered.await.expect("applied");
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |nth: usize| -> u64 {
        arguments.get(nth).and_then(|text| text.parse().ok()).expect("<dir> <n> <n> <n>")
    };
    let (proposers, writes, bytes) = (number(1), number(2), number(3));
    let dir = Path::new(&arguments[0]).join(format!("load-{}", std::process::id()));
    let (answers, batches) = (Answers::default(), Arc::default());
    let node = start(&dir, &answers, &batches);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime");
    runtime.block_on(node.handle().read_barrier()).expect("a leader");
    let each = writes / proposers;
    let (clock, processor) = (Instant::now(), processor_time());
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for n in 0..proposers {
            let ids = 1 + n * each..1 + (n + 1) * each;
            let work = propose(node.handle(), answers.clone(), ids, bytes as usize);
            tasks.push(tokio::spawn(work));
        }
        for task in tasks {
            task.await.expect("proposer");
        }
    });
    let (took, used) = (clock.elapsed(), processor_time() - processor);
    let done = (each * proposers) as f64;
    let batches = *batches.lock().expect("batches") as f64;
    let line = format!(
        "{proposers} proposers, {bytes} bytes: {:.0} writes/s, {:.2} us of processor each, \
         {:.1} writes per batch, last sync {:?}",
        done / took.as_secs_f64(),
        used.as_secs_f64() * 1e6 / done,
        done / batches,
        node.handle().status().last_sync(),
    );
    node.stop();
    std::fs::remove_dir_all(&dir).expect("remove the log");
    let mut out = std::io::stdout().lock();
    std::io::Write::write_all(&mut out, format!("{line}\n").as_bytes()).expect("write");
}
