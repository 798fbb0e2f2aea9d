//! Logs: to standard error, for people on a terminal and as JSON otherwise.

use std::io::{self, IsTerminal as _};

use thiserror::Error;
use tracing_subscriber::{EnvFilter, util::SubscriberInitExt as _};

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// [`Self::Pretty`] on a terminal, [`Self::Json`] otherwise.
    #[default]
    Auto,
    /// One line for people; coloured on a terminal unless `NO_COLOR` is set.
    Pretty,
    /// One JSON object per line.
    Json,
}

/// Why logs could not be set up. Nothing was changed.
#[derive(Debug, Error)]
pub enum LogsError {
    /// Neither a level nor a list of directives.
    #[error(
        "`{filter}` is no log filter: {reason}; expected error, warn, info, debug, trace, off, or \
         directives such as info,shard_cache=debug"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// Why it is refused.
        reason: String,
    },
    /// This process has set up its logs before.
    #[error("logs are set up already")]
    AlreadySet,
}

/// Sets the logs of this process up. `filter` is a level or a list of directives.
///
/// # Errors
/// See [`LogsError`].
pub fn init(filter: &str, format: LogFormat) -> Result<(), LogsError> {
    let filter = parse(filter)?;
    let terminal = io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let set = match (format, terminal) {
        (LogFormat::Json, _) | (LogFormat::Auto, false) => lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .finish()
            .try_init(),
        (LogFormat::Pretty | LogFormat::Auto, true) => lines.finish().try_init(),
        (LogFormat::Pretty, false) => lines.with_ansi(false).finish().try_init(),
    };
    set.map_err(|_| LogsError::AlreadySet)
}

fn parse(filter: &str) -> Result<EnvFilter, LogsError> {
    let refused = |reason: String| LogsError::Filter {
        filter: filter.to_owned(),
        reason,
    };
    // A single unknown word would be read as the name of a target, and every level of it be
    // enabled.
    let is_directive = filter.contains(['=', ',', '[']);
    if !is_directive
        && filter
            .parse::<tracing_subscriber::filter::LevelFilter>()
            .is_err()
    {
        return Err(refused("unknown level".to_owned()));
    }
    EnvFilter::try_new(filter).map_err(|error| refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_filters() {
        for filter in [
            "debug",
            "INFO",
            "off",
            "info,shard_cache=debug",
            "warn,foca[probe]=trace",
        ] {
            assert!(parse(filter).is_ok(), "{filter}");
        }
    }

    #[test]
    fn a_misspelt_level_is_refused_with_what_is_accepted() {
        let refused = parse("inof").expect_err("no level");
        assert!(
            refused.to_string().contains("expected error, warn, info"),
            "{refused}"
        );
        assert!(parse("shard_cache=loud").is_err());
    }
}
