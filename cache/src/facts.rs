//! What the daemon keeps with an entry besides files: a few numbers in a fixed layout.
//!
//! ```text
//! facts of a result   = compile_time_us:u64 maker:u8
//! facts of a manifest = needs_text:u8 octet*         why, in words
//! ```

use std::time::Duration;

/// Who made a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Maker {
    /// Nobody knows: a command that was put before the compiler may have done anything.
    Unknown = 0,
    /// The compiler of the call, on this machine.
    Here = 1,
    /// A host of the cluster.
    Elsewhere = 2,
}

/// The facts of a result.
pub fn encode_result(time: Duration, maker: Maker) -> Vec<u8> {
    let mut bytes = (time.as_micros() as u64).to_le_bytes().to_vec();
    bytes.push(maker as u8);
    bytes
}

/// The time that the compile of a result took; zero where the bytes say nothing.
pub fn decode_compile_time(bytes: Option<&[u8]>) -> Duration {
    let bytes = bytes.and_then(|bytes| bytes.first_chunk().copied()).unwrap_or_default();
    Duration::from_micros(u64::from_le_bytes(bytes))
}

/// Who made a result.
pub fn decode_maker(bytes: Option<&[u8]>) -> Maker {
    match bytes.and_then(|bytes| bytes.get(size_of::<u64>())) {
        Some(1) => Maker::Here,
        Some(2) => Maker::Elsewhere,
        _ => Maker::Unknown,
    }
}

/// Longer reasons are cut: paths may be long.
const WHY_BYTES_MAX: usize = 1_000;

/// The facts of a manifest: why its units can only be told apart by their preprocessed text; `None`
/// where they can without.
pub fn encode_needs_text(why: Option<&str>) -> Vec<u8> {
    match why {
        Some(why) => [&[1], &why.as_bytes()[..why.len().min(WHY_BYTES_MAX)]].concat(),
        None => vec![0],
    }
}

/// See [`encode_needs_text`].
pub fn decode_needs_text(bytes: Option<&[u8]>) -> Option<String> {
    let why = bytes?.strip_prefix(&[1])?;
    Some(String::from_utf8_lossy(why).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_survive_their_bytes() {
        let time = Duration::from_micros(1_234_567);
        for maker in [Maker::Unknown, Maker::Here, Maker::Elsewhere] {
            let bytes = encode_result(time, maker);
            assert_eq!(decode_compile_time(Some(&bytes)), time);
            assert_eq!(decode_maker(Some(&bytes)), maker);
            assert_eq!(decode_maker(Some(&bytes[..8])), Maker::Unknown);
        }
        assert_eq!(decode_compile_time(Some(b"odd")), Duration::ZERO);
        let long = "ä".repeat(WHY_BYTES_MAX);
        for why in ["", "because", &long] {
            let decoded = decode_needs_text(Some(&encode_needs_text(Some(why)))).unwrap();
            assert!(decoded.len() <= WHY_BYTES_MAX && why.starts_with(&decoded), "{decoded}");
        }
        assert_eq!(decode_needs_text(Some(&encode_needs_text(None))), None);
        assert_eq!(decode_needs_text(None), None);
    }
}
