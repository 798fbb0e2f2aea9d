//! What is asked and what is answered, as Rust values.

use std::time::Duration;

use bytes::Bytes;
use shard_cache_proto::cache;

use crate::error::ClientError;

/// Longest key that nodes accept unless configured otherwise, in bytes.
pub const KEY_BYTES_MAX_DEFAULT: usize = 1024;
/// Largest value that nodes accept unless configured otherwise, in bytes.
pub const VALUE_BYTES_MAX_DEFAULT: usize = 1024 * 1024;

/// How many owners of a key must take part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Consistency {
    /// Whatever the node's configuration says; QUORUM unless changed.
    #[default]
    Default,
    /// One owner.
    One,
    /// A read or write quorum.
    Quorum,
    /// Every owner.
    All,
}

impl Consistency {
    pub(crate) fn to_wire(self) -> i32 {
        let wire = match self {
            Self::Default => cache::Consistency::Unspecified,
            Self::One => cache::Consistency::One,
            Self::Quorum => cache::Consistency::Quorum,
            Self::All => cache::Consistency::All,
        };
        i32::from(wire)
    }
}

/// The terms of one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CallOptions {
    /// Owners that must take part.
    pub consistency: Consistency,
    /// Whether fewer owners will do, at least one. The answer then says so.
    pub degrade: bool,
    /// Deadline of this call; `None` takes the client's.
    pub timeout: Option<Duration>,
}

impl CallOptions {
    pub(crate) fn get(&self, key: &str, explain: bool) -> cache::GetRequest {
        cache::GetRequest {
            key: key.to_owned(),
            consistency: self.consistency.to_wire(),
            degrade: self.degrade,
            explain,
        }
    }

    pub(crate) fn set(
        &self,
        key: &str,
        value: Value,
        ttl: Ttl,
        explain: bool,
    ) -> cache::SetRequest {
        cache::SetRequest {
            key: key.to_owned(),
            data: Some(value.into_wire()),
            ttl: ttl.to_wire(),
            consistency: self.consistency.to_wire(),
            degrade: self.degrade,
            explain,
        }
    }

    pub(crate) fn delete(&self, key: &str, explain: bool) -> cache::DeleteRequest {
        cache::DeleteRequest {
            key: key.to_owned(),
            consistency: self.consistency.to_wire(),
            degrade: self.degrade,
            explain,
        }
    }
}

/// How long a value lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ttl {
    /// As long as the node's `default_ttl` says.
    #[default]
    Default,
    /// Until it is deleted or evicted.
    Never,
    /// This long.
    After(Duration),
}

impl Ttl {
    pub(crate) fn to_wire(self) -> Option<cache::Ttl> {
        let of = |duration: Duration| cache::Ttl {
            // More than the node accepts either way; it refuses what is too long by name.
            seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
        };
        match self {
            Self::Default => None,
            Self::Never => Some(of(Duration::ZERO)),
            Self::After(duration) => Some(of(duration)),
        }
    }
}

/// A value: text reads as text from grpcurl, bytes as base64. Both come back in the form they were written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// UTF-8.
    Text(String),
    /// Anything.
    Bytes(Bytes),
}

impl Value {
    /// The bytes of either form.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    pub(crate) fn into_wire(self) -> cache::set_request::Data {
        match self {
            Self::Text(text) => cache::set_request::Data::Value(text),
            Self::Bytes(bytes) => cache::set_request::Data::ValueBytes(bytes),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// The version of a record, totally ordered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Version {
    /// Milliseconds since the Unix epoch, in hybrid time.
    pub millis: u64,
    /// Orders versions within one millisecond.
    pub counter: u32,
    /// Boot id of the node that stamped it.
    pub writer: u64,
}

impl From<cache::Version> for Version {
    fn from(wire: cache::Version) -> Self {
        Self {
            millis: wire.millis,
            counter: wire.counter,
            writer: wire.writer,
        }
    }
}

/// An acknowledged write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// The version it was stored under.
    pub version: Version,
    /// Owners known to have stored it when this was answered.
    pub stored: u32,
    /// Whether fewer owners than the level asks for had to do.
    pub degraded: bool,
}

impl TryFrom<cache::SetResponse> for Written {
    type Error = ClientError;

    fn try_from(wire: cache::SetResponse) -> Result<Self, ClientError> {
        let version = wire.version.ok_or(ClientError::BadAnswer {
            message: "no version",
        })?;
        Ok(Self {
            version: version.into(),
            stored: wire.stored,
            degraded: wire.degraded,
        })
    }
}

/// An acknowledged delete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deleted {
    /// Whether an owner that answered held a live value.
    pub found: bool,
    /// The version of the tombstone.
    pub version: Version,
    /// Owners known to have stored the tombstone when this was answered.
    pub stored: u32,
    /// Whether fewer owners than the level asks for had to do.
    pub degraded: bool,
}

impl TryFrom<cache::DeleteResponse> for Deleted {
    type Error = ClientError;

    fn try_from(wire: cache::DeleteResponse) -> Result<Self, ClientError> {
        let version = wire.version.ok_or(ClientError::BadAnswer {
            message: "no version",
        })?;
        let found = wire.found.ok_or(ClientError::BadAnswer {
            message: "no found",
        })?;
        Ok(Self {
            found,
            version: version.into(),
            stored: wire.stored,
            degraded: wire.degraded,
        })
    }
}

/// The answer to a read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Read {
    /// The value; `None` is a miss.
    pub hit: Option<Hit>,
    /// The newest version known, where there is one.
    pub version: Option<Version>,
    /// Whether fewer owners than the level asks for had to do.
    pub degraded: bool,
}

/// A value that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hit {
    /// The value, in the form it was written.
    pub value: Value,
    /// Time left; `None` when it never expires.
    pub expires_in: Option<Duration>,
}

impl TryFrom<cache::GetResponse> for Read {
    type Error = ClientError;

    fn try_from(wire: cache::GetResponse) -> Result<Self, ClientError> {
        let found = wire.found.ok_or(ClientError::BadAnswer {
            message: "no found",
        })?;
        let hit = if found {
            let value = match wire.data {
                Some(cache::get_response::Data::Value(text)) => Value::Text(text),
                Some(cache::get_response::Data::ValueBytes(bytes)) => Value::Bytes(bytes),
                None => {
                    return Err(ClientError::BadAnswer {
                        message: "found, but no value",
                    });
                }
            };
            Some(Hit {
                value,
                expires_in: wire.ttl.map(expires_in),
            })
        } else {
            None
        };
        Ok(Self {
            hit,
            version: wire.version.map(Into::into),
            degraded: wire.degraded,
        })
    }
}

fn expires_in(wire: cache::Ttl) -> Duration {
    // What is left cannot be negative; a node that says so means "now".
    Duration::from_secs(u64::try_from(wire.seconds).unwrap_or_default())
        + Duration::from_nanos(u64::try_from(wire.nanos).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_ttl_an_explicit_zero_and_a_life_are_three_different_things() {
        assert_eq!(Ttl::Default.to_wire(), None);
        assert_eq!(
            Ttl::Never.to_wire(),
            Some(cache::Ttl {
                seconds: 0,
                nanos: 0
            })
        );
        assert_eq!(
            Ttl::After(Duration::from_millis(1500)).to_wire(),
            Some(cache::Ttl {
                seconds: 1,
                nanos: 500_000_000
            })
        );
        assert_eq!(
            Ttl::After(Duration::MAX).to_wire().map(|ttl| ttl.seconds),
            Some(i64::MAX)
        );
    }

    #[test]
    fn a_hit_without_a_value_is_refused_and_a_miss_needs_none() {
        let miss = cache::GetResponse {
            found: Some(false),
            ..Default::default()
        };
        assert_eq!(Read::try_from(miss).unwrap().hit, None);
        let broken = cache::GetResponse {
            found: Some(true),
            ..Default::default()
        };
        assert!(matches!(
            Read::try_from(broken),
            Err(ClientError::BadAnswer { .. })
        ));
    }
}
