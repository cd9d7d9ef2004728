//! The client against a real listener: dialling, metadata, and moving on.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use client::{Client, Options};
use proto::healthpb::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use proto::server::health_server::{Health, HealthServer};
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// Answers with what it is told, and refuses calls without the expected metadata.
struct Fixed(i32);

#[tonic::async_trait]
impl Health for Fixed {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let sent = request.metadata();
        assert_eq!(sent.get("client-api-version").expect("sent"), "3.7");
        assert_eq!(sent.get("token").expect("sent"), "secret.1");
        Ok(Response::new(HealthCheckResponse { status: self.0 }))
    }

    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not asked"))
    }
}

/// Serves until the sender is dropped.
fn serve(status: i32) -> (SocketAddr, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    listener.set_nonblocking(true).expect("sets");
    let address = listener.local_addr().expect("bound");
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("in a runtime");
        tonic::transport::Server::builder()
            .serve_with_incoming_shutdown(
                HealthServer::new(Fixed(status)),
                TcpListenerStream::new(listener),
                async { drop(stopped.await) },
            )
            .await
            .expect("serves");
    });
    (address, stop)
}

/// An address nobody listens on.
fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    listener.local_addr().expect("bound")
}

async fn check(client: &Client) -> Result<i32, Status> {
    let call = async { client.health().check(HealthCheckRequest::default()).await };
    let answer = tokio::time::timeout(Duration::from_secs(10), call).await.expect("in time")?;
    Ok(answer.into_inner().status)
}

fn options() -> Options {
    Options { token: Some("secret.1".into()), ..Options::default() }
}

#[tokio::test]
async fn dead_endpoints_are_passed_over() {
    let (alive, _stop) = serve(1);
    let endpoints = [nobody().to_string(), format!("http://{alive}")];
    let client = Client::new(&endpoints, options()).expect("well formed");
    assert_eq!(check(&client).await.expect("answered"), 1);
    let peer = client.connection().peer().expect("a link");
    assert_eq!(peer.remote, alive.to_string());
}

#[tokio::test]
async fn a_connection_moves_on_when_told_to() {
    let ((first, _stop_first), (second, _stop_second)) = (serve(1), serve(2));
    let endpoints = [first.to_string(), second.to_string()];
    let client = Client::new(&endpoints, options()).expect("well formed");
    for expected in [1, 2, 1] {
        assert_eq!(check(&client).await.expect("answered"), expected);
        client.connection().move_on().await;
    }
}

#[tokio::test]
async fn why_dialling_fails_can_be_told() {
    let dead = nobody();
    let client = Client::new(&[dead.to_string()], options()).expect("well formed");
    let connection = client.connection();
    let failed = async {
        tokio::select! {
            () = client.connected() => panic!("nobody listens"),
            () = async {
                while connection.dial_error().is_none() {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
    };
    tokio::time::timeout(Duration::from_secs(10), failed).await.expect("in time");
    let text =
        format!("transport: Error while dialing: dial tcp {dead}: connect: connection refused");
    assert_eq!(connection.dial_error(), Some(text));
    assert_eq!(connection.peer(), None);
}

#[tokio::test]
async fn a_broken_link_leads_to_the_next_endpoint() {
    let (first, stop_first) = serve(1);
    let (second, _stop) = serve(2);
    let endpoints = [first.to_string(), second.to_string()];
    let client = Client::new(&endpoints, options()).expect("well formed");
    assert_eq!(check(&client).await.expect("answered"), 1);
    drop(stop_first);
    let moved = async {
        // What was under way when the link broke is reported, not repeated.
        while check(&client).await.ok() != Some(2) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), moved).await.expect("in time");
}

#[tokio::test]
async fn without_endpoints_there_is_no_client() {
    let error = Client::new::<&str>(&[], options()).expect_err("none given");
    assert!(matches!(error, client::Error::NoEndpoints));
    let odd = Options { token: Some("\n".into()), ..options() };
    assert!(matches!(Client::new(&["a:1"], odd), Err(client::Error::Token)));
}
