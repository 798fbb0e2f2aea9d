//! Durations as people write them: `90s`, `1m 30s`, `250ms`; a bare number means seconds.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

/// Longest duration in a file: a day.
const MAX: Duration = Duration::from_secs(24 * 3600);
const FORM: &str =
    "a duration such as 10s, 250ms or 1m 30s (a bare number means seconds), at most 1day";

/// A duration in a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor)
    }
}

struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FORM)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
        let parsed = humantime::parse_duration(text).ok();
        let span = parsed.filter(|duration| *duration <= MAX).map(Span);
        span.ok_or_else(|| E::custom(format!("`{text}` is not {FORM}")))
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Span, E> {
        let span = Span(Duration::from_secs(seconds));
        let is_short = span.0 <= MAX;
        is_short
            .then_some(span)
            .ok_or_else(|| E::custom(format!("`{seconds}` is not {FORM}")))
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<Span, E> {
        let seconds = u64::try_from(seconds);
        seconds
            .map_err(|_| E::custom(format!("a negative number is not {FORM}")))
            .and_then(|seconds| self.visit_u64(seconds))
    }
}
