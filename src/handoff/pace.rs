//! How fast slots are copied: below a rate, and slower while copying slows the source or this node down. Pure: time is a
//! parameter.
//!
//! What others feel of a copy is not asked of them; it shows in the time that a page takes. When a page takes more than
//! twice as long per byte as the quickest of late, and 20 ms more than that, somebody else needs the processor or the
//! network, and the rate is halved; otherwise it recovers step by step. Delay as the sign that background work is in the
//! way is the idea of LEDBAT (RFC 6817, section 2).

use std::time::Duration;

use crate::clock::Monotonic;

/// The rate never falls below this share of its maximum: a copy has to end.
const SLOWEST_SHARE: u64 = 8;
/// Pages may differ by so much for no reason.
const JITTER_MAX: Duration = Duration::from_millis(20);
/// How long the quickest page is remembered: networks and neighbours change.
const QUICKEST_AGE_MAX: Duration = Duration::from_secs(30);

/// The pace of one node's copies.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// Bytes per second.
    rate_max: u64,
    rate: u64,
    /// When the bytes so far are paid for.
    due: Monotonic,
    /// Nanoseconds per KiB of the quickest page of late, and when that was.
    quickest: Option<(u64, Monotonic)>,
}

impl Pace {
    /// At most so many bytes per second; at least 1.
    pub(super) fn new(bytes_per_second_max: u64) -> Self {
        let rate_max = bytes_per_second_max.max(1);
        Self {
            rate_max,
            rate: rate_max,
            due: Duration::ZERO,
            quickest: None,
        }
    }

    /// A page of so many bytes has come, after so long. Returns how long to wait before the next one.
    pub(super) fn pay(&mut self, bytes: usize, took: Duration, now: Monotonic) -> Duration {
        self.judge(bytes, took, now);
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / self.rate;
        // The time that the page took counts; rest that was not needed is not saved up.
        let from = self.due.max(now.saturating_sub(took));
        self.due = from + Duration::from_nanos(nanos);
        self.due.saturating_sub(now)
    }

    fn judge(&mut self, bytes: usize, took: Duration, now: Monotonic) {
        let kib = bytes as u64 / 1024;
        if kib == 0 {
            self.recover();
            return;
        }
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let per_kib = nanos(took) / kib;
        let quickest = self
            .quickest
            .filter(|(_, at)| now.saturating_sub(*at) < QUICKEST_AGE_MAX);
        match quickest {
            Some((quickest, _))
                if nanos(took) > (quickest * kib).saturating_mul(2) + nanos(JITTER_MAX) =>
            {
                self.rate = (self.rate / 2).max((self.rate_max / SLOWEST_SHARE).max(1));
            }
            Some((quickest, _)) if per_kib > quickest => self.recover(),
            Some(_) | None => {
                self.quickest = Some((per_kib, now));
                self.recover();
            }
        }
    }

    fn recover(&mut self) {
        self.rate = (self.rate + self.rate_max / 16).min(self.rate_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;
    const QUICK: Duration = Duration::from_millis(6);

    /// Copies pages until the time is up; returns the bytes.
    fn copy(pace: &mut Pace, from: Monotonic, until: Monotonic, took: Duration) -> u64 {
        let (mut now, mut bytes) = (from, 0);
        while now < until {
            now += took;
            bytes += MIB as u64;
            now += pace.pay(MIB, took, now);
        }
        bytes
    }

    #[test]
    fn a_copy_keeps_to_its_rate() {
        let mut pace = Pace::new(32 * MIB as u64);
        let bytes = copy(&mut pace, Duration::ZERO, Duration::from_secs(10), QUICK);
        let expected = 320 * MIB as u64;
        assert!(bytes.abs_diff(expected) <= 2 * MIB as u64, "{bytes}");
    }

    #[test]
    fn a_copy_that_slows_somebody_down_gives_way_and_recovers() {
        let mut pace = Pace::new(32 * MIB as u64);
        let second = Duration::from_secs(1);
        let quiet = copy(&mut pace, Duration::ZERO, second, QUICK);
        let pressed = copy(&mut pace, second, 3 * second, 6 * QUICK) / 2;
        assert!(pressed * 4 < quiet, "{quiet} {pressed}");
        assert!(pressed > 0);
        let after = copy(&mut pace, 3 * second, 8 * second, QUICK) / 5;
        assert!(after * 10 > quiet * 7, "{quiet} {after}");
    }

    #[test]
    fn rest_is_not_saved_up() {
        let mut pace = Pace::new(MIB as u64);
        let hour = Duration::from_secs(3600);
        let wait = pace.pay(MIB, QUICK, hour);
        assert!(wait > Duration::from_millis(900), "{wait:?}");
    }

    #[test]
    fn a_small_page_is_paid_for_and_judged_by_nothing() {
        let mut pace = Pace::new(1000);
        let wait = pace.pay(10, Duration::from_secs(5), Duration::from_secs(5));
        assert_eq!(wait, Duration::ZERO, "it took longer than it costs");
        let wait = pace.pay(100, Duration::ZERO, Duration::from_secs(5));
        assert_eq!(wait, Duration::from_millis(100));
    }
}
