//! Counts what ended and how long it took.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{
    operation::{Answer, Cause, Ended, Kind},
    report::{Failures, Latency, Moment, Operations, Verdict},
};

/// Longest latency that is told apart, in nanoseconds: ten minutes.
const NANOS_MAX: u64 = 600 * 1_000_000_000;
/// Three significant digits.
const DIGITS: u8 = 3;
/// Most different causes that are counted apart.
const CAUSES_MAX: usize = 64;

/// A request that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) kind: Kind,
    /// When it should have been sent.
    pub(crate) due: Instant,
    /// When it was.
    pub(crate) sent: Instant,
    pub(crate) ended: Instant,
}

/// Results so far.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// Requests that were due before this are not counted.
    from: Option<Instant>,
    reads: Tally,
    writes: Tally,
    /// From when a request was sent, however late that was.
    service: Histogram<u64>,
    /// How late requests were sent.
    lateness: Histogram<u64>,
    causes: BTreeMap<(Verdict, Cause), u64>,
    moment: Tally,
}

/// One kind of request.
#[derive(Debug)]
struct Tally {
    hits: u64,
    misses: u64,
    stored: u64,
    corrupt: u64,
    shed: u64,
    failed: u64,
    unknown: u64,
    latency: Histogram<u64>,
}

impl Recorder {
    /// Counts nothing until it is told from when on.
    pub(crate) fn new() -> Self {
        Self {
            from: None,
            reads: Tally::new(),
            writes: Tally::new(),
            service: histogram(),
            lateness: histogram(),
            causes: BTreeMap::new(),
            moment: Tally::new(),
        }
    }

    pub(crate) const fn count_from(&mut self, from: Instant) {
        self.from = Some(from);
    }

    pub(crate) fn record(&mut self, sample: &Sample, ended: &Ended) {
        if self.from.is_none_or(|from| sample.due < from) {
            return;
        }
        let latency = nanos(sample.ended - sample.due);
        let tally = match sample.kind {
            Kind::Read => &mut self.reads,
            Kind::Write => &mut self.writes,
        };
        tally.count(ended, latency);
        self.moment.count(ended, latency);
        if !matches!(ended, Ended::Failed(_)) {
            self.service
                .saturating_record(nanos(sample.ended - sample.sent));
            self.lateness
                .saturating_record(nanos(sample.sent - sample.due));
        }
        let (verdict, cause) = match ended {
            Ended::Ok(_) => return,
            Ended::Failed(cause) => (Verdict::Failed, cause),
            Ended::Unknown(cause) => (Verdict::Unknown, cause),
        };
        let key = (verdict, cause.clone());
        if self.causes.len() >= CAUSES_MAX && !self.causes.contains_key(&key) {
            *self
                .causes
                .entry((verdict, Cause::new("OTHER", "other")))
                .or_default() += 1;
        } else {
            *self.causes.entry(key).or_default() += 1;
        }
    }

    /// What ended since the last moment, which began at `from` and lasted `time`.
    pub(crate) fn moment(&mut self, from: Duration, time: Duration) -> Moment {
        let seconds = time.as_secs_f64().max(f64::MIN_POSITIVE);
        let moment = &self.moment;
        let done = Moment {
            at_seconds: from.as_secs_f64(),
            throughput: moment.ok() as f64 / seconds,
            ok: moment.ok(),
            failed: moment.failed,
            unknown: moment.unknown,
            corrupt: moment.corrupt,
            p50_us: micros(moment.latency.value_at_quantile(0.5)),
            p99_us: micros(moment.latency.value_at_quantile(0.99)),
            max_us: micros(moment.latency.max()),
        };
        self.moment.clear();
        done
    }

    pub(crate) fn reads(&self, time: Duration) -> Operations {
        self.reads.operations(time)
    }

    pub(crate) fn writes(&self, time: Duration) -> Operations {
        self.writes.operations(time)
    }

    pub(crate) fn all(&self, time: Duration) -> Operations {
        let mut all = Tally::new();
        for one in [&self.reads, &self.writes] {
            all.add(one);
        }
        all.operations(time)
    }

    pub(crate) fn service(&self) -> Latency {
        latency(&self.service)
    }

    pub(crate) fn lateness(&self) -> Latency {
        latency(&self.lateness)
    }

    pub(crate) fn failures(&self) -> Vec<Failures> {
        self.causes
            .iter()
            .map(|((verdict, cause), count)| Failures {
                outcome: *verdict,
                code: cause.code.to_owned(),
                reason: cause.reason.clone().into_owned(),
                count: *count,
            })
            .collect()
    }
}

impl Tally {
    fn new() -> Self {
        Self {
            hits: 0,
            misses: 0,
            stored: 0,
            corrupt: 0,
            shed: 0,
            failed: 0,
            unknown: 0,
            latency: histogram(),
        }
    }

    fn count(&mut self, ended: &Ended, nanos: u64) {
        match ended {
            Ended::Ok(Answer::Hit) => self.hits += 1,
            Ended::Ok(Answer::Miss) => self.misses += 1,
            Ended::Ok(Answer::Stored) => self.stored += 1,
            Ended::Ok(Answer::Corrupt) => self.corrupt += 1,
            Ended::Failed(cause) => {
                self.failed += 1;
                self.shed += u64::from(cause.reason == Cause::SHED);
                // A refusal is quick; counted, it would make an overloaded node look fast.
                return;
            }
            Ended::Unknown(_) => self.unknown += 1,
        }
        self.latency.saturating_record(nanos);
    }

    fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.stored += other.stored;
        self.corrupt += other.corrupt;
        self.shed += other.shed;
        self.failed += other.failed;
        self.unknown += other.unknown;
        // Histograms of one shape add up.
        let _ = self.latency.add(&other.latency);
    }

    fn clear(&mut self) {
        let mut latency = std::mem::replace(&mut self.latency, empty());
        latency.reset();
        *self = Self {
            latency,
            hits: 0,
            misses: 0,
            stored: 0,
            corrupt: 0,
            shed: 0,
            failed: 0,
            unknown: 0,
        };
    }

    const fn ok(&self) -> u64 {
        self.hits + self.misses + self.stored
    }

    fn operations(&self, time: Duration) -> Operations {
        let ok = self.ok();
        Operations {
            ended: ok + self.corrupt + self.failed + self.unknown,
            ok,
            hits: self.hits,
            misses: self.misses,
            stored: self.stored,
            failed: self.failed,
            shed: self.shed,
            unknown: self.unknown,
            corrupt: self.corrupt,
            throughput: ok as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE),
            latency: latency(&self.latency),
        }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(NANOS_MAX, DIGITS).unwrap_or_else(|_| empty())
}

/// One that grows as it needs.
fn empty() -> Histogram<u64> {
    Histogram::new(DIGITS).expect("three digits are possible")
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1000.0
}

fn latency(histogram: &Histogram<u64>) -> Latency {
    let at = |quantile| micros(histogram.value_at_quantile(quantile));
    Latency {
        count: histogram.len(),
        mean_us: histogram.mean() / 1000.0,
        p50_us: at(0.5),
        p90_us: at(0.9),
        p95_us: at(0.95),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: micros(histogram.max()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_counts_from_when_it_was_due_and_refusals_have_none() {
        let start = Instant::now();
        let mut recorder = Recorder::new();
        recorder.count_from(start);
        let ms = Duration::from_millis;
        let sample = |due: u64, sent: u64, ended: u64| Sample {
            kind: Kind::Write,
            due: start + ms(due),
            sent: start + ms(sent),
            ended: start + ms(ended),
        };
        recorder.record(&sample(0, 300, 301), &Ended::Ok(Answer::Stored));
        recorder.record(
            &sample(1, 301, 302),
            &Ended::Failed(Cause::new("X", "shed")),
        );
        recorder.record(&sample(2, 302, 802), &Ended::timed_out());
        let before = Sample {
            due: start - ms(1),
            ..sample(0, 0, 1)
        };
        recorder.record(&before, &Ended::Ok(Answer::Stored));
        let writes = recorder.writes(Duration::from_secs(1));
        assert_eq!(
            (
                writes.ended,
                writes.ok,
                writes.failed,
                writes.shed,
                writes.unknown
            ),
            (3, 1, 1, 1, 1)
        );
        assert_eq!(writes.latency.count, 2);
        assert!((writes.latency.max_us - 800_000.0).abs() < 1000.0);
        assert!((writes.latency.p50_us - 301_000.0).abs() < 500.0);
        assert!((recorder.service().p50_us - 1_000.0).abs() < 5.0);
        assert_eq!(recorder.reads(Duration::from_secs(1)).ended, 0);
        assert_eq!(recorder.failures().len(), 2);
    }

    #[test]
    fn a_moment_holds_what_ended_since_the_last() {
        let start = Instant::now();
        let mut recorder = Recorder::new();
        recorder.count_from(start);
        let sample = Sample {
            kind: Kind::Read,
            due: start,
            sent: start,
            ended: start + Duration::from_millis(2),
        };
        recorder.record(&sample, &Ended::Ok(Answer::Hit));
        let second = Duration::from_secs(1);
        assert_eq!(recorder.moment(Duration::ZERO, second).ok, 1);
        let empty = recorder.moment(second, second);
        assert_eq!((empty.ok, empty.max_us), (0, 0.0));
        assert_eq!(recorder.all(second).hits, 1);
    }
}
