//! The messages of REAPI v2 and of the three Google APIs that it stands on, as they are on the wire.
//!
//! Written by hand, since a user's machine has no protobuf compiler. The numbers are those of the published
//! definitions; fields that nobody here reads are left out, which protobuf allows. Bytes of blobs share the memory of
//! the message that brought them.

use prost::bytes::Bytes;
use std::collections::HashMap;

/// The version of the API that is spoken.
pub const API_VERSION: SemVer = SemVer { major: 2, minor: 3, patch: 0, prerelease: String::new() };

/// Services and the paths of their methods.
pub mod path {
    /// What a server can do.
    pub const CAPABILITIES: &str = "build.bazel.remote.execution.v2.Capabilities";
    /// Unary, [`super::GetCapabilitiesRequest`] to [`super::ServerCapabilities`].
    pub const GET_CAPABILITIES: &str =
        "/build.bazel.remote.execution.v2.Capabilities/GetCapabilities";

    /// Blobs by digest.
    pub const CONTENT_ADDRESSABLE_STORAGE: &str =
        "build.bazel.remote.execution.v2.ContentAddressableStorage";
    /// Unary, [`super::FindMissingBlobsRequest`] to [`super::FindMissingBlobsResponse`].
    pub const FIND_MISSING_BLOBS: &str =
        "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs";
    /// Unary, [`super::BatchUpdateBlobsRequest`] to [`super::BatchUpdateBlobsResponse`].
    pub const BATCH_UPDATE_BLOBS: &str =
        "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs";
    /// Unary, [`super::BatchReadBlobsRequest`] to [`super::BatchReadBlobsResponse`].
    pub const BATCH_READ_BLOBS: &str =
        "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchReadBlobs";
    /// One [`super::GetTreeRequest`], a stream of [`super::GetTreeResponse`].
    pub const GET_TREE: &str = "/build.bazel.remote.execution.v2.ContentAddressableStorage/GetTree";

    /// Results by action.
    pub const ACTION_CACHE: &str = "build.bazel.remote.execution.v2.ActionCache";
    /// Unary, [`super::GetActionResultRequest`] to [`super::ActionResult`].
    pub const GET_ACTION_RESULT: &str =
        "/build.bazel.remote.execution.v2.ActionCache/GetActionResult";
    /// Unary, [`super::UpdateActionResultRequest`] to [`super::ActionResult`].
    pub const UPDATE_ACTION_RESULT: &str =
        "/build.bazel.remote.execution.v2.ActionCache/UpdateActionResult";

    /// Running actions.
    pub const EXECUTION: &str = "build.bazel.remote.execution.v2.Execution";
    /// One [`super::ExecuteRequest`], a stream of [`super::Operation`].
    pub const EXECUTE: &str = "/build.bazel.remote.execution.v2.Execution/Execute";
    /// One [`super::WaitExecutionRequest`], a stream of [`super::Operation`].
    pub const WAIT_EXECUTION: &str = "/build.bazel.remote.execution.v2.Execution/WaitExecution";

    /// Large blobs in pieces.
    pub const BYTE_STREAM: &str = "google.bytestream.ByteStream";
    /// One [`super::ReadRequest`], a stream of [`super::ReadResponse`].
    pub const READ: &str = "/google.bytestream.ByteStream/Read";
    /// A stream of [`super::WriteRequest`], one [`super::WriteResponse`].
    pub const WRITE: &str = "/google.bytestream.ByteStream/Write";
    /// Unary, [`super::QueryWriteStatusRequest`] to [`super::QueryWriteStatusResponse`].
    pub const QUERY_WRITE_STATUS: &str = "/google.bytestream.ByteStream/QueryWriteStatus";
}

/// The type of a message within an [`Any`].
pub mod type_url {
    /// [`super::ExecuteResponse`].
    pub const EXECUTE_RESPONSE: &str =
        "type.googleapis.com/build.bazel.remote.execution.v2.ExecuteResponse";
    /// [`super::ExecuteOperationMetadata`].
    pub const EXECUTE_OPERATION_METADATA: &str =
        "type.googleapis.com/build.bazel.remote.execution.v2.ExecuteOperationMetadata";
    /// [`super::PreconditionFailure`].
    pub const PRECONDITION_FAILURE: &str = "type.googleapis.com/google.rpc.PreconditionFailure";
}

/// The header of a request that carries an encoded [`RequestMetadata`].
pub const REQUEST_METADATA_HEADER: &str = "build.bazel.remote.execution.v2.requestmetadata-bin";

/// The kind of a [`Violation`] that says that a blob is missing.
pub const MISSING: &str = "MISSING";

// google.protobuf

/// A message of a type that is told by its name.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Any {
    /// One of [`type_url`].
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message, encoded.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// A point in time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Timestamp {
    /// Since 1970.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// 0 to 999,999,999, forward in time.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// A span of time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Duration {
    /// Whole seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// The rest, of the same sign.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

// google.rpc

/// How something ended.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Status {
    /// A code of gRPC, 0 for success.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// For programs: a [`PreconditionFailure`], most likely.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// What has to be put right before a request can succeed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PreconditionFailure {
    /// Each thing.
    #[prost(message, repeated, tag = "1")]
    pub violations: Vec<Violation>,
}

/// One thing that is to be put right.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Violation {
    /// [`MISSING`] where a blob is.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// `blobs/HASH/SIZE`, or `blobs/blake3/HASH/SIZE`.
    #[prost(string, tag = "2")]
    pub subject: String,
    /// For people.
    #[prost(string, tag = "3")]
    pub description: String,
}

// google.longrunning

/// An action on its way.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Operation {
    /// What [`WaitExecutionRequest`] asks for.
    #[prost(string, tag = "1")]
    pub name: String,
    /// An [`ExecuteOperationMetadata`].
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<Any>,
    /// Whether there is a result.
    #[prost(bool, tag = "3")]
    pub done: bool,
    /// Once it is done.
    #[prost(oneof = "OperationResult", tags = "4, 5")]
    pub result: Option<OperationResult>,
}

/// How an [`Operation`] ended.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum OperationResult {
    /// No engine should send it; some do.
    #[prost(message, tag = "4")]
    Error(Status),
    /// An [`ExecuteResponse`].
    #[prost(message, tag = "5")]
    Response(Any),
}

// google.bytestream

/// Asks for a blob.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadRequest {
    /// `INSTANCE/blobs/HASH/SIZE` or `INSTANCE/compressed-blobs/zstd/HASH/SIZE`.
    #[prost(string, tag = "1")]
    pub resource_name: String,
    /// In the unpacked blob.
    #[prost(int64, tag = "2")]
    pub read_offset: i64,
    /// 0 for no limit.
    #[prost(int64, tag = "3")]
    pub read_limit: i64,
}

/// A piece of a blob.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadResponse {
    /// What follows the piece before.
    #[prost(bytes = "bytes", tag = "10")]
    pub data: Bytes,
}

/// Brings a piece of a blob.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WriteRequest {
    /// `INSTANCE/uploads/UUID/blobs/HASH/SIZE` or
    /// `INSTANCE/uploads/UUID/compressed-blobs/zstd/HASH/SIZE`; may be empty after the first.
    #[prost(string, tag = "1")]
    pub resource_name: String,
    /// Bytes sent before.
    #[prost(int64, tag = "2")]
    pub write_offset: i64,
    /// This is the last.
    #[prost(bool, tag = "3")]
    pub finish_write: bool,
    /// The piece.
    #[prost(bytes = "bytes", tag = "10")]
    pub data: Bytes,
}

/// Says that a blob has come.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WriteResponse {
    /// Its size; -1 where it was there already and the upload was packed.
    #[prost(int64, tag = "1")]
    pub committed_size: i64,
}

/// Asks how much of a blob has come.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueryWriteStatusRequest {
    /// That of the upload.
    #[prost(string, tag = "1")]
    pub resource_name: String,
}

/// Says how much of a blob has come.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueryWriteStatusResponse {
    /// Bytes.
    #[prost(int64, tag = "1")]
    pub committed_size: i64,
    /// Whether that is all.
    #[prost(bool, tag = "2")]
    pub complete: bool,
}

// build.bazel.semver

/// A version.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SemVer {
    /// 2 for REAPI v2.
    #[prost(int32, tag = "1")]
    pub major: i32,
    /// What it can in addition.
    #[prost(int32, tag = "2")]
    pub minor: i32,
    /// Always 0.
    #[prost(int32, tag = "3")]
    pub patch: i32,
    /// Mostly empty.
    #[prost(string, tag = "4")]
    pub prerelease: String,
}

// build.bazel.remote.execution.v2

/// How blobs are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum DigestFunction {
    /// Told by the length of the hash.
    Unknown = 0,
    /// 64 digits.
    Sha256 = 1,
    /// 40 digits.
    Sha1 = 2,
    /// 32 digits.
    Md5 = 3,
    /// Paged SHA-256.
    Vso = 4,
    /// 96 digits.
    Sha384 = 5,
    /// 128 digits.
    Sha512 = 6,
    /// 32 digits.
    Murmur3 = 7,
    /// SHA-256 of a tree of pieces.
    Sha256Tree = 8,
    /// 64 digits.
    Blake3 = 9,
}

/// How bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Compressor {
    /// Not at all.
    Identity = 0,
    /// Zstandard.
    Zstd = 1,
    /// RFC 1951.
    Deflate = 2,
    /// RFC 7932.
    Brotli = 3,
}

/// What a server makes of a symbolic link that begins with `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SymlinkAbsolutePathStrategy {
    /// Not said.
    Unknown = 0,
    /// It is refused.
    Disallowed = 1,
    /// It is made.
    Allowed = 2,
}

/// How far an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ExecutionStage {
    /// Not said.
    Unknown = 0,
    /// Its result is looked for.
    CacheCheck = 1,
    /// It waits for a slot.
    Queued = 2,
    /// It runs.
    Executing = 3,
    /// It is done.
    Completed = 4,
}

/// How an output folder is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum OutputDirectoryFormat {
    /// As one [`Tree`].
    TreeOnly = 0,
    /// As [`Directory`] blobs.
    DirectoryOnly = 1,
    /// Both.
    TreeAndDirectory = 2,
}

/// The name of a blob: what it holds.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
pub struct Digest {
    /// In small hexadecimal digits.
    #[prost(string, tag = "1")]
    pub hash: String,
    /// Its length.
    #[prost(int64, tag = "2")]
    pub size_bytes: i64,
}

/// What is to be done, all of it by digest.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Action {
    /// Of a [`Command`].
    #[prost(message, optional, tag = "1")]
    pub command_digest: Option<Digest>,
    /// Of the [`Directory`] that becomes the root.
    #[prost(message, optional, tag = "2")]
    pub input_root_digest: Option<Digest>,
    /// How long it may run.
    #[prost(message, optional, tag = "6")]
    pub timeout: Option<Duration>,
    /// Its result is neither stored nor shared with an equal action.
    #[prost(bool, tag = "7")]
    pub do_not_cache: bool,
    /// Keeps equal actions apart.
    #[prost(bytes = "bytes", tag = "9")]
    pub salt: Bytes,
    /// Which workers may run it.
    #[prost(message, optional, tag = "10")]
    pub platform: Option<Platform>,
}

/// What is run.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Command {
    /// The program first: absolute, or relative to the working directory, or looked up in PATH.
    #[prost(string, repeated, tag = "1")]
    pub arguments: Vec<String>,
    /// All its variables, sorted by name.
    #[prost(message, repeated, tag = "2")]
    pub environment_variables: Vec<EnvironmentVariable>,
    /// Before v2.1: files that may be there afterwards.
    #[prost(string, repeated, tag = "3")]
    pub output_files: Vec<String>,
    /// Before v2.1: folders that may be there afterwards.
    #[prost(string, repeated, tag = "4")]
    pub output_directories: Vec<String>,
    /// Before v2.2 it was here.
    #[prost(message, optional, tag = "5")]
    pub platform: Option<Platform>,
    /// Relative to the input root.
    #[prost(string, tag = "6")]
    pub working_directory: String,
    /// What may be there afterwards, relative to the working directory, sorted.
    #[prost(string, repeated, tag = "7")]
    pub output_paths: Vec<String>,
    /// Properties of outputs that are asked for.
    #[prost(string, repeated, tag = "8")]
    pub output_node_properties: Vec<String>,
    /// How output folders are described.
    #[prost(enumeration = "OutputDirectoryFormat", tag = "9")]
    pub output_directory_format: i32,
}

/// A variable of the environment.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EnvironmentVariable {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// What a worker must be like.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Platform {
    /// Sorted by name, then by value.
    #[prost(message, repeated, tag = "1")]
    pub properties: Vec<Property>,
}

/// One property, of a platform or of a node.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Property {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A folder. Each list is sorted by name, and no name is in two of them.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Directory {
    /// Its files.
    #[prost(message, repeated, tag = "1")]
    pub files: Vec<FileNode>,
    /// Its folders.
    #[prost(message, repeated, tag = "2")]
    pub directories: Vec<DirectoryNode>,
    /// Its symbolic links.
    #[prost(message, repeated, tag = "3")]
    pub symlinks: Vec<SymlinkNode>,
    /// More on the folder itself.
    #[prost(message, optional, tag = "5")]
    pub node_properties: Option<NodeProperties>,
}

/// More on a file, a folder or a link.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NodeProperties {
    /// Sorted by name.
    #[prost(message, repeated, tag = "1")]
    pub properties: Vec<Property>,
    /// When it was changed.
    #[prost(message, optional, tag = "2")]
    pub mtime: Option<Timestamp>,
    /// Its permissions.
    #[prost(message, optional, tag = "3")]
    pub unix_mode: Option<u32>,
}

/// A file in a folder.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FileNode {
    /// Without slashes.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What it holds.
    #[prost(message, optional, tag = "2")]
    pub digest: Option<Digest>,
    /// Whether it may be run.
    #[prost(bool, tag = "4")]
    pub is_executable: bool,
    /// More on it.
    #[prost(message, optional, tag = "6")]
    pub node_properties: Option<NodeProperties>,
}

/// A folder in a folder.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DirectoryNode {
    /// Without slashes.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Of a [`Directory`].
    #[prost(message, optional, tag = "2")]
    pub digest: Option<Digest>,
}

/// A symbolic link in a folder.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SymlinkNode {
    /// Without slashes.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Where it leads.
    #[prost(string, tag = "2")]
    pub target: String,
    /// More on it.
    #[prost(message, optional, tag = "4")]
    pub node_properties: Option<NodeProperties>,
}

/// A folder with all that is below it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Tree {
    /// Itself.
    #[prost(message, optional, tag = "1")]
    pub root: Option<Directory>,
    /// Each folder below, once.
    #[prost(message, repeated, tag = "2")]
    pub children: Vec<Directory>,
}

/// Who ran an action, and when.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExecutedActionMetadata {
    /// The worker.
    #[prost(string, tag = "1")]
    pub worker: String,
    /// It began to wait.
    #[prost(message, optional, tag = "2")]
    pub queued_timestamp: Option<Timestamp>,
    /// The worker took it.
    #[prost(message, optional, tag = "3")]
    pub worker_start_timestamp: Option<Timestamp>,
    /// The worker was done with it.
    #[prost(message, optional, tag = "4")]
    pub worker_completed_timestamp: Option<Timestamp>,
    /// The tree was begun.
    #[prost(message, optional, tag = "5")]
    pub input_fetch_start_timestamp: Option<Timestamp>,
    /// The tree was there.
    #[prost(message, optional, tag = "6")]
    pub input_fetch_completed_timestamp: Option<Timestamp>,
    /// The program was started.
    #[prost(message, optional, tag = "7")]
    pub execution_start_timestamp: Option<Timestamp>,
    /// The program had ended.
    #[prost(message, optional, tag = "8")]
    pub execution_completed_timestamp: Option<Timestamp>,
    /// The outputs were begun.
    #[prost(message, optional, tag = "9")]
    pub output_upload_start_timestamp: Option<Timestamp>,
    /// The outputs were there.
    #[prost(message, optional, tag = "10")]
    pub output_upload_completed_timestamp: Option<Timestamp>,
}

/// What an action gave.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ActionResult {
    /// Files that are there.
    #[prost(message, repeated, tag = "2")]
    pub output_files: Vec<OutputFile>,
    /// Folders that are there.
    #[prost(message, repeated, tag = "3")]
    pub output_directories: Vec<OutputDirectory>,
    /// How the program ended.
    #[prost(int32, tag = "4")]
    pub exit_code: i32,
    /// What it printed, where that is short.
    #[prost(bytes = "bytes", tag = "5")]
    pub stdout_raw: Bytes,
    /// What it printed, else.
    #[prost(message, optional, tag = "6")]
    pub stdout_digest: Option<Digest>,
    /// What it complained, where that is short.
    #[prost(bytes = "bytes", tag = "7")]
    pub stderr_raw: Bytes,
    /// What it complained, else.
    #[prost(message, optional, tag = "8")]
    pub stderr_digest: Option<Digest>,
    /// Who ran it.
    #[prost(message, optional, tag = "9")]
    pub execution_metadata: Option<ExecutedActionMetadata>,
    /// Before v2.1: links among the `output_files`.
    #[prost(message, repeated, tag = "10")]
    pub output_file_symlinks: Vec<OutputSymlink>,
    /// Before v2.1: links among the `output_directories`.
    #[prost(message, repeated, tag = "11")]
    pub output_directory_symlinks: Vec<OutputSymlink>,
    /// Links that are there.
    #[prost(message, repeated, tag = "12")]
    pub output_symlinks: Vec<OutputSymlink>,
}

/// A file that an action made.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OutputFile {
    /// As it was asked for.
    #[prost(string, tag = "1")]
    pub path: String,
    /// What it holds.
    #[prost(message, optional, tag = "2")]
    pub digest: Option<Digest>,
    /// Whether it may be run.
    #[prost(bool, tag = "4")]
    pub is_executable: bool,
    /// What it holds, where that was asked for and is short.
    #[prost(bytes = "bytes", tag = "5")]
    pub contents: Bytes,
    /// More on it, where that was asked for.
    #[prost(message, optional, tag = "7")]
    pub node_properties: Option<NodeProperties>,
}

/// A folder that an action made.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OutputDirectory {
    /// As it was asked for.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Of a [`Tree`].
    #[prost(message, optional, tag = "3")]
    pub tree_digest: Option<Digest>,
    /// Whether each folder of the tree comes after the one that it is in.
    #[prost(bool, tag = "4")]
    pub is_topologically_sorted: bool,
    /// Of a [`Directory`], where that was asked for.
    #[prost(message, optional, tag = "5")]
    pub root_directory_digest: Option<Digest>,
}

/// A symbolic link that an action made.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OutputSymlink {
    /// As it was asked for.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Where it leads.
    #[prost(string, tag = "2")]
    pub target: String,
    /// More on it, where that was asked for.
    #[prost(message, optional, tag = "4")]
    pub node_properties: Option<NodeProperties>,
}

/// Which of the actions that wait is first.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Priority {
    /// The least is the most urgent.
    #[prost(int32, tag = "1")]
    pub priority: i32,
}

/// Asks for an action to be run.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExecuteRequest {
    /// Which of the server's instances.
    #[prost(string, tag = "1")]
    pub instance_name: String,
    /// It is run even if there is a result.
    #[prost(bool, tag = "3")]
    pub skip_cache_lookup: bool,
    /// Of an [`Action`].
    #[prost(message, optional, tag = "6")]
    pub action_digest: Option<Digest>,
    /// When.
    #[prost(message, optional, tag = "7")]
    pub execution_policy: Option<Priority>,
    /// How long its result is kept.
    #[prost(message, optional, tag = "8")]
    pub results_cache_policy: Option<Priority>,
    /// That of the digests.
    #[prost(enumeration = "DigestFunction", tag = "9")]
    pub digest_function: i32,
    /// What it printed comes with the result.
    #[prost(bool, tag = "10")]
    pub inline_stdout: bool,
    /// What it complained comes with the result.
    #[prost(bool, tag = "11")]
    pub inline_stderr: bool,
    /// These files come with the result.
    #[prost(string, repeated, tag = "12")]
    pub inline_output_files: Vec<String>,
}

/// A text of the server's.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogFile {
    /// What it holds.
    #[prost(message, optional, tag = "1")]
    pub digest: Option<Digest>,
    /// Whether it is for people.
    #[prost(bool, tag = "2")]
    pub human_readable: bool,
}

/// How an action ended.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExecuteResponse {
    /// What it gave.
    #[prost(message, optional, tag = "1")]
    pub result: Option<ActionResult>,
    /// Whether it was not run for this.
    #[prost(bool, tag = "2")]
    pub cached_result: bool,
    /// Why there is no result.
    #[prost(message, optional, tag = "3")]
    pub status: Option<Status>,
    /// What the server has to say.
    #[prost(map = "string, message", tag = "4")]
    pub server_logs: HashMap<String, LogFile>,
    /// For people.
    #[prost(string, tag = "5")]
    pub message: String,
}

/// How far an [`Operation`] is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExecuteOperationMetadata {
    /// Where it is.
    #[prost(enumeration = "ExecutionStage", tag = "1")]
    pub stage: i32,
    /// Which action it is.
    #[prost(message, optional, tag = "2")]
    pub action_digest: Option<Digest>,
    /// That of the digest.
    #[prost(enumeration = "DigestFunction", tag = "6")]
    pub digest_function: i32,
}

/// Asks for news of an [`Operation`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct WaitExecutionRequest {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// Asks for a result.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetActionResultRequest {
    /// Which of the server's instances.
    #[prost(string, tag = "1")]
    pub instance_name: String,
    /// Of an [`Action`].
    #[prost(message, optional, tag = "2")]
    pub action_digest: Option<Digest>,
    /// What it printed comes with the result.
    #[prost(bool, tag = "3")]
    pub inline_stdout: bool,
    /// What it complained comes with the result.
    #[prost(bool, tag = "4")]
    pub inline_stderr: bool,
    /// These files come with the result.
    #[prost(string, repeated, tag = "5")]
    pub inline_output_files: Vec<String>,
    /// That of the digest.
    #[prost(enumeration = "DigestFunction", tag = "6")]
    pub digest_function: i32,
}

/// Brings a result.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateActionResultRequest {
    /// Which of the server's instances.
    #[prost(string, tag = "1")]
    pub instance_name: String,
    /// Of an [`Action`].
    #[prost(message, optional, tag = "2")]
    pub action_digest: Option<Digest>,
    /// What it gave.
    #[prost(message, optional, tag = "3")]
    pub action_result: Option<ActionResult>,
    /// How long it is kept.
    #[prost(message, optional, tag = "4")]
    pub results_cache_policy: Option<Priority>,
    /// That of the digest.
    #[prost(enumeration = "DigestFunction", tag = "5")]
    pub digest_function: i32,
}

/// Asks which blobs are not there.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FindMissingBlobsRequest {
    /// Which of the server's instances.
    #[prost(string, tag = "1")]
    pub instance_name: String,
    /// The blobs.
    #[prost(message, repeated, tag = "2")]
    pub blob_digests: Vec<Digest>,
    /// That of the digests.
    #[prost(enumeration = "DigestFunction", tag = "3")]
    pub digest_function: i32,
}

/// Says which blobs are not there.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FindMissingBlobsResponse {
    /// Those.
    #[prost(message, repeated, tag = "2")]
    pub missing_blob_digests: Vec<Digest>,
}

/// Brings small blobs.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BatchUpdateBlobsRequest {
    /// Which of the server's instances.
    #[prost(string, tag = "1")]
    pub instance_name: String,
    /// The blobs.
    #[prost(message, repeated, tag = "2")]
    pub requests: Vec<BlobToStore>,
    /// That of the digests.
    #[prost(enumeration = "DigestFunction", tag = "5")]
    pub digest_function: i32,
}

/// One blob of a [`BatchUpdateBlobsRequest`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct BlobToStore {
    /// Of the unpacked bytes.
    #[prost(message, optional, tag = "1")]
    pub digest: Option<Digest>,
    /// The bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub data: Bytes,
    /// How they are packed.
    #[prost(enumeration = "Compressor", tag = "3")]
    pub compressor: i32,
}

/// Says what became of small blobs.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BatchUpdateBlobsResponse {
    /// Of each.
    #[prost(message, repeated, tag = "1")]
    pub responses: Vec<StoredBlob>,
}

/// What became of one blob.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StoredBlob {
    /// Which.
    #[prost(message, optional, tag = "1")]
    pub digest: Option<Digest>,
    /// Whether it is there now.
    #[prost(message, optional, tag = "2")]
    pub status: Option<Status>,
}

/// Asks for small blobs.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BatchReadBlobsRequest {
    /// Which of the server's instances.
    #[prost(string, tag = "1")]
    pub instance_name: String,
    /// The blobs.
    #[prost(message, repeated, tag = "2")]
    pub digests: Vec<Digest>,
    /// How they may be packed.
    #[prost(enumeration = "Compressor", repeated, tag = "3")]
    pub acceptable_compressors: Vec<i32>,
    /// That of the digests.
    #[prost(enumeration = "DigestFunction", tag = "4")]
    pub digest_function: i32,
}

/// Brings small blobs back.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BatchReadBlobsResponse {
    /// Each of them.
    #[prost(message, repeated, tag = "1")]
    pub responses: Vec<ReadBlob>,
}

/// One blob of a [`BatchReadBlobsResponse`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadBlob {
    /// Of the unpacked bytes.
    #[prost(message, optional, tag = "1")]
    pub digest: Option<Digest>,
    /// The bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub data: Bytes,
    /// Whether it was there.
    #[prost(message, optional, tag = "3")]
    pub status: Option<Status>,
    /// How the bytes are packed.
    #[prost(enumeration = "Compressor", tag = "4")]
    pub compressor: i32,
}

/// Asks for a folder and all that is below it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetTreeRequest {
    /// Which of the server's instances.
    #[prost(string, tag = "1")]
    pub instance_name: String,
    /// Of a [`Directory`].
    #[prost(message, optional, tag = "2")]
    pub root_digest: Option<Digest>,
    /// Folders in each answer.
    #[prost(int32, tag = "3")]
    pub page_size: i32,
    /// That of an earlier answer.
    #[prost(string, tag = "4")]
    pub page_token: String,
    /// That of the digest.
    #[prost(enumeration = "DigestFunction", tag = "5")]
    pub digest_function: i32,
}

/// Some folders.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetTreeResponse {
    /// The folders.
    #[prost(message, repeated, tag = "1")]
    pub directories: Vec<Directory>,
    /// Where to go on; empty at the end.
    #[prost(string, tag = "2")]
    pub next_page_token: String,
}

/// Asks what a server can do.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetCapabilitiesRequest {
    /// Which of the server's instances.
    #[prost(string, tag = "1")]
    pub instance_name: String,
}

/// What a server can do.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ServerCapabilities {
    /// With blobs and results.
    #[prost(message, optional, tag = "1")]
    pub cache_capabilities: Option<CacheCapabilities>,
    /// With actions.
    #[prost(message, optional, tag = "2")]
    pub execution_capabilities: Option<ExecutionCapabilities>,
    /// The oldest version that still works.
    #[prost(message, optional, tag = "3")]
    pub deprecated_api_version: Option<SemVer>,
    /// The oldest version that is supported.
    #[prost(message, optional, tag = "4")]
    pub low_api_version: Option<SemVer>,
    /// The newest version that is supported.
    #[prost(message, optional, tag = "5")]
    pub high_api_version: Option<SemVer>,
}

/// Whether results may be brought.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct ActionCacheUpdateCapabilities {
    /// They may.
    #[prost(bool, tag = "1")]
    pub update_enabled: bool,
}

/// What a server can do with blobs and results.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CacheCapabilities {
    /// How blobs are named.
    #[prost(enumeration = "DigestFunction", repeated, tag = "1")]
    pub digest_functions: Vec<i32>,
    /// Whether results may be brought.
    #[prost(message, optional, tag = "2")]
    pub action_cache_update_capabilities: Option<ActionCacheUpdateCapabilities>,
    /// Bytes in a batch; 0 for no limit but gRPC's.
    #[prost(int64, tag = "4")]
    pub max_batch_total_size_bytes: i64,
    /// Links that begin with `/`.
    #[prost(enumeration = "SymlinkAbsolutePathStrategy", tag = "5")]
    pub symlink_absolute_path_strategy: i32,
    /// For `compressed-blobs`.
    #[prost(enumeration = "Compressor", repeated, tag = "6")]
    pub supported_compressors: Vec<i32>,
    /// For [`BatchUpdateBlobsRequest`].
    #[prost(enumeration = "Compressor", repeated, tag = "7")]
    pub supported_batch_update_compressors: Vec<i32>,
    /// The largest blob; 0 where it is not said.
    #[prost(int64, tag = "8")]
    pub max_cas_blob_size_bytes: i64,
}

/// What a server can do with actions.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExecutionCapabilities {
    /// The preferred one.
    #[prost(enumeration = "DigestFunction", tag = "1")]
    pub digest_function: i32,
    /// Whether it runs any.
    #[prost(bool, tag = "2")]
    pub exec_enabled: bool,
    /// Properties of nodes that count.
    #[prost(string, repeated, tag = "4")]
    pub supported_node_properties: Vec<String>,
    /// All of them.
    #[prost(enumeration = "DigestFunction", repeated, tag = "5")]
    pub digest_functions: Vec<i32>,
}

/// Who asks.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ToolDetails {
    /// The program.
    #[prost(string, tag = "1")]
    pub tool_name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub tool_version: String,
}

/// Why somebody asks, in [`REQUEST_METADATA_HEADER`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct RequestMetadata {
    /// Who.
    #[prost(message, optional, tag = "1")]
    pub tool_details: Option<ToolDetails>,
    /// For which action.
    #[prost(string, tag = "2")]
    pub action_id: String,
    /// In which run.
    #[prost(string, tag = "3")]
    pub tool_invocation_id: String,
    /// In which build.
    #[prost(string, tag = "4")]
    pub correlated_invocations_id: String,
    /// What kind of work.
    #[prost(string, tag = "5")]
    pub action_mnemonic: String,
}
