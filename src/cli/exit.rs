//! How a command ends.

use std::process::ExitCode;

use shard_cache_client::ClientError;

use crate::config::ConfigError;

/// The exit codes of the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Exit {
    /// Done.
    Ok = 0,
    /// Failed for a reason that has no code of its own.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// The key is absent.
    Absent = 3,
    /// Nobody could be reached, or the deadline came first.
    Unreachable = 4,
    /// Too few owners could be reached.
    NoQuorum = 5,
    /// The cluster is degraded.
    Degraded = 6,
    /// The configuration is invalid.
    ConfigInvalid = 7,
    /// A threshold of `bench` is broken.
    Threshold = 8,
}

impl Exit {
    /// For `serve` and `node`, which know no keys: something was, or would be, left that is not safe.
    pub(super) const UNSAFE: Self = Self::Absent;
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// What to exit with.
    pub(super) exit: Exit,
    /// Upper-case name for programs.
    pub(super) code: &'static str,
    /// For people.
    pub(super) message: String,
    /// What to do about it, where that is known.
    pub(super) hint: Option<String>,
}

impl Failure {
    /// A failure without a code of its own.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, "FAILED", message)
    }

    pub(super) fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            exit,
            code,
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// A failure of the operating system, and what was being done.
    pub(super) fn system(doing: &str, error: &std::io::Error) -> Self {
        Self::failed(format!("{doing}: {error}"))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::InvalidEndpoint { .. } => Exit::Usage,
            ClientError::Unreachable { .. }
            | ClientError::DeadlineExceeded { .. }
            | ClientError::Interrupted { .. } => Exit::Unreachable,
            ClientError::Unavailable { reason, .. } if reason == "no_quorum" => Exit::NoQuorum,
            ClientError::Unavailable { .. } => Exit::Unreachable,
            ClientError::Unknown { .. } => Exit::NoQuorum,
            _ => Exit::Failed,
        };
        let failure = Self::new(exit, error.code(), error.to_string());
        match &error {
            ClientError::Unreachable { .. } => failure.with_hint(
                "is a node running there? name it by --endpoint or SHARD_CACHE_ENDPOINT",
            ),
            _ => failure,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::ConfigInvalid, "CONFIG_INVALID", error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unavailable_for_want_of_a_quorum_has_its_own_code() {
        let unavailable = |reason: &str| ClientError::Unavailable {
            reason: reason.to_owned(),
            message: String::new(),
        };
        assert_eq!(Failure::from(unavailable("no_quorum")).exit, Exit::NoQuorum);
        assert_eq!(
            Failure::from(unavailable("draining")).exit,
            Exit::Unreachable
        );
    }
}
