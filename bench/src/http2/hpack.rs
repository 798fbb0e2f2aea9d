//! Header blocks (HPACK, RFC 7541): a decoder with the whole of it, and what little of an encoder requests need.

use std::collections::VecDeque;

use thiserror::Error;

use super::huffman::Huffman;

/// Size of the dynamic table that a decoder starts with and allows, in bytes as the standard counts them.
const TABLE_BYTES_MAX: usize = 4096;
/// What the standard adds to each entry's size, in bytes.
const ENTRY_OVERHEAD_BYTES: usize = 32;
/// Largest header list that is taken, in bytes as the standard counts them.
const LIST_BYTES_MAX: usize = 64 * 1024;
/// Most octets of an integer; more would not fit 32 bits.
const INTEGER_OCTETS_MAX: u32 = 5;

/// Why a header block cannot be decoded. The connection's table is lost with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(crate) enum HpackError {
    /// It ends within a field.
    #[error("a header block ends within a field")]
    Truncated,
    /// A number is larger than any that makes sense.
    #[error("a number in a header block is too large")]
    Integer,
    /// Not Huffman coded as it says.
    #[error("a header block holds text that is not Huffman coded")]
    Huffman,
    /// Refers to an entry that is not there.
    #[error("a header block refers to entry {index}, which is not in the table")]
    Index {
        /// The index.
        index: usize,
    },
    /// Sets the table's size above what was allowed.
    #[error("a header block sets the table to {bytes} bytes, at most {TABLE_BYTES_MAX}")]
    TableSize {
        /// The size it sets.
        bytes: usize,
    },
    /// More headers than are taken.
    #[error("a header list is larger than {LIST_BYTES_MAX} bytes")]
    ListSize,
}

/// A header: name and value.
pub(super) type Header = (Vec<u8>, Vec<u8>);

/// Decodes the header blocks of one connection, in their order.
#[derive(Debug)]
pub(super) struct Decoder {
    huffman: Huffman,
    /// The newest entry first.
    entries: VecDeque<Header>,
    bytes: usize,
    bytes_max: usize,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            huffman: Huffman::new(),
            entries: VecDeque::new(),
            bytes: 0,
            bytes_max: TABLE_BYTES_MAX,
        }
    }

    /// Decodes a block, and says whether it left the table as it was: then the same block means the same again.
    pub(super) fn decode(&mut self, block: &[u8]) -> Result<(Vec<Header>, bool), HpackError> {
        let mut rest = Reader { bytes: block };
        let (mut headers, mut list_bytes, mut unchanged) = (Vec::new(), 0, true);
        while let Some(&first) = rest.bytes.first() {
            let header = if first & 0x80 != 0 {
                self.entry(rest.integer(7)?)?
            } else if first & 0xc0 == 0x40 {
                let header = self.literal(&mut rest, 6)?;
                self.insert(header.clone());
                unchanged = false;
                header
            } else if first & 0xe0 == 0x20 {
                let bytes = rest.integer(5)?;
                if bytes > TABLE_BYTES_MAX {
                    return Err(HpackError::TableSize { bytes });
                }
                self.bytes_max = bytes;
                self.evict();
                unchanged = false;
                continue;
            } else {
                self.literal(&mut rest, 4)?
            };
            list_bytes += size(&header);
            if list_bytes > LIST_BYTES_MAX {
                return Err(HpackError::ListSize);
            }
            headers.push(header);
        }
        Ok((headers, unchanged))
    }

    fn literal(&self, rest: &mut Reader<'_>, prefix: u32) -> Result<Header, HpackError> {
        let name = match rest.integer(prefix)? {
            0 => rest.text(&self.huffman)?,
            index => self.entry(index)?.0,
        };
        Ok((name, rest.text(&self.huffman)?))
    }

    fn entry(&self, index: usize) -> Result<Header, HpackError> {
        let missing = HpackError::Index { index };
        let place = index.checked_sub(1).ok_or(missing)?;
        if let Some((name, value)) = STATIC.get(place) {
            return Ok((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        }
        self.entries
            .get(place - STATIC.len())
            .cloned()
            .ok_or(missing)
    }

    fn insert(&mut self, header: Header) {
        self.bytes += size(&header);
        self.entries.push_front(header);
        self.evict();
    }

    fn evict(&mut self) {
        while self.bytes > self.bytes_max {
            match self.entries.pop_back() {
                Some(oldest) => self.bytes -= size(&oldest),
                None => break,
            }
        }
    }
}

fn size((name, value): &Header) -> usize {
    name.len() + value.len() + ENTRY_OVERHEAD_BYTES
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn octet(&mut self) -> Result<u8, HpackError> {
        let (&octet, rest) = self.bytes.split_first().ok_or(HpackError::Truncated)?;
        self.bytes = rest;
        Ok(octet)
    }

    fn integer(&mut self, prefix: u32) -> Result<usize, HpackError> {
        let mask = (1_u8 << prefix) - 1;
        let first = self.octet()? & mask;
        if first < mask {
            return Ok(usize::from(first));
        }
        let mut value = u64::from(mask);
        for octets in 0..INTEGER_OCTETS_MAX {
            let octet = self.octet()?;
            value += u64::from(octet & 0x7f) << (7 * octets);
            if octet & 0x80 == 0 {
                return u32::try_from(value)
                    .map(|value| value as usize)
                    .map_err(|_| HpackError::Integer);
            }
        }
        Err(HpackError::Integer)
    }

    fn text(&mut self, huffman: &Huffman) -> Result<Vec<u8>, HpackError> {
        let first = self.bytes.first().ok_or(HpackError::Truncated)?;
        let coded = first & 0x80 != 0;
        let length = self.integer(7)?;
        let (bytes, rest) = self
            .bytes
            .split_at_checked(length)
            .ok_or(HpackError::Truncated)?;
        self.bytes = rest;
        if !coded {
            return Ok(bytes.to_vec());
        }
        let mut text = Vec::with_capacity(length * 2);
        if huffman.decode(bytes, &mut text) {
            Ok(text)
        } else {
            Err(HpackError::Huffman)
        }
    }
}

/// Appends a header that is to stay out of the peer's table.
pub(super) fn encode(name: &str, value: &str, block: &mut Vec<u8>) {
    literal(0x10, name, value, block);
}

/// Appends a header that the peer is to remember.
pub(super) fn encode_into_table(name: &str, value: &str, block: &mut Vec<u8>) {
    literal(0x40, name, value, block);
}

/// Appends a header that the peer knows by this index.
pub(super) fn encode_index(index: usize, block: &mut Vec<u8>) {
    let at = block.len();
    integer(index, 7, block);
    block[at] |= 0x80;
}

/// Appends a header that the standard's table has.
pub(super) fn encode_indexed(name: &str, value: &str, block: &mut Vec<u8>) {
    match STATIC.iter().position(|entry| *entry == (name, value)) {
        Some(place) => encode_index(place + 1, block),
        None => encode(name, value, block),
    }
}

fn literal(form: u8, name: &str, value: &str, block: &mut Vec<u8>) {
    block.push(form);
    for text in [name, value] {
        integer(text.len(), 7, block);
        block.extend_from_slice(text.as_bytes());
    }
}

fn integer(value: usize, prefix: u32, block: &mut Vec<u8>) {
    let mask = (1_usize << prefix) - 1;
    if value < mask {
        block.push(value as u8);
        return;
    }
    block.push(mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        block.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}

/// The standard's table (appendix A).
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(headers: &[Header]) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        headers
            .iter()
            .map(|(name, value)| format!("{}: {}", text(name), text(value)))
            .collect()
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// RFC 7541, C.6: three responses on one connection, Huffman coded, with a table of 256 bytes.
    #[test]
    fn the_standards_responses_are_decoded_with_their_evictions() {
        let mut decoder = Decoder::new();
        assert_eq!(decoder.decode(&hex("3fe101")), Ok((Vec::new(), false)));
        let (first, unchanged) = decoder
            .decode(&hex(
                "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
            ))
            .unwrap();
        assert!(!unchanged);
        assert_eq!(
            shown(&first),
            [
                ":status: 302",
                "cache-control: private",
                "date: Mon, 21 Oct 2013 20:13:21 GMT",
                "location: https://www.example.com"
            ]
        );
        let (second, _) = decoder.decode(&hex("4883640effc1c0bf")).unwrap();
        assert_eq!(shown(&second)[0], ":status: 307");
        assert_eq!(shown(&second)[1..], shown(&first)[1..]);
        let (third, _) = decoder
            .decode(&hex(
                "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
            ))
            .unwrap();
        assert_eq!(
            shown(&third)[4..],
            [
                "content-encoding: gzip",
                "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
            ]
        );
        assert_eq!(decoder.entries.len(), 3);
        assert_eq!(decoder.bytes, 215);
    }

    #[test]
    fn what_is_encoded_is_decoded_and_stays_out_of_the_table() {
        let mut block = Vec::new();
        encode_indexed(":method", "POST", &mut block);
        encode("te", "trailers", &mut block);
        encode(&"n".repeat(200), &"v".repeat(20_000), &mut block);
        assert_eq!(block[0], 0x83);
        let (headers, unchanged) = Decoder::new().decode(&block).unwrap();
        assert!(unchanged);
        assert_eq!(shown(&headers)[..2], [":method: POST", "te: trailers"]);
        assert_eq!(headers[2].1.len(), 20_000);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |block: &[u8]| Decoder::new().decode(block).unwrap_err();
        assert_eq!(refused(&[0x80]), HpackError::Index { index: 0 });
        assert_eq!(refused(&[0xbe]), HpackError::Index { index: 62 });
        assert_eq!(
            refused(&[0x3f, 0xe2, 0x1f]),
            HpackError::TableSize { bytes: 4097 }
        );
        assert_eq!(
            refused(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            HpackError::Integer
        );
        assert_eq!(refused(&[0x00, 0x05, b'a']), HpackError::Truncated);
    }

    proptest::proptest! {
        #[test]
        fn no_block_makes_it_panic(block in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let mut decoder = Decoder::new();
            drop(decoder.decode(&block));
            proptest::prop_assert!(decoder.bytes <= TABLE_BYTES_MAX);
        }
    }
}
