//! The formats of a scrape, all converted from what the metrics library writes: OpenMetrics text
//! without its end mark.
//!
//! Classic text (0.0.4) differs in that a counter's `HELP` and `TYPE` carry the `_total` of its
//! samples, and that it has neither units nor exemplars nor an end mark. JSON is one object: metric
//! name to a list of series.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Map, Number, Value, json};

use super::latencies::Exemplar;

/// A format of a scrape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Prometheus text 0.0.4: what curl shows and promtool reads.
    Classic,
    /// OpenMetrics 1.0.0 text.
    OpenMetrics,
    /// One JSON object.
    Json,
}

impl Format {
    /// The format for an `Accept` header and a `format` parameter; the parameter decides when it
    /// names one.
    #[must_use]
    pub fn negotiate(accept: Option<&str>, parameter: Option<&str>) -> Self {
        match parameter {
            Some("json") => Self::Json,
            Some("openmetrics") => Self::OpenMetrics,
            Some("prometheus" | "text") => Self::Classic,
            Some(_) | None => accept.map_or(Self::Classic, Self::accepted),
        }
    }

    /// The acceptable format of the highest quality; the first of equals.
    fn accepted(accept: &str) -> Self {
        let mut best = (0.0, Self::Classic);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let format = match parts.next().unwrap_or_default() {
                "application/openmetrics-text" => Self::OpenMetrics,
                "application/json" => Self::Json,
                "text/plain" | "text/*" | "*/*" => Self::Classic,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q="));
            let quality = quality.map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
            if quality > best.0 {
                best = (quality, format);
            }
        }
        best.1
    }

    /// The value of the `Content-Type` header.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Json => "application/json",
        }
    }
}

/// Whole OpenMetrics text: with exemplars behind the buckets of one histogram, as `exemplar` has them
/// for a bucket's labels, and the end mark.
pub(super) fn open_metrics(
    exposition: &str,
    family: &str,
    exemplar: impl Fn(&[(&str, String)]) -> Option<Exemplar>,
) -> String {
    let mut text = String::with_capacity(exposition.len() + 1024);
    for line in exposition.lines() {
        text.push_str(line);
        let bucket = line.strip_prefix(family);
        if bucket.is_some_and(|rest| rest.starts_with("_bucket{"))
            && let Some(exemplar) = Sample::parse(line).and_then(|it| exemplar(&it.labels))
        {
            // Writing to a String does not fail.
            let _ = write!(text, " # {exemplar}");
        }
        text.push('\n');
    }
    text.push_str("# EOF\n");
    text
}

/// Classic text.
pub(super) fn classic(exposition: &str) -> String {
    let types = types(exposition);
    let mut text = String::with_capacity(exposition.len());
    for line in exposition.lines() {
        let kept = match comment(line) {
            Some((keyword @ ("HELP" | "TYPE"), name, rest)) => match types.get(name) {
                Some(&"counter") => format!("# {keyword} {name}_total {rest}"),
                Some(_) | None => line.to_owned(),
            },
            Some(_) => continue,
            None => without_exemplar(line).to_owned(),
        };
        text.push_str(&kept);
        text.push('\n');
    }
    text
}

/// Type of each family. `HELP` comes before `TYPE`, so that they have to be known beforehand.
pub(super) fn types(exposition: &str) -> BTreeMap<&str, &str> {
    let typed = |line| match comment(line) {
        Some(("TYPE", name, kind)) => Some((name, kind)),
        Some(_) | None => None,
    };
    exposition.lines().filter_map(typed).collect()
}

/// Keyword, name and rest of a comment line.
pub(super) fn comment(line: &str) -> Option<(&str, &str, &str)> {
    let mut words = line.strip_prefix("# ")?.splitn(3, ' ');
    Some((
        words.next()?,
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    ))
}

/// Exemplars stand behind ` # `; a label's value may hold that too, but never after the closing
/// brace.
fn without_exemplar(line: &str) -> &str {
    let labels_end = Sample::parse(line).map_or(0, |sample| sample.value_at);
    line[labels_end..]
        .find(" # ")
        .map_or(line, |at| &line[..labels_end + at])
}

/// One object.
pub(super) fn json(exposition: &str) -> Value {
    let types = types(exposition);
    let mut metrics: Map<String, Value> = Map::new();
    for (name, kind) in &types {
        let shown = if *kind == "counter" {
            format!("{name}_total")
        } else {
            (*name).to_owned()
        };
        metrics.insert(shown, json!([]));
    }
    for line in exposition.lines().filter(|line| !line.starts_with('#')) {
        let Some(sample) = Sample::parse(without_exemplar(line)) else {
            continue;
        };
        match histogram_part(sample.name, &types) {
            Some((family, part)) => add_to_histogram(&mut metrics, family, part, sample),
            None => {
                let value = number(sample.value);
                series(&mut metrics, sample.name)
                    .push(json!({ "labels": labels_json(sample.labels), "value": value }));
            }
        }
    }
    Value::Object(metrics)
}

/// The list of series of one metric.
fn series<'a>(metrics: &'a mut Map<String, Value>, name: &str) -> &'a mut Vec<Value> {
    let entry = metrics.entry(name).or_insert_with(|| json!([]));
    entry.as_array_mut().expect("only lists are ever inserted")
}

/// Family and part (`sum`, `count`, `bucket`) of a histogram's sample.
fn histogram_part<'a>(name: &'a str, types: &BTreeMap<&str, &str>) -> Option<(&'a str, &'a str)> {
    let (family, part) = name.rsplit_once('_')?;
    (types.get(family) == Some(&"histogram")).then_some((family, part))
}

fn add_to_histogram(
    metrics: &mut Map<String, Value>,
    family: &str,
    part: &str,
    mut sample: Sample<'_>,
) {
    let bound = sample.labels.iter().position(|(name, _)| *name == "le");
    let bound = bound.map(|at| sample.labels.remove(at).1);
    let labels = labels_json(sample.labels);
    let list = series(metrics, family);
    // The samples of one series follow each other.
    if list.last().is_none_or(|last| last["labels"] != labels) {
        list.push(json!({ "labels": labels, "buckets": [] }));
    }
    let Some(last) = list.last_mut() else { return };
    let value = number(sample.value);
    match (bound, last["buckets"].as_array_mut()) {
        (Some(bound), Some(buckets)) => {
            buckets.push(json!({ "le": number(&bound), "count": value }));
        }
        (Some(_) | None, _) => last[part] = value,
    }
}

fn labels_json(labels: Vec<(&str, String)>) -> Value {
    labels
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect()
}

/// A JSON number where there is one for the value, otherwise (`+Inf`, `NaN`) its text.
fn number(value: &str) -> Value {
    let integer = value.parse::<u64>().ok().map(Number::from);
    let number = integer.or_else(|| value.parse().ok().and_then(Number::from_f64));
    number.map_or_else(|| value.into(), Value::Number)
}

/// One line of values.
pub(super) struct Sample<'a> {
    pub(super) name: &'a str,
    pub(super) labels: Vec<(&'a str, String)>,
    value: &'a str,
    /// Where the value starts in the line.
    value_at: usize,
}

impl<'a> Sample<'a> {
    pub(super) fn parse(line: &'a str) -> Option<Self> {
        let name_end = line.find(['{', ' '])?;
        let name = &line[..name_end];
        let mut labels = Vec::new();
        let mut rest = &line[name_end..];
        if let Some(mut inner) = rest.strip_prefix('{') {
            while !inner.starts_with('}') {
                let (label, after) = inner.split_once("=\"")?;
                let (value, after) = quoted(after)?;
                labels.push((label, value));
                inner = after.strip_prefix(',').unwrap_or(after);
            }
            rest = &inner[1..];
        }
        let value = rest.strip_prefix(' ')?;
        Some(Self {
            name,
            labels,
            value,
            value_at: line.len() - value.len(),
        })
    }
}

/// Undoes the escapes of a label's value up to the closing quote; also returns what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                escaped => escaped,
            }),
            plain => value.push(plain),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classic_text_has_no_units_exemplars_or_end_mark() {
        let openmetrics = "\
# HELP waits_seconds Time waited.
# TYPE waits_seconds counter
# UNIT waits_seconds seconds
waits_seconds_total{peer=\"a # {b} 1\"} 2.5 # {trace_id=\"77\"} 0.5
# EOF
";
        let expected = "\
# HELP waits_seconds_total Time waited.
# TYPE waits_seconds_total counter
waits_seconds_total{peer=\"a # {b} 1\"} 2.5
";
        assert_eq!(classic(openmetrics), expected);
    }

    #[test]
    fn json_ignores_exemplars_and_unescapes_labels() {
        let text = "# TYPE w counter\nw_total{a=\"x\\\\ \\\"y\\n\",b=\"\"} 7 # {t=\"1\"} 1\n";
        let expected = json!({
            "w_total": [{ "labels": { "a": "x\\ \"y\n", "b": "" }, "value": 7 }]
        });
        assert_eq!(json(text), expected);
    }

    #[test]
    fn values_without_a_json_number_are_shown_as_text() {
        assert_eq!(number("+Inf"), json!("+Inf"));
        assert_eq!(number("NaN"), json!("NaN"));
        assert_eq!(number("18446744073709551615"), json!(u64::MAX));
        assert_eq!(number("5e-5"), json!(0.000_05));
    }
}
