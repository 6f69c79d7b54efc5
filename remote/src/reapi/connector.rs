//! Connections to one address, which on this machine must be a trusted user's.

use crate::listener;
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tonic::codegen::{Service, http};

/// Connects to an address, whatever the name that it was found under.
#[derive(Clone, Copy)]
pub(super) struct Connector {
    /// Where to.
    pub address: SocketAddr,
    /// Whether the server will show who it is by its certificate.
    pub certified: bool,
}

impl Service<http::Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let Connector { address, certified } = *self;
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            if !certified {
                let own = stream.local_addr()?;
                listener::check(address, own).map_err(|why| {
                    io::Error::new(io::ErrorKind::PermissionDenied, why.to_string())
                })?;
            }
            Ok(TokioIo::new(stream))
        })
    }
}
