//! Large blobs in pieces, plain or packed.

use super::Reapi;
use super::blobs::{PACKED_LEVEL, WINDOW_LOG_MAX, not_stored};
use super::cas::{Incoming, Kind, NotStored};
use prost::bytes::Bytes;
use remote::reapi::digest::{BlobName, Function};
use remote::reapi::proto;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// What is sent at a time.
const PIECE_BYTES: usize = 128 << 10;

/// Pieces that a slow client may still have to read.
const PIECES_MAX: usize = 4;

/// A client that sends or reads nothing for so long is cut off.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How long one blob may be on its way.
pub const TRANSFER_MAX: Duration = Duration::from_secs(900);

/// A resource's name; none is longer that is any.
const NAME_BYTES_MAX: usize = 1_024;

/// What the name of a resource says.
#[derive(Debug, PartialEq, Eq)]
pub struct Resource {
    /// Which blob.
    pub name: BlobName,
    /// Whether it comes packed.
    pub packed: bool,
}

impl Resource {
    /// Reads `…/blobs/…` or `…/compressed-blobs/zstd/…`; before a write's there is `uploads/UUID/`.
    pub fn parse(text: &str, is_upload: bool) -> Option<Resource> {
        if text.len() > NAME_BYTES_MAX {
            return None;
        }
        let mut parts = text.split('/').peekable();
        if is_upload {
            parts.by_ref().find(|part| *part == "uploads")?;
            parts.next()?;
        }
        let kind = parts.by_ref().find(|part| matches!(*part, "blobs" | "compressed-blobs"))?;
        let packed = kind == "compressed-blobs";
        if packed && parts.next()? != "zstd" {
            return None;
        }
        let function = match *parts.peek()? {
            "blake3" => {
                parts.next();
                Function::Blake3
            }
            _ => Function::Sha256,
        };
        let hash = parts.next()?.to_owned();
        let size_bytes = parts.next()?.parse().ok()?;
        let name = BlobName::of_message(function, &proto::Digest { hash, size_bytes })?;
        Some(Resource { name, packed })
    }
}

fn resource(text: &str, is_upload: bool) -> Result<Resource, Status> {
    Resource::parse(text, is_upload)
        .ok_or_else(|| Status::invalid_argument("the resource's name is not well made"))
}

/// Gives a blob.
pub fn read(
    reapi: &Arc<Reapi>,
    request: &proto::ReadRequest,
) -> Result<ReceiverStream<Result<proto::ReadResponse, Status>>, Status> {
    let Resource { name, packed } = resource(&request.resource_name, false)?;
    let offset = u64::try_from(request.read_offset).ok().filter(|offset| *offset <= name.bytes);
    let offset = offset.ok_or_else(|| Status::out_of_range("the offset is beyond the end"))?;
    let limit = match u64::try_from(request.read_limit) {
        Ok(0) => u64::MAX,
        Ok(limit) if !packed => limit,
        _ => return Err(Status::invalid_argument("the limit makes no sense")),
    };
    if !reapi.workshop.cas.has(Kind::Blob, &name) {
        return Err(Status::not_found("there is no such blob"));
    }
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let reapi = Arc::clone(reapi);
    tokio::task::spawn_blocking(move || {
        let mut sending = Sending { sender, piece: Vec::with_capacity(PIECE_BYTES) };
        if let Err(error) = send(&reapi, &name, offset, limit, packed, &mut sending) {
            let _ = sending.push(Err(Status::data_loss(error.to_string())));
        }
    });
    Ok(ReceiverStream::new(receiver))
}

fn send(
    reapi: &Reapi,
    name: &BlobName,
    offset: u64,
    limit: u64,
    packed: bool,
    sending: &mut Sending,
) -> io::Result<()> {
    let blob = reapi.workshop.cas.open_blob(name);
    let mut blob = blob.ok_or_else(|| io::Error::other("the blob has just gone"))?;
    io::copy(&mut blob.by_ref().take(offset), &mut io::sink())?;
    if packed {
        let mut encoder = zstd::stream::write::Encoder::new(sending, PACKED_LEVEL)?;
        io::copy(&mut blob, &mut encoder)?;
        return encoder.finish()?.flush();
    }
    io::copy(&mut blob.take(limit), sending)?;
    sending.flush()
}

/// Pieces on their way to a client.
struct Sending {
    sender: mpsc::Sender<Result<proto::ReadResponse, Status>>,
    piece: Vec<u8>,
}

impl Sending {
    /// Waits for a client that reads, and not for ever.
    fn push(&mut self, item: Result<proto::ReadResponse, Status>) -> io::Result<()> {
        let sent = tokio::runtime::Handle::current()
            .block_on(async { tokio::time::timeout(SILENCE_MAX, self.sender.send(item)).await });
        match sent {
            Ok(Ok(())) => Ok(()),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Write for Sending {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        let count = content.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&content[..count]);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        self.push(Ok(proto::ReadResponse { data: Bytes::from(piece) }))
    }
}

/// Takes a blob.
pub async fn write(
    reapi: &Arc<Reapi>,
    mut pieces: Streaming<proto::WriteRequest>,
) -> Result<proto::WriteResponse, Status> {
    let mut receiving = None;
    let mut received = 0;
    loop {
        let piece = tokio::time::timeout(SILENCE_MAX, pieces.message()).await;
        let piece = piece.map_err(|_| Status::deadline_exceeded("nothing comes any more"))??;
        let Some(piece) = piece else {
            return Err(Status::invalid_argument("the blob was not finished"));
        };
        let (expected, target) = match &mut receiving {
            Some(receiving) => receiving,
            None => {
                let resource = resource(&piece.resource_name, true)?;
                if reapi.workshop.cas.has(Kind::Blob, &resource.name) {
                    return Ok(already_there(&resource));
                }
                let target = Target::new(reapi, &resource).map_err(|error| not_stored(&error))?;
                receiving.insert((resource, target))
            }
        };
        if piece.write_offset != received {
            return Err(Status::invalid_argument("the offset is not where the last piece ended"));
        }
        received += piece.data.len() as i64;
        let stored = tokio::task::block_in_place(|| target.write_all(&piece.data));
        stored.map_err(|error| not_stored(&NotStored::Disk(error)))?;
        if piece.finish_write {
            let (expected, target) = (expected.name, receiving.take());
            let Some((_, target)) = target else { continue };
            target.finish(&expected).map_err(|error| not_stored(&error))?;
            return Ok(proto::WriteResponse { committed_size: received });
        }
    }
}

fn already_there(resource: &Resource) -> proto::WriteResponse {
    let committed_size = if resource.packed { -1 } else { resource.name.bytes as i64 };
    proto::WriteResponse { committed_size }
}

/// Where the pieces of a blob go.
enum Target {
    Plain(Incoming),
    Packed(Box<zstd::stream::write::Decoder<'static, Incoming>>),
}

impl Target {
    fn new(reapi: &Reapi, resource: &Resource) -> Result<Target, NotStored> {
        let incoming = reapi.workshop.cas.begin(resource.name.bytes)?;
        let incoming = incoming.expect(resource.name.function);
        if !resource.packed {
            return Ok(Target::Plain(incoming));
        }
        let mut decoder = zstd::stream::write::Decoder::new(incoming)?;
        decoder.window_log_max(WINDOW_LOG_MAX)?;
        Ok(Target::Packed(Box::new(decoder)))
    }

    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        let invalid = |error: io::Error| match error.raw_os_error() {
            Some(_) => error,
            // zstd's own complaint.
            None => io::Error::new(io::ErrorKind::InvalidData, error),
        };
        match self {
            Target::Plain(incoming) => incoming.write_all(data),
            Target::Packed(decoder) => decoder.write_all(data).map_err(invalid),
        }
    }

    fn finish(self, name: &BlobName) -> Result<(), NotStored> {
        match self {
            Target::Plain(incoming) => incoming.finish(name),
            Target::Packed(mut decoder) => {
                decoder.flush()?;
                decoder.into_inner().finish(name)
            }
        }
    }
}

/// Says how much of an upload is there: all or nothing, since none is resumed.
pub fn status(
    reapi: &Reapi,
    request: &proto::QueryWriteStatusRequest,
) -> Result<proto::QueryWriteStatusResponse, Status> {
    let resource = resource(&request.resource_name, true)?;
    let complete = reapi.workshop.cas.has(Kind::Blob, &resource.name);
    let committed_size = if complete { resource.name.bytes as i64 } else { 0 };
    Ok(proto::QueryWriteStatusResponse { committed_size, complete })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_resources() {
        let sha = Function::Sha256.name(b"x");
        let blake = Function::Blake3.name(b"x");
        let parse = |text: &str, is_upload| Resource::parse(text, is_upload);
        for name in [sha, blake] {
            for instance in ["", "main/", "a/b/"] {
                for (text, packed) in [(name.resource(), false), (name.packed_resource(), true)] {
                    let expected = Some(Resource { name, packed });
                    assert_eq!(parse(&format!("{instance}{text}"), false), expected, "{text}");
                    let upload = format!("{instance}uploads/1-2-3/{text}/more");
                    assert_eq!(parse(&upload, true), expected, "{upload}");
                }
            }
        }
        let digits = sha.digits();
        for text in [
            "",
            "blobs",
            "blobs/",
            &format!("blobs/{digits}"),
            &format!("blobs/{digits}/-1"),
            &format!("blobs/{digits}/x"),
            &format!("blobs/md5/{digits}/1"),
            &format!("blobs/{}/1", digits.to_uppercase()),
            &format!("compressed-blobs/deflate/{digits}/1"),
            &format!("{}blobs/{digits}/1", "i/".repeat(600)),
        ] {
            assert_eq!(parse(text, false), None, "{text}");
        }
        assert_eq!(parse(&sha.resource(), true), None);
    }
}
