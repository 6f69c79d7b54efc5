//! From a method's path to the function that answers it.

use super::door::Caller;
use super::keys::Arrival;
use super::{
    Counts, MESSAGE_BYTES_MAX, Reapi, blobs, byte_stream, capabilities, execution, results,
};
use crate::serve::Worker;
use prost::Message;
use proto::path;
use remote::reapi::{Codec, proto};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::OwnedSemaphorePermit;
use tonic::body::Body;
use tonic::codegen::tokio_stream::{self, Stream};
use tonic::codegen::{Bytes, Service, http};
use tonic::server::{ClientStreamingService, Grpc, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status, Streaming};

/// A message that carries neither blobs nor lists of them.
const SMALL_BYTES_MAX: usize = 128 << 10;

/// All methods.
#[derive(Clone)]
pub struct Methods {
    worker: Arc<Worker>,
    reapi: Arc<Reapi>,
    encrypted: bool,
}

impl Methods {
    /// Those of connections that are encrypted, or that are not.
    pub fn new(worker: Arc<Worker>, reapi: Arc<Reapi>, encrypted: bool) -> Methods {
        Methods { worker, reapi, encrypted }
    }
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;

impl Service<http::Request<Body>> for Methods {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let methods = self.clone();
        Box::pin(async move {
            let answered = methods.admit(&request);
            let caller = match answered {
                Ok(caller) => caller,
                Err(status) => return Ok(status.into_http()),
            };
            let visit = caller.visit();
            let limit = methods.worker.options.request_timeout;
            let path = request.uri().path().to_owned();
            let limit = match path.as_str() {
                path::WRITE => byte_stream::TRANSFER_MAX,
                _ => limit,
            };
            let answer = methods.answer(&path, &caller, request);
            let response = tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
                Status::deadline_exceeded("the request takes too long").into_http()
            });
            Ok(response.map(|body| Body::new(Held { body, visit })))
        })
    }
}

impl Methods {
    fn admit(&self, request: &http::Request<Body>) -> Result<Caller, Status> {
        let caller = Caller::of(request, self.encrypted);
        let caller = caller.ok_or_else(|| Status::internal("the connection has no address"))?;
        let arrival = Arrival { address: caller.address(), encrypted: self.encrypted };
        let authorization = request.headers().get(http::header::AUTHORIZATION);
        let authorization = authorization.map(http::HeaderValue::as_bytes);
        self.reapi.keys.admit(arrival, authorization).map_err(|why| {
            Counts::add(&self.reapi.counts.denied);
            tracing::warn!("{} denied: {why}", caller.address());
            Status::unauthenticated(why)
        })?;
        Ok(caller)
    }

    /// Room for a large message: what waits for it is not read yet.
    async fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.reapi.large_messages).acquire_owned().await.ok()
    }

    async fn answer(
        &self,
        path: &str,
        caller: &Caller,
        request: http::Request<Body>,
    ) -> http::Response<Body> {
        let (worker, reapi) = (Arc::clone(&self.worker), Arc::clone(&self.reapi));
        let address = caller.address();
        match path {
            path::GET_CAPABILITIES => {
                let answer =
                    move |_: proto::GetCapabilitiesRequest| Ok(capabilities::capabilities(&reapi));
                unary(request, SMALL_BYTES_MAX, answer).await
            }
            path::GET_ACTION_RESULT => {
                let answer = move |asked| results::get(&reapi, &asked);
                unary(request, SMALL_BYTES_MAX, answer).await
            }
            path::QUERY_WRITE_STATUS => {
                let answer = move |asked| byte_stream::status(&reapi, &asked);
                unary(request, SMALL_BYTES_MAX, answer).await
            }
            path::EXECUTE => {
                let answer = move |asked| execution::execute(&worker, &reapi, address, asked);
                streaming(request, answer).await
            }
            path::WAIT_EXECUTION => {
                streaming(request, move |asked| execution::wait(&reapi, &asked)).await
            }
            path::READ => streaming(request, move |asked| byte_stream::read(&reapi, &asked)).await,
            _ => {
                let room = self.room().await;
                let response = self.answer_large(path, request).await;
                let watch = caller.hurry(worker.options.request_timeout);
                response.map(|body| Body::new(Held { body, visit: (room, watch) }))
            }
        }
    }

    async fn answer_large(&self, path: &str, request: http::Request<Body>) -> http::Response<Body> {
        let (worker, reapi) = (Arc::clone(&self.worker), Arc::clone(&self.reapi));
        match path {
            path::FIND_MISSING_BLOBS => {
                let answer =
                    move |asked| blobs::find_missing(&reapi, &reapi.own_files(&worker), asked);
                unary(request, MESSAGE_BYTES_MAX, answer).await
            }
            path::BATCH_UPDATE_BLOBS => {
                unary(request, MESSAGE_BYTES_MAX, move |asked| blobs::update(&reapi, asked)).await
            }
            path::BATCH_READ_BLOBS => {
                unary(request, MESSAGE_BYTES_MAX, move |asked| blobs::read(&reapi, &asked)).await
            }
            path::UPDATE_ACTION_RESULT => {
                unary(request, MESSAGE_BYTES_MAX, move |asked| results::update(&reapi, asked)).await
            }
            path::GET_TREE => {
                let answer = move |asked: proto::GetTreeRequest| {
                    let pages = blobs::tree(&reapi, &asked)?;
                    Ok(tokio_stream::iter(pages.into_iter().map(Ok)))
                };
                streaming(request, answer).await
            }
            path::WRITE => {
                let mut grpc = grpc::<proto::WriteResponse, proto::WriteRequest>(MESSAGE_BYTES_MAX);
                grpc.client_streaming(Writes(reapi), request).await
            }
            _ => Status::unimplemented("this worker has no such method").into_http(),
        }
    }
}

fn grpc<A, Q>(bytes_max: usize) -> Grpc<Codec<A, Q>>
where
    A: Message + Send + 'static,
    Q: Message + Default + Send + 'static,
{
    Grpc::new(Codec::default())
        .max_decoding_message_size(bytes_max)
        .accept_compressed(tonic::codec::CompressionEncoding::Zstd)
}

/// One message, one answer; the answer may take its time on the disk.
async fn unary<Q, A, F>(
    request: http::Request<Body>,
    bytes_max: usize,
    answer: F,
) -> http::Response<Body>
where
    Q: Message + Default + Send + 'static,
    A: Message + Send + 'static,
    F: FnOnce(Q) -> Result<A, Status> + Send + 'static,
{
    grpc::<A, Q>(bytes_max).unary(One(Some(answer)), request).await
}

/// One message, a stream of answers.
async fn streaming<Q, A, S, F>(request: http::Request<Body>, answer: F) -> http::Response<Body>
where
    Q: Message + Default + Send + 'static,
    A: Message + Send + 'static,
    S: Stream<Item = Result<A, Status>> + Send + 'static,
    F: FnOnce(Q) -> Result<S, Status> + Send + 'static,
{
    grpc::<A, Q>(SMALL_BYTES_MAX).server_streaming(One(Some(answer)), request).await
}

/// A function that answers one request.
struct One<F>(Option<F>);

impl<F> One<F> {
    fn answer<Q, A>(&mut self, request: Request<Q>) -> Answer<A>
    where
        Q: Send + 'static,
        A: Send + 'static,
        F: FnOnce(Q) -> Result<A, Status> + Send + 'static,
    {
        let answer = self.0.take();
        Box::pin(async move {
            let answer = answer.ok_or_else(|| Status::internal("it was answered already"))?;
            let message = request.into_inner();
            tokio::task::block_in_place(|| answer(message)).map(Response::new)
        })
    }
}

impl<Q, A, F> UnaryService<Q> for One<F>
where
    Q: Send + 'static,
    A: Send + 'static,
    F: FnOnce(Q) -> Result<A, Status> + Send + 'static,
{
    type Response = A;
    type Future = Answer<A>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        self.answer(request)
    }
}

impl<Q, A, S, F> ServerStreamingService<Q> for One<F>
where
    Q: Send + 'static,
    S: Stream<Item = Result<A, Status>> + Send + 'static,
    F: FnOnce(Q) -> Result<S, Status> + Send + 'static,
{
    type Response = A;
    type ResponseStream = S;
    type Future = Answer<S>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        self.answer(request)
    }
}

/// Takes blobs in pieces.
struct Writes(Arc<Reapi>);

impl ClientStreamingService<proto::WriteRequest> for Writes {
    type Response = proto::WriteResponse;
    type Future = Answer<proto::WriteResponse>;

    fn call(&mut self, request: Request<Streaming<proto::WriteRequest>>) -> Self::Future {
        let reapi = Arc::clone(&self.0);
        Box::pin(async move {
            byte_stream::write(&reapi, request.into_inner()).await.map(Response::new)
        })
    }
}

/// An answer that holds something until it was sent.
struct Held<G> {
    body: Body,
    #[allow(dead_code, reason = "it is for its end")]
    visit: G,
}

impl<G: Unpin> http_body::Body for Held<G> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
