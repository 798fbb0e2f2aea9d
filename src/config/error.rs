//! What is wrong with a configuration, where, and what would be right.

use std::{fmt, path::PathBuf};

use super::reference;

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File {
        /// The file.
        file: PathBuf,
        /// Line of the value, from 1.
        line: u64,
        /// Column of the value, from 1.
        column: u64,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        name: String,
    },
    /// A flag.
    Flag {
        /// Its name, without dashes.
        name: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Environment { name } => write!(f, "environment variable {name}"),
            Self::Flag { name } => write!(f, "flag --{name}"),
        }
    }
}

/// Where a problem is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A file that cannot be read at all.
    Unreadable {
        /// The file.
        file: PathBuf,
    },
    /// A value, with the line of the file it stands in when it comes from one.
    Value {
        /// Where it comes from.
        origin: Origin,
        /// The line's text.
        line_text: Option<String>,
    },
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// The field, where it is known.
    pub path: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What is accepted there, where the message does not say so.
    pub accepted: Vec<String>,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl Problem {
    pub(super) fn new(place: Place, message: impl Into<String>) -> Self {
        Self {
            place,
            path: None,
            message: message.into(),
            accepted: Vec::new(),
            suggestion: None,
        }
    }

    /// Names what is accepted, and what was probably meant by `given`.
    pub(super) fn accepting(mut self, given: &str, accepted: &[&'static str]) -> Self {
        self.suggestion = reference::elsewhere(given)
            .or_else(|| reference::nearest(given, accepted.iter().copied()))
            .map(str::to_owned);
        self.accepted = accepted
            .iter()
            .map(|&accepted| accepted.to_owned())
            .collect();
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Unreadable { file } => write!(f, "{}", file.display())?,
            Place::Value { origin, .. } => write!(f, "{origin}")?,
        }
        if let Some(path) = &self.path {
            write!(f, ": {path}")?;
        }
        write!(f, ": {}", self.message)?;
        if let Place::Value {
            origin: Origin::File { line, column, .. },
            line_text: Some(text),
        } = &self.place
        {
            let caret = usize::try_from(column.saturating_sub(1)).unwrap_or_default();
            write!(f, "\n{line:>5} | {text}\n      | {:caret$}^", "")?;
        }
        if !self.accepted.is_empty() {
            write!(f, "\n  accepted: {}", self.accepted.join(", "))?;
        }
        if let Some(suggestion) = &self.suggestion {
            write!(f, "\n  did you mean `{suggestion}`?")?;
        }
        Ok(())
    }
}

/// The configuration is invalid: at least one problem.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct ConfigError {
    /// All that was found.
    pub problems: Vec<Problem>,
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}
