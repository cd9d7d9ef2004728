//! The services over real connections, on a member that is faked.

mod fake;
mod streams;
mod transport;
mod unary;

use std::sync::Arc;
use std::time::Duration;

use client::{Client, Options};
use proto::etcdserverpb::ResponseHeader;
use tokio::net::TcpListener;
use tonic::{Code, Status};

pub(super) use fake::{CLUSTER_ID, FIRST_LEASE, Fake, MEMBER_ID, TERM};

use super::{Grpc, Settings};
use crate::metrics::Metrics;

/// Small, so that large answers and long waits are cheap to make.
pub(super) const SETTINGS: Settings = Settings {
    request_bytes_max: 4096,
    txn_ops_max: 128,
    election_timeout: Duration::from_millis(20),
    watch_progress_interval: Duration::from_millis(50),
    slow_request: Duration::ZERO,
};

/// A served fake.
struct Served {
    fake: Arc<Fake>,
    metrics: Arc<Metrics>,
    address: String,
    client: Client,
}

/// Serves a new fake for as long as the runtime lives.
async fn serve() -> Served {
    let fake = Fake::new();
    let metrics = Arc::new(Metrics::new(false));
    let grpc = Grpc::new(fake.clone(), SETTINGS, metrics.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            let builder =
                hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(builder.serve_connection(io, grpc.clone()));
        }
    });
    let options = Options { send_bytes_max: usize::MAX, ..Options::default() };
    let client = Client::new(&[&address], options).expect("well formed");
    Served { fake, metrics, address, client }
}

/// Code and text of a refusal.
fn refusal<T>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.err().expect("refused");
    (status.code(), status.message().to_owned())
}

fn words(code: Code, text: &str) -> (Code, String) {
    (code, text.to_owned())
}

fn full_header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { cluster_id: CLUSTER_ID, member_id: MEMBER_ID, revision, raft_term: TERM })
}
