//! The header block of a request. What is equal in all requests goes into the peer's table with the first one, as it does
//! with every ordinary client, so that a block is a handful of bytes.

use super::hpack;

/// Index of the newest entry of the dynamic table.
const NEWEST: usize = 62;
/// Sets the table's size to 0.
const NO_TABLE: u8 = 0x20;
/// Size of the table that every connection begins with, in bytes.
const TABLE_BYTES: u32 = 4096;

/// Writes the header blocks of one connection.
#[derive(Debug)]
pub(super) struct RequestHeaders {
    /// Equal in all requests.
    common: [(&'static str, String); 5],
    /// The paths that have been asked for, and the block of each that needs nothing new.
    paths: Vec<(&'static str, Vec<u8>)>,
    /// What is in the peer's table, the oldest first.
    added: Vec<(&'static str, String)>,
    table: bool,
    /// Whether the peer has still to be told that the table is not used.
    tell: bool,
}

impl RequestHeaders {
    pub(super) fn new(authority: &str, timeout: &str) -> Self {
        Self {
            common: [
                (":authority", authority.to_owned()),
                ("te", "trailers".to_owned()),
                ("content-type", "application/grpc".to_owned()),
                ("grpc-timeout", timeout.to_owned()),
                ("user-agent", "shard-cache-bench".to_owned()),
            ],
            paths: Vec::new(),
            added: Vec::new(),
            table: true,
            tell: false,
        }
    }

    /// The peer allows a table of so many bytes. Less than usual is taken as none at all.
    pub(super) fn limit_table(&mut self, bytes: u32) {
        if bytes < TABLE_BYTES && self.table {
            self.table = false;
            self.tell = true;
            self.added.clear();
            self.paths.clear();
        }
    }

    /// Appends the block of a request to `path`.
    pub(super) fn write(&mut self, path: &'static str, out: &mut Vec<u8>) {
        if let Some((_, block)) = self.paths.iter().find(|(known, _)| *known == path) {
            out.extend_from_slice(block);
            return;
        }
        if std::mem::take(&mut self.tell) {
            out.push(NO_TABLE);
        }
        self.block(path, out);
        self.paths.push((path, Vec::new()));
        // What was added has moved everything that was there before.
        for number in 0..self.paths.len() {
            let mut block = Vec::new();
            self.block(self.paths[number].0, &mut block);
            self.paths[number].1 = block;
        }
    }

    fn block(&mut self, path: &str, out: &mut Vec<u8>) {
        hpack::encode_indexed(":method", "POST", out);
        hpack::encode_indexed(":scheme", "http", out);
        field(&mut self.added, self.table, (":path", path), out);
        for (name, value) in &self.common {
            field(&mut self.added, self.table, (name, value), out);
        }
    }
}

/// Appends a field: by its index if it is in the table, otherwise in full.
fn field(
    added: &mut Vec<(&'static str, String)>,
    table: bool,
    (name, value): (&'static str, &str),
    out: &mut Vec<u8>,
) {
    let place = added
        .iter()
        .position(|(known, text)| *known == name && text == value);
    match place {
        Some(place) => hpack::encode_index(NEWEST + added.len() - 1 - place, out),
        None if table => {
            hpack::encode_into_table(name, value, out);
            added.push((name, value.to_owned()));
        }
        None => hpack::encode(name, value, out),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::hpack::Decoder, *};

    fn values(decoder: &mut Decoder, block: &[u8]) -> (Vec<String>, bool) {
        let (headers, unchanged) = decoder.decode(block).unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let shown = headers
            .into_iter()
            .map(|(name, value)| text(name) + "=" + &text(value));
        (shown.collect(), unchanged)
    }

    #[test]
    fn later_blocks_are_short_and_mean_the_same() {
        let mut headers = RequestHeaders::new("node:8080", "500m");
        let mut decoder = Decoder::new();
        let mut lengths = Vec::new();
        let mut seen: Vec<Vec<String>> = Vec::new();
        for path in ["/a", "/a", "/b", "/a", "/b"] {
            let mut block = Vec::new();
            headers.write(path, &mut block);
            let (shown, _) = values(&mut decoder, &block);
            assert_eq!(
                shown[..3],
                [":method=POST", ":scheme=http", &format!(":path={path}")]
            );
            assert!(shown.contains(&"grpc-timeout=500m".to_owned()));
            lengths.push(block.len());
            seen.push(shown[3..].to_vec());
        }
        assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
        assert_eq!((lengths[1], lengths[3], lengths[4]), (8, 8, 8));
    }

    #[test]
    fn a_peer_without_a_table_gets_everything_in_full() {
        let mut headers = RequestHeaders::new("node:8080", "500m");
        let mut decoder = Decoder::new();
        let mut block = Vec::new();
        headers.write("/a", &mut block);
        values(&mut decoder, &block);
        headers.limit_table(0);
        for expected_unchanged in [false, true, true] {
            block.clear();
            headers.write("/a", &mut block);
            let (shown, unchanged) = values(&mut decoder, &block);
            assert_eq!((shown.len(), unchanged), (8, expected_unchanged));
        }
    }
}
