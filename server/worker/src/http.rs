//! A minimal HTTP/1.0 answerer for metrics and health: one short request, one answer, end.

use super::metrics::Now;
use super::stream::TimedStream;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A request is a line and some headers.
const REQUEST_BYTES_MAX: usize = 8 << 10;

/// For request and answer together.
const EXCHANGE_MAX: Duration = Duration::from_secs(5);

/// Requests at one time; more are cut off.
const CONNECTIONS_MAX: usize = 16;

/// After the answer, what still comes is read for this many bytes, lest the client be reset.
const REST_BYTES_MAX: u64 = 64 << 10;

/// What is answered from.
pub trait Source: Send + Sync + 'static {
    /// The state of this moment.
    fn now(&self) -> Now;
    /// The metrics as text.
    fn metrics(&self) -> String;
}

/// Answers on `listener` for as long as the process lives.
pub fn serve(listener: &TcpListener, source: &Arc<impl Source>) {
    let active = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // Out of descriptors, most likely: they come back.
            std::thread::sleep(ACCEPT_PAUSE);
            continue;
        };
        if active.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS_MAX {
            active.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (source, counter) = (Arc::clone(source), Arc::clone(&active));
        let spawned = std::thread::Builder::new().spawn(move || {
            exchange(&stream, &*source);
            counter.fetch_sub(1, Ordering::SeqCst);
        });
        if spawned.is_err() {
            active.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Between two attempts to accept where that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

fn exchange(stream: &TcpStream, source: &impl Source) {
    let Ok(never) = super::stream::event() else { return };
    if stream.set_nonblocking(true).is_err() {
        return;
    }
    let mut timed = TimedStream::new(stream, EXCHANGE_MAX, never.as_fd());
    let Some(request) = read_head(&mut timed) else { return };
    if timed.write_all(answer(&request, source).as_bytes()).is_ok()
        && stream.shutdown(std::net::Shutdown::Write).is_ok()
    {
        let _ = std::io::copy(&mut timed.take(REST_BYTES_MAX), &mut std::io::sink());
    }
}

/// Up to the empty line; `None` where that does not come.
fn read_head(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let mut block = [0; 1024];
    while head.len() < REQUEST_BYTES_MAX {
        match stream.read(&mut block) {
            Ok(count) if count > 0 => head.extend_from_slice(&block[..count]),
            _ => return None,
        }
        let ends = |end: &[u8]| memchr::memmem::find(&head, end).is_some();
        if ends(b"\r\n\r\n") || ends(b"\n\n") {
            return Some(head);
        }
    }
    None
}

fn answer(request: &[u8], source: &impl Source) -> String {
    let line = request.split(|&byte| byte == b'\r' || byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let path = target.split('?').next().unwrap_or("");
    let (status, body) = match (method, path) {
        ("GET" | "HEAD", "/metrics") => ("200 OK", source.metrics()),
        ("GET" | "HEAD", "/healthz") => ("200 OK", "ok\n".to_owned()),
        ("GET" | "HEAD", "/readyz") => match source.now().draining {
            false => ("200 OK", "ready\n".to_owned()),
            true => ("503 Service Unavailable", "draining\n".to_owned()),
        },
        ("GET" | "HEAD", _) => {
            ("404 Not Found", "there are /metrics, /healthz and /readyz\n".to_owned())
        }
        _ => ("405 Method Not Allowed", "only GET is served\n".to_owned()),
    };
    let kind = if path == "/metrics" { "text/plain; version=0.0.4" } else { "text/plain" };
    let head = format!(
        "HTTP/1.0 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    if method == "HEAD" { head } else { head + &body }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed {
        draining: bool,
    }

    impl Source for Fixed {
        fn now(&self) -> Now {
            Now { draining: self.draining, ..Now::default() }
        }

        fn metrics(&self) -> String {
            "x 1\n".to_owned()
        }
    }

    fn status(request: &str, draining: bool) -> u16 {
        let answer = answer(request.as_bytes(), &Fixed { draining });
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn health_and_metrics() {
        assert_eq!(status("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", true), 200);
        assert_eq!(status("GET /readyz HTTP/1.1\r\n\r\n", false), 200);
        assert_eq!(status("GET /readyz HTTP/1.1\r\n\r\n", true), 503);
        assert_eq!(status("GET /metrics?a=b HTTP/1.0\n\n", false), 200);
        assert_eq!(status("GET / HTTP/1.0\n\n", false), 404);
        assert_eq!(status("POST /metrics HTTP/1.0\n\n", false), 405);
        assert_eq!(status("\n\n", false), 405);
        let whole = answer(b"GET /metrics HTTP/1.0\r\n\r\n", &Fixed { draining: false });
        assert!(whole.contains("Content-Length: 4\r\n") && whole.ends_with("\r\n\r\nx 1\n"));
        let head = answer(b"HEAD /metrics HTTP/1.0\r\n\r\n", &Fixed { draining: false });
        assert!(head.ends_with("\r\n\r\n"));
    }

    #[test]
    fn a_head_has_an_end() {
        assert_eq!(read_head(&mut &b"GET / HTTP/1.0\r\n\r\nrest"[..]).unwrap().len(), 22);
        assert_eq!(read_head(&mut &b"GET / HTTP/1.0\r\n"[..]), None);
        assert_eq!(read_head(&mut std::io::repeat(b'x')), None);
    }
}
