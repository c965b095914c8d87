//! tonic: gRPC over HTTP/2, plain. Client, service and messages are written by hand as its
//! generator writes them, so that nobody needs `protoc` to build this.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use ::tonic::body::Body;
use ::tonic::client;
use ::tonic::codegen::http::uri::PathAndQuery;
use ::tonic::codegen::{BoxFuture, Service, http};
use ::tonic::server::{self, UnaryService};
use ::tonic::transport::server::TcpIncoming;
use ::tonic::transport::{Endpoint, Server};
use ::tonic::{Request, Response, Status};
use bytes::Bytes;
use prost::Message;
use tokio::net::TcpListener;
use tonic_prost::ProstCodec;

use super::{ANSWER, Exchange, check};
use crate::meter::Meter;
use crate::subject::Outcome;

/// The path of the only method.
const REPLY: &str = "/comparison.Replier/Reply";

/// What goes either way.
#[derive(Clone, PartialEq, Message)]
struct Payload {
    #[prost(bytes = "bytes", tag = "1")]
    bytes: Bytes,
}

/// The service: finds the method by its path.
#[derive(Clone)]
struct Replier;

impl Service<http::Request<Body>> for Replier {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            if request.uri().path() != REPLY {
                return Ok(Status::unimplemented("no such method").into_http());
            }
            let mut grpc = server::Grpc::new(ProstCodec::default());
            Ok(grpc.unary(Reply, request).await)
        })
    }
}

/// The method.
struct Reply;

impl UnaryService<Payload> for Reply {
    type Response = Payload;
    type Future = Ready<Result<Response<Payload>, Status>>;

    fn call(&mut self, request: Request<Payload>) -> Self::Future {
        let bytes = request.into_inner().bytes;
        let bytes = bytes.slice(..ANSWER.min(bytes.len()));
        ready(Ok(Response::new(Payload { bytes })))
    }
}

pub(super) async fn serve(listener: TcpListener) -> Outcome {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = Server::builder();
    Ok(server.serve_with_incoming(Replier, incoming).await?)
}

pub(super) async fn measure(port: u16, exchange: Exchange, meter: &mut Meter) -> Outcome {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?.tcp_nodelay(true);
    let mut grpc = client::Grpc::new(endpoint.connect().await?);
    let path = PathAndQuery::from_static(REPLY);
    let bytes = Bytes::from(exchange.payload());
    let call = async || -> Outcome {
        grpc.ready().await?;
        // A further handle on the same bytes.
        let request = Request::new(Payload {
            bytes: bytes.clone(),
        });
        let codec = ProstCodec::<Payload, Payload>::default();
        let answer = grpc.unary(request, path.clone(), codec).await?;
        check(&answer.into_inner().bytes)
    };
    meter.round_trips(call).await
}
