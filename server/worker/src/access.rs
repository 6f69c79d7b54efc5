//! Who may connect: networks, as addresses with a prefix length.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

/// An address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

/// This machine.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// The private ranges: RFC 1918, RFC 4193, and link-local addresses of IPv6.
const PRIVATE: [&str; 5] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"];

/// Files that container engines put into what they start.
const CONTAINER_FILES: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];

/// A variable that Kubernetes sets in every container.
const KUBERNETES: &str = "KUBERNETES_SERVICE_HOST";

/// The control group of the first process; that of a container says so, with version 1.
const FIRST_CONTROL_GROUP: &str = "/proc/1/cgroup";
const CONTAINER_GROUPS: [&str; 4] = ["docker", "kubepods", "containerd", "libpod"];

/// Whether this process is in a container: then whoever published its port decided who is served.
pub fn is_container() -> bool {
    let groups = || std::fs::read_to_string(FIRST_CONTROL_GROUP).unwrap_or_default();
    CONTAINER_FILES.iter().any(|file| Path::new(file).exists())
        || std::env::var_os(KUBERNETES).is_some()
        || CONTAINER_GROUPS.iter().any(|name| groups().contains(name))
}

/// Who may connect where nobody said it: this machine alone. In a container that is nobody, so there
/// it is private networks as well.
pub fn default_networks(is_container: bool) -> Vec<Network> {
    let mut networks = Network::all(&LOOPBACK);
    if is_container {
        networks.extend(Network::all(&PRIVATE));
    }
    networks
}

/// The same for a person.
pub fn default_in_words(is_container: bool) -> &'static str {
    match is_container {
        true => "in this container, private networks",
        false => "only this machine",
    }
}

impl Network {
    /// Reads `ADDRESS` or `ADDRESS/BITS`; the error says what is wrong and what would be right.
    pub fn parse(text: &str) -> Result<Network, String> {
        let wrong = || {
            format!("\"{text}\" is not a network; write for example \"10.0.0.0/8\" or \"fd00::/8\"")
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            None => bits_max,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= bits_max).ok_or_else(wrong)?
            }
            Some(_) => return Err(wrong()),
        };
        Ok(Network { address, prefix_bits })
    }

    /// Reads networks with blanks or commas between them.
    pub fn parse_list(text: &str) -> Result<Vec<Network>, String> {
        let words = text.split(|c: char| c.is_whitespace() || c == ',');
        words.filter(|word| !word.is_empty()).map(Network::parse).collect()
    }

    fn all(texts: &[&str]) -> Vec<Network> {
        texts.iter().filter_map(|text| Network::parse(text).ok()).collect()
    }

    /// Whether `peer` is in it. An IPv4 address within an IPv6 one is an IPv4 address.
    pub fn contains(&self, peer: IpAddr) -> bool {
        match (self.address.to_canonical(), peer.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(peer)) => {
                let prefix_bits = match self.address {
                    IpAddr::V4(_) => self.prefix_bits,
                    IpAddr::V6(_) => self.prefix_bits.saturating_sub(MAPPED_PREFIX_BITS),
                };
                same_prefix(&own.octets(), &peer.octets(), prefix_bits)
            }
            (IpAddr::V6(own), IpAddr::V6(peer)) => {
                same_prefix(&own.octets(), &peer.octets(), self.prefix_bits)
            }
            // `::/0` means everybody.
            (IpAddr::V6(own), IpAddr::V4(_)) => {
                own == Ipv6Addr::UNSPECIFIED && self.prefix_bits == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        }
    }
}

/// Where the IPv4 address starts in `::ffff:a.b.c.d`.
const MAPPED_PREFIX_BITS: u8 = 96;

fn same_prefix(one: &[u8], other: &[u8], bits: u8) -> bool {
    let (whole, rest) = (usize::from(bits / 8), bits % 8);
    if one[..whole] != other[..whole] {
        return false;
    }
    rest == 0 || (one[whole] ^ other[whole]) >> (8 - rest) == 0
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(networks: &str, peer: &str) -> bool {
        let peer = peer.parse().unwrap();
        Network::parse_list(networks).unwrap().iter().any(|network| network.contains(peer))
    }

    #[test]
    fn prefixes_count() {
        assert!(allows("10.1.0.0/16", "10.1.255.3"));
        assert!(!allows("10.1.0.0/16", "10.2.0.1"));
        assert!(allows("10.1.2.3", "10.1.2.3"));
        assert!(!allows("10.1.2.3", "10.1.2.2"));
        assert!(allows("172.16.0.0/12", "172.31.9.9"));
        assert!(!allows("172.16.0.0/12", "172.32.0.0"));
        assert!(allows("0.0.0.0/0", "8.8.8.8"));
        assert!(allows("fd00::/8, 10.0.0.0/8", "fd12::3"));
        assert!(!allows("fd00::/8", "fe80::1"));
        assert!(!allows("0.0.0.0/0", "fd12::3"));
    }

    #[test]
    fn ipv4_within_ipv6_is_ipv4() {
        assert!(allows("127.0.0.0/8", "::ffff:127.0.0.1"));
        assert!(!allows("10.0.0.0/8", "::ffff:127.0.0.1"));
        assert!(allows("::ffff:10.0.0.0/104", "10.3.4.5"));
        assert!(!allows("::ffff:10.0.0.0/104", "11.3.4.5"));
        assert!(allows("::/0", "10.3.4.5"));
        assert!(!allows("::/1", "10.3.4.5"));
    }

    #[test]
    fn without_a_word_it_is_this_machine_and_in_a_container_private_networks() {
        let allows = |is_container, peer: &str| {
            let peer = peer.parse().unwrap();
            default_networks(is_container).iter().any(|network| network.contains(peer))
        };
        for peer in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(allows(false, peer) && allows(true, peer), "{peer}");
        }
        for peer in ["10.0.0.1", "192.168.1.1", "172.20.0.1", "fd00::1", "fe80::1", "8.8.8.8"] {
            assert!(!allows(false, peer), "{peer}");
        }
        let allowed = |peer: &str| allows(true, peer);
        for peer in ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "172.20.0.1", "fd00::1"] {
            assert!(allowed(peer), "{peer}");
        }
        for peer in ["8.8.8.8", "172.15.0.1", "2001:db8::1", "192.169.0.1", "::ffff:8.8.8.8"] {
            assert!(!allowed(peer), "{peer}");
        }
    }

    #[test]
    fn what_is_no_network() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "host", "10.0.0.0/", "10.0.0.0/+8"] {
            let error = Network::parse(text).unwrap_err();
            assert!(error.contains(&format!("\"{text}\"")), "{error}");
        }
        assert_eq!(Network::parse_list(" ,\n").unwrap(), []);
        assert_eq!(Network::parse("10.1.0.0/16").unwrap().to_string(), "10.1.0.0/16");
    }
}
