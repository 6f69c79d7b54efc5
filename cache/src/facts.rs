//! What the daemon keeps with an entry besides files: a few numbers in a fixed layout.
//!
//! ```text
//! facts of a result   = compile_time_us:u64
//! facts of a manifest = needs_text:u8
//! ```

use std::time::Duration;

/// The facts of a result.
pub fn encode_compile_time(time: Duration) -> Vec<u8> {
    (time.as_micros() as u64).to_le_bytes().to_vec()
}

/// The time that the compile of a result took; zero where the bytes say nothing.
pub fn decode_compile_time(bytes: Option<&[u8]>) -> Duration {
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
    Duration::from_micros(u64::from_le_bytes(bytes))
}

/// The facts of a manifest: whether its units can only be told apart by their preprocessed text.
pub fn encode_needs_text(needs_text: bool) -> Vec<u8> {
    vec![u8::from(needs_text)]
}

/// See [`encode_needs_text`].
pub fn decode_needs_text(bytes: Option<&[u8]>) -> bool {
    bytes == Some(&[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_survive_their_bytes() {
        let time = Duration::from_micros(1_234_567);
        assert_eq!(decode_compile_time(Some(&encode_compile_time(time))), time);
        assert_eq!(decode_compile_time(Some(b"odd")), Duration::ZERO);
        assert!(decode_needs_text(Some(&encode_needs_text(true))));
        assert!(!decode_needs_text(Some(&encode_needs_text(false))));
        assert!(!decode_needs_text(None));
    }
}
