//! Questions about blobs, and small blobs in batches.

use super::action::action_name;
use super::cas::{Kind, NotStored};
use super::own_files::OwnFiles;
use super::tree::{DIRECTORY_BYTES_MAX, NODES_MAX};
use super::{BATCH_BYTES_MAX, Reapi};
use prost::Message;
use prost::bytes::Bytes;
use remote::reapi::digest::{BlobName, Function};
use remote::reapi::proto;
use std::io::Read;
use tonic::{Code, Status};

/// zstd's window in an upload: 8 MiB, which is that of its highest ordinary level.
pub const WINDOW_LOG_MAX: u32 = 23;

/// How blobs are packed for clients: quickly.
pub const PACKED_LEVEL: i32 = 1;

/// Folders in one answer about a tree.
const PAGE_FOLDERS_MAX: usize = 1_000;

/// The function of a request.
pub fn function_of(number: i32) -> Result<Function, Status> {
    Function::of_message(number)
        .ok_or_else(|| Status::invalid_argument("this digest function is not known here"))
}

fn name_of(function: Function, digest: &proto::Digest) -> Result<BlobName, Status> {
    BlobName::of_message(function, digest)
        .ok_or_else(|| Status::invalid_argument("a digest is not well made"))
}

/// Which of them are not here. What belongs to an own compiler is.
pub fn find_missing(
    reapi: &Reapi,
    own: &OwnFiles,
    request: proto::FindMissingBlobsRequest,
) -> Result<proto::FindMissingBlobsResponse, Status> {
    let function = function_of(request.digest_function)?;
    let mut missing_blob_digests = Vec::new();
    for digest in request.blob_digests {
        let name = name_of(function, &digest)?;
        if !reapi.workshop.cas.has(Kind::Blob, &name) && !own.has(&name) {
            missing_blob_digests.push(digest);
        }
    }
    Ok(proto::FindMissingBlobsResponse { missing_blob_digests })
}

/// Stores small blobs.
pub fn update(
    reapi: &Reapi,
    request: proto::BatchUpdateBlobsRequest,
) -> Result<proto::BatchUpdateBlobsResponse, Status> {
    let function = function_of(request.digest_function)?;
    let mut left = BATCH_BYTES_MAX as u64;
    let mut responses = Vec::with_capacity(request.requests.len());
    for blob in request.requests {
        let digest = blob.digest.unwrap_or_default();
        let name = name_of(function, &digest)?;
        let stored = match left.checked_sub(name.bytes) {
            None => Err(Status::invalid_argument("the batch is too large")),
            Some(rest) => {
                left = rest;
                store(reapi, &name, &blob.data, blob.compressor)
            }
        };
        let status = stored.err().unwrap_or_else(|| Status::ok(""));
        responses.push(proto::StoredBlob { digest: Some(digest), status: Some(message(&status)) });
    }
    Ok(proto::BatchUpdateBlobsResponse { responses })
}

fn store(reapi: &Reapi, name: &BlobName, data: &[u8], compressor: i32) -> Result<(), Status> {
    let unpacked;
    let content = match proto::Compressor::try_from(compressor) {
        Ok(proto::Compressor::Identity) => data,
        Ok(proto::Compressor::Zstd) => {
            unpacked = unpack(data, name.bytes)?;
            &unpacked
        }
        _ => return Err(Status::invalid_argument("this compressor is not known here")),
    };
    reapi.workshop.cas.put(name, content).map_err(|error| not_stored(&error))
}

/// Never more than a byte beyond what was announced.
fn unpack(data: &[u8], bytes: u64) -> Result<Vec<u8>, Status> {
    let failed = |error: std::io::Error| Status::invalid_argument(format!("zstd: {error}"));
    let mut decoder = zstd::stream::read::Decoder::new(data).map_err(failed)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(failed)?;
    let mut content = Vec::new();
    decoder.take(bytes + 1).read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}

/// How a client is told that a blob was not stored.
pub fn not_stored(error: &NotStored) -> Status {
    let text = error.to_string();
    match error {
        NotStored::Wrong => Status::invalid_argument(text),
        NotStored::TooLarge(_) | NotStored::NoRoom => Status::resource_exhausted(text),
        NotStored::Disk(error) => match error.kind() {
            std::io::ErrorKind::InvalidData => Status::invalid_argument(text),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Status::resource_exhausted(text)
            }
            _ => Status::internal(text),
        },
    }
}

fn message(status: &Status) -> proto::Status {
    let (code, message) = (status.code() as i32, status.message().to_owned());
    proto::Status { code, message, details: Vec::new() }
}

/// Gives small blobs back.
pub fn read(
    reapi: &Reapi,
    request: &proto::BatchReadBlobsRequest,
) -> Result<proto::BatchReadBlobsResponse, Status> {
    let function = function_of(request.digest_function)?;
    let packs = request.acceptable_compressors.contains(&(proto::Compressor::Zstd as i32));
    let mut left = BATCH_BYTES_MAX as u64;
    let mut responses = Vec::with_capacity(request.digests.len());
    for digest in &request.digests {
        let name = name_of(function, digest)?;
        let found = match left.checked_sub(name.bytes) {
            None => Err(Status::invalid_argument("the batch is too large")),
            Some(rest) => {
                left = rest;
                let found = reapi.workshop.cas.get(&name);
                found.ok_or_else(|| Status::not_found("there is no such blob"))
            }
        };
        let (data, status) = match found {
            Ok(data) => (data, Status::ok("")),
            Err(status) => (Bytes::new(), status),
        };
        let (data, compressor) = if packs { pack(data) } else { (data, 0) };
        let status = Some(message(&status));
        responses.push(proto::ReadBlob { digest: Some(digest.clone()), data, status, compressor });
    }
    Ok(proto::BatchReadBlobsResponse { responses })
}

/// Packed where that makes it shorter.
fn pack(data: Bytes) -> (Bytes, i32) {
    match zstd::stream::encode_all(&data[..], PACKED_LEVEL) {
        Ok(packed) if packed.len() < data.len() => (packed.into(), proto::Compressor::Zstd as i32),
        _ => (data, proto::Compressor::Identity as i32),
    }
}

/// Pages of a tree, the root first. A token is the number of folders that came before.
pub fn tree(
    reapi: &Reapi,
    request: &proto::GetTreeRequest,
) -> Result<Vec<proto::GetTreeResponse>, Status> {
    let root = action_name(request.digest_function, request.root_digest.as_ref())?;
    let skipped = match request.page_token.as_str() {
        "" => 0,
        token => token.parse().map_err(|_| Status::invalid_argument("this is no page token"))?,
    };
    let page = usize::try_from(request.page_size).ok().filter(|size| *size > 0);
    let page = page.unwrap_or(PAGE_FOLDERS_MAX).min(PAGE_FOLDERS_MAX);
    let mut walk = TreeWalk { reapi, bytes: 0, seen: 0 };
    let mut pages = Vec::new();
    let mut folders = Vec::new();
    let mut ahead = vec![root];
    while let Some(name) = ahead.pop() {
        let directory = walk.folder(&name, &mut ahead)?;
        if walk.seen > skipped {
            folders.push(directory);
        }
        if folders.len() == page || ahead.is_empty() {
            let directories = std::mem::take(&mut folders);
            let next_page_token =
                if ahead.is_empty() { String::new() } else { walk.seen.to_string() };
            pages.push(proto::GetTreeResponse { directories, next_page_token });
        }
    }
    Ok(pages)
}

/// All folders of one answer, encoded: what a client may make this worker hold.
const TREE_BYTES_MAX: u64 = 16 << 20;

struct TreeWalk<'r> {
    reapi: &'r Reapi,
    bytes: u64,
    seen: usize,
}

impl TreeWalk<'_> {
    fn folder(
        &mut self,
        name: &BlobName,
        ahead: &mut Vec<BlobName>,
    ) -> Result<proto::Directory, Status> {
        self.bytes += name.bytes;
        self.seen += 1;
        if self.seen + ahead.len() > NODES_MAX
            || self.bytes > TREE_BYTES_MAX
            || name.bytes > DIRECTORY_BYTES_MAX
        {
            return Err(Status::resource_exhausted("the tree is too large"));
        }
        let bytes = self.reapi.workshop.cas.get(name);
        let bytes = bytes.ok_or_else(|| Status::not_found("a folder of the tree is not there"))?;
        let directory = proto::Directory::decode(bytes)
            .map_err(|error| Status::new(Code::InvalidArgument, error.to_string()))?;
        for child in directory.directories.iter().rev() {
            ahead.push(name_of(name.function, &child.digest.clone().unwrap_or_default())?);
        }
        Ok(directory)
    }
}
