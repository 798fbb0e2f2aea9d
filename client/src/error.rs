//! Why a call failed, in three values: it surely had no effect, or it may have one that appears later; the third value
//! is success.

use std::{error::Error as StdError, time::Duration};

use thiserror::Error;
use tonic::{Code, ConnectError, Status, TimeoutExpired};
use tonic_types::StatusExt as _;

/// What is known of the effect of a call that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Surely not applied: trying again is safe.
    NotApplied,
    /// A write may have been applied, or may be later. Reads change nothing.
    Unknown,
}

/// Why a call failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address cannot be used. Nothing was sent.
    #[error("`{endpoint}` is no endpoint: {message}")]
    InvalidEndpoint {
        /// The address as given.
        endpoint: String,
        /// What is wrong with it.
        message: String,
    },
    /// No node could be connected to. Nothing was sent.
    #[error("cannot reach {endpoint}: {message}")]
    Unreachable {
        /// The addresses that were tried.
        endpoint: String,
        /// Why.
        message: String,
    },
    /// The node refused the request as it is (key, value, TTL, or an unknown method). Surely not applied; trying again
    /// will not help.
    #[error("{message} ({code:?})")]
    Rejected {
        /// The gRPC code.
        code: Code,
        /// The node's words.
        message: String,
    },
    /// The node is overloaded. Surely not applied.
    #[error("shed: {message} (ResourceExhausted)")]
    Shed {
        /// The node's words.
        message: String,
        /// How long the node asks to wait before another attempt.
        retry_after: Option<Duration>,
    },
    /// The node could not serve the request. Surely not applied; another node or a later attempt may succeed.
    #[error("unavailable: {message} (Unavailable)")]
    Unavailable {
        /// `no_quorum`, `joining`, `draining` or `clock`; empty when the node gave none.
        reason: String,
        /// The node's words.
        message: String,
    },
    /// The deadline came first. A write may appear later.
    #[error("deadline exceeded: {message} (DeadlineExceeded)")]
    DeadlineExceeded {
        /// The node's words, or that nothing was heard from it.
        message: String,
    },
    /// The node says that too few owners answered. A write may appear later.
    #[error("outcome unknown: {message} ({code:?})")]
    Unknown {
        /// The gRPC code.
        code: Code,
        /// The node's words.
        message: String,
    },
    /// The connection broke before the answer. A write may appear later.
    #[error("connection lost before the answer: {message} ({code:?})")]
    Interrupted {
        /// The gRPC code that the break was given.
        code: Code,
        /// What broke.
        message: String,
    },
    /// The answer made no sense. The call did have its effect.
    #[error("the node's answer is incomplete: {message}")]
    BadAnswer {
        /// What is missing.
        message: &'static str,
    },
}

impl ClientError {
    /// What is known of the effect of the call.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::InvalidEndpoint { .. }
            | Self::Unreachable { .. }
            | Self::Rejected { .. }
            | Self::Shed { .. }
            | Self::Unavailable { .. } => Outcome::NotApplied,
            Self::DeadlineExceeded { .. }
            | Self::Unknown { .. }
            | Self::Interrupted { .. }
            | Self::BadAnswer { .. } => Outcome::Unknown,
        }
    }

    /// The gRPC code that the node answered, or that the failure of the connection was given; `None` where there was no
    /// call.
    #[must_use]
    pub const fn grpc_code(&self) -> Option<Code> {
        match self {
            Self::InvalidEndpoint { .. } | Self::Unreachable { .. } | Self::BadAnswer { .. } => {
                None
            }
            Self::Rejected { code, .. }
            | Self::Unknown { code, .. }
            | Self::Interrupted { code, .. } => Some(*code),
            Self::Shed { .. } => Some(Code::ResourceExhausted),
            Self::Unavailable { .. } => Some(Code::Unavailable),
            Self::DeadlineExceeded { .. } => Some(Code::DeadlineExceeded),
        }
    }

    /// The upper-case name of the error for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidEndpoint { .. } => "INVALID_ENDPOINT",
            Self::Unreachable { .. } => "UNREACHABLE",
            Self::Rejected { .. } => "REJECTED",
            Self::Shed { .. } => "SHED",
            Self::Unavailable { .. } => "UNAVAILABLE",
            Self::DeadlineExceeded { .. } => "DEADLINE_EXCEEDED",
            Self::Unknown { .. } => "UNKNOWN",
            Self::Interrupted { .. } => "INTERRUPTED",
            Self::BadAnswer { .. } => "BAD_ANSWER",
        }
    }

    pub(crate) fn deadline(timeout: Duration) -> Self {
        Self::DeadlineExceeded {
            message: format!("no answer within {timeout:?}"),
        }
    }

    pub(crate) fn unreachable(endpoint: &str, error: &dyn StdError) -> Self {
        Self::Unreachable {
            endpoint: endpoint.to_owned(),
            message: innermost(error),
        }
    }

    /// Sorts a status by what it says about the effect of the call, whose deadline was `timeout`. Statuses that tonic
    /// made up because of the connection have a source; those that a node sent have none.
    #[must_use]
    pub fn from_status(status: Status, timeout: Duration) -> Self {
        if let Some(source) = status.source() {
            return Self::from_transport(&status, source, timeout);
        }
        let code = status.code();
        let message = status.message().to_owned();
        match code {
            Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::Unauthenticated => Self::Rejected { code, message },
            Code::ResourceExhausted => Self::Shed {
                message,
                retry_after: pushback(&status),
            },
            Code::Unavailable => Self::Unavailable {
                reason: reason(&status),
                message,
            },
            Code::DeadlineExceeded => Self::DeadlineExceeded { message },
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::Aborted
            | Code::Internal
            | Code::DataLoss => Self::Unknown { code, message },
        }
    }

    fn from_transport(
        status: &Status,
        source: &(dyn StdError + 'static),
        timeout: Duration,
    ) -> Self {
        let mut next = Some(source);
        while let Some(error) = next {
            if error.is::<TimeoutExpired>() {
                return Self::deadline(timeout);
            }
            if error.is::<ConnectError>() {
                return Self::Unreachable {
                    endpoint: "the node".to_owned(),
                    message: innermost(error),
                };
            }
            next = error.source();
        }
        Self::Interrupted {
            code: status.code(),
            message: innermost(source),
        }
    }
}

/// The reason that a node gave with UNAVAILABLE: from its error details, or the first word of its message.
fn reason(status: &Status) -> String {
    let detail = status.get_details_error_info().map(|info| info.reason);
    let word = || {
        status
            .message()
            .split_once(':')
            .map(|(word, _)| word.trim().to_owned())
    };
    detail
        .or_else(word)
        .filter(|reason| reason.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_'))
        .unwrap_or_default()
        .to_ascii_lowercase()
}

fn pushback(status: &Status) -> Option<Duration> {
    let millis = status
        .metadata()
        .get("grpc-retry-pushback-ms")?
        .to_str()
        .ok()?;
    millis.parse().ok().map(Duration::from_millis)
}

/// The cause at the end of the chain: the outer ones only say "transport error".
fn innermost(error: &dyn StdError) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn sorted(status: Status) -> ClientError {
        ClientError::from_status(status, Duration::from_millis(500))
    }

    #[test]
    fn what_a_node_refused_or_could_not_start_was_surely_not_applied() {
        for status in [
            Status::invalid_argument("key: 0 bytes, at least 1"),
            Status::resource_exhausted("1000 requests in flight"),
            Status::unavailable("no_quorum: 1 of 3 owners can be reached"),
        ] {
            assert_eq!(sorted(status).outcome(), Outcome::NotApplied);
        }
    }

    #[test]
    fn what_was_sent_and_not_acknowledged_may_appear_later() {
        let mut broken = Status::unavailable("broken pipe");
        broken.set_source(Arc::new(std::io::Error::other("broken pipe")));
        for status in [
            Status::unknown("1 of 2 owners stored it"),
            Status::deadline_exceeded("1 of 2 owners had stored it"),
            Status::internal("bug"),
            broken,
        ] {
            assert_eq!(sorted(status).outcome(), Outcome::Unknown);
        }
    }

    #[test]
    fn a_refused_connection_is_unreachable_whatever_wraps_it() {
        let mut status = Status::unavailable("tcp connect error");
        status.set_source(Arc::new(ConnectError("connection refused".into())));
        let error = sorted(status);
        assert!(
            matches!(error, ClientError::Unreachable { .. }),
            "{error:?}"
        );
        assert_eq!(error.outcome(), Outcome::NotApplied);
    }

    #[test]
    fn the_reason_comes_from_the_details_or_else_from_the_message() {
        let reason_of = |status: Status| match sorted(status) {
            ClientError::Unavailable { reason, .. } => reason,
            other => panic!("{other:?}"),
        };
        let detailed = Status::with_error_details(
            Code::Unavailable,
            "leaving",
            tonic_types::ErrorDetails::with_error_info(
                "DRAINING",
                "shard-cache",
                std::collections::HashMap::new(),
            ),
        );
        assert_eq!(reason_of(detailed), "draining");
        assert_eq!(
            reason_of(Status::unavailable("no_quorum: 1 of 3")),
            "no_quorum"
        );
        assert_eq!(reason_of(Status::unavailable("something else: 5")), "");
    }

    #[test]
    fn a_shed_request_carries_the_pushback() {
        let mut status = Status::resource_exhausted("busy");
        status
            .metadata_mut()
            .insert("grpc-retry-pushback-ms", "250".parse().unwrap());
        let ClientError::Shed { retry_after, .. } = sorted(status) else {
            panic!()
        };
        assert_eq!(retry_after, Some(Duration::from_millis(250)));
    }
}
