//! The physical limit: tonic on one thread, nothing behind it but one fdatasync per batch.
//!
//! ```text
//! runtime thread: put ──▶ channel ──▶ log thread: take all that waits, write, fdatasync
//!                  ▲───────── oneshot ──────────────┘
//! ```

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::mpsc;

use bytes::Bytes;
use prost::Message as _;
use proto::etcdserverpb as pb;
use proto::mvccpb;
use proto::raw;
use proto::server::kv_server::{Kv, KvServer};
use tokio::sync::oneshot;
use tokio_stream::Empty;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::requests::VALUE_BYTES;

/// The log file is written round and round inside this much preallocated space.
const LOG_BYTES: u64 = 64 * 1024 * 1024;
/// Puts that may wait for the log; more than the clients of any load.
const WAITING_MAX: usize = 4096;

/// A put waiting to be durable.
struct Waiting {
    value: Bytes,
    durable: oneshot::Sender<()>,
}

/// Serves until killed.
///
/// # Errors
/// The port or the log file cannot be had.
pub(crate) fn serve(listen: SocketAddr, dir: &Path) -> Result<(), Error> {
    let (log, inbox) = mpsc::sync_channel(WAITING_MAX);
    let file = preallocated(&dir.join("echo.log"))?;
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_batches(&file, &inbox))
        .map_err(|source| Error::System { action: "start thread", source })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::System { action: "build runtime", source })?;
    let service = KvServer::new(Echo { log });
    runtime.block_on(Server::builder().tcp_nodelay(true).serve(listen, service))?;
    Ok(())
}

fn preallocated(path: &Path) -> Result<File, Error> {
    let failed = |action| {
        let path = path.to_owned();
        move |source| Error::File { action, path, source }
    };
    let file = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(path)
        .map_err(failed("create"))?;
    // Written once, so that later writes change no metadata.
    let zeros = vec![0; 1024 * 1024];
    let mut offset = 0;
    while offset < LOG_BYTES {
        file.write_all_at(&zeros, offset).map_err(failed("fill"))?;
        offset += 1024 * 1024;
    }
    file.sync_all().map_err(failed("sync"))?;
    Ok(file)
}

/// Takes all puts that wait, writes them in one piece, syncs once, answers all.
fn write_batches(file: &File, inbox: &mpsc::Receiver<Waiting>) {
    let mut offset = 0;
    let mut piece = Vec::new();
    let mut batch = Vec::new();
    while let Ok(first) = inbox.recv() {
        batch.push(first);
        batch.extend(inbox.try_iter());
        piece.clear();
        for waiting in &batch {
            piece.extend_from_slice(&waiting.value);
        }
        let length = u64::try_from(piece.len()).unwrap_or(0);
        if offset + length > LOG_BYTES {
            offset = 0;
        }
        let written = file.write_all_at(&piece, offset).and_then(|()| file.sync_data());
        if written.is_err() {
            // Dropping the senders fails every put that waits.
            return;
        }
        offset += length;
        for waiting in batch.drain(..) {
            // A client that went away needs no answer.
            let _gone = waiting.durable.send(()).is_err();
        }
    }
}

/// Knows two methods; the rest is what tonic generates around them.
struct Echo {
    log: mpsc::SyncSender<Waiting>,
}

fn header() -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { cluster_id: 1 << 62, member_id: 1 << 61, revision: 1, raft_term: 2 })
}

fn unknown<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("the echo server knows Range and Put"))
}

#[tonic::async_trait]
impl Kv for Echo {
    type RangeStreamStream = Empty<Result<raw::RangeStreamResponse, Status>>;

    async fn range(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<raw::RangeResponse>, Status> {
        static VALUE: [u8; VALUE_BYTES] = [b'v'; VALUE_BYTES];
        let kv = mvccpb::KeyValue {
            key: request.into_inner().key,
            create_revision: 2,
            mod_revision: 3,
            version: 2,
            value: Bytes::from_static(&VALUE),
            lease: 0,
        };
        let kvs = [kv.encode_to_vec()].into_iter().collect();
        Ok(Response::new(raw::RangeResponse { header: header(), kvs, more: false, count: 1 }))
    }

    async fn put(
        &self,
        request: Request<pb::PutRequest>,
    ) -> Result<Response<raw::PutResponse>, Status> {
        let (durable, done) = oneshot::channel();
        let waiting = Waiting { value: request.into_inner().value, durable };
        let queued = self.log.try_send(waiting);
        queued.map_err(|_| Status::resource_exhausted("too many puts wait"))?;
        done.await.map_err(|_| Status::data_loss("the log cannot be written"))?;
        Ok(Response::new(raw::PutResponse { header: header(), prev_kv: None }))
    }

    async fn range_stream(
        &self,
        _: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        unknown()
    }

    async fn delete_range(
        &self,
        _: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<raw::DeleteRangeResponse>, Status> {
        unknown()
    }

    async fn txn(&self, _: Request<pb::TxnRequest>) -> Result<Response<raw::TxnResponse>, Status> {
        unknown()
    }

    async fn compact(
        &self,
        _: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        unknown()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::load::{self, Load, Scale, Target};

    #[test]
    fn every_load_it_can_answer_is_measured_against_it() {
        let dir = std::env::temp_dir().join(format!("etcd-bench-echo-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("directory");
        let listen = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let listen = listen.expect("a free port");
        let log_dir = dir.clone();
        std::thread::spawn(move || serve(listen, &log_dir));
        let begin = Instant::now();
        let first = load::first_read(listen, Duration::from_secs(30), &mut || true);
        assert!(first.expect("a first read") >= begin);
        let target = Target { endpoints: vec![listen], pids: vec![std::process::id()] };
        for load in [Load::Put512, Load::Put1, Load::Get] {
            let scale = Scale { ops: Some(600) };
            let sample = load::measure(load, &target, scale).expect("figures");
            assert_eq!(sample.ops, 600);
            assert!(sample.ops_per_s > 0.0 && sample.p50_us > 0.0, "{sample:?}");
            assert!(sample.p99_us >= sample.p50_us, "{sample:?}");
            assert!(sample.cpu_us_per_op.is_some() && sample.rss_mib.is_some(), "{sample:?}");
        }
        let refused = load::measure(Load::Fill, &target, Scale { ops: Some(1) });
        let text = refused.expect_err("no transactions").to_string();
        assert!(text.starts_with("/etcdserverpb.KV/Txn: grpc status 12"), "{text}");
        std::fs::remove_dir_all(&dir).expect("removal");
    }
}
