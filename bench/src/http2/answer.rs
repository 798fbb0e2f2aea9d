//! What a header block of an answer means. Most blocks of a connection are equal, byte by byte, and as long as the table
//! stays as it is they mean the same: those are decoded once.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use shard_cache_client::ClientError;
use tonic::Status;

use super::hpack::{Decoder, Header, HpackError};
use crate::operation::Ended;

/// Most blocks that are remembered.
const KNOWN_MAX: usize = 16;

/// What a header block says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    /// An answer begins.
    Begins,
    /// `grpc-status: 0`: what the message says holds.
    Done,
    /// It failed.
    Failed(Ended),
}

/// Reads the header blocks of one connection, in their order.
#[derive(Debug)]
pub(super) struct Answers {
    decoder: Decoder,
    known: Vec<(Vec<u8>, Meaning)>,
    /// Of the last block that had to be decoded.
    last: Meaning,
    timeout: Duration,
}

impl Answers {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            decoder: Decoder::new(),
            known: Vec::new(),
            last: Meaning::Begins,
            timeout,
        }
    }

    pub(super) fn read(&mut self, block: &[u8]) -> Result<&Meaning, HpackError> {
        if let Some(place) = self.known.iter().position(|(known, _)| known == block) {
            return Ok(&self.known[place].1);
        }
        let (headers, unchanged) = self.decoder.decode(block)?;
        if !unchanged || self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.last = self.meaning(headers);
        if unchanged {
            self.known.push((block.to_vec(), self.last.clone()));
        }
        Ok(&self.last)
    }

    fn meaning(&self, headers: Vec<Header>) -> Meaning {
        let value = |name: &str| {
            let mut all = headers.iter();
            all.find(|(known, _)| known == name.as_bytes())
                .map(|(_, value)| value.as_slice())
        };
        match (value("grpc-status"), value(":status")) {
            (Some(b"0"), _) => Meaning::Done,
            (Some(_), _) => Meaning::Failed(self.failure(headers)),
            (None, Some(b"200")) => Meaning::Begins,
            // Something that does not speak gRPC; whatever it did, it did not say.
            (None, _) => Meaning::Failed(Ended::interrupted("no_grpc_status")),
        }
    }

    /// Told as the client would tell it.
    fn failure(&self, headers: Vec<Header>) -> Ended {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(&name);
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&value)) {
                map.append(name, value);
            }
        }
        match Status::from_header_map(&map) {
            Some(status) => Ended::of_error(&ClientError::from_status(status, self.timeout)),
            None => Ended::interrupted("no_grpc_status"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::hpack, *};
    use crate::operation::Cause;

    fn read(blocks: &[Vec<u8>]) -> Vec<Meaning> {
        let mut answers = Answers::new(Duration::from_secs(1));
        blocks
            .iter()
            .map(|block| answers.read(block).unwrap().clone())
            .collect()
    }

    fn block(headers: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in headers {
            hpack::encode(name, value, &mut block);
        }
        block
    }

    #[test]
    fn an_answer_begins_is_done_or_has_failed() {
        let shed = [
            (":status", "200"),
            ("grpc-status", "8"),
            ("grpc-message", "busy"),
        ];
        let no_quorum = [("grpc-status", "14"), ("grpc-message", "no_quorum: 1 of 3")];
        let uncertain = [("grpc-status", "2"), ("grpc-message", "1 of 2 stored it")];
        let failed = |code, reason| Ended::Failed(Cause::new(code, reason));
        let meanings = read(&[
            block(&[(":status", "200")]),
            block(&[("grpc-status", "0")]),
            block(&shed),
            block(&no_quorum),
            block(&uncertain),
            block(&[(":status", "404")]),
        ]);
        assert_eq!(
            meanings,
            [
                Meaning::Begins,
                Meaning::Done,
                Meaning::Failed(failed("RESOURCE_EXHAUSTED", "shed")),
                Meaning::Failed(failed("UNAVAILABLE", "no_quorum")),
                Meaning::Failed(Ended::Unknown(Cause::new("UNKNOWN", "unknown"))),
                Meaning::Failed(Ended::interrupted("no_grpc_status")),
            ]
        );
    }

    #[test]
    fn equal_blocks_mean_what_the_table_says_now() {
        let mut adds_ok = Vec::new();
        hpack::encode_into_table("grpc-status", "0", &mut adds_ok);
        let mut adds_shed = Vec::new();
        hpack::encode_into_table("grpc-status", "8", &mut adds_shed);
        let mut newest = Vec::new();
        hpack::encode_index(62, &mut newest);
        let again = newest.clone();
        let meanings = read(&[adds_ok, newest.clone(), again.clone(), adds_shed, newest]);
        assert_eq!(meanings[..3], [Meaning::Done, Meaning::Done, Meaning::Done]);
        assert_eq!(meanings[3], meanings[4]);
        assert_ne!(meanings[4], Meaning::Done);
    }
}
