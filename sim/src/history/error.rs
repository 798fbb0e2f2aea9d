//! Why a history cannot be read.

use std::io;

use thiserror::Error;

/// Why a history cannot be read. Line numbers begin at 1.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file or stream cannot be read.
    #[error("cannot read the history: {0}")]
    Io(#[from] io::Error),
    /// There is no line at all.
    #[error("the history is empty: its first line should say what it is about")]
    Empty,
    /// The first line does not say what the history is about.
    #[error("line 1: neither `history` (this format) nor a `run` record of the chaos tool")]
    NoHeader,
    /// The format has another version.
    #[error("line 1: format {found}, expected {expected}")]
    Format {
        /// The version found.
        found: u32,
        /// The version that is understood.
        expected: u32,
    },
    /// A line is no JSON, or a field has the wrong type or name.
    #[error("line {line}, field `{field}`: {message}")]
    Field {
        /// Its number.
        line: usize,
        /// The path of the field; `.` for the line itself.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// A field that the line needs, being what it is, is not there.
    #[error("line {line}, field `{field}`: missing, a {of} needs it")]
    Missing {
        /// Its number.
        line: usize,
        /// The field.
        field: &'static str,
        /// What the line is.
        of: &'static str,
    },
    /// A value makes no sense beside the others.
    #[error("line {line}, field `{field}`: {problem}")]
    Inconsistent {
        /// Its number.
        line: usize,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl ReadError {
    pub(super) fn field(
        line: usize,
        error: &serde_path_to_error::Error<serde_json::Error>,
    ) -> Self {
        Self::Field {
            line,
            field: error.path().to_string(),
            message: error.inner().to_string(),
        }
    }
}
