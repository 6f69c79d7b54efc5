//! From an accepted connection to the server that speaks HTTP/2 on it.

use super::Reapi;
use super::routing::Methods;
use crate::crowd::Place;
use crate::serve::Worker;
use std::io;
use std::net::{IpAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tonic::codegen::http;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TlsConnectInfo};

/// Threads that wait for the network.
const THREADS: usize = 2;

/// Threads that wait for the disk.
const DISK_THREADS_MAX: usize = 64;

/// Connections that are accepted and not yet taken over.
const ARRIVING_MAX: usize = 64;

/// Requests on one connection at one time: a build's units, each with a stream that waits.
const STREAMS_MAX: u32 = 1_024;

/// What a connection, and each of its streams, may send before it is read.
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// All headers of a request.
const HEADERS_BYTES_MAX: u32 = 16 << 10;

/// A client is asked for a sign of life so often, and waited for so long.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a client may take to agree on keys.
const HANDSHAKE_MAX: Duration = Duration::from_secs(20);

/// Where connections come in.
pub struct Door {
    plain: mpsc::Sender<io::Result<Opened>>,
    encrypted: Option<mpsc::Sender<io::Result<Opened>>>,
    ending: watch::Sender<bool>,
    runtime: Runtime,
}

impl Door {
    /// Opens it.
    pub fn open(worker: &Arc<Worker>, reapi: &Arc<Reapi>) -> io::Result<Door> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(DISK_THREADS_MAX)
            .thread_name("reapi")
            .enable_all()
            .build()?;
        let ending = watch::Sender::new(false);
        let serve = |server: Server, encrypted| {
            let (sender, receiver) = mpsc::channel(ARRIVING_MAX);
            let methods = Methods::new(Arc::clone(worker), Arc::clone(reapi), encrypted);
            let mut ends = ending.subscribe();
            let ends = async move {
                let _ = ends.wait_for(|ending| *ending).await;
            };
            let arriving = ReceiverStream::new(receiver);
            let served = server.serve_with_incoming_shutdown(methods, arriving, ends);
            runtime.spawn(async move {
                if let Err(error) = served.await {
                    tracing::error!("REAPI: {error}");
                }
            });
            sender
        };
        let plain = serve(server(), false);
        let encrypted = match reapi.keys.tls() {
            None => None,
            Some(tls) => {
                let tls = tls.timeout(HANDSHAKE_MAX);
                let server = server().tls_config(tls).map_err(io::Error::other)?;
                Some(serve(server, true))
            }
        };
        Ok(Door { plain, encrypted, ending, runtime })
    }

    /// Takes a connection over.
    pub fn enter(&self, stream: &TcpStream, place: Arc<Place>, is_tls: bool) -> io::Result<()> {
        let door = match is_tls {
            false => &self.plain,
            true => self.encrypted.as_ref().ok_or_else(|| {
                io::Error::new(io::ErrorKind::Unsupported, "TLS, and there are no keys for it")
            })?,
        };
        let stream = stream.try_clone()?;
        stream.set_nonblocking(true)?;
        let _here = self.runtime.enter();
        let stream = tokio::net::TcpStream::from_std(stream)?;
        let guest = Guest { place, requests: Arc::new(AtomicUsize::new(0)) };
        guest.place.is_in_the_way(true);
        door.blocking_send(Ok(Opened { stream, guest }))
            .map_err(|_| io::Error::new(io::ErrorKind::ConnectionAborted, "the worker ends"))
    }

    /// No connection takes requests any more; those that run come to their end.
    pub fn close(&self) {
        self.ending.send_replace(true);
    }
}

fn server() -> Server {
    Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

/// A connection that was accepted.
pub struct Opened {
    stream: tokio::net::TcpStream,
    guest: Guest,
}

/// Who is at the other end of a connection.
#[derive(Clone)]
pub struct Guest {
    place: Arc<Place>,
    requests: Arc<AtomicUsize>,
}

impl Connected for Opened {
    type ConnectInfo = Guest;

    fn connect_info(&self) -> Guest {
        self.guest.clone()
    }
}

impl AsyncRead for Opened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Opened {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        content: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, content)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Who makes one request.
#[derive(Clone)]
pub struct Caller(Guest);

impl Caller {
    /// What the connection left with the request.
    pub fn of<B>(request: &http::Request<B>, encrypted: bool) -> Option<Caller> {
        let extensions = request.extensions();
        let guest = match encrypted {
            true => extensions.get::<TlsConnectInfo<Guest>>().map(TlsConnectInfo::get_ref),
            false => extensions.get::<Guest>(),
        };
        guest.cloned().map(Caller)
    }

    /// From where.
    pub fn address(&self) -> IpAddr {
        self.0.place.address()
    }

    /// A connection on which something is asked is not in the way of others.
    pub fn visit(&self) -> Visit {
        if self.0.requests.fetch_add(1, Ordering::SeqCst) == 0 {
            self.0.place.is_in_the_way(false);
        }
        Visit(self.0.clone())
    }
}

/// A client that has to take an answer in time: it is sent away unless this is dropped before.
pub struct Hurry(tokio::task::AbortHandle);

impl Drop for Hurry {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Caller {
    /// The answer has to be read within this time.
    pub fn hurry(&self, limit: Duration) -> Hurry {
        let place = Arc::clone(&self.0.place);
        let task = tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            place.leave();
        });
        Hurry(task.abort_handle())
    }
}

/// A request that is being answered.
pub struct Visit(Guest);

impl Drop for Visit {
    fn drop(&mut self) {
        if self.0.requests.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.place.is_in_the_way(true);
        }
    }
}
