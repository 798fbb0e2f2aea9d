//! How fast slots are copied and hints delivered: below a rate, and slower while that slows the other node or this one
//! down. Time is a parameter.
//!
//! What others feel of background work is not asked of them; it shows in the time that a page or a batch takes. When one
//! takes more than twice as long per byte as the quickest of late, and 20 ms more than that, somebody else needs the
//! processor or the network, and the rate is halved; otherwise it recovers step by step. Delay as the sign that background
//! work is in the way is the idea of LEDBAT (RFC 6817, section 2).
//!
//! What all of them take together keeps to one [`Budget`].
//!
//! A copy begins at its highest rate, because a node waits for it; a delivery begins slowly, because its target has just
//! come back ([`Ramp`]).

use std::{sync::Arc, time::Duration};

use prometheus_client::metrics::counter::Counter;

use crate::{
    clock::Monotonic,
    sync::{Mutex, lock},
};

/// The rate never falls below this share of its maximum: a copy has to end.
const SLOWEST_SHARE: u64 = 8;
/// Pages may differ by so much for no reason.
const JITTER_MAX: Duration = Duration::from_millis(20);
/// How long the quickest page is remembered: networks and neighbours change.
const QUICKEST_AGE_MAX: Duration = Duration::from_secs(30);

/// Bytes per second of the first deliveries to a target.
const RAMP_START: u64 = 1024 * 1024;
/// Deliveries are never slower: hints have to go.
const RAMP_MIN: u64 = RAMP_START / 16;
/// Deliveries are never quicker.
const RAMP_MAX: u64 = 32 * RAMP_START;
/// A rate that limits, and that nobody minds, grows by a quarter so often.
const RAMP_INTERVAL: Duration = Duration::from_secs(1);

/// What all background work of a node may take together: hints, repair and slot handoff. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Bytes per second.
    rate: u64,
    /// When the bytes so far are paid for.
    due: Arc<Mutex<Monotonic>>,
    /// How often somebody had to wait for others.
    waits: Counter,
}

impl Budget {
    /// At most so many bytes of keys and values per second; at least 1. `waits` counts how often that was too little.
    #[must_use]
    pub fn new(bytes_per_second_max: u64, waits: Counter) -> Self {
        Self {
            rate: bytes_per_second_max.max(1),
            due: Arc::default(),
            waits,
        }
    }

    /// So many bytes have come or gone, which took so long, and whoever pays would go on at `due`. Returns when it may.
    fn pay(&self, bytes: usize, took: Duration, due: Monotonic, now: Monotonic) -> Monotonic {
        let mut shared = lock(&self.due);
        *shared = paid(*shared, bytes, self.rate, took, now);
        if *shared <= due.max(now) {
            return due;
        }
        self.waits.inc();
        *shared
    }
}

#[cfg(test)]
impl Budget {
    /// One that is never in the way.
    pub(crate) fn ample() -> Self {
        Self::new(u64::MAX, Counter::default())
    }
}

/// The pace of one node's copies.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// Bytes per second.
    rate_max: u64,
    rate: u64,
    /// When the bytes so far are paid for.
    due: Monotonic,
    delay: Delay,
    budget: Budget,
}

impl Pace {
    /// At most so many bytes per second, at least 1, and what the budget allows.
    pub(crate) fn new(bytes_per_second_max: u64, budget: Budget) -> Self {
        let rate_max = bytes_per_second_max.max(1);
        Self {
            rate_max,
            rate: rate_max,
            due: Duration::ZERO,
            delay: Delay::default(),
            budget,
        }
    }

    /// A page of so many bytes has come, after so long. Returns how long to wait before the next one.
    pub(crate) fn pay(&mut self, bytes: usize, took: Duration, now: Monotonic) -> Duration {
        match self.delay.judge(bytes, took, now) {
            Sign::Pressed => {
                self.rate = (self.rate / 2).max((self.rate_max / SLOWEST_SHARE).max(1));
            }
            Sign::Clear => self.rate = (self.rate + self.rate_max / 16).min(self.rate_max),
        }
        self.due = paid(self.due, bytes, self.rate, took, now);
        let shared = self.budget.pay(bytes, took, self.due, now);
        shared.saturating_sub(now)
    }
}

/// When bytes are paid for. The time that they took counts; rest that was not needed is not saved up.
fn paid(due: Monotonic, bytes: usize, rate: u64, took: Duration, now: Monotonic) -> Monotonic {
    let nanos = (bytes as u64).saturating_mul(1_000_000_000) / rate;
    due.max(now.saturating_sub(took)) + Duration::from_nanos(nanos)
}

/// The pace of hints to one target: slowly at first, and faster for as long as nobody minds.
#[derive(Clone, Debug)]
pub(super) struct Ramp {
    /// Bytes per second.
    rate: u64,
    due: Monotonic,
    /// When the rate has last changed, or was first used.
    changed: Option<Monotonic>,
    delay: Delay,
}

impl Default for Ramp {
    fn default() -> Self {
        Self {
            rate: RAMP_START,
            due: Duration::ZERO,
            changed: None,
            delay: Delay::default(),
        }
    }
}

impl Ramp {
    /// When the next batch may be sent.
    pub(super) const fn due(&self) -> Monotonic {
        self.due
    }

    /// A batch of so many bytes was taken, after so long. Returns whether that was too long.
    pub(super) fn pay(
        &mut self,
        bytes: usize,
        took: Duration,
        now: Monotonic,
        budget: &Budget,
    ) -> bool {
        let is_pressed = match self.delay.judge(bytes, took, now) {
            Sign::Pressed => true,
            Sign::Clear => false,
        };
        if is_pressed {
            self.slow_down(now);
        }
        self.due = paid(self.due, bytes, self.rate, took, now);
        let changed = *self.changed.get_or_insert(now);
        // A rate that is not used up has not been tried.
        let is_tried = self.due > now && now.saturating_sub(changed) >= RAMP_INTERVAL;
        if is_tried && !is_pressed {
            self.rate = (self.rate + self.rate / 4).min(RAMP_MAX);
            self.changed = Some(now);
        }
        self.due = budget.pay(bytes, took, self.due, now);
        is_pressed
    }

    /// The target minds: it was too slow, or has refused a batch for load.
    pub(super) fn slow_down(&mut self, now: Monotonic) {
        self.rate = (self.rate / 2).max(RAMP_MIN);
        self.changed = Some(now);
    }

    /// The target could not be called: when it is back, it begins slowly again.
    pub(super) fn start_over(&mut self) {
        self.rate = self.rate.min(RAMP_START);
        self.changed = None;
    }
}

/// What the time says that something took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sign {
    /// Nothing is in anybody's way.
    Clear,
    /// Somebody else needs the processor or the network.
    Pressed,
}

/// How long pages and batches take.
#[derive(Clone, Debug, Default)]
struct Delay {
    /// Nanoseconds per KiB of the quickest of late, and when that was.
    quickest: Option<(u64, Monotonic)>,
}

impl Delay {
    fn judge(&mut self, bytes: usize, took: Duration, now: Monotonic) -> Sign {
        let kib = bytes as u64 / 1024;
        if kib == 0 {
            return Sign::Clear;
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
                Sign::Pressed
            }
            Some((quickest, _)) if per_kib > quickest => Sign::Clear,
            Some(_) | None => {
                self.quickest = Some((per_kib, now));
                Sign::Clear
            }
        }
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
        let mut pace = Pace::new(32 * MIB as u64, Budget::ample());
        let bytes = copy(&mut pace, Duration::ZERO, Duration::from_secs(10), QUICK);
        let expected = 320 * MIB as u64;
        assert!(bytes.abs_diff(expected) <= 2 * MIB as u64, "{bytes}");
    }

    #[test]
    fn a_copy_that_slows_somebody_down_gives_way_and_recovers() {
        let mut pace = Pace::new(32 * MIB as u64, Budget::ample());
        let second = Duration::from_secs(1);
        let quiet = copy(&mut pace, Duration::ZERO, second, QUICK);
        let pressed = copy(&mut pace, second, 3 * second, 6 * QUICK) / 2;
        assert!(pressed * 4 < quiet, "{quiet} {pressed}");
        assert!(pressed > 0);
        let after = copy(&mut pace, 3 * second, 8 * second, QUICK) / 5;
        assert!(after * 10 > quiet * 7, "{quiet} {after}");
    }

    const BATCH: usize = 256 * 1024;

    /// Delivers batches until the time is up; returns the bytes.
    fn deliver(ramp: &mut Ramp, now: &mut Monotonic, lasts: Duration, took: Duration) -> u64 {
        let (until, mut bytes) = (*now + lasts, 0);
        while *now < until {
            *now = ramp.due().max(*now) + took;
            bytes += BATCH as u64;
            ramp.pay(BATCH, took, *now, &Budget::ample());
        }
        bytes
    }

    #[test]
    fn a_delivery_begins_slowly_and_grows_by_a_quarter_each_second_up_to_its_bound() {
        let (mut ramp, mut now) = (Ramp::default(), Duration::from_secs(9));
        let second = Duration::from_secs(1);
        let first = deliver(&mut ramp, &mut now, second, QUICK);
        assert!(first.abs_diff(RAMP_START) <= 2 * BATCH as u64, "{first}");
        let mut before = 0;
        for _ in 0..12 {
            before = deliver(&mut ramp, &mut now, second, QUICK).max(before);
        }
        // 1.25 to the 12th is 14.5.
        assert!(
            before > 8 * RAMP_START && before < 16 * RAMP_START,
            "{before}"
        );
        for _ in 0..20 {
            deliver(&mut ramp, &mut now, second, QUICK);
        }
        let last = deliver(&mut ramp, &mut now, second, QUICK);
        assert!(last <= RAMP_MAX + BATCH as u64, "{last}");
        assert!(last > RAMP_MAX / 10 * 9, "{last}");
    }

    #[test]
    fn a_delivery_that_is_minded_halves_down_to_its_bound_and_grows_again() {
        let (mut ramp, mut now) = (Ramp::default(), Duration::ZERO);
        deliver(&mut ramp, &mut now, Duration::from_secs(10), QUICK);
        let before = ramp.rate;
        assert!(ramp.pay(BATCH, 6 * QUICK, now, &Budget::ample()));
        assert_eq!(ramp.rate, before / 2);
        ramp.slow_down(now);
        assert_eq!(ramp.rate, before / 4);
        (0..20).for_each(|_| ramp.slow_down(now));
        assert_eq!(ramp.rate, RAMP_MIN);
        deliver(&mut ramp, &mut now, Duration::from_secs(20), QUICK);
        assert!(ramp.rate > 4 * RAMP_MIN, "{}", ramp.rate);
    }

    #[test]
    fn a_rate_that_is_not_used_up_does_not_grow_and_a_target_that_was_away_begins_anew() {
        let mut ramp = Ramp::default();
        for second in 0..100 {
            ramp.pay(100, QUICK, Duration::from_secs(second), &Budget::ample());
        }
        assert_eq!(ramp.rate, RAMP_START);
        let mut now = Duration::from_secs(100);
        deliver(&mut ramp, &mut now, Duration::from_secs(10), QUICK);
        assert!(ramp.rate > 2 * RAMP_START);
        ramp.start_over();
        assert_eq!(ramp.rate, RAMP_START);
    }

    #[test]
    fn rest_is_not_saved_up() {
        let mut pace = Pace::new(MIB as u64, Budget::ample());
        let hour = Duration::from_secs(3600);
        let wait = pace.pay(MIB, QUICK, hour);
        assert!(wait > Duration::from_millis(900), "{wait:?}");
    }

    #[test]
    fn a_small_page_is_paid_for_and_judged_by_nothing() {
        let mut pace = Pace::new(1000, Budget::ample());
        let wait = pace.pay(10, Duration::from_secs(5), Duration::from_secs(5));
        assert_eq!(wait, Duration::ZERO, "it took longer than it costs");
        let wait = pace.pay(100, Duration::ZERO, Duration::from_secs(5));
        assert_eq!(wait, Duration::from_millis(100));
    }

    #[test]
    fn all_together_keep_to_the_budget() {
        let waits = Counter::default();
        let budget = Budget::new(16 * MIB as u64, waits.clone());
        let mut copies = [0, 1].map(|_| Pace::new(32 * MIB as u64, budget.clone()));
        let mut ramp = Ramp::default();
        let mut next = [Duration::ZERO; 3];
        let until = Duration::from_secs(10);
        let mut bytes = 0;
        // Whoever is due first goes first.
        while let Some((who, now)) = next.into_iter().enumerate().min_by_key(|it| it.1)
            && now < until
        {
            let ended = now + QUICK;
            bytes += MIB as u64;
            next[who] = match copies.get_mut(who) {
                Some(copy) => ended + copy.pay(MIB, QUICK, ended),
                None => {
                    ramp.pay(MIB, QUICK, ended, &budget);
                    ramp.due().max(ended)
                }
            };
        }
        let expected = 160 * MIB as u64;
        assert!(bytes.abs_diff(expected) <= 4 * MIB as u64, "{bytes}");
        assert!(waits.get() > 100, "{}", waits.get());
    }
}
