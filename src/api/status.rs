//! How refusals and failures look from outside: the one place where they become a gRPC status or an
//! HTTP answer.
//!
//! | what happened | gRPC | HTTP | applied? |
//! |---|---|---|---|
//! | not a legal request | `INVALID_ARGUMENT` | 400; 413 for a value over the limit | no |
//! | shed for load | `RESOURCE_EXHAUSTED`, `grpc-retry-pushback-ms` | 429, `Retry-After` | no |
//! | `no_quorum`, `joining`, `draining`, `clock`, nothing sent | `UNAVAILABLE` | 503, `Retry-After` | no |
//! | a read found too few owners | `UNAVAILABLE` | 503, `Retry-After` | reads change nothing |
//! | a write was sent, too few owners can still store it | `UNKNOWN` | 502 | perhaps |
//! | the deadline came first | `DEADLINE_EXCEEDED` | 504 | a write perhaps |
//!
//! 502 because the node asked the owners and got no definite answer, as a gateway would; clients
//! that repeat 503 and 429 blindly must not repeat it. A miss is no failure: `OK` over gRPC,
//! and 404 over HTTP.

use std::{collections::HashMap, time::Duration};

use http::StatusCode;
use shard_cache_proto::{cache as pb, explained};
use thiserror::Error;
use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::convert::Invalid;
use crate::{
    coordinator::{Read, ReadError, Unavailable, WriteError, Written},
    offsets::{ClockOff, OFFSET_MAX_MILLIS},
    overload::{Overloaded, RETRY_PUSHBACK},
    telemetry::{self, labels::Label as _},
};

/// Requests to owners that the explanation of a failure has at most: it travels in a header, of which there must not be too
/// much. Of more, the last ones.
const REQUESTS_MAX: usize = 24;

/// The domain of our error details.
const DOMAIN: &str = "shardcache";

/// Why a client's request was not answered as it wished. The variants tell whether anything was
/// changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refusal {
    /// Not a legal request. Nothing was done, and trying again is pointless.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Refused for load. Nothing was done, and trying again later is safe.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// A write was not acknowledged.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A read was not answered. Trying again is safe.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The deadline had passed when it arrived. Nothing was done; trying again is safe.
    #[error("deadline exceeded: it had passed when the request arrived, and nothing was done")]
    Expired,
    /// A question that needs a ring came before the first one. Trying again later is safe.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What a request was answered with.
pub(crate) trait Answered {
    /// The HTTP status.
    fn http_status(&self) -> StatusCode;
}

impl Answered for Read {
    fn http_status(&self) -> StatusCode {
        match self.hit {
            Some(_) => StatusCode::OK,
            None => StatusCode::NOT_FOUND,
        }
    }
}

impl Answered for Written {
    fn http_status(&self) -> StatusCode {
        StatusCode::NO_CONTENT
    }
}

/// What kind of refusal it is: a row of the table above.
#[derive(Clone, Copy)]
enum Kind {
    Illegal,
    Shed,
    Unavailable,
    OutcomeUnknown,
    TooLate,
}

/// How many owners had done their part, and how many should have.
struct Tally {
    name: &'static str,
    done: u8,
    needed: u8,
}

impl Refusal {
    /// The gRPC code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self.kind() {
            Kind::Illegal => Code::InvalidArgument,
            Kind::Shed => Code::ResourceExhausted,
            Kind::Unavailable => Code::Unavailable,
            Kind::OutcomeUnknown => Code::Unknown,
            Kind::TooLate => Code::DeadlineExceeded,
        }
    }

    /// The gRPC code as a metric label.
    #[must_use]
    pub const fn code_label(&self) -> telemetry::Code {
        match self.kind() {
            Kind::Illegal => telemetry::Code::InvalidArgument,
            Kind::Shed => telemetry::Code::ResourceExhausted,
            Kind::Unavailable => telemetry::Code::Unavailable,
            Kind::OutcomeUnknown => telemetry::Code::Unknown,
            Kind::TooLate => telemetry::Code::DeadlineExceeded,
        }
    }

    /// The gRPC code by its name in the protocol's documentation.
    #[must_use]
    pub fn code_name(&self) -> &'static str {
        self.code_label().as_str()
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::Illegal,
            Self::Overloaded(_)
            | Self::Unavailable(Unavailable::Overloaded)
            | Self::Write(WriteError::Unavailable(Unavailable::Overloaded))
            | Self::Read(ReadError::Unavailable(Unavailable::Overloaded)) => Kind::Shed,
            Self::Unavailable(_)
            | Self::Write(WriteError::Unavailable(_))
            | Self::Read(ReadError::Unavailable(_) | ReadError::NoQuorum { .. }) => {
                Kind::Unavailable
            }
            Self::Write(WriteError::Unknown { .. }) => Kind::OutcomeUnknown,
            Self::Expired
            | Self::Write(WriteError::DeadlineExceeded { .. })
            | Self::Read(ReadError::DeadlineExceeded { .. }) => Kind::TooLate,
        }
    }

    /// One word for programs.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid_argument",
            Self::Overloaded(_) => "overloaded",
            Self::Expired => "deadline_exceeded",
            Self::Unavailable(unavailable) => unavailable.reason(),
            Self::Write(error) => error.reason(),
            Self::Read(error) => error.reason(),
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn http_status(&self) -> StatusCode {
        if let Self::Invalid(Invalid::LargeValue { .. } | Invalid::EndlessValue { .. }) = self {
            return StatusCode::PAYLOAD_TOO_LARGE;
        }
        match self.kind() {
            Kind::Illegal => StatusCode::BAD_REQUEST,
            Kind::Shed => StatusCode::TOO_MANY_REQUESTS,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::OutcomeUnknown => StatusCode::BAD_GATEWAY,
            Kind::TooLate => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// How long to wait before the same request is tried again, where that is surely safe.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        if let Self::Overloaded(overloaded) = self {
            return Some(overloaded.pushback());
        }
        match self.kind() {
            Kind::Shed | Kind::Unavailable => Some(RETRY_PUSHBACK),
            Kind::Illegal | Kind::OutcomeUnknown | Kind::TooLate => None,
        }
    }

    const fn clock_off(&self) -> Option<ClockOff> {
        match *self {
            Self::Unavailable(Unavailable::Clock(off))
            | Self::Write(WriteError::Unavailable(Unavailable::Clock(off)))
            | Self::Read(ReadError::Unavailable(Unavailable::Clock(off))) => Some(off),
            Self::Invalid(_)
            | Self::Overloaded(_)
            | Self::Expired
            | Self::Write(_)
            | Self::Read(_)
            | Self::Unavailable(_) => None,
        }
    }

    const fn tally(&self) -> Option<Tally> {
        match *self {
            Self::Write(
                WriteError::Unknown { stored, needed }
                | WriteError::DeadlineExceeded { stored, needed },
            ) => Some(Tally {
                name: "stored",
                done: stored,
                needed,
            }),
            Self::Read(
                ReadError::NoQuorum { answered, needed }
                | ReadError::DeadlineExceeded { answered, needed },
            ) => Some(Tally {
                name: "answered",
                done: answered,
                needed,
            }),
            Self::Unavailable(Unavailable::NoQuorum {
                reachable, needed, ..
            })
            | Self::Write(WriteError::Unavailable(Unavailable::NoQuorum {
                reachable,
                needed,
                ..
            }))
            | Self::Read(ReadError::Unavailable(Unavailable::NoQuorum {
                reachable, needed, ..
            })) => Some(Tally {
                name: "reachable",
                done: reachable,
                needed,
            }),
            Self::Invalid(_)
            | Self::Overloaded(_)
            | Self::Expired
            | Self::Write(WriteError::Unavailable(_))
            | Self::Read(ReadError::Unavailable(_))
            | Self::Unavailable(_) => None,
        }
    }
}

/// A refusal, and how far the request got, when that was asked for.
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) explain: Option<Box<pb::Explain>>,
}

impl From<Refused> for Status {
    fn from(Refused { refusal, explain }: Refused) -> Self {
        let status = Self::from(refusal);
        let Some(mut explain) = explain else {
            return status;
        };
        let excess = explain.requests.len().saturating_sub(REQUESTS_MAX);
        explain.requests.drain(..excess);
        let details = explained::with(status.details(), &explain);
        let (code, message) = (status.code(), status.message().to_owned());
        let metadata = status.metadata().clone();
        Self::with_details_and_metadata(code, message, details.into(), metadata)
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut numbers = HashMap::new();
        if let Some(Tally { name, done, needed }) = refusal.tally() {
            numbers.insert(name.to_owned(), done.to_string());
            numbers.insert("needed".to_owned(), needed.to_string());
        }
        if let Some(ClockOff { ahead_millis }) = refusal.clock_off() {
            numbers.insert("ahead_millis".to_owned(), ahead_millis.to_string());
            numbers.insert(
                "offset_max_millis".to_owned(),
                OFFSET_MAX_MILLIS.to_string(),
            );
        }
        let mut details = ErrorDetails::with_error_info(refusal.reason(), DOMAIN, numbers);
        if let Refusal::Invalid(invalid) = &refusal {
            details.add_bad_request_violation(invalid.field(), invalid.to_string());
        }
        let mut metadata = MetadataMap::new();
        if let Some(pause) = refusal.retry_after() {
            details.set_retry_info(Some(pause));
            if let Ok(millis) = pause.as_millis().to_string().parse() {
                metadata.insert("grpc-retry-pushback-ms", millis);
            }
        }
        let (code, message) = (refusal.code(), refusal.to_string());
        Self::with_error_details_and_metadata(code, message, details, metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<(Refusal, Code, u16, &'static str)> {
        let no_quorum = Unavailable::NoQuorum {
            reachable: 1,
            owners: 3,
            needed: 2,
        };
        vec![
            (
                Invalid::NoPayload.into(),
                Code::InvalidArgument,
                400,
                "invalid_argument",
            ),
            (
                Invalid::LargeValue { size: 3, max: 2 }.into(),
                Code::InvalidArgument,
                413,
                "invalid_argument",
            ),
            (
                Overloaded::Concurrency {
                    requests_max: 9,
                    pushback: RETRY_PUSHBACK,
                }
                .into(),
                Code::ResourceExhausted,
                429,
                "overloaded",
            ),
            (
                Overloaded::Cpu {
                    utilization_percent: 97,
                    threshold_percent: 80,
                    pushback: RETRY_PUSHBACK,
                }
                .into(),
                Code::ResourceExhausted,
                429,
                "overloaded",
            ),
            (
                WriteError::from(Unavailable::Overloaded).into(),
                Code::ResourceExhausted,
                429,
                "overloaded",
            ),
            (
                WriteError::from(no_quorum).into(),
                Code::Unavailable,
                503,
                "no_quorum",
            ),
            (
                WriteError::from(Unavailable::Joining).into(),
                Code::Unavailable,
                503,
                "joining",
            ),
            (
                ReadError::from(Unavailable::Draining).into(),
                Code::Unavailable,
                503,
                "draining",
            ),
            (
                Unavailable::Clock(ClockOff { ahead_millis: 612 }).into(),
                Code::Unavailable,
                503,
                "clock",
            ),
            (
                ReadError::NoQuorum {
                    answered: 1,
                    needed: 2,
                }
                .into(),
                Code::Unavailable,
                503,
                "no_quorum",
            ),
            (
                WriteError::Unknown {
                    stored: 1,
                    needed: 2,
                }
                .into(),
                Code::Unknown,
                502,
                "outcome_unknown",
            ),
            (
                WriteError::DeadlineExceeded {
                    stored: 1,
                    needed: 2,
                }
                .into(),
                Code::DeadlineExceeded,
                504,
                "deadline_exceeded",
            ),
            (
                Refusal::Expired,
                Code::DeadlineExceeded,
                504,
                "deadline_exceeded",
            ),
            (
                ReadError::DeadlineExceeded {
                    answered: 0,
                    needed: 2,
                }
                .into(),
                Code::DeadlineExceeded,
                504,
                "deadline_exceeded",
            ),
        ]
    }

    #[test]
    fn every_refusal_has_its_codes_and_reason() {
        for (refusal, code, http, reason) in all() {
            assert_eq!(refusal.code(), code, "{refusal}");
            assert_eq!(refusal.http_status().as_u16(), http, "{refusal}");
            assert_eq!(refusal.reason(), reason, "{refusal}");
            let name = refusal.code_name().replace('_', "").to_lowercase();
            assert_eq!(name, format!("{code:?}").to_lowercase());
            let message = refusal.to_string();
            let status = Status::from(refusal);
            assert_eq!((status.code(), status.message()), (code, message.as_str()));
            let info = status.get_details_error_info().expect("error info");
            assert_eq!(
                (info.reason.as_str(), info.domain.as_str()),
                (reason, "shardcache")
            );
        }
    }

    #[test]
    fn only_what_surely_had_no_effect_invites_another_try() {
        for (refusal, code, ..) in all() {
            let again = matches!(code, Code::ResourceExhausted | Code::Unavailable);
            let status = Status::from(refusal);
            assert_eq!(
                status.metadata().contains_key("grpc-retry-pushback-ms"),
                again
            );
            assert_eq!(status.get_details_retry_info().is_some(), again);
        }
    }

    #[test]
    fn a_write_without_an_outcome_tells_how_many_owners_stored_it() {
        let status = Status::from(Refusal::from(WriteError::Unknown {
            stored: 1,
            needed: 2,
        }));
        let info = status.get_details_error_info().expect("error info");
        assert_eq!(info.metadata["stored"], "1");
        assert_eq!(info.metadata["needed"], "2");
    }

    #[test]
    fn a_clock_that_is_off_is_told_with_the_limit() {
        let off = Unavailable::Clock(ClockOff { ahead_millis: -612 });
        for refusal in [
            Refusal::from(off),
            WriteError::from(off).into(),
            ReadError::from(off).into(),
        ] {
            let status = Status::from(refusal);
            let info = status.get_details_error_info().expect("error info");
            assert_eq!(info.metadata["ahead_millis"], "-612");
            assert_eq!(info.metadata["offset_max_millis"], "400");
        }
    }

    #[test]
    fn an_illegal_request_names_the_field() {
        let status = Status::from(Refusal::from(Invalid::EmptyKey { max: 1024 }));
        let violations = status
            .get_details_bad_request()
            .expect("bad request")
            .field_violations;
        assert_eq!(violations[0].field, "key");
        assert!(violations[0].description.contains("1024"));
    }
}
