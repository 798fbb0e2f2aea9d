//! Keys, and values that say what they are: a value read back is one that was written under its key, or it is corrupt.
//!
//! A value is the writer's sequence number, a seal over that, the key and the length, and filler derived from all of
//! these. A value too small for that is filler derived from the key and the length. Nothing has to be remembered: a run
//! can verify what another one wrote.

use xxhash_rust::xxh3::xxh3_64;

/// Size of what stands before the filler.
const HEAD_BYTES: usize = 16;
/// Odd constant of the SplitMix64 generator.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A generator of pseudo-random numbers, SplitMix64: cheap, and the same everywhere for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mix(self.state)
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        (wide >> 64) as u64
    }

    /// A number from 0 up to but not including 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The keys of a run: a prefix and the number, padded to one size.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    template: Vec<u8>,
}

impl Keys {
    /// What every key begins with.
    pub(crate) const PREFIX: &'static str = "bench-";
    /// Room that a number needs, in digits.
    pub(crate) const fn digits(count: u64) -> usize {
        let (mut rest, mut digits) = (count, 1);
        while rest >= 10 {
            rest /= 10;
            digits += 1;
        }
        digits
    }

    /// Keys of `bytes` bytes each; at least those of the prefix and the digits.
    pub(crate) fn new(bytes: usize) -> Self {
        let mut template = vec![b'0'; bytes];
        let prefix = Self::PREFIX.as_bytes();
        template[..prefix.len()].copy_from_slice(prefix);
        Self { template }
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.template.len()
    }

    /// Appends the key of this number.
    pub(crate) fn write(&self, number: u64, out: &mut Vec<u8>) {
        let from = out.len();
        out.extend_from_slice(&self.template);
        let mut rest = number;
        for digit in out[from..].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
    }
}

/// Appends the value of `bytes` bytes that the writer of this sequence number stores under this key.
pub(crate) fn write(key: &[u8], sequence: u64, bytes: usize, out: &mut Vec<u8>) {
    let hash = xxh3_64(key);
    if bytes < HEAD_BYTES {
        fill(seal(hash, 0, bytes), bytes, out);
        return;
    }
    let seal = seal(hash, sequence, bytes);
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&seal.to_le_bytes());
    fill(seal, bytes - HEAD_BYTES, out);
}

/// Whether somebody wrote this value under this key.
pub(crate) fn verify(key: &[u8], value: &[u8]) -> bool {
    let hash = xxh3_64(key);
    let bytes = value.len();
    let Some((head, filler)) = value.split_first_chunk::<HEAD_BYTES>() else {
        return is_filler(seal(hash, 0, bytes), value);
    };
    let [sequence @ .., _, _, _, _, _, _, _, _] = *head;
    let [_, _, _, _, _, _, _, _, told @ ..] = *head;
    let seal = seal(hash, u64::from_le_bytes(sequence), bytes);
    u64::from_le_bytes(told) == seal && is_filler(seal, filler)
}

const fn seal(hash: u64, sequence: u64, bytes: usize) -> u64 {
    mix(hash ^ mix(sequence.wrapping_add(STEP)) ^ (bytes as u64).wrapping_mul(STEP))
}

fn fill(seed: u64, bytes: usize, out: &mut Vec<u8>) {
    let mut random = Random::new(seed);
    let to = out.len() + bytes;
    out.reserve(bytes + 8);
    while out.len() < to {
        out.extend_from_slice(&random.next().to_le_bytes());
    }
    out.truncate(to);
}

fn is_filler(seed: u64, bytes: &[u8]) -> bool {
    let mut random = Random::new(seed);
    let words = bytes.chunks_exact(8);
    let rest = words.remainder();
    for word in words {
        if *word != random.next().to_le_bytes() {
            return false;
        }
    }
    random.next().to_le_bytes().starts_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(key: &[u8], sequence: u64, bytes: usize) -> Vec<u8> {
        let mut value = Vec::new();
        write(key, sequence, bytes, &mut value);
        value
    }

    #[test]
    fn a_value_of_any_size_is_known_under_its_own_key_only() {
        for bytes in [0, 1, 7, 8, 15, 16, 17, 23, 24, 100, 4096] {
            let value = value(b"a", 7, bytes);
            assert_eq!(value.len(), bytes);
            assert!(verify(b"a", &value), "{bytes} bytes");
            assert!(bytes == 0 || !verify(b"b", &value), "{bytes} bytes");
        }
        assert_ne!(value(b"a", 7, 100), value(b"a", 8, 100));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let whole = value(b"a", 7, 45);
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(b"a", &flipped), "bit {bit}");
        }
        for cut in 1..whole.len() {
            assert!(!verify(b"a", &whole[..cut]), "cut to {cut}");
        }
    }

    #[test]
    fn keys_have_one_size_and_end_in_their_number() {
        let keys = Keys::new(16);
        let key = |number| {
            let mut key = Vec::new();
            keys.write(number, &mut key);
            String::from_utf8(key).unwrap()
        };
        assert_eq!(key(0), "bench-0000000000");
        assert_eq!(key(1234), "bench-0000001234");
        assert_eq!(Keys::digits(9), 1);
        assert_eq!(Keys::digits(10), 2);
    }

    #[test]
    fn numbers_below_a_bound_reach_all_of_them() {
        let mut random = Random::new(1);
        let mut seen = [0_u32; 10];
        for _ in 0..10_000 {
            seen[random.below(10) as usize] += 1;
            assert!((0.0..1.0).contains(&random.fraction()));
        }
        assert!(
            seen.iter().all(|count| (800..1200).contains(count)),
            "{seen:?}"
        );
    }
}
