//! LZO1X, the compression of distcc's protocol 2.

/// Bytes that are no LZO1X stream, or one of more than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Packs `plain` into one stream.
pub fn compress(plain: &[u8]) -> Vec<u8> {
    store(plain)
}

/// One literal run and the end marker.
fn store(plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(plain.len() + plain.len() / 255 + 16);
    let length = plain.len();
    if length == 0 {
    } else if length <= 238 {
        packed.push(17 + length as u8);
    } else {
        packed.push(0);
        let mut rest = length - 18;
        while rest > 255 {
            packed.push(0);
            rest -= 255;
        }
        packed.push(rest as u8);
    }
    packed.extend_from_slice(plain);
    packed.extend_from_slice(&[0x11, 0, 0]);
    packed
}

/// Unpacks one stream of at most `length_max` bytes.
pub fn decompress(packed: &[u8], length_max: usize) -> Result<Vec<u8>, Broken> {
    lzo::decompress(packed, length_max).map_err(|_| Broken)
}
