//! One REAPI server, seen from the client: what it can do, bringing blobs, running actions, fetching results.

use super::connector::Connector;
use super::digest::{BlobName, Function};
use super::present::Present;
use super::{Codec, proto};
use crate::reapi::proto::path;
use config::host_list::Endpoint;
use prost::Message;
use prost::bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{AsciiMetadataValue, BinaryMetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic::{Code, Request, Status};

/// To connect, and to answer a question that needs no work.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A connection that is not used shows in this time that it is dead.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// The largest message that is taken: a batch of blobs, or a result with its files.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// The largest batch that is sent, also where the server would take more; and what servers that say
/// nothing take.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// What each blob of a batch takes besides its bytes.
const BLOB_OVERHEAD_BYTES: usize = 200;

/// Names in one question for missing blobs.
const NAMES_MAX: usize = 10_000;

/// One piece of a large blob.
const PIECE_BYTES: usize = 1 << 20;

/// The largest file that is brought; libraries of compilers have some hundred MB.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// The level of zstd for what is sent.
const LEVEL: i32 = 1;

/// How often an action is begun again for which blobs were missing.
const ROUNDS_MAX: u32 = 4;

/// How often a broken connection to an action that runs is taken up again.
const WAITS_MAX: u32 = 3;

/// All outputs of one action.
const OUTPUT_BYTES_MAX: u64 = 1 << 30;

/// What is wrong with a server, or with what is asked of it.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Nobody answers.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It said nothing, or not all, for too long.
    #[error("said nothing for too long")]
    TimedOut,
    /// The wrong token or certificate.
    #[error("does not let us in: {0}")]
    NotAllowed(String),
    /// What it sent is not what its digest says.
    #[error("sent other bytes than their digest says")]
    Lied,
    /// It does not do this job; others it may.
    #[error("refuses: {0}")]
    Unfit(String),
    /// It has not got the compiler.
    #[error("has another compiler")]
    OtherCompiler,
    /// What it was sent is gone again and again.
    #[error("loses what it is sent")]
    Forgetful,
    /// A file of this machine is no longer what it was.
    #[error("{} was changed meanwhile", .0.display())]
    Changed(PathBuf),
    /// Its settings here are wrong.
    #[error("{0}")]
    Settings(String),
    /// Anything else.
    #[error("failed: {0}")]
    Failed(String),
}

impl Trouble {
    /// Whether the server itself is at fault, so that other jobs are to go elsewhere.
    pub fn is_of_server(&self) -> bool {
        !matches!(self, Trouble::Unfit(_) | Trouble::Changed(_) | Trouble::OtherCompiler)
    }
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Trouble {
        let message = || {
            let cause = std::error::Error::source(&status).map(|cause| deepest(cause).to_string());
            match cause {
                Some(cause) if !status.message().contains(&cause) => {
                    format!("{}: {cause}", status.message())
                }
                _ => status.message().to_owned(),
            }
        };
        match status.code() {
            Code::DeadlineExceeded => Trouble::TimedOut,
            Code::Unauthenticated | Code::PermissionDenied => Trouble::NotAllowed(message()),
            Code::Unavailable => Trouble::Unreachable(message()),
            Code::FailedPrecondition | Code::InvalidArgument | Code::ResourceExhausted => {
                Trouble::Unfit(message())
            }
            code => Trouble::Failed(format!("{} ({code:?})", message())),
        }
    }
}

fn deepest<'e>(mut error: &'e (dyn std::error::Error + 'static)) -> &'e dyn std::error::Error {
    while let Some(cause) = error.source() {
        error = cause;
    }
    error
}

impl From<tokio::time::error::Elapsed> for Trouble {
    fn from(_: tokio::time::error::Elapsed) -> Trouble {
        Trouble::TimedOut
    }
}

/// What a server can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// How blobs are named.
    pub function: Function,
    /// Bytes of one batch.
    batch_bytes: usize,
    /// Large blobs may be packed.
    packs_streams: bool,
    /// Batches may be packed.
    packs_batches: bool,
    /// Files get the times that are said.
    pub keeps_times: bool,
}

/// Where the bytes of a blob are.
#[derive(Clone, Debug)]
pub enum Source {
    /// Here.
    Bytes(Bytes),
    /// In a file, which is read when it is brought.
    File(PathBuf),
}

/// An action, with all that it needs.
#[derive(Debug)]
pub struct Task {
    /// The message that describes it.
    pub action: BlobName,
    /// What must be there, the action included.
    pub blobs: HashMap<BlobName, Source>,
    /// The compiler's own files among them.
    pub programs: HashSet<BlobName>,
    /// Whether those may be brought; else a server without them has another compiler.
    pub sends_programs: bool,
    /// The outputs that are wanted along with the answer.
    pub outputs: Vec<String>,
    /// Whether an earlier result is as good.
    pub may_be_cached: bool,
    /// How long all of it may take.
    pub timeout: Duration,
}

/// What an action gave.
#[derive(Debug, Default)]
pub struct Done {
    /// As a shell has it.
    pub exit_code: i32,
    /// What it printed.
    pub stdout: Bytes,
    /// What it complained.
    pub stderr: Bytes,
    /// Its files, by the names that were asked for.
    pub outputs: HashMap<String, Bytes>,
    /// Whether it was not run for this.
    pub cached: bool,
    /// Bytes of blobs that were brought for it, as they went over the wire.
    pub sent_bytes: u64,
}

/// A server.
pub struct Client {
    instance: String,
    channel: Channel,
    token: Option<AsciiMetadataValue>,
    metadata: BinaryMetadataValue,
    abilities: tokio::sync::OnceCell<Abilities>,
    present: Present,
}

/// What a connection needs besides the address, as it was read from files and the environment.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// Certificates that the server's is checked with, in PEM; none for those of this machine.
    pub authorities: Option<Vec<u8>>,
    /// A certificate and its key, in PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// A bearer token.
    pub token: Option<String>,
}

impl Client {
    /// A client of the server at one address, not connected yet. To be called within a runtime.
    ///
    /// # Errors
    /// The settings make no sense.
    pub fn new(
        endpoint: &Endpoint,
        place: SocketAddr,
        credentials: &Credentials,
    ) -> Result<Client, Trouble> {
        let settings = |error: &dyn std::fmt::Display| Trouble::Settings(error.to_string());
        let scheme = if endpoint.encrypted { "https" } else { "http" };
        let address = format!("{scheme}://{}", endpoint.authority());
        let mut server = Channel::from_shared(address)
            .map_err(|error| settings(&error))?
            .connect_timeout(ANSWER_MAX)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        if endpoint.encrypted {
            let tls = tls(endpoint, credentials);
            server = server.tls_config(tls).map_err(|error| {
                Trouble::Settings(format!("its certificates: {}", deepest(&error)))
            })?;
        }
        let connector = Connector { address: place, certified: endpoint.encrypted };
        let token = credentials.token.as_ref().map(|token| format!("Bearer {token}").parse());
        let token = token.transpose().map_err(|_| {
            Trouble::Settings("the token has characters that no header may have".to_owned())
        })?;
        let tool = proto::ToolDetails {
            tool_name: "rcache".to_owned(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let metadata = proto::RequestMetadata { tool_details: Some(tool), ..Default::default() };
        Ok(Client {
            instance: endpoint.instance.clone(),
            channel: server.connect_with_connector_lazy(connector),
            token,
            metadata: BinaryMetadataValue::from_bytes(&metadata.encode_to_vec()),
            abilities: tokio::sync::OnceCell::new(),
            present: Present::default(),
        })
    }

    /// What the server can do; asked once.
    pub async fn abilities(&self) -> Result<Abilities, Trouble> {
        self.abilities.get_or_try_init(|| self.ask_abilities()).await.copied()
    }

    /// Asks what the server can do.
    pub async fn ask_abilities(&self) -> Result<Abilities, Trouble> {
        let question = proto::GetCapabilitiesRequest { instance_name: self.instance.clone() };
        let answer: proto::ServerCapabilities =
            self.ask(question, path::GET_CAPABILITIES, ANSWER_MAX).await?;
        abilities_of(&answer)
    }

    /// Runs an action, or finds its result.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn run(&self, task: &Task) -> Result<Done, Trouble> {
        tokio::time::timeout(task.timeout, self.run_unbounded(task)).await?
    }

    async fn run_unbounded(&self, task: &Task) -> Result<Done, Trouble> {
        let abilities = self.abilities().await?;
        if task.may_be_cached
            && let Some(result) = self.find_result(task).await?
        {
            match self.fetch(task, &result, abilities).await {
                Ok(done) => return Ok(Done { cached: true, ..done }),
                // Its files are gone.
                Err(Trouble::Forgetful) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        let names: Vec<BlobName> = task.blobs.keys().copied().collect();
        let mut sent_bytes = 0;
        for _ in 0..ROUNDS_MAX {
            sent_bytes += self.bring(&names, task, abilities).await?;
            match self.execute(task).await? {
                Executed::Missing(missing) if missing.is_empty() => self.present.forget(&names),
                Executed::Missing(missing) => self.present.forget(&missing),
                Executed::Ended { result, cached } => {
                    return match self.fetch(task, &result, abilities).await {
                        Ok(done) => Ok(Done { cached, sent_bytes, ..done }),
                        Err(trouble) => Err(trouble),
                    };
                }
            }
        }
        Err(Trouble::Forgetful)
    }

    /// After trouble: the server may have been started again, with nothing.
    pub fn forget(&self) {
        self.present.forget_all();
    }

    async fn find_result(&self, task: &Task) -> Result<Option<proto::ActionResult>, Trouble> {
        let question = proto::GetActionResultRequest {
            instance_name: self.instance.clone(),
            action_digest: Some(task.action.message()),
            inline_stdout: true,
            inline_stderr: true,
            inline_output_files: task.outputs.clone(),
            digest_function: task.action.function.proto() as i32,
        };
        match self.asked(question, path::GET_ACTION_RESULT, ANSWER_MAX).await {
            Ok(result) => Ok(Some(result)),
            Err(status)
                if matches!(
                    status.code(),
                    // Servers without a cache of results say the second or third.
                    Code::NotFound | Code::Unimplemented | Code::FailedPrecondition
                ) =>
            {
                Ok(None)
            }
            Err(status) => Err(status.into()),
        }
    }

    /// Sees to it that the server has all blobs. Gives the bytes that were sent.
    async fn bring(
        &self,
        names: &[BlobName],
        task: &Task,
        abilities: Abilities,
    ) -> Result<u64, Trouble> {
        let mut sent = 0;
        loop {
            let mut changes = self.present.changes();
            let (claim, waits) = self.present.claim(names);
            if !claim.names.is_empty() {
                let missing = self.find_missing(&claim.names).await?;
                if !task.sends_programs && missing.iter().any(|name| task.programs.contains(name)) {
                    return Err(Trouble::OtherCompiler);
                }
                sent += self.upload(missing, task, abilities).await?;
                claim.brought();
            } else if waits {
                // An error would mean that the sender is gone, which lives as long as this.
                let _ = changes.changed().await;
            } else {
                return Ok(sent);
            }
        }
    }

    async fn find_missing(&self, names: &[BlobName]) -> Result<Vec<BlobName>, Trouble> {
        let mut missing = Vec::new();
        for names in names.chunks(NAMES_MAX) {
            let Some(first) = names.first() else { continue };
            let question = proto::FindMissingBlobsRequest {
                instance_name: self.instance.clone(),
                blob_digests: names.iter().map(BlobName::message).collect(),
                digest_function: first.function.proto() as i32,
            };
            let answer: proto::FindMissingBlobsResponse =
                self.ask(question, path::FIND_MISSING_BLOBS, ANSWER_MAX).await?;
            let named = answer.missing_blob_digests.iter();
            missing.extend(named.filter_map(|name| BlobName::of_message(first.function, name)));
        }
        Ok(missing)
    }

    async fn upload(
        &self,
        missing: Vec<BlobName>,
        task: &Task,
        abilities: Abilities,
    ) -> Result<u64, Trouble> {
        let mut batch = Vec::new();
        let (mut bytes, mut sent) = (0, 0);
        for name in missing {
            // What was not asked for is not brought.
            let Some(source) = task.blobs.get(&name) else { continue };
            if name.bytes as usize + BLOB_OVERHEAD_BYTES > abilities.batch_bytes {
                sent += self.write(name, read(name, source).await?, abilities).await?;
                continue;
            }
            let (data, compressor) = packed(read(name, source).await?, abilities.packs_batches);
            // Servers count the unpacked bytes.
            let cost = name.bytes as usize + BLOB_OVERHEAD_BYTES;
            if bytes + cost > abilities.batch_bytes {
                sent += self.update(std::mem::take(&mut batch), name.function).await?;
                bytes = 0;
            }
            bytes += cost;
            let digest = Some(name.message());
            batch.push(proto::BlobToStore { digest, data, compressor: compressor as i32 });
        }
        if !batch.is_empty() {
            let function = task.action.function;
            sent += self.update(batch, function).await?;
        }
        Ok(sent)
    }

    /// Brings small blobs.
    async fn update(
        &self,
        requests: Vec<proto::BlobToStore>,
        function: Function,
    ) -> Result<u64, Trouble> {
        let sent = requests.iter().map(|blob| blob.data.len() as u64).sum();
        let question = proto::BatchUpdateBlobsRequest {
            instance_name: self.instance.clone(),
            requests,
            digest_function: function.proto() as i32,
        };
        let answer: proto::BatchUpdateBlobsResponse =
            self.ask(question, path::BATCH_UPDATE_BLOBS, self.span_for(sent)).await?;
        let failed = answer.responses.into_iter().filter_map(|blob| blob.status);
        match failed.into_iter().find(|status| status.code != 0) {
            Some(status) => Err(Status::new(Code::from(status.code), status.message).into()),
            None => Ok(sent),
        }
    }

    /// Brings a large blob.
    async fn write(
        &self,
        name: BlobName,
        content: Bytes,
        abilities: Abilities,
    ) -> Result<u64, Trouble> {
        let (data, compressor) = packed(content, abilities.packs_streams);
        let resource = match compressor {
            proto::Compressor::Zstd => name.packed_resource(),
            _ => name.resource(),
        };
        let upload = upload_name(&name);
        let resource = self.resource(&format!("uploads/{upload}/{resource}"));
        let sent = data.len() as u64;
        let pieces = (0..data.len().max(1)).step_by(PIECE_BYTES).map(move |at| {
            let end = (at + PIECE_BYTES).min(data.len());
            proto::WriteRequest {
                resource_name: if at == 0 { resource.clone() } else { String::new() },
                write_offset: at as i64,
                finish_write: end == data.len(),
                data: data.slice(at..end),
            }
        });
        let mut grpc = self.grpc().await?;
        let request = self.request(tokio_stream(pieces.collect::<Vec<_>>()));
        let answered = grpc.client_streaming(
            request,
            PathAndQuery::from_static(path::WRITE),
            Codec::<proto::WriteRequest, proto::WriteResponse>::default(),
        );
        let answer = tokio::time::timeout(self.span_for(sent), answered).await?;
        match answer {
            Ok(_) => Ok(sent),
            // Somebody else has brought it meanwhile.
            Err(status) if status.code() == Code::AlreadyExists => Ok(sent),
            Err(status) => Err(status.into()),
        }
    }

    /// How long it may take to bring or fetch this much, at a speed below which nothing makes sense.
    fn span_for(&self, bytes: u64) -> Duration {
        const SLOWEST_BYTES_PER_SECOND: u64 = 16 << 10;
        ANSWER_MAX + Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND)
    }

    fn resource(&self, rest: &str) -> String {
        match self.instance.as_str() {
            "" => rest.to_owned(),
            instance => format!("{instance}/{rest}"),
        }
    }

    async fn execute(&self, task: &Task) -> Result<Executed, Trouble> {
        let question = proto::ExecuteRequest {
            instance_name: self.instance.clone(),
            skip_cache_lookup: !task.may_be_cached,
            action_digest: Some(task.action.message()),
            digest_function: task.action.function.proto() as i32,
            inline_stdout: true,
            inline_stderr: true,
            inline_output_files: task.outputs.clone(),
            ..Default::default()
        };
        let mut name = String::new();
        let mut attempt = self.follow(question, path::EXECUTE, &mut name).await;
        for _ in 0..WAITS_MAX {
            match &attempt {
                Err(status) if !name.is_empty() && is_break(status) => {}
                _ => break,
            }
            let question = proto::WaitExecutionRequest { name: name.clone() };
            attempt = self.follow(question, path::WAIT_EXECUTION, &mut name).await;
        }
        match attempt {
            Ok(response) => ended(response, task.action.function),
            Err(status) => match missing_of(&status, task.action.function) {
                Some(missing) => Ok(Executed::Missing(missing)),
                None => Err(status.into()),
            },
        }
    }

    /// Listens to an operation until it is done.
    async fn follow<Q: Message + 'static>(
        &self,
        question: Q,
        method: &'static str,
        name: &mut String,
    ) -> Result<proto::ExecuteResponse, Status> {
        let mut grpc = self.grpc().await?;
        let mut stream = grpc
            .server_streaming(
                self.request(question),
                PathAndQuery::from_static(method),
                Codec::<Q, proto::Operation>::default(),
            )
            .await?
            .into_inner();
        while let Some(operation) = stream.message().await? {
            if !operation.name.is_empty() {
                *name = operation.name;
            }
            match operation.result {
                Some(proto::OperationResult::Response(any)) if operation.done => {
                    return proto::ExecuteResponse::decode(any.value)
                        .map_err(|error| Status::data_loss(error.to_string()));
                }
                Some(proto::OperationResult::Error(status)) if operation.done => {
                    return Ok(proto::ExecuteResponse {
                        status: Some(status),
                        ..Default::default()
                    });
                }
                _ if operation.done => return Err(Status::data_loss("done without a result")),
                _ => {}
            }
        }
        Err(Status::unavailable("the stream ended before the action"))
    }

    /// All that an action gave, each thing checked against its digest.
    async fn fetch(
        &self,
        task: &Task,
        result: &proto::ActionResult,
        abilities: Abilities,
    ) -> Result<Done, Trouble> {
        let mut done = Done { exit_code: result.exit_code, ..Done::default() };
        let mut left = OUTPUT_BYTES_MAX;
        for file in &result.output_files {
            let Some(digest) = &file.digest else { return Err(Trouble::Lied) };
            let content = self.content(task, digest, &file.contents, &mut left, abilities).await?;
            done.outputs.insert(file.path.clone(), content);
        }
        for (digest, raw, to) in [
            (&result.stdout_digest, &result.stdout_raw, &mut done.stdout),
            (&result.stderr_digest, &result.stderr_raw, &mut done.stderr),
        ] {
            *to = match digest {
                Some(digest) => self.content(task, digest, raw, &mut left, abilities).await?,
                None => raw.clone(),
            };
        }
        Ok(done)
    }

    async fn content(
        &self,
        task: &Task,
        digest: &proto::Digest,
        inline: &Bytes,
        left: &mut u64,
        abilities: Abilities,
    ) -> Result<Bytes, Trouble> {
        let function = task.action.function;
        let name = BlobName::of_message(function, digest).ok_or(Trouble::Lied)?;
        *left = left
            .checked_sub(name.bytes)
            .ok_or_else(|| Trouble::Unfit("an action gave too much".to_owned()))?;
        let content = match inline.is_empty() && name.bytes > 0 {
            true => self.read_blob(&name, abilities).await?,
            false => inline.clone(),
        };
        match function.name(&content) == name {
            true => Ok(content),
            false => Err(Trouble::Lied),
        }
    }

    async fn read_blob(&self, name: &BlobName, abilities: Abilities) -> Result<Bytes, Trouble> {
        let reading = self.read_stream(name, abilities.packs_streams);
        let packed = tokio::time::timeout(self.span_for(name.bytes), reading).await?;
        let packed = packed.map_err(|status| match status.code() {
            Code::NotFound => Trouble::Forgetful,
            _ => status.into(),
        })?;
        if !abilities.packs_streams {
            return Ok(packed.into());
        }
        // One byte more than there may be shows that it is too long.
        let mut content = Vec::with_capacity(name.bytes as usize);
        let decoder = zstd::Decoder::new(&packed[..]).map_err(|_| Trouble::Lied)?;
        let mut decoder = std::io::Read::take(decoder, name.bytes + 1);
        std::io::Read::read_to_end(&mut decoder, &mut content).map_err(|_| Trouble::Lied)?;
        Ok(content.into())
    }

    async fn read_stream(&self, name: &BlobName, packed: bool) -> Result<Vec<u8>, Status> {
        let resource = if packed { name.packed_resource() } else { name.resource() };
        let question =
            proto::ReadRequest { resource_name: self.resource(&resource), ..Default::default() };
        let mut grpc = self.grpc().await?;
        let mut stream = grpc
            .server_streaming(
                self.request(question),
                PathAndQuery::from_static(path::READ),
                Codec::<proto::ReadRequest, proto::ReadResponse>::default(),
            )
            .await?
            .into_inner();
        // Packing makes nothing much larger.
        let most = name.bytes as usize + name.bytes as usize / 64 + PIECE_BYTES;
        let mut bytes = Vec::new();
        while let Some(piece) = stream.message().await? {
            if bytes.len() + piece.data.len() > most {
                return Err(Status::data_loss("more than the blob has"));
            }
            bytes.extend_from_slice(&piece.data);
        }
        Ok(bytes)
    }

    async fn ask<Q: Message + 'static, A: Message + Default + 'static>(
        &self,
        question: Q,
        method: &'static str,
        span: Duration,
    ) -> Result<A, Trouble> {
        Ok(self.asked(question, method, span).await?)
    }

    async fn asked<Q: Message + 'static, A: Message + Default + 'static>(
        &self,
        question: Q,
        method: &'static str,
        span: Duration,
    ) -> Result<A, Status> {
        let asking = async {
            let mut grpc = self.grpc().await?;
            let method = PathAndQuery::from_static(method);
            let answer = grpc.unary(self.request(question), method, Codec::<Q, A>::default());
            Ok(answer.await?.into_inner())
        };
        match tokio::time::timeout(span, asking).await {
            Ok(answer) => answer,
            Err(_) => Err(Status::deadline_exceeded("no answer")),
        }
    }

    async fn grpc(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        match grpc.ready().await {
            Ok(()) => Ok(grpc),
            Err(error) => Err(Status::unavailable(deepest(&error).to_string())),
        }
    }

    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        let headers = request.metadata_mut();
        if let Some(token) = &self.token {
            headers.insert("authorization", token.clone());
        }
        headers.insert_bin(proto::REQUEST_METADATA_HEADER, self.metadata.clone());
        request
    }
}

/// Windows of flow control: enough for a fast line with a long way.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

fn tls(endpoint: &Endpoint, credentials: &Credentials) -> ClientTlsConfig {
    let mut tls = ClientTlsConfig::new().domain_name(endpoint.server_name());
    if let Some(authorities) = &credentials.authorities {
        tls = tls.ca_certificate(Certificate::from_pem(authorities));
    }
    if let Some((certificate, key)) = &credentials.identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    tls
}

fn tokio_stream<T: Send + 'static>(
    items: Vec<T>,
) -> impl tonic::codegen::tokio_stream::Stream<Item = T> + Send + 'static {
    tonic::codegen::tokio_stream::iter(items)
}

/// A name for an upload: any will do that nobody else takes at the same time.
fn upload_name(name: &BlobName) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let hash = name.digits();
    let (process, hash) = (std::process::id(), hash.as_bytes());
    let tail = String::from_utf8_lossy(&hash[..12]);
    format!(
        "{process:08x}-{:04x}-4{:03x}-8{:03x}-{tail}",
        number >> 24 & 0xffff,
        number >> 12 & 0xfff,
        number & 0xfff
    )
}

/// How an attempt to run an action ended.
enum Executed {
    Ended {
        result: Box<proto::ActionResult>,
        cached: bool,
    },
    /// These are to be brought; none named: all.
    Missing(Vec<BlobName>),
}

fn ended(response: proto::ExecuteResponse, function: Function) -> Result<Executed, Trouble> {
    let status = response.status.unwrap_or_default();
    match (status.code, response.result) {
        (0, Some(result)) => {
            Ok(Executed::Ended { result: Box::new(result), cached: response.cached_result })
        }
        (0, None) => Err(Trouble::Failed("an action ended without a result".to_owned())),
        (code, _) => match missing_in(&status, function) {
            Some(missing) => Ok(Executed::Missing(missing)),
            None => Err(Status::new(Code::from(code), status.message).into()),
        },
    }
}

/// The blobs that a call failed for.
fn missing_of(status: &Status, function: Function) -> Option<Vec<BlobName>> {
    let inner = proto::Status::decode(status.details()).ok()?;
    (status.code() == Code::FailedPrecondition).then(|| missing_in(&inner, function)).flatten()
}

fn missing_in(status: &proto::Status, function: Function) -> Option<Vec<BlobName>> {
    let mut names = Vec::new();
    let mut any = false;
    for detail in
        status.details.iter().filter(|any| any.type_url.ends_with("google.rpc.PreconditionFailure"))
    {
        let failure = proto::PreconditionFailure::decode(detail.value.clone()).ok()?;
        for violation in failure.violations.iter().filter(|one| one.r#type == proto::MISSING) {
            any = true;
            names.extend(named(&violation.subject, function));
        }
    }
    any.then_some(names)
}

/// `blobs/HASH/SIZE`, perhaps with an instance before and a function between.
fn named(subject: &str, function: Function) -> Option<BlobName> {
    let mut parts = subject.rsplit('/');
    let size_bytes = parts.next()?.parse().ok()?;
    let hash = parts.next()?.to_owned();
    BlobName::of_message(function, &proto::Digest { hash, size_bytes })
}

fn is_break(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled)
}

/// The bytes of a blob, which are what its name says.
async fn read(name: BlobName, source: &Source) -> Result<Bytes, Trouble> {
    let path = match source {
        Source::Bytes(bytes) => return Ok(bytes.clone()),
        Source::File(path) => path,
    };
    if name.bytes > FILE_BYTES_MAX {
        return Err(Trouble::Unfit(format!("{} is too large to be sent", path.display())));
    }
    let content = tokio::fs::read(path).await;
    let content = Bytes::from(content.map_err(|_| Trouble::Changed(path.clone()))?);
    match name.function.name(&content) == name {
        true => Ok(content),
        false => Err(Trouble::Changed(path.clone())),
    }
}

fn packed(content: Bytes, may: bool) -> (Bytes, proto::Compressor) {
    const WORTH_BYTES: usize = 256;
    if may
        && content.len() >= WORTH_BYTES
        && let Ok(packed) = zstd::bulk::compress(&content, LEVEL)
        && packed.len() < content.len()
    {
        return (packed.into(), proto::Compressor::Zstd);
    }
    (content, proto::Compressor::Identity)
}

fn abilities_of(answer: &proto::ServerCapabilities) -> Result<Abilities, Trouble> {
    let unfit = |why: &str| Trouble::Settings(why.to_owned());
    let cache = answer.cache_capabilities.as_ref();
    let cache = cache.ok_or_else(|| unfit("it stores no blobs"))?;
    let execution = answer.execution_capabilities.as_ref().filter(|can| can.exec_enabled);
    let execution = execution.ok_or_else(|| unfit("it runs no actions"))?;
    let stored = &cache.digest_functions;
    let mut runs = execution.digest_functions.clone();
    if runs.is_empty() {
        runs.push(execution.digest_function);
    }
    let both = |function: &Function| {
        let number = function.proto() as i32;
        stored.contains(&number) && runs.contains(&number)
    };
    let function = Function::ALL.into_iter().find(both);
    let function = function.ok_or_else(|| unfit("it has neither SHA-256 nor BLAKE3"))?;
    let zstd = proto::Compressor::Zstd as i32;
    let batch_bytes = usize::try_from(cache.max_batch_total_size_bytes).unwrap_or(0);
    let batch_bytes = if batch_bytes == 0 { BATCH_BYTES_MAX } else { batch_bytes };
    Ok(Abilities {
        function,
        batch_bytes: batch_bytes.min(BATCH_BYTES_MAX) * 7 / 8,
        packs_streams: cache.supported_compressors.contains(&zstd),
        packs_batches: cache.supported_batch_update_compressors.contains(&zstd),
        keeps_times: execution.supported_node_properties.iter().any(|name| name == "mtime"),
    })
}

#[cfg(test)]
mod tests;
