//! The ratios to reach, and whether they are. Data, and the one function that reads it.

use serde::Serialize;

use crate::{
    results::{Metric, Results, median},
    rows::{self, Row},
};

/// What a ratio should be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// It is printed beside another one that has a goal.
    None,
}

/// Where a ratio comes from.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// A figure of one row divided by a figure of another, median of the quotients of all repetitions.
    Rows((Row, Metric), (Row, Metric)),
    /// How near an open loop comes to its targets: the largest of p50 / 1 ms, p95 / 5 ms, p99 / 10 ms and
    /// errors / 0.1 %.
    Targets(Row),
    /// A figure measured once.
    Single(&'static str),
    /// Not measured here, for this reason.
    Elsewhere(&'static str),
}

struct Ratio {
    name: &'static str,
    shape: &'static str,
    goal: Goal,
    source: Source,
}

/// A ratio that was measured, or why it was not.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Outcome {
    #[serde(skip)]
    pub(crate) name: &'static str,
    pub(crate) shape: &'static str,
    /// Absent if it was not measured.
    pub(crate) value: Option<f64>,
    /// Least and most over repetitions.
    pub(crate) range: Option<(f64, f64)>,
    pub(crate) goal: Option<String>,
    /// Absent if there is no goal, or no value.
    pub(crate) met: Option<bool>,
    /// Why it was not measured.
    pub(crate) missing: Option<String>,
}

/// Name of the figure: bytes per entry beyond key and value.
pub(crate) const ENTRY_BYTES: &str = "bytes per entry";
/// Name of the figure: memory under churn, divided by what is allowed.
pub(crate) const CHURN: &str = "memory under churn";

/// Names of the figures of nodes that are slow or killed.
pub(crate) const SLOWED_LATER: &str = "Get p99 with one peer slowed, later by, ms";
pub(crate) const SLOWED_EXTRA: &str = "extra reads with one peer slowed";
pub(crate) const KILLED_FAILED: &str = "requests that fail when one of three is killed";
pub(crate) const KILLED_BACK: &str = "until latency is normal after a kill, ms";

const THROUGHPUT: Metric = |one| one.throughput;
const SERVER: Metric = |one| one.server_us_per_op;
const P50: Metric = |one| one.p50_us;
const P99: Metric = |one| one.p99_us;

/// Share of an open loop's requests that may not succeed.
const ERROR_RATIO_MAX: f64 = 0.001;

const MULTIPLEXED: &str = "64 outstanding on 6 connections, 100 B";
const ONE_EACH: &str = "64 connections, 1 outstanding on each, 100 B";
const SIXTEEN_EACH: &str = "6 connections, 16 outstanding on each (redis: pipelined), 100 B";

const fn rows(over: Row, under: Row, metric: Metric) -> Source {
    Source::Rows((over, metric), (under, metric))
}

const RATIOS: [Ratio; 29] = [
    Ratio {
        name: "quorum Set / own unary-per-peer baseline",
        shape: MULTIPLEXED,
        goal: Goal::AtLeast(3.0),
        source: rows(rows::CLUSTER_SET, rows::UNARY_SET, THROUGHPUT),
    },
    Ratio {
        name: "CPU per quorum Set: etcd put / ours",
        shape: MULTIPLEXED,
        goal: Goal::AtLeast(7.0),
        source: rows(rows::ETCD_SET, rows::CLUSTER_SET, SERVER),
    },
    Ratio {
        name: "targets at 10 k/s, 1 node: worst of p50/1ms, p95/5ms, p99/10ms, errors/0.1%",
        shape: "open loop, Set, 10 k/s",
        goal: Goal::AtMost(1.0),
        source: Source::Targets(rows::SINGLE_OPEN),
    },
    Ratio {
        name: "targets at 30 k/s, 3 nodes: worst of p50/1ms, p95/5ms, p99/10ms, errors/0.1%",
        shape: "open loop, quorum Set, 30 k/s",
        goal: Goal::AtMost(1.0),
        source: Source::Targets(rows::CLUSTER_OPEN),
    },
    Ratio {
        name: "memory under churn: (peak RSS - 64 MiB) / max_memory",
        shape: "1 node, max_memory 256 MiB",
        goal: Goal::AtMost(1.05),
        source: Source::Single(CHURN),
    },
    Ratio {
        name: "quorum Set / redis SET+WAIT 1",
        shape: ONE_EACH,
        goal: Goal::AtLeast(1.1),
        source: rows(rows::CLUSTER_ONE_EACH, rows::WAIT_ONE_EACH, THROUGHPUT),
    },
    Ratio {
        name: "quorum Set / redis SET+WAIT 1, pipelined",
        shape: SIXTEEN_EACH,
        goal: Goal::None,
        source: rows(
            rows::CLUSTER_SIXTEEN_EACH,
            rows::WAIT_SIXTEEN_EACH,
            THROUGHPUT,
        ),
    },
    Ratio {
        name: "quorum Set / bare tonic echo of the same messages",
        shape: MULTIPLEXED,
        goal: Goal::AtLeast(0.75),
        source: rows(rows::CLUSTER_SET, rows::ECHO_SET, THROUGHPUT),
    },
    Ratio {
        name: "CPU: quorum Set / bare tonic echo of the same messages",
        shape: MULTIPLEXED,
        goal: Goal::AtMost(2.4),
        source: rows(rows::CLUSTER_SET, rows::ECHO_SET, SERVER),
    },
    Ratio {
        name: "single Set / redis SET",
        shape: ONE_EACH,
        goal: Goal::AtLeast(0.5),
        source: rows(
            rows::SINGLE_SET_ONE_EACH,
            rows::REDIS_SET_ONE_EACH,
            THROUGHPUT,
        ),
    },
    Ratio {
        name: "single Get / redis GET",
        shape: ONE_EACH,
        goal: Goal::AtLeast(0.5),
        source: rows(
            rows::SINGLE_GET_ONE_EACH,
            rows::REDIS_GET_ONE_EACH,
            THROUGHPUT,
        ),
    },
    Ratio {
        name: "single Set / redis SET, multiplexed",
        shape: SIXTEEN_EACH,
        goal: Goal::AtLeast(1.1),
        source: rows(
            rows::SINGLE_SET_SIXTEEN_EACH,
            rows::REDIS_SET_SIXTEEN_EACH,
            THROUGHPUT,
        ),
    },
    Ratio {
        name: "single Get / redis GET, multiplexed",
        shape: SIXTEEN_EACH,
        goal: Goal::AtLeast(1.1),
        source: rows(
            rows::SINGLE_GET_SIXTEEN_EACH,
            rows::REDIS_GET_SIXTEEN_EACH,
            THROUGHPUT,
        ),
    },
    Ratio {
        name: "p50: quorum Set / bare tonic echo, one at a time",
        shape: "1 connection, 1 outstanding, 100 B",
        goal: Goal::AtMost(1.7),
        source: rows(rows::CLUSTER_ALONE, rows::ECHO_ALONE, P50),
    },
    Ratio {
        name: "p99 / p50 of quorum Set",
        shape: "32 outstanding on 6 connections, 100 B",
        goal: Goal::AtMost(2.5),
        source: Source::Rows((rows::CLUSTER_HALF, P99), (rows::CLUSTER_HALF, P50)),
    },
    Ratio {
        name: "quorum Set: 512 B / 100 B",
        shape: "64 outstanding on 6 connections",
        goal: Goal::AtLeast(0.75),
        source: rows(rows::CLUSTER_SET_512, rows::CLUSTER_SET, THROUGHPUT),
    },
    Ratio {
        name: "quorum Set: 1 KiB / 100 B",
        shape: "64 outstanding on 6 connections",
        goal: Goal::AtLeast(0.75),
        source: rows(rows::CLUSTER_SET_1024, rows::CLUSTER_SET, THROUGHPUT),
    },
    Ratio {
        name: "quorum Get: 512 B / 100 B",
        shape: "64 outstanding on 6 connections",
        goal: Goal::AtLeast(0.75),
        source: rows(rows::CLUSTER_GET_512, rows::CLUSTER_GET, THROUGHPUT),
    },
    Ratio {
        name: "quorum Get: 1 KiB / 100 B",
        shape: "64 outstanding on 6 connections",
        goal: Goal::AtLeast(0.75),
        source: rows(rows::CLUSTER_GET_1024, rows::CLUSTER_GET, THROUGHPUT),
    },
    Ratio {
        name: "CPU per quorum Set: 6 nodes / 3 nodes",
        shape: "24 outstanding and 2 connections for each node, 100 B",
        goal: Goal::AtMost(1.4),
        source: rows(rows::SIX_PER_NODE, rows::CLUSTER_PER_NODE, SERVER),
    },
    Ratio {
        name: "bytes per entry beyond key and value",
        shape: "1 node, 1 M entries of 32 + 100 B (--quick: fewer)",
        goal: Goal::AtMost(160.0),
        source: Source::Single(ENTRY_BYTES),
    },
    Ratio {
        name: SLOWED_LATER,
        shape: "open loop, 10 k/s, 90 % Gets at two nodes; the third stands still for 50 of every 200 ms",
        goal: Goal::AtMost(10.0),
        source: Source::Single(SLOWED_LATER),
    },
    Ratio {
        name: SLOWED_EXTRA,
        shape: "the same: hedges / Gets",
        goal: Goal::AtMost(0.05),
        source: Source::Single(SLOWED_EXTRA),
    },
    Ratio {
        name: KILLED_FAILED,
        shape: "open loop at 70 % of what is sustained (p99 < 10 ms), 90 % Gets at two nodes; the third is killed",
        goal: Goal::AtMost(0.001),
        source: Source::Single(KILLED_FAILED),
    },
    Ratio {
        name: KILLED_BACK,
        shape: "the same: until p99 of 100 ms is at most twice what it was, and 1 ms",
        goal: Goal::AtMost(500.0),
        source: Source::Single(KILLED_BACK),
    },
    Ratio {
        name: "quorum Get / bare tonic echo that answers with a value",
        shape: MULTIPLEXED,
        goal: Goal::None,
        source: rows(rows::CLUSTER_GET, rows::ECHO_GET, THROUGHPUT),
    },
    Ratio {
        name: "CPU per Get: etcd linearizable get / quorum Get",
        shape: MULTIPLEXED,
        goal: Goal::None,
        source: rows(rows::ETCD_GET, rows::CLUSTER_GET, SERVER),
    },
    Ratio {
        name: "owner lookup, up to 1000 nodes",
        shape: "nanoseconds",
        goal: Goal::AtMost(10.0),
        source: Source::Elsewhere("`make bench` measures it, on one thread and without nodes"),
    },
    Ratio {
        name: "CPU per op with 1 % sampling and a scrape each second / off",
        shape: ">= 10 pairs",
        goal: Goal::AtMost(1.05),
        source: Source::Elsewhere("`make observed` measures it, with a collector of spans"),
    },
];

/// All ratios.
pub(crate) fn judge(results: &Results) -> Vec<Outcome> {
    RATIOS.iter().map(|ratio| ratio.judge(results)).collect()
}

impl Ratio {
    fn judge(&self, results: &Results) -> Outcome {
        let missing;
        let figures = match self.source {
            Source::Rows(over, under) => {
                missing = why(results, &[over.0, under.0]);
                results.quotients((&over.0, over.1), (&under.0, under.1))
            }
            Source::Targets(row) => {
                missing = why(results, &[row]);
                results
                    .samples(&row)
                    .iter()
                    .flatten()
                    .map(|one| {
                        // A rate that is not kept has no latency worth the name.
                        (one.p50_us / 1e3)
                            .max(one.p95_us / 5e3)
                            .max(one.p99_us / 1e4)
                            .max(one.error_ratio / ERROR_RATIO_MAX)
                    })
                    .collect()
            }
            Source::Single(name) => {
                missing = results.missing.get(name).cloned();
                results.single.get(name).copied().into_iter().collect()
            }
            Source::Elsewhere(reason) => {
                missing = Some(reason.to_owned());
                Vec::new()
            }
        };
        let least = figures.iter().copied().min_by(f64::total_cmp);
        let most = figures.iter().copied().max_by(f64::total_cmp);
        let value = median(figures);
        Outcome {
            name: self.name,
            shape: self.shape,
            value,
            range: least.zip(most),
            goal: self.goal.text(),
            met: value.and_then(|value| self.goal.is_met(value)),
            missing: match value {
                Some(_) => None,
                None => missing.or_else(|| Some("not asked for".to_owned())),
            },
        }
    }
}

/// Why one of these rows has no figures.
fn why(results: &Results, rows: &[Row]) -> Option<String> {
    rows.iter()
        .find_map(|row| results.missing.get(&row.id()).cloned())
}

impl Goal {
    fn text(self) -> Option<String> {
        match self {
            Self::AtLeast(bound) => Some(format!(">= {bound}")),
            Self::AtMost(bound) => Some(format!("<= {bound}")),
            Self::None => None,
        }
    }

    fn is_met(self, value: f64) -> Option<bool> {
        match self {
            Self::AtLeast(bound) => Some(value >= bound),
            Self::AtMost(bound) => Some(value <= bound),
            Self::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::results::Sample;

    fn find(results: &Results, name: &str) -> Outcome {
        let all = judge(results);
        all.into_iter()
            .find(|outcome| outcome.name.starts_with(name))
            .unwrap()
    }

    #[test]
    fn a_ratio_is_met_not_met_or_not_measured_with_the_reason() {
        let mut results = Results::default();
        let sample = |throughput, server_us_per_op| {
            Some(Sample {
                throughput,
                server_us_per_op,
                ..Sample::default()
            })
        };
        results.add(&rows::CLUSTER_SET, 0, sample(80.0, 20.0));
        results.add(&rows::ECHO_SET, 0, sample(100.0, 5.0));
        let refused = "the binary refuses server.peer.link";
        results
            .missing
            .insert(rows::UNARY_SET.id(), refused.to_owned());
        let echo = find(&results, "quorum Set / bare tonic echo");
        assert_eq!((echo.value, echo.met), (Some(0.8), Some(true)));
        let cpu = find(&results, "CPU: quorum Set");
        assert_eq!((cpu.value, cpu.met), (Some(4.0), Some(false)));
        let unary = find(&results, "quorum Set / own unary");
        assert_eq!((unary.value, unary.met), (None, None));
        assert_eq!(unary.missing.as_deref(), Some(refused));
    }

    #[test]
    fn targets_are_missed_by_the_worst_quantile_and_by_errors() {
        let mut results = Results::default();
        let mut sample = Sample {
            p50_us: 500.0,
            p95_us: 6_000.0,
            p99_us: 7_000.0,
            ..Sample::default()
        };
        results.add(&rows::SINGLE_OPEN, 0, Some(sample));
        let missed = find(&results, "targets at 10 k/s");
        assert_eq!((missed.value, missed.met), (Some(1.2), Some(false)));
        sample.p95_us = 1_000.0;
        sample.error_ratio = 0.01;
        results.add(&rows::SINGLE_OPEN, 1, Some(sample));
        results.add(&rows::SINGLE_OPEN, 2, Some(sample));
        assert_eq!(find(&results, "targets at 10 k/s").met, Some(false));
    }

    #[test]
    fn names_differ() {
        let names: BTreeSet<_> = RATIOS.iter().map(|ratio| ratio.name).collect();
        assert_eq!(names.len(), RATIOS.len());
    }
}
