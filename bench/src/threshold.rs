//! Conditions under which a measurement counts as failed, such as `p99>10ms`.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::report::{Operations, Report};

/// A condition that must not hold.
#[derive(Clone, PartialEq, Debug)]
pub struct Threshold {
    text: String,
    scope: Scope,
    metric: Metric,
    comparison: Comparison,
    value: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scope {
    All,
    Reads,
    Writes,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Metric {
    P50,
    P90,
    P95,
    P99,
    P999,
    Max,
    Mean,
    Errors,
    ErrorRatio,
    Failed,
    Unknown,
    Shed,
    Corrupt,
    Misses,
    Throughput,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

const METRICS: [(&str, Metric); 16] = [
    ("p50", Metric::P50),
    ("p90", Metric::P90),
    ("p95", Metric::P95),
    ("p99", Metric::P99),
    ("p999", Metric::P999),
    ("p99.9", Metric::P999),
    ("max", Metric::Max),
    ("mean", Metric::Mean),
    ("errors", Metric::Errors),
    ("error-ratio", Metric::ErrorRatio),
    ("failed", Metric::Failed),
    ("unknown", Metric::Unknown),
    ("shed", Metric::Shed),
    ("corrupt", Metric::Corrupt),
    ("misses", Metric::Misses),
    ("throughput", Metric::Throughput),
];

const TIME_UNITS: [(&str, f64); 5] = [
    ("ns", 1e-3),
    ("us", 1.0),
    ("µs", 1.0),
    ("ms", 1e3),
    ("s", 1e6),
];

/// Why a condition cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ThresholdError {
    /// It compares nothing.
    #[error(
        "`{text}` is no condition, expected one such as p99>10ms, error-ratio>0.1% or throughput<30k"
    )]
    NoComparison {
        /// As it was given.
        text: String,
    },
    /// Nothing of that name is measured.
    #[error(
        "`{name}` is not measured, expected one of {}, after reads. or writes. for one kind",
        names()
    )]
    Metric {
        /// The name.
        name: String,
    },
    /// The value is none of that metric.
    #[error("`{value}` cannot be compared with {metric}, expected {expected}")]
    Value {
        /// The value.
        value: String,
        /// The metric.
        metric: String,
        /// What is expected.
        expected: &'static str,
    },
}

fn names() -> String {
    METRICS.map(|(name, _)| name).join(", ")
}

impl Threshold {
    /// What was measured, in the metric's own unit: microseconds, requests, requests per second or a share. `None` if
    /// nothing was.
    #[must_use]
    pub fn measured(&self, report: &Report) -> Option<f64> {
        let operations = match self.scope {
            Scope::All => &report.all,
            Scope::Reads => &report.reads,
            Scope::Writes => &report.writes,
        };
        self.metric.of(operations)
    }

    /// Whether it holds. What was not measured may be anything: then it does.
    #[must_use]
    pub fn is_broken(&self, report: &Report) -> bool {
        self.measured(report)
            .is_none_or(|measured| match self.comparison {
                Comparison::Above => measured > self.value,
                Comparison::AtLeast => measured >= self.value,
                Comparison::Below => measured < self.value,
                Comparison::AtMost => measured <= self.value,
            })
    }

    /// What was measured, as people read it.
    #[must_use]
    pub fn shown(&self, report: &Report) -> String {
        match (self.measured(report), self.metric.unit()) {
            (None, _) => "nothing".to_owned(),
            (Some(value), Unit::Time) => format!("{:.3}ms", value / 1e3),
            (Some(value), Unit::Count) => format!("{value:.0}"),
            (Some(value), Unit::Share) => format!("{:.4}%", value * 100.0),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unit {
    Time,
    Count,
    Share,
}

impl Metric {
    const fn unit(self) -> Unit {
        match self {
            Self::P50 | Self::P90 | Self::P95 | Self::P99 | Self::P999 | Self::Max | Self::Mean => {
                Unit::Time
            }
            Self::ErrorRatio => Unit::Share,
            Self::Errors
            | Self::Failed
            | Self::Unknown
            | Self::Shed
            | Self::Corrupt
            | Self::Misses
            | Self::Throughput => Unit::Count,
        }
    }

    fn of(self, operations: &Operations) -> Option<f64> {
        let latency = &operations.latency;
        let some = match self {
            Self::Errors => operations.errors() as f64,
            Self::ErrorRatio if operations.ended == 0 => return None,
            Self::ErrorRatio => operations.error_ratio(),
            Self::Failed => operations.failed as f64,
            Self::Unknown => operations.unknown as f64,
            Self::Shed => operations.shed as f64,
            Self::Corrupt => operations.corrupt as f64,
            Self::Misses => operations.misses as f64,
            Self::Throughput => operations.throughput,
            _ if latency.count == 0 => return None,
            Self::P50 => latency.p50_us,
            Self::P90 => latency.p90_us,
            Self::P95 => latency.p95_us,
            Self::P99 => latency.p99_us,
            Self::P999 => latency.p999_us,
            Self::Max => latency.max_us,
            Self::Mean => latency.mean_us,
        };
        Some(some)
    }
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let none = || ThresholdError::NoComparison {
            text: text.to_owned(),
        };
        let at = text.find(['<', '>']).ok_or_else(none)?;
        let (name, rest) = text.split_at(at);
        let (comparison, value) = [
            (">=", Comparison::AtLeast),
            ("<=", Comparison::AtMost),
            (">", Comparison::Above),
            ("<", Comparison::Below),
        ]
        .iter()
        .find_map(|(sign, comparison)| Some((*comparison, rest.strip_prefix(sign)?)))
        .ok_or_else(none)?;
        let name = name.trim();
        let (scope, metric) = match name.split_once('.') {
            Some(("reads", metric)) => (Scope::Reads, metric),
            Some(("writes", metric)) => (Scope::Writes, metric),
            Some(_) | None => (Scope::All, name),
        };
        let metric = METRICS
            .iter()
            .find(|(known, _)| *known == metric)
            .map(|(_, metric)| *metric)
            .ok_or_else(|| ThresholdError::Metric {
                name: name.to_owned(),
            })?;
        Ok(Self {
            text: text.to_owned(),
            scope,
            metric,
            comparison,
            value: parse(metric.unit(), value.trim()).map_err(|expected| {
                ThresholdError::Value {
                    value: value.trim().to_owned(),
                    metric: name.to_owned(),
                    expected,
                }
            })?,
        })
    }
}

fn parse(unit: Unit, text: &str) -> Result<f64, &'static str> {
    let expected = match unit {
        Unit::Time => "a time with its unit, such as 500us, 10ms or 1.5s",
        Unit::Count => "a number, such as 0, 1500 or 30k",
        Unit::Share => "a share, such as 0.1% or 0.001",
    };
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| expected)?;
    let factor = match (unit, suffix.trim()) {
        (Unit::Time, suffix) => TIME_UNITS
            .iter()
            .find(|(name, _)| *name == suffix)
            .map(|(_, factor)| *factor),
        (Unit::Count | Unit::Share, "") => Some(1.0),
        (Unit::Count, "k") => Some(1e3),
        (Unit::Count, "M") => Some(1e6),
        (Unit::Share, "%") => Some(0.01),
        (Unit::Count | Unit::Share, _) => None,
    };
    Ok(number * factor.ok_or(expected)?)
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Cpu, Latency};

    fn report() -> Report {
        let writes = Operations {
            ended: 1000,
            ok: 990,
            stored: 990,
            failed: 4,
            unknown: 6,
            throughput: 30_000.0,
            latency: Latency {
                count: 996,
                p50_us: 900.0,
                p99_us: 10_000.0,
                p999_us: 12_000.0,
                ..Latency::default()
            },
            ..Operations::default()
        };
        Report {
            plan: serde_json::Value::Null,
            seconds: 1.0,
            interrupted: false,
            all: writes,
            reads: Operations::default(),
            writes,
            service: Latency::default(),
            lateness: Latency::default(),
            failures: Vec::new(),
            notes: std::collections::BTreeMap::new(),
            cpu: Cpu::default(),
            series: Vec::new(),
        }
    }

    #[test]
    fn conditions_are_compared_in_their_units() {
        for (text, broken) in [
            ("p99>10ms", false),
            ("p99>=10ms", true),
            ("p99 > 9999us", true),
            ("writes.p50<1ms", true),
            ("p99.9>0.012s", false),
            ("writes.p99.9>11ms", true),
            ("error-ratio>1%", false),
            ("error-ratio>=0.01", true),
            ("errors>10", false),
            ("unknown>5", true),
            ("throughput<30k", false),
            ("throughput<=30k", true),
            ("failed>3.5", true),
        ] {
            let threshold: Threshold = text.parse().unwrap();
            assert_eq!(threshold.is_broken(&report()), broken, "{text}");
            assert_eq!(threshold.to_string(), text);
        }
    }

    #[test]
    fn what_was_not_measured_is_no_success() {
        for text in [
            "reads.p99>10ms",
            "reads.error-ratio>0",
            "reads.throughput<1",
        ] {
            let threshold: Threshold = text.parse().unwrap();
            assert!(threshold.is_broken(&report()), "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_what_is_expected() {
        for (text, words) in [
            ("p99", "p99>10ms"),
            ("p42>1ms", "p999"),
            ("p99>10", "10ms"),
            ("p99>ms", "10ms"),
            ("errors>1%", "1500"),
            ("error-ratio>1ms", "0.1%"),
            ("gets.p99>1ms", "reads."),
        ] {
            let error = text.parse::<Threshold>().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
