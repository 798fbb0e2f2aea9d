//! What is called over gRPC: messages written by hand, so that a request costs tens of nanoseconds, and answers read as
//! far as they are judged.

use shard_cache_client::{Consistency, Ttl};

use crate::{
    operation::{Answer, Kind, Operation},
    plan::Plan,
    value::{self, Keys},
};

/// A service with a method that reads and one that writes.
pub(crate) trait Service {
    /// Path of the method.
    fn path(&self, kind: Kind) -> &'static str;
    /// Appends the request's message.
    fn encode(&mut self, operation: &Operation, out: &mut Vec<u8>);
    /// What the answer's message says; `None` if it makes no sense.
    fn judge(&mut self, operation: &Operation, message: &[u8]) -> Option<Answer>;
}

/// `cache.CacheService`.
#[derive(Debug)]
pub(crate) struct Cache {
    keys: Keys,
    /// The fields of a read after the key.
    read_terms: Vec<u8>,
    /// The fields of a write after the value.
    write_terms: Vec<u8>,
    verify: bool,
    key: Vec<u8>,
}

impl Cache {
    pub(crate) fn new(plan: &Plan) -> Self {
        let level = match plan.consistency {
            Consistency::Default => 0,
            Consistency::One => 1,
            Consistency::Quorum => 2,
            Consistency::All => 3,
        };
        let (mut read_terms, mut write_terms) = (Vec::new(), Vec::new());
        if let Some(ttl) = ttl(plan.ttl) {
            put_bytes(3, &ttl, &mut write_terms);
        }
        if level != 0 {
            put_number(2, level, &mut read_terms);
            put_number(5, level, &mut write_terms);
        }
        Self {
            keys: plan.keys_format(),
            read_terms,
            write_terms,
            verify: plan.verify,
            key: Vec::with_capacity(plan.key_bytes),
        }
    }
}

/// A `cache.Ttl`, unless the node's default is to be taken.
fn ttl(ttl: Ttl) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    match ttl {
        Ttl::Default => return None,
        Ttl::Never => {}
        Ttl::After(time) => {
            put_number(1, time.as_secs(), &mut message);
            put_number(2, u64::from(time.subsec_nanos()), &mut message);
        }
    }
    Some(message)
}

impl Service for Cache {
    fn path(&self, kind: Kind) -> &'static str {
        match kind {
            Kind::Read => "/cache.CacheService/Get",
            Kind::Write => "/cache.CacheService/Set",
        }
    }

    fn encode(&mut self, operation: &Operation, out: &mut Vec<u8>) {
        self.key.clear();
        self.keys.write(operation.key, &mut self.key);
        put_bytes(1, &self.key, out);
        match operation.kind {
            Kind::Read => out.extend_from_slice(&self.read_terms),
            Kind::Write => {
                put_head(4, operation.value_bytes as usize, out);
                value::write(
                    &self.key,
                    operation.sequence,
                    operation.value_bytes as usize,
                    out,
                );
                out.extend_from_slice(&self.write_terms);
            }
        }
    }

    fn judge(&mut self, operation: &Operation, message: &[u8]) -> Option<Answer> {
        let mut fields = Fields { bytes: message };
        match operation.kind {
            Kind::Write => {
                let mut version = false;
                while !fields.bytes.is_empty() {
                    version |= matches!(fields.next()?, (1, Field::Bytes(_)));
                }
                version.then_some(Answer::Stored)
            }
            Kind::Read => {
                let (mut found, mut value) = (None, None);
                while !fields.bytes.is_empty() {
                    match fields.next()? {
                        (1, Field::Number(number)) => found = Some(number != 0),
                        (2 | 3, Field::Bytes(bytes)) => value = Some(bytes),
                        (_, Field::Number(_) | Field::Bytes(_) | Field::Fixed) => {}
                    }
                }
                if !found? {
                    return Some(Answer::Miss);
                }
                let value = value?;
                if !self.verify {
                    return Some(Answer::Hit);
                }
                self.key.clear();
                self.keys.write(operation.key, &mut self.key);
                if value::verify(&self.key, value) {
                    Some(Answer::Hit)
                } else {
                    Some(Answer::Corrupt)
                }
            }
        }
    }
}

/// Wire types of protobuf.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;
/// Longest number, in octets.
const VARINT_OCTETS_MAX: usize = 10;

/// Appends a field that is a number.
pub(crate) fn put_number(field: u8, number: u64, out: &mut Vec<u8>) {
    out.push(field << 3 | VARINT);
    varint(number, out);
}

/// Appends a field that is text, bytes or a message.
pub(crate) fn put_bytes(field: u8, bytes: &[u8], out: &mut Vec<u8>) {
    put_head(field, bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// Appends what stands before so many bytes.
pub(crate) fn put_head(field: u8, length: usize, out: &mut Vec<u8>) {
    out.push(field << 3 | BYTES);
    varint(length as u64, out);
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of fixed size; nobody here asks for its value.
    Fixed,
}

/// Reads a message field by field.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    pub(crate) bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The next field and its number; `None` if there is none that makes sense.
    pub(crate) fn next(&mut self) -> Option<(u64, Field<'a>)> {
        let tag = self.varint()?;
        let field = match (tag & 7) as u8 {
            VARINT => Field::Number(self.varint()?),
            FIXED64 => self.take(8).map(|_| Field::Fixed)?,
            FIXED32 => self.take(4).map(|_| Field::Fixed)?,
            BYTES => {
                let length = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(length)?)
            }
            _ => return None,
        };
        Some((tag >> 3, field))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for (place, octet) in self.bytes.iter().take(VARINT_OCTETS_MAX).enumerate() {
            number |= u64::from(octet & 0x7f) << (7 * place);
            if octet & 0x80 == 0 {
                self.bytes = &self.bytes[place + 1..];
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn operation(kind: Kind) -> Operation {
        Operation {
            kind,
            key: 7,
            sequence: 9,
            value_bytes: 300,
        }
    }

    fn plan() -> Plan {
        Plan {
            ttl: Ttl::After(Duration::from_millis(90_500)),
            consistency: Consistency::All,
            ..Plan::default()
        }
    }

    #[test]
    fn a_write_holds_the_key_the_value_and_the_terms() {
        let mut message = Vec::new();
        Cache::new(&plan()).encode(&operation(Kind::Write), &mut message);
        let mut fields = Fields { bytes: &message };
        let key = b"bench-00000000000000000000000007";
        assert_eq!(fields.next(), Some((1, Field::Bytes(key))));
        let Some((4, Field::Bytes(value))) = fields.next() else {
            panic!("no value")
        };
        assert!(value.len() == 300 && value::verify(key, value));
        let Some((3, Field::Bytes(ttl))) = fields.next() else {
            panic!("no ttl")
        };
        let mut ttl = Fields { bytes: ttl };
        assert_eq!(ttl.next(), Some((1, Field::Number(90))));
        assert_eq!(ttl.next(), Some((2, Field::Number(500_000_000))));
        assert_eq!(fields.next(), Some((5, Field::Number(3))));
        assert!(fields.bytes.is_empty());
    }

    #[test]
    fn an_answer_is_a_hit_a_miss_corrupt_or_none() {
        let mut cache = Cache::new(&plan());
        let read = operation(Kind::Read);
        let (mut key, mut value) = (Vec::new(), Vec::new());
        plan().keys_format().write(7, &mut key);
        value::write(&key, 1, 50, &mut value);
        let answer = |value: Option<&[u8]>| {
            let mut message = Vec::new();
            put_number(1, u64::from(value.is_some()), &mut message);
            if let Some(value) = value {
                put_bytes(3, value, &mut message);
            }
            message
        };
        assert_eq!(cache.judge(&read, &answer(Some(&value))), Some(Answer::Hit));
        assert_eq!(cache.judge(&read, &answer(None)), Some(Answer::Miss));
        value[20] ^= 1;
        assert_eq!(
            cache.judge(&read, &answer(Some(&value))),
            Some(Answer::Corrupt)
        );
        assert_eq!(cache.judge(&read, &[]), None);
        assert_eq!(cache.judge(&read, &[0x1a, 0x05, 0]), None);
        let write = operation(Kind::Write);
        assert_eq!(cache.judge(&write, &[0x0a, 0]), Some(Answer::Stored));
        assert_eq!(cache.judge(&write, &[]), None, "no version");
    }
}
