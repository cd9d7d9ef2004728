//! A server that only streams a snapshot, and that as badly as a test wants it.

use proto::etcdserverpb as pb;
use proto::server::maintenance_server::{Maintenance, MaintenanceServer};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// What the stream carries.
pub(crate) type Pieces = Vec<Result<pb::SnapshotResponse, Status>>;

struct Fake(Pieces);

/// Serves `pieces` to whoever asks, until the process ends; gives the address.
pub(crate) fn serve(pieces: Pieces) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind a free port");
    listener.set_nonblocking(true).expect("a socket for tokio");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("in a runtime");
            tonic::transport::Server::builder()
                .add_service(MaintenanceServer::new(Fake(pieces)))
                .serve_with_incoming(TcpIncoming::from(listener))
                .await
                .expect("serve");
        });
    });
    address
}

type Answer<T> = Result<Response<T>, Status>;

fn no<T>() -> Answer<T> {
    Err(Status::unimplemented("not here"))
}

#[tonic::async_trait]
impl Maintenance for Fake {
    type SnapshotStream = tokio_stream::Iter<<Pieces as IntoIterator>::IntoIter>;

    async fn snapshot(&self, _: Request<pb::SnapshotRequest>) -> Answer<Self::SnapshotStream> {
        Ok(Response::new(tokio_stream::iter(self.0.clone())))
    }

    async fn alarm(&self, _: Request<pb::AlarmRequest>) -> Answer<pb::AlarmResponse> {
        no()
    }

    async fn status(&self, _: Request<pb::StatusRequest>) -> Answer<pb::StatusResponse> {
        no()
    }

    async fn defragment(
        &self,
        _: Request<pb::DefragmentRequest>,
    ) -> Answer<pb::DefragmentResponse> {
        no()
    }

    async fn hash(&self, _: Request<pb::HashRequest>) -> Answer<pb::HashResponse> {
        no()
    }

    async fn hash_kv(&self, _: Request<pb::HashKvRequest>) -> Answer<pb::HashKvResponse> {
        no()
    }

    async fn move_leader(
        &self,
        _: Request<pb::MoveLeaderRequest>,
    ) -> Answer<pb::MoveLeaderResponse> {
        no()
    }

    async fn downgrade(&self, _: Request<pb::DowngradeRequest>) -> Answer<pb::DowngradeResponse> {
        no()
    }
}
