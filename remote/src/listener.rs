//! Who listens on this machine: on loopback any user may, and would get the sources and make the objects.
//!
//! A connection that ends on this machine is used only where the kernel's tables (proc(5), `net/tcp`)
//! name no user behind it but root, distccd's and this one. Where they name nobody, as where root sends
//! the packets on to a container, nobody without root's rights can have done that. The lines of listening
//! sockets come before those of connections: somebody who takes a connection and stops to listen is
//! found by the one or by the other.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The tables of both families: a socket of IPv6 may serve IPv4 as well.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// A table has some 150 bytes for each socket.
const TABLE_BYTES_MAX: u64 = 64 << 20;

/// The user that packages of distcc make for its daemon; only root makes users.
const DISTCCD: &str = "distccd";

/// Who everybody is.
const USERS: &str = "/etc/passwd";
const USERS_BYTES_MAX: u64 = 4 << 20;

/// The state of a socket that listens (`include/net/tcp_states.h`).
const LISTENS: &str = "0A";

/// Why a connection to this machine is not used.
#[derive(Debug, PartialEq, Eq)]
pub enum Untrusted {
    /// Another user listens there.
    User(u32),
    /// It cannot be found out who does.
    Unknown(String),
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Untrusted::User(user) => write!(f, "user {user} listens there")?,
            Untrusted::Unknown(why) => write!(f, "nobody knows who listens there ({why})")?,
        }
        write!(f, ": on this machine only a server of root, {DISTCCD} or this user is used")
    }
}

/// Judges a connection from `client` to `server` that stands.
///
/// # Errors
/// It ends on this machine, at somebody else.
pub fn check(server: SocketAddr, client: SocketAddr) -> Result<(), Untrusted> {
    let (there, here) = (server.ip().to_canonical(), client.ip().to_canonical());
    if !there.is_loopback() && there != here {
        return Ok(());
    }
    let mut trusted = vec![0, rustix::process::geteuid().as_raw()];
    trusted.extend(user_of(DISTCCD, &read(USERS, USERS_BYTES_MAX).unwrap_or_default()));
    for table in TABLES {
        let text = match read(table, TABLE_BYTES_MAX) {
            Ok(text) => text,
            // A machine without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound && table != TABLES[0] => continue,
            Err(error) => return Err(Untrusted::Unknown(format!("{table}: {error}"))),
        };
        let mut users = users_behind(&text, server, client);
        if let Some(user) = users.find(|user| !trusted.contains(user)) {
            return Err(Untrusted::User(user));
        }
    }
    Ok(())
}

fn read(path: &str, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(path)?.take(bytes_max + 1).read_to_string(&mut text)?;
    match length as u64 > bytes_max {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(text),
    }
}

/// The number of a user, from the text of passwd(5).
fn user_of(name: &str, users: &str) -> Option<u32> {
    let mut lines = users.lines().map(|line| line.split(':'));
    let mut fields =
        lines.find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    fields.nth(1)?.parse().ok()
}

/// The users of the sockets of a table that serve `server`, or have this connection.
fn users_behind(table: &str, server: SocketAddr, client: SocketAddr) -> impl Iterator<Item = u32> {
    table.lines().skip(1).filter_map(move |line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (local, remote) = (words.next()?, words.next()?);
        let listens = words.next()? == LISTENS;
        let user = words.nth(3)?.parse().ok()?;
        let (local, remote) = (address(local)?, address(remote)?);
        let is_same = |one: SocketAddr, other: SocketAddr| {
            one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
        };
        let serves = listens && local.ip().to_canonical().is_unspecified();
        let serves = serves && local.port() == server.port() || listens && is_same(local, server);
        (serves || is_same(local, server) && is_same(remote, client)).then_some(user)
    })
}

/// Words of 32 bits as this machine has them in memory, in hex, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (digits, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = digits.get(8 * at..8 * at + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip: IpAddr = match digits.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut octets = [0; 16];
            for (at, four) in octets.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(at)?);
            }
            Ipv6Addr::from(octets).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid";

    fn number(ip: &str) -> String {
        let words = |octets: &[u8]| -> String {
            let words = octets.chunks(4).map(|four| u32::from_ne_bytes(four.try_into().unwrap()));
            words.map(|word| format!("{word:08X}")).collect()
        };
        match ip.parse().unwrap() {
            IpAddr::V4(ip) => words(&ip.octets()),
            IpAddr::V6(ip) => words(&ip.octets()),
        }
    }

    /// Users behind a connection from 127.0.0.1:5 to 127.0.0.1:3632, with these sockets: local, remote,
    /// state, user.
    fn behind(sockets: &[(&str, u16, &str, u16, &str, u32)]) -> Vec<u32> {
        let mut table = HEAD.to_owned();
        for (ip, port, remote, remote_port, state, user) in sockets {
            table += &format!(
                "\n   0: {}:{port:04X} {}:{remote_port:04X} {state} 00000000:00000000 00:00000000 \
                 00000000 {user:5}        0 1 1 0000000000000000 100 0 0 10 0",
                number(ip),
                number(remote)
            );
        }
        let at = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        users_behind(&table, at(3632), at(5)).collect()
    }

    #[test]
    fn every_socket_that_could_be_the_server_counts() {
        let any = "0.0.0.0";
        assert_eq!(behind(&[("127.0.0.1", 3632, any, 0, "0A", 7)]), [7]);
        assert_eq!(behind(&[(any, 3632, any, 0, "0A", 7)]), [7]);
        assert_eq!(behind(&[("::", 3632, "::", 0, "0A", 7)]), [7]);
        assert_eq!(behind(&[("::ffff:127.0.0.1", 3632, "::", 0, "0A", 7)]), [7]);
        // Who took the connection, and listens no more.
        assert_eq!(behind(&[("127.0.0.1", 3632, "127.0.0.1", 5, "01", 7)]), [7]);
        assert_eq!(behind(&[("::ffff:127.0.0.1", 3632, "::ffff:127.0.0.1", 5, "08", 7)]), [7]);
        let both = [("127.0.0.1", 3632, any, 0, "0A", 0), (any, 3632, any, 0, "0A", 9)];
        assert_eq!(behind(&both), [0, 9]);
    }

    #[test]
    fn other_sockets_do_not() {
        let any = "0.0.0.0";
        assert_eq!(behind(&[("127.0.0.1", 3633, any, 0, "0A", 7)]), []);
        assert_eq!(behind(&[("127.0.0.2", 3632, any, 0, "0A", 7)]), []);
        assert_eq!(behind(&[("::1", 3632, "::", 0, "0A", 7)]), []);
        // Our own end, and another's connection.
        assert_eq!(behind(&[("127.0.0.1", 5, "127.0.0.1", 3632, "01", 7)]), []);
        assert_eq!(behind(&[("127.0.0.1", 3632, "127.0.0.1", 6, "01", 7)]), []);
        assert_eq!(behind(&[]), []);
    }

    #[test]
    fn a_server_of_ones_own_is_found_and_used() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, client) = (stream.peer_addr().unwrap(), stream.local_addr().unwrap());
        assert_eq!(check(server, client), Ok(()));
        let table = read(TABLES[0], TABLE_BYTES_MAX).unwrap();
        let us = rustix::process::geteuid().as_raw();
        assert!(users_behind(&table, server, client).any(|user| user == us), "{table}");
    }

    #[test]
    fn users_have_numbers() {
        let users = "root:x:0:0:root:/root:/bin/sh\ndistccd:x:102:65534::/none:/none\nx:y\n";
        assert_eq!(user_of("distccd", users), Some(102));
        assert_eq!((user_of("distcc", users), user_of("x", users)), (None, None));
    }
}
