//! Logs: to standard error, for people on a terminal and as JSON otherwise.

use std::{
    fmt,
    io::{self, IsTerminal as _},
    sync::OnceLock,
};

use thiserror::Error;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::LevelFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt as _,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt as _,
};

use super::traces;

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
    /// This process has not set up its logs, or somebody else has.
    #[error("logs were not set up by this node")]
    NotSet,
}

/// Changes what is logged: whatever the lines look like.
type Reload = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

/// Logs are the process's, not a node's, and so is what is logged.
static RELOAD: OnceLock<Reload> = OnceLock::new();

/// Sets the logs of this process up. `filter` is a level or a list of directives. A level below info is for lines of our
/// own: HTTP/2 writes several of its own for every request. Directives name any library.
///
/// # Errors
/// See [`LogsError`].
pub fn init(filter: &str, format: LogFormat) -> Result<(), LogsError> {
    let filter = parse(filter)?;
    let terminal = io::stderr().is_terminal();
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let lines = match (format, terminal) {
        (LogFormat::Json, _) | (LogFormat::Auto, false) => lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .map_event_format(|format| WithOrigin {
                format,
                place: Place::FirstFields,
            })
            .boxed(),
        (LogFormat::Pretty | LogFormat::Auto, true) => {
            lines.map_event_format(WithOrigin::at_end).boxed()
        }
        (LogFormat::Pretty, false) => lines
            .with_ansi(false)
            .map_event_format(WithOrigin::at_end)
            .boxed(),
    };
    let set = tracing_subscriber::registry().with(filter).with(lines);
    set.try_init().map_err(|_| LogsError::AlreadySet)?;
    let reload = move |filter| handle.reload(filter);
    RELOAD
        .set(Box::new(reload))
        .map_err(|_| LogsError::AlreadySet)
}

/// The node's name as it stands in lines.
struct Name {
    text: String,
    json: String,
}

/// A process runs one node.
static NODE: OnceLock<Name> = OnceLock::new();

/// From now on every line carries this name. Only the first call counts.
pub fn name_node(name: &str) {
    let name = Name {
        text: name.escape_debug().to_string(),
        json: serde_json::Value::from(name).to_string(),
    };
    NODE.get_or_init(|| name);
}

/// Logs by another level, or other directives, from now on. See [`init`].
///
/// # Errors
/// It is neither, or logs were not set up by [`init`]; nothing was changed.
pub fn set_filter(filter: &str) -> Result<(), LogsError> {
    let filter = parse(filter)?;
    let reload = RELOAD.get().ok_or(LogsError::NotSet)?;
    reload(filter).map_err(|_gone| LogsError::NotSet)
}

/// Lines of another format that carry the node's name, once it is known, and those that a sampled request writes the ids
/// of its span.
struct WithOrigin<F> {
    format: F,
    place: Place,
}

/// Where the ids stand.
#[derive(Clone, Copy)]
enum Place {
    /// As the first fields of a JSON object.
    FirstFields,
    /// As the last words of a line.
    End,
}

impl<F> WithOrigin<F> {
    const fn at_end(format: F) -> Self {
        Self {
            format,
            place: Place::End,
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for WithOrigin<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // Who looks at a terminal knows which node it is of, and has colours.
        let node = NODE.get().filter(|_| !writer.has_ansi_escapes());
        let ids = traces::current();
        if node.is_none() && ids.is_none() {
            return self.format.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.format
            .format_event(context, Writer::new(&mut line), event)?;
        match (self.place, line.strip_prefix('{')) {
            (Place::FirstFields, Some(rest)) => {
                writer.write_char('{')?;
                if let Some((trace_id, span_id)) = ids {
                    write!(writer, r#""trace_id":"{trace_id}","span_id":"{span_id}","#)?;
                }
                if let Some(Name { json, .. }) = node {
                    write!(writer, r#""node":{json},"#)?;
                }
                writer.write_str(rest)
            }
            (Place::FirstFields, None) => writer.write_str(&line),
            (Place::End, _) => {
                writer.write_str(line.trim_end())?;
                if let Some(Name { text, .. }) = node {
                    write!(writer, " node={text}")?;
                }
                if let Some((trace_id, span_id)) = ids {
                    write!(writer, " trace_id={trace_id} span_id={span_id}")?;
                }
                writeln!(writer)
            }
        }
    }
}

fn parse(filter: &str) -> Result<EnvFilter, LogsError> {
    let refused = |reason: String| LogsError::Filter {
        filter: filter.to_owned(),
        reason,
    };
    // A single unknown word would be read as the name of a target, and every level of it be
    // enabled.
    if filter.contains(['=', ',', '[']) {
        return EnvFilter::try_new(filter).map_err(|error| refused(error.to_string()));
    }
    let Ok(level) = filter.parse::<LevelFilter>() else {
        return Err(refused("unknown level".to_owned()));
    };
    let libraries = level.min(LevelFilter::INFO);
    EnvFilter::try_new(format!("{libraries},shard_cache={level}"))
        .map_err(|error| refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::{
        Context, SpanId, TraceFlags, TraceId,
        trace::{SpanContext, TraceContextExt as _, TraceState},
    };

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Two lines: one outside of a sampled request, one inside.
    fn two_lines(subscriber: impl Subscriber + Send + Sync, kept: &Kept) -> [String; 2] {
        let ids = SpanContext::new(
            TraceId::from_bytes([0xab; 16]),
            SpanId::from_bytes([0xcd; 8]),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        );
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(slot = 7, "outside");
            let context = Context::new().with_remote_span_context(ids);
            let _attached = context.attach();
            tracing::info!(slot = 8, "inside");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.try_into().expect("one line per event")
    }

    #[test]
    fn json_lines_of_a_sampled_request_have_its_ids_on_top() {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = tracing_subscriber::fmt().with_writer(move || writer.clone());
        let lines = lines.json().flatten_event(true).with_span_list(false);
        let format = |format| WithOrigin {
            format,
            place: Place::FirstFields,
        };
        let [outside, inside] = two_lines(lines.map_event_format(format).finish(), &kept);
        let outside: serde_json::Value = serde_json::from_str(&outside).unwrap();
        let inside: serde_json::Value = serde_json::from_str(&inside).unwrap();
        assert!(outside.get("trace_id").is_none(), "{outside}");
        assert_eq!(inside["trace_id"], "ab".repeat(16));
        assert_eq!(inside["span_id"], "cd".repeat(8));
        assert_eq!(
            (&inside["slot"], &inside["message"]),
            (&8.into(), &"inside".into())
        );
    }

    #[test]
    fn lines_for_people_end_with_the_ids() {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = tracing_subscriber::fmt().with_writer(move || writer.clone());
        let lines = lines.with_ansi(false).map_event_format(WithOrigin::at_end);
        let [outside, inside] = two_lines(lines.finish(), &kept);
        assert!(outside.ends_with("outside slot=7"), "{outside}");
        let end = format!(
            "slot=8 trace_id={} span_id={}",
            "ab".repeat(16),
            "cd".repeat(8)
        );
        assert!(inside.ends_with(&end), "{inside}");
    }

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
    fn a_level_below_info_is_for_our_own_lines() {
        let shown = |filter| parse(filter).expect("a level").to_string();
        assert_eq!(shown("debug"), "shard_cache=debug,info");
        assert_eq!(shown("warn"), "shard_cache=warn,warn");
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
