//! Records: what a key maps to, as it is stored and as it travels.

use bytes::Bytes;

use crate::version::Version;

/// A versioned value or tombstone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Decides between two records of one key.
    pub version: Version,
    /// When the value stops being served, in hybrid milliseconds; `None` for never. Tombstones have none.
    pub expires_at: Option<u64>,
    /// The value, or the fact that there is none.
    pub body: Body,
}

/// What a record says about its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// The key has a value.
    Value(Value),
    /// The key was deleted.
    Tombstone,
}

/// A value as its writer gave it.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    /// The bytes.
    pub bytes: Bytes,
    /// Which arm of the request carried them, so that a read can answer in the same one.
    pub form: Form,
}

/// The arm of a request that carried a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Valid UTF-8, given as `value`.
    Text,
    /// Any bytes, given as `value_bytes`.
    Bytes,
}

impl Record {
    /// What tells others that a value of this version was here and went. It expired with its own stamp: whoever takes a
    /// record has a hybrid clock at or past its stamp from then on, so that it keeps nothing but the version, also where a
    /// wall clock is behind or is set back.
    #[must_use]
    pub const fn ghost(version: Version) -> Self {
        Self {
            version,
            expires_at: Some(version.stamp.millis()),
            body: Body::Value(Value {
                bytes: Bytes::new(),
                form: Form::Bytes,
            }),
        }
    }

    /// Whether it is such a record: it expired no later than it was stamped, which a client's does only with a time to live
    /// below a millisecond.
    #[must_use]
    pub fn is_ghost(&self) -> bool {
        self.is_expired(self.version.stamp.millis())
    }

    /// Bytes of the value.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        match &self.body {
            Body::Value(value) => value.bytes.len(),
            Body::Tombstone => 0,
        }
    }

    /// Whether the record is a value that is past its expiry at `now_millis` of hybrid time.
    #[must_use]
    pub fn is_expired(&self, now_millis: u64) -> bool {
        self.expires_at.is_some_and(|at| at <= now_millis)
    }
}

/// Shows the length only: values may be personal data and never reach a log.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}({} bytes)", self.form, self.bytes.len())
    }
}
