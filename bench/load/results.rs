//! What was measured of each row, in each repetition.

use std::collections::BTreeMap;

use serde::Serialize;
use shard_cache_bench::Report;

use crate::rows::Row;

/// One measurement of a row.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub(crate) struct Sample {
    pub(crate) throughput: f64,
    pub(crate) p50_us: f64,
    pub(crate) p95_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
    pub(crate) server_us_per_op: f64,
    pub(crate) client_us_per_op: f64,
    /// Failed, unknown or corrupt, of all.
    pub(crate) error_ratio: f64,
}

impl From<&Report> for Sample {
    fn from(report: &Report) -> Self {
        let all = &report.all;
        Self {
            throughput: all.throughput,
            p50_us: all.latency.p50_us,
            p95_us: all.latency.p95_us,
            p99_us: all.latency.p99_us,
            p999_us: all.latency.p999_us,
            max_us: all.latency.max_us,
            server_us_per_op: report.cpu.server_us_per_op.unwrap_or_default(),
            client_us_per_op: report.cpu.client_us_per_op,
            error_ratio: all.error_ratio(),
        }
    }
}

/// A figure of a sample.
pub(crate) type Metric = fn(&Sample) -> f64;

pub(crate) const METRICS: [(&str, Metric); 9] = [
    ("throughput", |one| one.throughput),
    ("p50_us", |one| one.p50_us),
    ("p95_us", |one| one.p95_us),
    ("p99_us", |one| one.p99_us),
    ("p999_us", |one| one.p999_us),
    ("max_us", |one| one.max_us),
    ("server_us_per_op", |one| one.server_us_per_op),
    ("client_us_per_op", |one| one.client_us_per_op),
    ("error_ratio", |one| one.error_ratio),
];

/// All rows, by their id: one entry for each repetition, empty where the row failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Results {
    samples: BTreeMap<String, Vec<Option<Sample>>>,
    /// Why a row was not measured.
    pub(crate) missing: BTreeMap<String, String>,
    /// Figures that are no row's.
    pub(crate) single: BTreeMap<&'static str, f64>,
}

impl Results {
    pub(crate) fn add(&mut self, row: &Row, repetition: usize, sample: Option<Sample>) {
        let samples = self.samples.entry(row.id()).or_default();
        samples.resize(repetition, None);
        samples.push(sample);
    }

    pub(crate) fn samples(&self, row: &Row) -> &[Option<Sample>] {
        self.samples.get(&row.id()).map_or(&[], Vec::as_slice)
    }

    /// The median over repetitions.
    pub(crate) fn median(&self, row: &Row, metric: Metric) -> Option<f64> {
        median(self.samples(row).iter().flatten().map(metric).collect())
    }

    /// Least and most over repetitions.
    pub(crate) fn range(&self, row: &Row, metric: Metric) -> Option<(f64, f64)> {
        let figures = || self.samples(row).iter().flatten().map(metric);
        let least = figures().min_by(f64::total_cmp)?;
        Some((least, figures().max_by(f64::total_cmp)?))
    }

    /// The quotient of two rows in each repetition that has both.
    pub(crate) fn quotients(&self, over: (&Row, Metric), under: (&Row, Metric)) -> Vec<f64> {
        let pairs = self.samples(over.0).iter().zip(self.samples(under.0));
        pairs
            .filter_map(|(over_one, under_one)| {
                let quotient = over.1(over_one.as_ref()?) / under.1(under_one.as_ref()?);
                quotient.is_finite().then_some(quotient)
            })
            .collect()
    }
}

/// The median; the mean of the middle two if there are as many on both sides.
pub(crate) fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_unstable_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let upper = *figures.get(middle)?;
    if figures.len().is_multiple_of(2) {
        Some((figures[middle - 1] + upper) / 2.0)
    } else {
        Some(upper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{CLUSTER_SET, ECHO_SET};

    #[test]
    fn quotients_are_taken_within_a_repetition() {
        let sample = |throughput| {
            Some(Sample {
                throughput,
                ..Sample::default()
            })
        };
        let mut results = Results::default();
        for (repetition, (over, under)) in [(10.0, 2.0), (40.0, 4.0), (9.0, 3.0)].iter().enumerate()
        {
            results.add(&CLUSTER_SET, repetition, sample(*over));
            let under = if repetition == 1 {
                None
            } else {
                sample(*under)
            };
            results.add(&ECHO_SET, repetition, under);
        }
        let metric: Metric = |one| one.throughput;
        let quotients = results.quotients((&CLUSTER_SET, metric), (&ECHO_SET, metric));
        assert_eq!(quotients, [5.0, 3.0]);
        assert_eq!(median(quotients), Some(4.0));
        assert_eq!(results.median(&CLUSTER_SET, metric), Some(10.0));
        assert_eq!(results.range(&CLUSTER_SET, metric), Some((9.0, 40.0)));
        assert_eq!(median(Vec::new()), None);
    }
}
