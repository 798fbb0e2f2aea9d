//! Durations, counted without a lock, and the sampled requests that stand for them.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

/// Upper bounds of the latency buckets, in seconds. The targets of 1, 5 and 10 ms are bounds, so
/// that the share of requests within them is exact.
pub const LATENCY_BUCKETS: [f64; BOUNDS] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5,
];
const BOUNDS: usize = 15;
/// The last one is for what takes longer than the highest bound.
const BUCKETS: usize = BOUNDS + 1;

const BOUNDS_NANOS: [u64; BOUNDS] = {
    let (mut nanos, mut bound) = ([0; BOUNDS], 0);
    while bound < BOUNDS {
        nanos[bound] = (LATENCY_BUCKETS[bound] * 1e9 + 0.5) as u64;
        bound += 1;
    }
    nanos
};

/// The bucket of a duration.
fn bucket_of(nanos: u64) -> usize {
    BOUNDS_NANOS.partition_point(|bound| *bound < nanos)
}

fn nanos_of(taken: Duration) -> u64 {
    u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX)
}

/// A histogram of durations over [`LATENCY_BUCKETS`]. Counting is two relaxed additions; a scrape
/// may see one of them without the other.
#[derive(Clone, Default)]
pub struct Latencies(Arc<Sums>);

#[derive(Default)]
struct Sums {
    counts: [AtomicU64; BUCKETS],
    /// Full after five centuries.
    nanos: AtomicU64,
}

impl Latencies {
    /// Counts one duration.
    pub fn observe(&self, taken: Duration) {
        let nanos = nanos_of(taken);
        self.0.counts[bucket_of(nanos)].fetch_add(1, Relaxed);
        self.0.nanos.fetch_add(nanos, Relaxed);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|count| count.load(Relaxed)).sum()
    }
}

impl fmt::Debug for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Latencies({})", self.count())
    }
}

impl EncodeMetric for Latencies {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        let bounds = LATENCY_BUCKETS.into_iter().chain([f64::INFINITY]);
        let counts = self.0.counts.iter().map(|count| count.load(Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let seconds = self.0.nanos.load(Relaxed) as f64 / 1e9;
        encoder.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Latencies {
    const TYPE: MetricType = MetricType::Histogram;
}

/// A sampled request that stands for a bucket.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Exemplar {
    /// Its trace.
    pub trace_id: u128,
    /// How long it took.
    pub taken: Duration,
    /// When it ended, in milliseconds since the Unix epoch.
    pub at_millis: u64,
}

impl fmt::Display for Exemplar {
    /// As OpenMetrics has it behind a sample.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trace_id,
            taken,
            at_millis,
        } = self;
        let (taken, at) = (taken.as_secs_f64(), *at_millis as f64 / 1000.0);
        write!(f, "{{trace_id=\"{trace_id:032x}\"}} {taken} {at:.3}")
    }
}

/// The latest sampled request of each bucket. Requests that are not sampled never come here.
#[derive(Debug, Default)]
pub struct Exemplars(Mutex<[Option<Exemplar>; BUCKETS]>);

impl Exemplars {
    /// A sampled request has ended.
    pub fn note(&self, exemplar: Exemplar) {
        let bucket = bucket_of(nanos_of(exemplar.taken));
        // A list of exemplars is whole whatever its last user was doing.
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        latest[bucket] = Some(exemplar);
    }

    /// That of the bucket with this upper bound, in seconds.
    pub(super) fn within(&self, bound: f64) -> Option<Exemplar> {
        let bounds = LATENCY_BUCKETS.into_iter().chain([f64::INFINITY]);
        let bucket = bounds.into_iter().position(|known| known == bound)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[bucket]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_within_the_first_bound_that_it_does_not_pass() {
        let micros = BOUNDS_NANOS.map(|nanos| nanos / 1000);
        assert_eq!(
            micros,
            [
                50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000,
                500_000, 1_000_000, 2_500_000
            ]
        );
        for (nanos, bucket) in [(0, 0), (50_000, 0), (50_001, 1), (u64::MAX, BOUNDS)] {
            assert_eq!(bucket_of(nanos), bucket, "{nanos}");
        }
    }

    #[test]
    fn the_latest_sampled_request_stands_for_its_bucket() {
        let exemplars = Exemplars::default();
        for (trace_id, micros) in [(1, 700), (2, 900), (3, 3_000_000)] {
            exemplars.note(Exemplar {
                trace_id,
                taken: Duration::from_micros(micros),
                at_millis: 1_700_000_000_123,
            });
        }
        let shown = exemplars.within(0.001).map(|found| found.to_string());
        let expected = "{trace_id=\"00000000000000000000000000000002\"} 0.0009 1700000000.123";
        assert_eq!(shown.as_deref(), Some(expected));
        let slow = exemplars.within(f64::INFINITY);
        assert_eq!(slow.map(|found| found.trace_id), Some(3));
        assert_eq!(exemplars.within(0.000_5), None);
    }
}
