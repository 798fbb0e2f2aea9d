//! One request and how it ended.

use std::borrow::Cow;

use shard_cache_client::{ClientError, Outcome};
use tonic::Code;

/// Longest reason that is kept apart, in bytes.
const REASON_BYTES_MAX: usize = 40;

/// What a request does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Read,
    Write,
}

/// A request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Operation {
    pub(crate) kind: Kind,
    /// Number of the key.
    pub(crate) key: u64,
    /// Of a write: no two of one run are equal.
    pub(crate) sequence: u64,
    /// Of a write: size of the value.
    pub(crate) value_bytes: u32,
}

/// A request that was answered as it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    Hit,
    Miss,
    Stored,
    /// A value that was never written under this key. Not as it should, but answered.
    Corrupt,
}

/// How a request ended, in the three values of the product.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    Ok(Answer),
    /// Surely not applied.
    Failed(Cause),
    /// A write may appear later.
    Unknown(Cause),
}

/// Why a request failed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Cause {
    /// The gRPC code; `UNREACHABLE` and `NOT_SENT` where nothing was sent, so that there is none.
    pub(crate) code: &'static str,
    /// What kind of failure that was.
    pub(crate) reason: Cow<'static, str>,
}

impl Cause {
    /// The reason of requests that a node shed.
    pub(crate) const SHED: &'static str = "shed";

    pub(crate) const fn new(code: &'static str, reason: &'static str) -> Self {
        Self {
            code,
            reason: Cow::Borrowed(reason),
        }
    }
}

impl Ended {
    /// Nothing could be sent: nobody listens.
    pub(crate) const fn unreachable() -> Self {
        Self::Failed(Cause::new("UNREACHABLE", "connect"))
    }

    /// It was due and never sent, because those before it took too long.
    pub(crate) const fn not_sent() -> Self {
        Self::Failed(Cause::new("NOT_SENT", "overdue"))
    }

    /// The deadline came before the answer.
    pub(crate) const fn timed_out() -> Self {
        Self::Unknown(Cause::new("DEADLINE_EXCEEDED", "no_answer"))
    }

    /// The connection, or the stream, broke before the answer.
    pub(crate) const fn interrupted(reason: &'static str) -> Self {
        Self::Unknown(Cause::new("UNAVAILABLE", reason))
    }

    /// The answer made no sense. The request did have its effect.
    pub(crate) const fn bad_answer() -> Self {
        Self::Unknown(Cause::new("OK", "bad_answer"))
    }

    /// By the rule of the client.
    pub(crate) fn of_error(error: &ClientError) -> Self {
        let cause = cause(error);
        match error.outcome() {
            Outcome::NotApplied => Self::Failed(cause),
            Outcome::Unknown => Self::Unknown(cause),
        }
    }
}

fn cause(error: &ClientError) -> Cause {
    let of = |code: Code, reason: &'static str| Cause::new(code_name(code), reason);
    match error {
        ClientError::InvalidEndpoint { .. } | ClientError::Unreachable { .. } => {
            Cause::new("UNREACHABLE", "connect")
        }
        ClientError::Rejected { code, .. } => of(*code, "rejected"),
        ClientError::Shed { .. } => of(Code::ResourceExhausted, Cause::SHED),
        ClientError::Unavailable { reason, .. } => Cause {
            code: code_name(Code::Unavailable),
            reason: Cow::Owned(reason.chars().take(REASON_BYTES_MAX).collect()),
        },
        ClientError::DeadlineExceeded { message } if message.starts_with("no answer") => {
            of(Code::DeadlineExceeded, "no_answer")
        }
        ClientError::DeadlineExceeded { .. } => of(Code::DeadlineExceeded, "deadline"),
        ClientError::Unknown { code, .. } => of(*code, "unknown"),
        ClientError::Interrupted { code, .. } => of(*code, "interrupted"),
        ClientError::BadAnswer { .. } => of(Code::Ok, "bad_answer"),
        // The enum grows with the client.
        other => Cause::new(other.code(), "other"),
    }
}

const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
