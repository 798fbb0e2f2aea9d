//! Between the wire and the coordinator: the protobuf types of the client interface stop here. What
//! a client sends is checked here, once, for both faces; every refusal names the limit and what was
//! given.

use std::time::Duration;

use bytes::Bytes;
use shard_cache_membership::view::Liveness;
use shard_cache_proto::cache as pb;
use thiserror::Error;

use crate::{
    clock::{Clock, Monotonic},
    coordinator::{
        Consistency, Degrade, Detail, Explanation, KeyRequest, Read, SetRequest, Terms, Ttl,
        Written,
        explanation::{ExplainedOwner, ReplicaRequest, micros},
    },
    key::Key,
    store::{Form, Value},
    transport::Reach,
    version::Version,
};

/// The longest time to live: ten years of 365 days.
pub const TTL_SECONDS_MAX: u64 = 10 * 365 * 24 * 3600;

const NANOS_PER_SECOND: i32 = 1_000_000_000;

/// Room in a message for everything but key and value, in bytes.
const MESSAGE_SLACK: usize = 64 * 1024;

/// What a node accepts from clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Longest key, in bytes.
    pub max_key_size: usize,
    /// Largest value, in bytes.
    pub max_value_size: usize,
    /// Time for a request whose caller gave none.
    pub request_timeout: Duration,
    /// Longest time for a request; a longer one is cut to it.
    pub max_request_timeout: Duration,
    /// Whether fewer owners will do for requests that do not say.
    pub degrade: Degrade,
    /// Most items in a batch.
    pub max_batch_items: usize,
    /// Largest batch, and largest answer to one, in bytes.
    pub max_batch_bytes: usize,
}

impl Limits {
    /// Largest message that is read at all, in bytes. Well above a legal one, so that a value that
    /// is somewhat too large reaches the check that names the limit.
    #[must_use]
    pub fn message_size_max(&self) -> usize {
        self.max_value_size
            .saturating_mul(2)
            .saturating_add(self.max_key_size + MESSAGE_SLACK)
    }

    /// The same for a service that takes batches.
    #[must_use]
    pub fn batch_size_max(&self) -> usize {
        let batch = self.max_batch_bytes.saturating_mul(2);
        self.message_size_max().max(batch)
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self {
            max_key_size: 1024,
            max_value_size: 1024 * 1024,
            request_timeout: Duration::from_millis(500),
            max_request_timeout: Duration::from_secs(30),
            degrade: Degrade::Refuse,
            max_batch_items: 100,
            max_batch_bytes: 64 * 1024,
        }
    }
}

/// Why a request is not a legal one. Nothing was done; the same request will be refused again.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Invalid {
    /// No key.
    #[error("key is empty: it must have 1 to {max} bytes")]
    EmptyKey {
        /// Longest key, in bytes.
        max: usize,
    },
    /// The key is too long.
    #[error("key has {size} bytes: at most {max} are allowed")]
    LongKey {
        /// Length of the key, in bytes.
        size: usize,
        /// Longest key, in bytes.
        max: usize,
    },
    /// The key of a URL is not text.
    #[error("key is not valid UTF-8 after percent-decoding")]
    KeyNotText,
    /// Neither arm of the payload was given.
    #[error("no payload: one of value and value_bytes is required; \"\" is a legal value")]
    NoPayload,
    /// The value is too large.
    #[error("value has {size} bytes: at most {max} are allowed")]
    LargeValue {
        /// Size of the value, in bytes.
        size: u64,
        /// Largest value, in bytes.
        max: usize,
    },
    /// A body of unknown length is far too large; it was not read to its end.
    #[error("value has more than {read} bytes: at most {max} are allowed")]
    EndlessValue {
        /// Bytes that would have been read.
        read: usize,
        /// Largest value, in bytes.
        max: usize,
    },
    /// The body could not be read to its end.
    #[error("body could not be read: {reason}")]
    Body {
        /// What went wrong.
        reason: String,
    },
    /// The time to live is negative.
    #[error("ttl is negative ({seconds} s, {nanos} ns): give 0 for no expiry, or leave it out")]
    NegativeTtl {
        /// Seconds given.
        seconds: i64,
        /// Nanoseconds given.
        nanos: i32,
    },
    /// The time to live is too long.
    #[error("ttl has {seconds} s: at most {TTL_SECONDS_MAX} s (10 years) are allowed")]
    LongTtl {
        /// Seconds given.
        seconds: u64,
    },
    /// The nanoseconds of the time to live make a second or more.
    #[error("ttl.nanos is {nanos}: 0 to 999999999 are allowed")]
    TtlNanos {
        /// Nanoseconds given.
        nanos: i32,
    },
    /// Not a consistency level.
    #[error("consistency {value} is unknown: 0 (default), 1 ONE, 2 QUORUM and 3 ALL are allowed")]
    Consistency {
        /// The number given.
        value: i32,
    },
    /// A parameter of a URL has a value that means nothing.
    #[error("{name} is `{value}`: expected {expected}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is accepted.
        expected: &'static str,
    },
    /// The parameters of a URL could not be understood.
    #[error("parameters: {reason}")]
    Parameters {
        /// What is wrong with them.
        reason: String,
    },
    /// A batch has no items, or too many.
    #[error("the batch has {count} items: 1 to {max} are allowed")]
    BatchCount {
        /// Items given.
        count: usize,
        /// Most items.
        max: usize,
    },
    /// A batch is too large.
    #[error("the batch has {size} bytes: at most {max} are allowed")]
    BatchSize {
        /// Size of the message, in bytes.
        size: usize,
        /// Largest batch, in bytes.
        max: usize,
    },
    /// The answers to the keys before it take all the room that the answer to a batch has.
    #[error(
        "the answer to the batch would have more than {max} bytes: ask for this key in another one"
    )]
    LongAnswer {
        /// Largest answer, in bytes.
        max: usize,
    },
    /// The timeout header is malformed.
    #[error("grpc-timeout is malformed: 1 to 8 digits and one of H, M, S, m, u, n are expected")]
    GrpcTimeout,
}

impl Invalid {
    /// The field of the request that is to blame.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::EmptyKey { .. } | Self::LongKey { .. } | Self::KeyNotText => "key",
            Self::NoPayload
            | Self::LargeValue { .. }
            | Self::EndlessValue { .. }
            | Self::Body { .. } => "value",
            Self::NegativeTtl { .. } | Self::LongTtl { .. } | Self::TtlNanos { .. } => "ttl",
            Self::Consistency { .. } => "consistency",
            Self::Parameter { name, .. } => name,
            Self::Parameters { .. } => "parameters",
            Self::BatchCount { .. } | Self::BatchSize { .. } | Self::LongAnswer { .. } => "batch",
            Self::GrpcTimeout => "grpc-timeout",
        }
    }
}

/// A checked key.
///
/// # Errors
/// [`Invalid`] for an empty key and for one that is too long.
pub fn key(bytes: Bytes, limits: &Limits) -> Result<Key, Invalid> {
    let (size, max) = (bytes.len(), limits.max_key_size);
    match size {
        0 => Err(Invalid::EmptyKey { max }),
        _ if size > max => Err(Invalid::LongKey { size, max }),
        _ => Ok(Key::new(bytes)),
    }
}

/// A checked value.
///
/// # Errors
/// [`Invalid::LargeValue`] when it is too large.
pub fn value(bytes: Bytes, form: Form, limits: &Limits) -> Result<Value, Invalid> {
    let max = limits.max_value_size;
    if bytes.len() > max {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        return Err(Invalid::LargeValue { size, max });
    }
    Ok(Value { bytes, form })
}

/// A checked time to live; zero means that the value never expires.
///
/// # Errors
/// [`Invalid::LongTtl`] when it is longer than ten years.
pub fn ttl(duration: Duration) -> Result<Ttl, Invalid> {
    if duration.is_zero() {
        return Ok(Ttl::Never);
    }
    if duration > Duration::from_secs(TTL_SECONDS_MAX) {
        return Err(Invalid::LongTtl {
            seconds: duration.as_secs(),
        });
    }
    Ok(Ttl::After(duration))
}

/// When a request was taken up and when it has to be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) arrived: Monotonic,
    pub(super) deadline: Monotonic,
}

/// A Set request as it came, checked.
pub(super) fn set_request(
    request: pb::SetRequest,
    window: Window,
    limits: &Limits,
) -> Result<SetRequest, Invalid> {
    use pb::set_request::Data;

    let (bytes, form) = match request.data {
        Some(Data::Value(text)) => (Bytes::from(text.into_bytes()), Form::Text),
        Some(Data::ValueBytes(bytes)) => (bytes, Form::Bytes),
        None => return Err(Invalid::NoPayload),
    };
    Ok(SetRequest {
        key: key(request.key.into(), limits)?,
        value: value(bytes, form, limits)?,
        ttl: wire_ttl(request.ttl)?,
        terms: WireTerms {
            consistency: request.consistency,
            degrade: request.degrade,
            explain: request.explain,
        }
        .check(window, limits)?,
        trace: None,
    })
}

/// A Get request as it came, checked.
pub(super) fn get_request(
    request: pb::GetRequest,
    window: Window,
    limits: &Limits,
) -> Result<KeyRequest, Invalid> {
    let pb::GetRequest {
        key: name,
        consistency,
        degrade,
        explain,
    } = request;
    let terms = WireTerms {
        consistency,
        degrade,
        explain,
    }
    .check(window, limits)?;
    Ok(KeyRequest {
        key: key(name.into(), limits)?,
        terms,
        trace: None,
    })
}

/// A Delete request as it came, checked.
pub(super) fn delete_request(
    request: pb::DeleteRequest,
    window: Window,
    limits: &Limits,
) -> Result<KeyRequest, Invalid> {
    let pb::DeleteRequest {
        key: name,
        consistency,
        degrade,
        explain,
    } = request;
    let terms = WireTerms {
        consistency,
        degrade,
        explain,
    }
    .check(window, limits)?;
    Ok(KeyRequest {
        key: key(name.into(), limits)?,
        terms,
        trace: None,
    })
}

/// The terms of a request as they came.
#[derive(Clone, Copy)]
struct WireTerms {
    consistency: i32,
    degrade: bool,
    explain: bool,
}

impl WireTerms {
    fn check(self, window: Window, limits: &Limits) -> Result<Terms, Invalid> {
        let consistency = match pb::Consistency::try_from(self.consistency) {
            Ok(pb::Consistency::Unspecified | pb::Consistency::Quorum) => Consistency::Quorum,
            Ok(pb::Consistency::One) => Consistency::One,
            Ok(pb::Consistency::All) => Consistency::All,
            Err(_) => {
                return Err(Invalid::Consistency {
                    value: self.consistency,
                });
            }
        };
        let degrade = if self.degrade {
            Degrade::Accept
        } else {
            limits.degrade
        };
        Ok(Terms {
            consistency,
            degrade,
            arrived: window.arrived,
            deadline: window.deadline,
            detail: if self.explain {
                Detail::Explained
            } else {
                Detail::Answer
            },
        })
    }
}

fn wire_ttl(given: Option<pb::Ttl>) -> Result<Ttl, Invalid> {
    let Some(pb::Ttl { seconds, nanos }) = given else {
        return Ok(Ttl::Default);
    };
    if nanos >= NANOS_PER_SECOND || nanos <= -NANOS_PER_SECOND {
        return Err(Invalid::TtlNanos { nanos });
    }
    match (u64::try_from(seconds), u32::try_from(nanos)) {
        (Ok(seconds), Ok(nanos)) => ttl(Duration::new(seconds, nanos)),
        _ => Err(Invalid::NegativeTtl { seconds, nanos }),
    }
}

/// The answer to a Set. `node` is this node's name: an explanation is signed with it, and ends at the time that `clock` shows.
pub(super) fn set_response(written: Written, node: &str, clock: &dyn Clock) -> pb::SetResponse {
    pb::SetResponse {
        version: Some(wire_version(written.version)),
        stored: written.stored.into(),
        degraded: written.degraded,
        explain: written
            .explain
            .map(|explain| Box::new(wire_explain(*explain, node, clock))),
    }
}

/// The answer to a Delete.
pub(super) fn delete_response(
    written: Written,
    node: &str,
    clock: &dyn Clock,
) -> pb::DeleteResponse {
    pb::DeleteResponse {
        found: Some(written.replaced),
        version: Some(wire_version(written.version)),
        stored: written.stored.into(),
        degraded: written.degraded,
        explain: written
            .explain
            .map(|explain| Box::new(wire_explain(*explain, node, clock))),
    }
}

/// The answer to a Get.
pub(super) fn get_response(read: Read, node: &str, clock: &dyn Clock) -> pb::GetResponse {
    let found = read.hit.is_some();
    let (data, left) = match read.hit {
        Some(hit) => (Some(wire_value(hit.value)), hit.expires_in),
        None => (None, None),
    };
    pb::GetResponse {
        found: Some(found),
        data,
        ttl: left.map(|left| pb::Ttl {
            seconds: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(left.subsec_nanos()).unwrap_or(NANOS_PER_SECOND - 1),
        }),
        version: read.version.map(wire_version),
        degraded: read.degraded,
        explain: read
            .explain
            .map(|explain| Box::new(wire_explain(*explain, node, clock))),
    }
}

/// The arm that the writer used. Bytes that are no text never go out as text: most clients could
/// not decode the message at all.
fn wire_value(value: Value) -> pb::get_response::Data {
    use pb::get_response::Data;

    match value.form {
        Form::Text => match String::from_utf8(value.bytes.into()) {
            Ok(text) => Data::Value(text),
            Err(error) => Data::ValueBytes(error.into_bytes().into()),
        },
        Form::Bytes => Data::ValueBytes(value.bytes),
    }
}

const fn wire_version(version: Version) -> pb::Version {
    pb::Version {
        millis: version.stamp.millis(),
        counter: version.stamp.counter() as u32,
        writer: version.writer,
    }
}

/// An explanation that is signed by the node `node` and ends now.
pub(super) fn wire_explain(explanation: Explanation, node: &str, clock: &dyn Clock) -> pb::Explain {
    let needed = explanation.needed.into();
    let owners = explanation.owners.iter().map(wire_owner).collect();
    let requests = explanation.requests.iter().map(wire_replica_request);
    let requests = requests.collect();
    // Last, so that all of this counts.
    let (stages, total_micros) = explanation.micros(clock.monotonic());
    let stages = stages.into_iter().map(|(stage, micros)| pb::Stage {
        name: stage.as_str().to_owned(),
        micros,
    });
    let Explanation {
        slot,
        configuration,
        ring_hash,
        attempts,
        restamps,
        ..
    } = explanation;
    pb::Explain {
        coordinator: node.to_owned(),
        slot: slot.0.into(),
        configuration: configuration.owners,
        root: configuration.root,
        number: configuration.number,
        owners,
        attempts,
        ring_hash: ring_hash.map_or_else(String::new, |hash| format!("{hash:016x}")),
        needed,
        restamps,
        requests,
        stages: stages.collect(),
        total_micros,
    }
}

fn wire_owner(owner: &ExplainedOwner) -> pb::OwnerAnswer {
    let liveness = owner.liveness.map_or("", Liveness::as_str);
    let link = match owner.reach {
        None => "local",
        Some(Reach::Up) => "up",
        Some(Reach::Stalled) => "stalled",
        Some(Reach::Down) => "down",
    };
    pb::OwnerAnswer {
        node: owner.name.clone(),
        answer: owner.answer.as_str().to_owned(),
        score: owner.score,
        zone: owner.zone.clone(),
        liveness: liveness.to_owned(),
        link: link.to_owned(),
        full: owner.is_full,
    }
}

fn wire_replica_request(request: &ReplicaRequest) -> pb::ReplicaRequest {
    let reply = request.reply;
    pb::ReplicaRequest {
        node: request.name.clone(),
        local: request.is_local,
        purpose: request.purpose.as_str().to_owned(),
        attempt: request.attempt,
        choice: request.choice.as_str().to_owned(),
        sent_micros: micros(request.sent),
        answered_micros: request.answered.map(micros),
        answer: reply.answer.as_str().to_owned(),
        version: reply.version.map(wire_version),
        miss: reply.miss().unwrap_or_default().to_owned(),
        hint: request.hint.as_str().to_owned(),
        full: reply.is_full,
    }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
