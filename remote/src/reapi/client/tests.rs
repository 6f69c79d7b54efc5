//! The client against a server that does what it is told, also what no server should.

use super::*;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::{Service, http, tokio_stream};
use tonic::server::{
    ClientStreamingService, Grpc as Answering, ServerStreamingService, UnaryService,
};
use tonic::{Response, Streaming};

/// How the server deviates from what is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Manner {
    #[default]
    Right,
    /// Nothing stays for this many attempts to run something.
    Forgets(u32),
    /// Other bytes than the digest says, along with the answer.
    LiesInline,
    /// The same when they are fetched.
    LiesInStream,
    /// The stream of an action breaks; what runs can be asked for.
    Breaks,
    /// It answers nothing.
    Hangs,
}

#[derive(Default)]
struct State {
    manner: Manner,
    token: Option<String>,
    blobs: HashMap<proto::Digest, Bytes>,
    /// Names of the methods that were called.
    calls: Vec<String>,
    result: Option<proto::ActionResult>,
    executed: u32,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

type Answered<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;

/// A closure that answers one message.
struct One<F>(F);

impl<F, Q, A> UnaryService<Q> for One<F>
where
    Q: Send + 'static,
    A: Send + 'static,
    F: FnMut(Q) -> Result<A, Status>,
{
    type Response = A;
    type Future = Answered<A>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let answer = (self.0)(request.into_inner()).map(Response::new);
        Box::pin(async move { answer })
    }
}

type Items<A> = tonic::codegen::BoxStream<A>;

/// A closure that answers one message with several.
struct Many<F>(F);

impl<F, Q, A> ServerStreamingService<Q> for Many<F>
where
    Q: Send + 'static,
    A: Send + 'static,
    F: FnMut(Q) -> Vec<Result<A, Status>>,
{
    type Response = A;
    type ResponseStream = Items<A>;
    type Future = Answered<Items<A>>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let items: Items<A> = Box::pin(tokio_stream::iter((self.0)(request.into_inner())));
        Box::pin(async move { Ok(Response::new(items)) })
    }
}

/// Takes a large blob.
struct Taking(Fake);

impl ClientStreamingService<proto::WriteRequest> for Taking {
    type Response = proto::WriteResponse;
    type Future = Answered<proto::WriteResponse>;

    fn call(&mut self, request: Request<Streaming<proto::WriteRequest>>) -> Self::Future {
        let fake = self.0.clone();
        Box::pin(async move {
            let mut pieces = request.into_inner();
            let (mut resource, mut bytes) = (String::new(), Vec::new());
            while let Some(piece) = pieces.message().await? {
                resource.push_str(&piece.resource_name);
                assert_eq!(piece.write_offset as usize, bytes.len());
                bytes.extend_from_slice(&piece.data);
            }
            let sent = bytes.len();
            let content = match resource.contains("/compressed-blobs/zstd/") {
                true => zstd::decode_all(&bytes[..]).unwrap(),
                false => bytes,
            };
            fake.lock().keep(content.into());
            Ok(Response::new(proto::WriteResponse { committed_size: sent as i64 }))
        })
    }
}

impl State {
    fn keep(&mut self, content: Bytes) -> proto::Digest {
        let digest = Function::Sha256.name(&content).message();
        self.blobs.insert(digest.clone(), content);
        digest
    }

    fn capabilities(&self) -> proto::ServerCapabilities {
        let zstd = vec![proto::Compressor::Zstd as i32];
        proto::ServerCapabilities {
            cache_capabilities: Some(proto::CacheCapabilities {
                digest_functions: vec![proto::DigestFunction::Sha256 as i32],
                max_batch_total_size_bytes: 4096,
                supported_compressors: zstd.clone(),
                supported_batch_update_compressors: zstd,
                ..Default::default()
            }),
            execution_capabilities: Some(proto::ExecutionCapabilities {
                digest_function: proto::DigestFunction::Sha256 as i32,
                exec_enabled: true,
                supported_node_properties: vec!["mtime".to_owned()],
                digest_functions: Vec::new(),
            }),
            ..Default::default()
        }
    }

    /// "Runs" an action: its output is the content of its command, ten times.
    fn execute(&mut self, question: &proto::ExecuteRequest) -> proto::ExecuteResponse {
        self.executed += 1;
        if let Manner::Forgets(times) = self.manner
            && self.executed <= times
        {
            self.blobs.clear();
        }
        let wanted = question.action_digest.clone().unwrap();
        let Some(bytes) = self.blobs.get(&wanted) else { return missing(&wanted) };
        let action = proto::Action::decode(bytes.clone()).unwrap();
        let command = action.command_digest.unwrap();
        let Some(command) = self.blobs.get(&command).cloned() else { return missing(&command) };
        let mut content = Bytes::from(command.repeat(10));
        let digest = Some(self.keep(content.clone()));
        if self.manner == Manner::LiesInline {
            content = Bytes::from_static(b"something else");
        }
        let inline = question.inline_output_files.contains(&"a.o".to_owned());
        let stream = matches!(self.manner, Manner::LiesInStream);
        let contents = if inline && !stream { content } else { Bytes::new() };
        let file =
            proto::OutputFile { path: "a.o".to_owned(), digest, contents, ..Default::default() };
        let stderr_digest = Some(self.keep(Bytes::from_static(b"a warning")));
        let result = proto::ActionResult {
            output_files: vec![file],
            stdout_raw: Bytes::from_static(b"a word"),
            stderr_digest,
            ..Default::default()
        };
        self.result = Some(result.clone());
        proto::ExecuteResponse { result: Some(result), ..Default::default() }
    }
}

fn missing(digest: &proto::Digest) -> proto::ExecuteResponse {
    let subject = format!("blobs/{}/{}", digest.hash, digest.size_bytes);
    let violation =
        proto::Violation { r#type: proto::MISSING.to_owned(), subject, ..Default::default() };
    let failure = proto::PreconditionFailure { violations: vec![violation] };
    let detail = proto::Any {
        type_url: proto::type_url::PRECONDITION_FAILURE.to_owned(),
        value: failure.encode_to_vec().into(),
    };
    let code = Code::FailedPrecondition as i32;
    let status = proto::Status { code, message: "missing".to_owned(), details: vec![detail] };
    proto::ExecuteResponse { status: Some(status), ..Default::default() }
}

fn done(response: proto::ExecuteResponse) -> proto::Operation {
    let value = Bytes::from(response.encode_to_vec());
    let any = proto::Any { type_url: proto::type_url::EXECUTE_RESPONSE.to_owned(), value };
    proto::Operation {
        name: "one".to_owned(),
        done: true,
        result: Some(proto::OperationResult::Response(any)),
        ..Default::default()
    }
}

impl Fake {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn called(&self, method: &str) -> usize {
        self.lock().calls.iter().filter(|called| called.ends_with(method)).count()
    }

    async fn answer(self, request: http::Request<Body>) -> http::Response<Body> {
        let method = request.uri().path().to_owned();
        let token = request.headers().get("authorization").map(|value| value.as_bytes().to_vec());
        let manner = {
            let mut state = self.lock();
            state.calls.push(method.clone());
            let wanted = state.token.as_ref().map(|token| format!("Bearer {token}").into_bytes());
            if wanted.is_some() && wanted != token {
                return Status::unauthenticated("wrong token").into_http();
            }
            state.manner
        };
        if manner == Manner::Hangs {
            return std::future::pending().await;
        }
        match method.as_str() {
            path::GET_CAPABILITIES => {
                let answer = |_: proto::GetCapabilitiesRequest| Ok(self.lock().capabilities());
                grpc().unary(One(answer), request).await
            }
            path::GET_ACTION_RESULT => {
                let answer = |_: proto::GetActionResultRequest| {
                    self.lock().result.clone().ok_or_else(|| Status::not_found("none"))
                };
                grpc().unary(One(answer), request).await
            }
            path::FIND_MISSING_BLOBS => {
                let answer = |asked: proto::FindMissingBlobsRequest| {
                    let state = self.lock();
                    let missing = asked.blob_digests.into_iter();
                    let missing = missing.filter(|name| !state.blobs.contains_key(name)).collect();
                    Ok(proto::FindMissingBlobsResponse { missing_blob_digests: missing })
                };
                grpc().unary(One(answer), request).await
            }
            path::BATCH_UPDATE_BLOBS => {
                let answer = |asked: proto::BatchUpdateBlobsRequest| Ok(self.update(asked));
                grpc().unary(One(answer), request).await
            }
            path::EXECUTE => {
                let answer = |asked: proto::ExecuteRequest| {
                    let response = self.lock().execute(&asked);
                    let begun = proto::Operation { name: "one".to_owned(), ..Default::default() };
                    let end = match manner {
                        Manner::Breaks => Err(Status::unavailable("gone")),
                        _ => Ok(done(response)),
                    };
                    vec![Ok(begun), end]
                };
                grpc().server_streaming(Many(answer), request).await
            }
            path::WAIT_EXECUTION => {
                let answer = |asked: proto::WaitExecutionRequest| {
                    assert_eq!(asked.name, "one");
                    let result = self.lock().result.clone();
                    vec![Ok(done(proto::ExecuteResponse { result, ..Default::default() }))]
                };
                grpc().server_streaming(Many(answer), request).await
            }
            path::READ => {
                let answer = |asked: proto::ReadRequest| self.read(&asked, manner);
                grpc().server_streaming(Many(answer), request).await
            }
            path::WRITE => {
                let taking = Taking(self.clone());
                grpc::<proto::WriteResponse, proto::WriteRequest>()
                    .client_streaming(taking, request)
                    .await
            }
            _ => Status::unimplemented("no such method").into_http(),
        }
    }

    fn update(&self, asked: proto::BatchUpdateBlobsRequest) -> proto::BatchUpdateBlobsResponse {
        let mut state = self.lock();
        let mut responses = Vec::new();
        for blob in asked.requests {
            let content = match blob.compressor == proto::Compressor::Zstd as i32 {
                true => zstd::decode_all(&blob.data[..]).unwrap().into(),
                false => blob.data,
            };
            let digest = state.keep(content);
            assert_eq!(Some(&digest), blob.digest.as_ref());
            responses.push(proto::StoredBlob { digest: Some(digest), status: None });
        }
        proto::BatchUpdateBlobsResponse { responses }
    }

    fn read(
        &self,
        asked: &proto::ReadRequest,
        manner: Manner,
    ) -> Vec<Result<proto::ReadResponse, Status>> {
        let name = named(&asked.resource_name, Function::Sha256).unwrap();
        let Some(content) = self.lock().blobs.get(&name.message()).cloned() else {
            return vec![Err(Status::not_found("no such blob"))];
        };
        let content = match manner {
            Manner::LiesInStream => Bytes::from(vec![b'x'; content.len()]),
            _ => content,
        };
        let packed = zstd::encode_all(&content[..], 1).unwrap();
        let pieces = packed.chunks(10).map(Bytes::copy_from_slice);
        pieces.map(|data| Ok(proto::ReadResponse { data })).collect()
    }
}

fn grpc<A, Q>() -> Answering<Codec<A, Q>>
where
    A: Message + Send + 'static,
    Q: Message + Default + Send + 'static,
{
    Answering::new(Codec::default())
}

impl Service<http::Request<Body>> for Fake {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let fake = self.clone();
        Box::pin(async move { Ok(fake.answer(request).await) })
    }
}

/// Starts a server of this manner, and a client of it.
async fn start(manner: Manner) -> (Fake, Client) {
    let fake = Fake::default();
    fake.lock().manner = manner;
    let client = client(&listen(&fake).await, &Credentials::default());
    (fake, client)
}

fn client(endpoint: &Endpoint, credentials: &Credentials) -> Client {
    let place = SocketAddr::new(endpoint.name.parse().unwrap(), endpoint.port);
    Client::new(endpoint, place, credentials).unwrap()
}

async fn listen(fake: &Fake) -> Endpoint {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let arriving = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server = tonic::transport::Server::builder();
    tokio::spawn(server.serve_with_incoming(fake.clone(), arriving));
    Endpoint::new("127.0.0.1", address.port())
}

/// An action whose command and one input are small and large.
fn task(large_bytes: usize) -> Task {
    let mut blobs = HashMap::new();
    let mut keep = |content: Vec<u8>| {
        let name = Function::Sha256.name(&content);
        blobs.insert(name, Source::Bytes(content.into()));
        name
    };
    keep((0..large_bytes).map(|at| ((at * at) >> 7) as u8).collect());
    let command = keep(b"a command".to_vec());
    let action = proto::Action { command_digest: Some(command.message()), ..Default::default() };
    let action = keep(action.encode_to_vec());
    Task {
        action,
        blobs,
        programs: HashSet::new(),
        sends_programs: false,
        outputs: vec!["a.o".to_owned()],
        may_be_cached: true,
        timeout: Duration::from_secs(60),
    }
}

fn in_runtime(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

fn expected() -> Vec<u8> {
    b"a command".repeat(10)
}

#[test]
fn an_action_is_run_once_and_then_found() {
    in_runtime(async {
        let (fake, client) = start(Manner::Right).await;
        let done = client.run(&task(100_000)).await.unwrap();
        assert_eq!(done.outputs["a.o"], expected());
        assert_eq!((&done.stdout[..], &done.stderr[..]), (&b"a word"[..], &b"a warning"[..]));
        assert!(!done.cached && done.sent_bytes > 0);
        assert_eq!((fake.called("/Write"), fake.called("/BatchUpdateBlobs")), (1, 1));
        let found = client.run(&task(100_000)).await.unwrap();
        assert!(found.cached && found.outputs == done.outputs && found.sent_bytes == 0);
        assert_eq!(fake.called("/Execute"), 1);
        let anew = Task { may_be_cached: false, ..task(100_000) };
        assert!(!client.run(&anew).await.unwrap().cached);
        // What is there is neither asked for nor brought again.
        assert_eq!((fake.called("/FindMissingBlobs"), fake.called("/Write")), (1, 1));
    });
}

#[test]
fn what_was_evicted_is_brought_again_and_not_for_ever() {
    in_runtime(async {
        let (fake, client) = start(Manner::Forgets(2)).await;
        assert_eq!(client.run(&task(10)).await.unwrap().outputs["a.o"], expected());
        assert!(fake.called("/Execute") >= 3);
        let (_, client) = start(Manner::Forgets(u32::MAX)).await;
        assert!(matches!(client.run(&task(10)).await, Err(Trouble::Forgetful)));
    });
}

#[test]
fn other_bytes_than_the_digest_says_are_no_result() {
    in_runtime(async {
        for manner in [Manner::LiesInline, Manner::LiesInStream] {
            let (_, client) = start(manner).await;
            let ended = client.run(&task(10)).await;
            assert!(matches!(ended, Err(Trouble::Lied)), "{manner:?}: {ended:?}");
        }
    });
}

#[test]
fn a_broken_stream_is_taken_up_again() {
    in_runtime(async {
        let (fake, client) = start(Manner::Breaks).await;
        assert_eq!(client.run(&task(10)).await.unwrap().outputs["a.o"], expected());
        assert_eq!((fake.called("/Execute"), fake.called("/WaitExecution")), (1, 1));
    });
}

#[test]
fn a_server_that_says_nothing_costs_the_time_of_the_task() {
    in_runtime(async {
        let (_, client) = start(Manner::Hangs).await;
        let short = Task { timeout: Duration::from_millis(100), ..task(10) };
        assert!(matches!(client.run(&short).await, Err(Trouble::TimedOut)));
    });
}

#[test]
fn the_token_is_shown_and_a_wrong_one_is_said_to_be() {
    in_runtime(async {
        let fake = Fake::default();
        fake.lock().token = Some("right".to_owned());
        let endpoint = listen(&fake).await;
        for (token, is_right) in [(Some("right"), true), (Some("wrong"), false), (None, false)] {
            let credentials =
                Credentials { token: token.map(str::to_owned), ..Credentials::default() };
            let client = client(&endpoint, &credentials);
            let ended = client.run(&task(10)).await;
            match is_right {
                true => assert!(ended.is_ok(), "{ended:?}"),
                false => assert!(matches!(ended, Err(Trouble::NotAllowed(_))), "{ended:?}"),
            }
        }
    });
}

#[test]
fn nobody_at_the_address_is_a_trouble_of_the_server() {
    in_runtime(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let client = client(&Endpoint::new("127.0.0.1", port), &Credentials::default());
        let trouble = client.run(&task(10)).await.unwrap_err();
        assert!(matches!(trouble, Trouble::Unreachable(_)) && trouble.is_of_server(), "{trouble}");
    });
}

#[test]
fn a_compiler_that_is_not_there_is_sent_only_on_request() {
    in_runtime(async {
        let (_, client) = start(Manner::Right).await;
        let mut task = task(10);
        task.programs = task.blobs.keys().copied().collect();
        let trouble = client.run(&task).await.unwrap_err();
        assert!(matches!(trouble, Trouble::OtherCompiler) && !trouble.is_of_server());
        task.sends_programs = true;
        assert!(client.run(&task).await.is_ok());
    });
}
