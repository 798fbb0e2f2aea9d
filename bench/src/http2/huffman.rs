//! The Huffman code of HPACK (RFC 7541, appendix B), decoding only: what is sent is never compressed.
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, and the shorter ones come
//! first. So the lengths say everything.

/// Length of the code of each octet, in bits. The end of string, 30 ones, is no octet and may not appear.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
const LENGTH_MAX: usize = 30;
/// Longest padding, in bits: less than an octet.
const PADDING_BITS_MAX: u32 = 7;

/// The code, ordered for decoding.
#[derive(Debug)]
pub(super) struct Huffman {
    /// Octets by length of their codes, then by value.
    symbols: [u8; 256],
    /// For each length: the first code of it, and the place of its symbol.
    first: [(u32, u16); LENGTH_MAX + 1],
    /// For each length: how many codes it has.
    count: [u16; LENGTH_MAX + 1],
}

impl Huffman {
    pub(super) fn new() -> Self {
        let mut symbols = [0; 256];
        let mut first = [(0, 0); LENGTH_MAX + 1];
        let mut count = [0; LENGTH_MAX + 1];
        let (mut code, mut place) = (0_u32, 0_u16);
        for length in 1..=LENGTH_MAX {
            code <<= 1;
            first[length] = (code, place);
            for (symbol, _) in (0..=255_u8)
                .zip(LENGTHS)
                .filter(|(_, bits)| usize::from(*bits) == length)
            {
                symbols[usize::from(place)] = symbol;
                place += 1;
                code += 1;
                count[length] += 1;
            }
        }
        Self {
            symbols,
            first,
            count,
        }
    }

    /// Appends what `bytes` encode to `text`; `false` if they are no code.
    #[must_use]
    pub(super) fn decode(&self, bytes: &[u8], text: &mut Vec<u8>) -> bool {
        let (mut code, mut length, mut ones) = (0_u32, 0_usize, true);
        for byte in bytes {
            for shift in (0..8).rev() {
                let bit = u32::from(byte >> shift) & 1;
                code = (code << 1) | bit;
                ones &= bit == 1;
                length += 1;
                if length > LENGTH_MAX {
                    return false;
                }
                let (first, place) = self.first[length];
                let index = code.wrapping_sub(first);
                if index < u32::from(self.count[length]) {
                    let symbol = usize::from(place) + index as usize;
                    text.push(self.symbols[symbol]);
                    (code, length, ones) = (0, 0, true);
                }
            }
        }
        ones && length <= PADDING_BITS_MAX as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Option<String> {
        let mut text = Vec::new();
        let known = Huffman::new().decode(bytes, &mut text);
        known.then(|| String::from_utf8(text).unwrap())
    }

    #[test]
    fn the_examples_of_the_standard_are_decoded() {
        for (bytes, text) in [
            (
                &[
                    0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
                ][..],
                "www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x64, 0x02], "302"),
            (&[0x64, 0x0e, 0xff], "307"),
            (
                &[
                    0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04,
                    0x0b, 0x81, 0x66, 0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff,
                ],
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            (&[], ""),
        ] {
            assert_eq!(decode(bytes).as_deref(), Some(text));
        }
    }

    #[test]
    fn padding_that_is_none_and_the_end_of_string_are_refused() {
        // "0" is 00000; three more bits must be ones, and no more than seven may follow.
        assert_eq!(decode(&[0b0000_0111]).as_deref(), Some("0"));
        assert_eq!(decode(&[0b0000_0110]), None);
        assert_eq!(decode(&[0b0000_0111, 0xff]), None);
        assert_eq!(decode(&[0xff; 4]), None);
    }
}
