//! LZO1X, the compression of distcc's protocol 2.
//!
//! ```text
//! stream  = [first] (match | run)* end
//! first   = 17 + count, count:1..=238 literals              in the place of a run
//! run     = count, 4 literals and more: 4..=18 as one byte count - 3, else 0 and count - 18 extended
//! match   = a copy of what is length octets long and distance octets back, then 0..=3 literals
//!   near  = LLL DDD SS, D                                   length 3..=8, distance up to 2048
//!   far   = 001 LLLLL, [extension], DDDDDD SS, D            distance up to 16384
//!   farther = 0001 H LLL, [extension], DDDDDD SS, D         distance up to 49151
//! end     = 11 00 00
//! ```
//!
//! SS counts the literals that follow a match; after none of them a run may come. An extension is
//! a zero octet for each 255 and the rest, 1..=255, for a length that its field cannot hold. There are
//! matches of two and three octets besides, which cost more to look for than they save.

/// Bytes that are no LZO1X stream, or one of more than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Ends every stream.
const END: [u8; 3] = [0x11, 0, 0];

/// The longest first run that one octet counts.
const FIRST_RUN_MAX: usize = 255 - 17;
/// The longest run that one octet counts.
const RUN_MAX: usize = 18;
/// Literals that the match before them counts.
const TRAILING_MAX: usize = 3;

/// The shortest match that is looked for.
const MATCH_MIN: usize = 4;
const NEAR_LENGTH_MAX: usize = 8;
const NEAR_DISTANCE_MAX: usize = 2048;
const FAR_LENGTH_MAX: usize = 33;
const FAR_DISTANCE_MAX: usize = 16384;
const FARTHER_LENGTH_MAX: usize = 9;
const FARTHER_DISTANCE_MAX: usize = 49151;

/// The table of places has two to the power of this many: 128 KiB, which caches hold.
const TABLE_BITS: u32 = 15;
/// After two to the power of this many octets without a match, every second place is looked at, then
/// every third, and so on.
const SKIP_BITS: usize = 5;
/// However long nothing was found, no more places than this are passed over.
const SKIP_MAX: usize = 15;

/// What a stream unpacks to is at most so much longer than itself, as one octet adds at most 255.
const EXPANSION_MAX: usize = 256;
/// The first guess at the same; text shrinks to a fourth.
const EXPANSION_LIKELY: usize = 8;

/// Packs `plain` into one stream.
pub fn compress(plain: &[u8]) -> Vec<u8> {
    let mut writer = Writer { packed: Vec::with_capacity(plain.len() / 3 + 16), begun: false };
    let mut places = vec![0u32; 1 << TABLE_BITS];
    let mut literals_from = 0;
    let mut at = 0;
    while let Some(here) = four(plain, at) {
        let place = &mut places[slot(here)];
        // Places wrap beyond 4 GiB: whatever they name is compared.
        let candidate = std::mem::replace(place, at as u32) as usize;
        let near = candidate < at && at - candidate <= FARTHER_DISTANCE_MAX;
        if !near || four(plain, candidate) != Some(here) {
            at += 1 + ((at - literals_from) >> SKIP_BITS).min(SKIP_MAX);
            continue;
        }
        let distance = at - candidate;
        let before = &plain[literals_from..at];
        let back = equal_backwards(before, &plain[..candidate]);
        let start = at - back;
        let end = at + MATCH_MIN + equal(&plain[at + MATCH_MIN..], &plain[candidate + MATCH_MIN..]);
        writer.literals(&plain[literals_from..start]);
        writer.repeat(distance, end - start);
        if let Some(last) = four(plain, end - 2) {
            places[slot(last)] = (end - 2) as u32;
        }
        literals_from = end;
        at = end;
    }
    writer.literals(&plain[literals_from..]);
    writer.packed.extend_from_slice(&END);
    writer.packed
}

/// Unpacks one stream of at most `length_max` bytes, after which nothing may follow.
pub fn decompress(packed: &[u8], length_max: usize) -> Result<Vec<u8>, Broken> {
    // The stream does not say how much it holds. Memory is taken for what it can hold, not for the
    // limit.
    let length_max = length_max.min(packed.len().saturating_mul(EXPANSION_MAX));
    let mut length = length_max.min(packed.len().saturating_mul(EXPANSION_LIKELY));
    loop {
        let mut plain = vec![0; length];
        match lzo::decompress_into(packed, &mut plain) {
            Ok(written) => {
                plain.truncate(written);
                plain.shrink_to_fit();
                return Ok(plain);
            }
            Err(lzo::Error::OutputOverrun) if length < length_max => {
                length = length_max.min(length.saturating_mul(EXPANSION_LIKELY));
            }
            Err(_) => return Err(Broken),
        }
    }
}

/// The four octets at a place.
fn four(plain: &[u8], at: usize) -> Option<u32> {
    plain.get(at..)?.first_chunk().map(|four| u32::from_le_bytes(*four))
}

/// The eight octets at a place.
fn eight(plain: &[u8], at: usize) -> Option<u64> {
    plain.get(at..)?.first_chunk().map(|eight| u64::from_le_bytes(*eight))
}

/// Where the table remembers places that start with these octets.
fn slot(four: u32) -> usize {
    // Knuth's multiplicative hash: the high bits of the product are well mixed.
    (four.wrapping_mul(0x9E37_79B1) >> (32 - TABLE_BITS)) as usize
}

/// How many octets at the start of both are the same.
fn equal(left: &[u8], right: &[u8]) -> usize {
    let mut count = 0;
    while let (Some(eight), Some(other)) = (eight(left, count), eight(right, count)) {
        if eight != other {
            return count + ((eight ^ other).trailing_zeros() / u8::BITS) as usize;
        }
        count += size_of::<u64>();
    }
    let rest = left[count..].iter().zip(&right[count..]);
    count + rest.take_while(|(left, right)| left == right).count()
}

/// How many octets at the end of both are the same.
fn equal_backwards(left: &[u8], right: &[u8]) -> usize {
    let pairs = left.iter().rev().zip(right.iter().rev());
    pairs.take_while(|(left, right)| left == right).count()
}

struct Writer {
    packed: Vec<u8>,
    /// Whether something was written.
    begun: bool,
}

impl Writer {
    fn literals(&mut self, literals: &[u8]) {
        match literals.len() {
            0 => return,
            count if !self.begun && count <= FIRST_RUN_MAX => self.packed.push(17 + count as u8),
            count if self.begun && count <= TRAILING_MAX => {
                // Every match ends in two octets of which the first holds SS.
                let at = self.packed.len() - 2;
                self.packed[at] |= count as u8;
            }
            count if count <= RUN_MAX => self.packed.push(count as u8 - 3),
            count => {
                self.packed.push(0);
                self.extension(count - RUN_MAX);
            }
        }
        self.begun = true;
        self.packed.extend_from_slice(literals);
    }

    fn repeat(&mut self, distance: usize, length: usize) {
        let back = distance - 1;
        if distance <= NEAR_DISTANCE_MAX && length <= NEAR_LENGTH_MAX {
            self.packed.push(((length - 1) << 5 | (back & 7) << 2) as u8);
            self.packed.push((back >> 3) as u8);
        } else if distance <= FAR_DISTANCE_MAX {
            self.length(0b0010_0000, length, FAR_LENGTH_MAX);
            self.packed.extend_from_slice(&((back << 2) as u16).to_le_bytes());
        } else {
            let back = distance - FAR_DISTANCE_MAX;
            let high = (back >> 14 << 3) as u8;
            self.length(0b0001_0000 | high, length, FARTHER_LENGTH_MAX);
            self.packed.extend_from_slice(&((back << 2) as u16).to_le_bytes());
        }
        self.begun = true;
    }

    fn length(&mut self, kind: u8, length: usize, field_max: usize) {
        if length <= field_max {
            self.packed.push(kind | (length - 2) as u8);
        } else {
            self.packed.push(kind);
            self.extension(length - field_max);
        }
    }

    /// A number from 1.
    fn extension(&mut self, number: usize) {
        let zeros = (number - 1) / 255;
        self.packed.resize(self.packed.len() + zeros, 0);
        self.packed.push((number - zeros * 255) as u8);
    }
}

#[cfg(test)]
mod tests;
