//! Finds the addresses of a host, in bounded time.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The longest that a look-up may take: resolv.conf(5) gives a name server 5 s and two attempts.
pub const LOOKUP_TIME_MAX: Duration = Duration::from_secs(10);
/// Look-ups under way at one time. A name server that is silent keeps each waiting for longer than
/// anybody waits for it.
pub const LOOKUPS_MAX: usize = 16;
/// The most addresses of one name: the first ones in order count.
pub const ADDRESSES_MAX: usize = 512;

/// Why there is no address.
#[derive(Debug)]
pub enum ResolveError {
    /// The system's resolver says so.
    Failed {
        /// The name that was looked up.
        name: String,
        /// What it says.
        error: io::Error,
    },
    /// It did not answer within [`LOOKUP_TIME_MAX`].
    TimedOut {
        /// The name that was looked up.
        name: String,
    },
    /// [`LOOKUPS_MAX`] others are waiting.
    TooMany {
        /// The name that was not looked up.
        name: String,
    },
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolveError::Failed { name, error } => write!(f, "{name} has no address: {error}"),
            ResolveError::TimedOut { name } => {
                write!(f, "{name}: no answer of the name server within {LOOKUP_TIME_MAX:?}")
            }
            ResolveError::TooMany { name } => {
                write!(f, "{name} is not looked up, as {LOOKUPS_MAX} other look-ups hang")
            }
        }
    }
}

impl std::error::Error for ResolveError {}

/// The addresses of a name, each once, in an order that does not change from one look-up to the
/// next, and at least one. A number needs no look-up. Of a name with addresses of both kinds those
/// of IPv4 count: with both, one machine would count as two hosts.
pub fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
    look_up(name, &UNDER_WAY, LOOKUP_TIME_MAX, move |name| {
        (name, port).to_socket_addrs().map(Iterator::collect)
    })
}

/// Asks on a thread of its own, which nobody can stop; it is left behind where it takes too long.
fn look_up(
    name: &str,
    under_way: &'static AtomicUsize,
    limit: Duration,
    ask: impl FnOnce(&str) -> io::Result<Vec<SocketAddr>> + Send + 'static,
) -> Result<Vec<SocketAddr>, ResolveError> {
    let name = name.to_owned();
    if under_way.fetch_add(1, Ordering::SeqCst) >= LOOKUPS_MAX {
        under_way.fetch_sub(1, Ordering::SeqCst);
        return Err(ResolveError::TooMany { name });
    }
    let (sender, receiver) = mpsc::channel();
    let asked = name.clone();
    let spawned = thread::Builder::new().name("resolve".to_owned()).spawn(move || {
        let answer = ask(&asked);
        under_way.fetch_sub(1, Ordering::SeqCst);
        // Nobody may be waiting any more.
        let _ = sender.send(answer);
    });
    if let Err(error) = spawned {
        under_way.fetch_sub(1, Ordering::SeqCst);
        return Err(ResolveError::Failed { name, error });
    }
    match receiver.recv_timeout(limit) {
        Ok(Ok(addresses)) => match in_order(addresses) {
            addresses if addresses.is_empty() => {
                let error = io::Error::new(io::ErrorKind::NotFound, "the answer is empty");
                Err(ResolveError::Failed { name, error })
            }
            addresses => Ok(addresses),
        },
        Ok(Err(error)) => Err(ResolveError::Failed { name, error }),
        Err(_) => Err(ResolveError::TimedOut { name }),
    }
}

fn in_order(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if addresses.iter().any(SocketAddr::is_ipv4) {
        addresses.retain(SocketAddr::is_ipv4);
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn numbers_need_no_look_up() {
        assert_eq!(resolve("192.0.2.7", 9).unwrap(), [address("192.0.2.7:9")]);
        assert_eq!(resolve("2001:db8::7", 9).unwrap(), [address("[2001:db8::7]:9")]);
    }

    /// The binary is static: this says that the system's resolver works in it.
    #[test]
    fn this_machine_has_an_address() {
        let addresses = resolve("localhost", 3632).unwrap();
        assert!(addresses.contains(&address("127.0.0.1:3632")), "{addresses:?}");
        let scoped = resolve("fe80::1%lo", 3632).unwrap();
        assert!(scoped.len() == 1 && scoped[0].ip() == address("[fe80::1]:1").ip(), "{scoped:?}");
    }

    /// No name server is asked: an empty label cannot be sent.
    #[test]
    fn a_name_that_is_not_there() {
        let error = resolve("no..such.host", 3632).unwrap_err();
        assert!(matches!(error, ResolveError::Failed { .. }), "{error:?}");
        assert!(error.to_string().starts_with("no..such.host has no address: "), "{error}");
    }

    #[test]
    fn a_silent_name_server() {
        static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
        let (release, released) = mpsc::channel::<()>();
        let silent = move |_: &str| {
            let _ = released.recv();
            Ok(Vec::new())
        };
        let error = look_up("silent", &UNDER_WAY, Duration::ZERO, silent).unwrap_err();
        assert!(matches!(error, ResolveError::TimedOut { .. }), "{error:?}");
        assert_eq!(UNDER_WAY.load(Ordering::SeqCst), 1);
        drop(release);
    }

    #[test]
    fn too_many_look_ups() {
        static UNDER_WAY: AtomicUsize = AtomicUsize::new(LOOKUPS_MAX);
        let never = |_: &str| unreachable!();
        let error = look_up("name", &UNDER_WAY, LOOKUP_TIME_MAX, never).unwrap_err();
        assert!(matches!(error, ResolveError::TooMany { .. }), "{error:?}");
        assert_eq!(UNDER_WAY.load(Ordering::SeqCst), LOOKUPS_MAX);
    }

    #[test]
    fn an_empty_answer_is_none() {
        static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
        let error = look_up("name", &UNDER_WAY, LOOKUP_TIME_MAX, |_| Ok(Vec::new())).unwrap_err();
        assert!(matches!(error, ResolveError::Failed { .. }), "{error:?}");
    }

    #[test]
    fn the_order_does_not_depend_on_the_answer() {
        let texts = ["[::1]:1", "10.0.0.2:1", "10.0.0.1:1", "10.0.0.2:1"];
        let four = in_order(texts.map(address).into());
        assert_eq!(four, ["10.0.0.1:1", "10.0.0.2:1"].map(address));
        assert_eq!(in_order(vec![address("[::2]:1"), address("[::1]:1")])[0], address("[::1]:1"));
        let many = (0..2_000_u32).map(|bits| SocketAddr::new(IpAddr::V4(bits.into()), 1)).collect();
        assert_eq!(in_order(many).len(), ADDRESSES_MAX);
    }
}
