//! What a connection with TLS and HTTP/2 is served with.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::Service;

use super::Serve;
use super::shard::GrpcService;
use crate::http::{BoxFuture, Router};

/// The common name of the certificate a client showed, in the extensions of its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientName(pub Arc<str>);

/// gRPC by its content type, anything else by the router.
#[derive(Clone, Debug)]
pub(super) struct OverTls<G> {
    serve: Serve,
    grpc: G,
    router: Router,
    client: Option<ClientName>,
}

impl<G> OverTls<G> {
    pub(super) fn new(
        serve: Serve,
        grpc: G,
        router: Router,
        identity: Option<tls::Identity>,
    ) -> OverTls<G> {
        let client = identity.map(|identity| ClientName(identity.common_name.into()));
        OverTls { serve, grpc, router, client }
    }
}

impl<G: GrpcService> Service<Request<Incoming>> for OverTls<G> {
    type Response = Response<Either<G::Answer, Full<Bytes>>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if let Some(client) = &self.client {
            request.extensions_mut().insert(client.clone());
        }
        let to_grpc = match self.serve {
            Serve::Grpc => true,
            Serve::Http => false,
            Serve::Both => is_grpc(&request),
        };
        if to_grpc {
            let answer = self.grpc.call(request);
            return Box::pin(async move { Ok(answer.await?.map(Either::Left)) });
        }
        let router = self.router.clone();
        Box::pin(async move { Ok(router.answer(&request).await.map(Either::Right)) })
    }
}

/// Whether a request is gRPC's, as etcd tells: its content type contains the word.
fn is_grpc<B>(request: &Request<B>) -> bool {
    let word = b"application/grpc";
    let kind = request.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().windows(word.len()).any(|part| part == word))
}
