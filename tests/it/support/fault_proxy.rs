//! A proxy before a server of a shared cache that does it harm: it answers 429, cuts, delays, or changes bytes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Between two looks whether the test is over.
const LOOK: Duration = Duration::from_millis(20);

/// What is done to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Nothing.
    None,
    /// HTTP: every second request that writes is answered with this status.
    RefuseHalfOfWrites(u16),
    /// HTTP: every request is answered with this status.
    Refuse(u16),
    /// Nothing is ever answered.
    Silence,
    /// The connection ends after so many bytes of the answer.
    CutAfter(usize),
    /// The byte of the answer at this place is another; from the end of each piece where it is negative.
    Flip(usize),
}

/// A proxy on loopback.
pub struct FaultProxy {
    port: u16,
    harm: Arc<Mutex<Harm>>,
    ended: Arc<AtomicBool>,
}

impl FaultProxy {
    /// Before a server on loopback.
    pub fn before(port: u16) -> FaultProxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let own = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let (harm, ended) = (Arc::new(Mutex::new(Harm::None)), Arc::new(AtomicBool::new(false)));
        let writes = Arc::new(AtomicUsize::new(0));
        let proxy = FaultProxy { port: own, harm: Arc::clone(&harm), ended: Arc::clone(&ended) };
        std::thread::spawn(move || {
            while !ended.load(Ordering::SeqCst) {
                let Ok((client, _)) = listener.accept() else {
                    std::thread::sleep(LOOK);
                    continue;
                };
                client.set_nonblocking(false).unwrap();
                let (harm, ended, writes) =
                    (Arc::clone(&harm), Arc::clone(&ended), Arc::clone(&writes));
                std::thread::spawn(move || serve(client, port, &harm, &ended, &writes));
            }
        });
        proxy
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on.
    pub fn set(&self, harm: Harm) {
        *self.harm.lock().unwrap() = harm;
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
    }
}

fn serve(
    mut client: TcpStream,
    port: u16,
    harm: &Arc<Mutex<Harm>>,
    ended: &Arc<AtomicBool>,
    writes: &Arc<AtomicUsize>,
) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return };
    let (Ok(mut to_server), Ok(to_client)) = (server.try_clone(), client.try_clone()) else {
        return;
    };
    let (answers_harm, answers_ended) = (Arc::clone(harm), Arc::clone(ended));
    std::thread::spawn(move || answers(server, to_client, &answers_harm, &answers_ended));
    let _ = client.set_read_timeout(Some(LOOK));
    let mut piece = vec![0; 1 << 16];
    while !ended.load(Ordering::SeqCst) {
        let length = match client.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if is_wait(&error) => continue,
            Err(_) => break,
        };
        let is_write = piece.starts_with(b"PUT ");
        let number = if is_write { writes.fetch_add(1, Ordering::SeqCst) } else { 0 };
        let harm = *harm.lock().unwrap();
        let status = match harm {
            Harm::Refuse(status) => Some(status),
            Harm::RefuseHalfOfWrites(status) if is_write && number % 2 == 0 => Some(status),
            _ => None,
        };
        if let Some(status) = status {
            let _ = write!(
                client,
                "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            break;
        }
        if harm == Harm::Silence {
            continue;
        }
        if to_server.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = to_server.shutdown(Shutdown::Both);
}

fn answers(mut server: TcpStream, mut client: TcpStream, harm: &Mutex<Harm>, ended: &AtomicBool) {
    let _ = server.set_read_timeout(Some(LOOK));
    let mut piece = vec![0; 1 << 16];
    let mut passed = 0;
    while !ended.load(Ordering::SeqCst) {
        let length = match server.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if is_wait(&error) => continue,
            Err(_) => break,
        };
        let mut keep = length;
        match *harm.lock().unwrap() {
            Harm::CutAfter(bytes) => keep = length.min(bytes.saturating_sub(passed)),
            Harm::Flip(at) if at >= passed && at < passed + length => piece[at - passed] ^= 1,
            _ => {}
        }
        passed += length;
        if client.write_all(&piece[..keep]).is_err() || keep < length {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}

fn is_wait(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
