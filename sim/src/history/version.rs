//! Versions and values, in the form in which a history names them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

/// The version of a record, totally ordered. Written as `millis.counter.writer`, because many JSON readers cannot hold
/// a 64-bit number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Version {
    /// Milliseconds since the Unix epoch, in hybrid time.
    pub millis: u64,
    /// Orders versions within one millisecond.
    pub counter: u32,
    /// Boot id of the node that stamped it.
    pub writer: u64,
}

/// Not of the form `millis.counter.writer`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("not a version (`millis.counter.writer`)")]
pub struct NoVersion;

impl Version {
    /// The highest version.
    pub const MAX: Self = Self {
        millis: u64::MAX,
        counter: u32::MAX,
        writer: u64::MAX,
    };

    /// A version from its parts.
    #[must_use]
    pub const fn new(millis: u64, counter: u32, writer: u64) -> Self {
        Self {
            millis,
            counter,
            writer,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.millis, self.counter, self.writer)
    }
}

impl FromStr for Version {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(NoVersion);
        let (millis, counter, writer) = (next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(NoVersion);
        }
        Ok(Self {
            millis: millis.parse().map_err(|_| NoVersion)?,
            counter: counter.parse().map_err(|_| NoVersion)?,
            writer: writer.parse().map_err(|_| NoVersion)?,
        })
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parsed(std::marker::PhantomData))
    }
}

/// Which value: a number that the recorder gave it, or the hash of its bytes. Written as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ValueId(pub u64);

/// Not a value id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("not a value id (hexadecimal digits, 16 at most)")]
pub struct NoValueId;

impl ValueId {
    /// The id of a value's bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxh3_64(bytes))
    }
}

impl fmt::Display for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for ValueId {
    type Err = NoValueId;

    fn from_str(text: &str) -> Result<Self, NoValueId> {
        let is_hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let parsed = u64::from_str_radix(text, 16).ok();
        parsed.filter(|_| is_hexadecimal).map(Self).ok_or(NoValueId)
    }
}

impl Serialize for ValueId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ValueId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parsed(std::marker::PhantomData))
    }
}

/// Parses borrowed text, so that a long history costs no allocation per version.
struct Parsed<T>(std::marker::PhantomData<T>);

impl<T> de::Visitor<'_> for Parsed<T>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_values_are_read_as_they_are_written() {
        let version = Version::new(1_795_368_091_097, 3, u64::MAX);
        assert_eq!(version.to_string().parse(), Ok(version));
        let value = ValueId(0x1f);
        assert_eq!(value.to_string(), "000000000000001f");
        assert_eq!(value.to_string().parse(), Ok(value));
        for wrong in ["", "1.2", "1.2.3.4", "a.b.c", "1.2.-3"] {
            assert_eq!(wrong.parse::<Version>(), Err(NoVersion), "{wrong}");
        }
        for wrong in ["", "+1", "x", "11112222333344445"] {
            assert_eq!(wrong.parse::<ValueId>(), Err(NoValueId), "{wrong}");
        }
    }

    #[test]
    fn a_version_is_ordered_by_time_then_counter_then_writer() {
        let ordered = [
            Version::new(1, 9, 9),
            Version::new(2, 1, 9),
            Version::new(2, 2, 1),
            Version::new(2, 2, 2),
            Version::MAX,
        ];
        assert!(ordered.is_sorted_by(|a, b| a < b));
    }
}
