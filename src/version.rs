//! Versions: a hybrid logical timestamp and its writer, in one total order.
//!
//! The clock follows Kulkarni, Demirbas, Madappa, Avva and Leone, "Logical Physical Clocks and Consistent Snapshots in
//! Globally Distributed Databases" (OPODIS 2014), figure 5, packed into 64 bits: 48 bits of milliseconds since the
//! Unix epoch and 16 bits of counter.
//!
//! Invariants: stamps handed out by one [`HybridClock`] strictly increase, also when the wall clock steps back; a
//! remote stamp further ahead than the drift bound is refused and never merged, so that one bad clock cannot drag the
//! others along. Merging two records takes the one with the higher version, which is commutative, associative and
//! idempotent.

use std::fmt;

use crate::sync::atomic::{AtomicU64, Ordering};

/// How far ahead of the local wall clock a remote stamp may be, in milliseconds.
pub const DRIFT_MAX_MILLIS: u64 = 500;

const COUNTER_BITS: u32 = 16;
const MILLIS_MAX: u64 = (1 << 48) - 1;

/// A hybrid logical timestamp: milliseconds since the Unix epoch, then a counter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(u64);

impl Stamp {
    /// Packs milliseconds (at most 2^48 - 1; more is clamped) and a counter.
    #[must_use]
    pub const fn new(millis: u64, counter: u16) -> Self {
        let millis = if millis > MILLIS_MAX {
            MILLIS_MAX
        } else {
            millis
        };
        Self((millis << COUNTER_BITS) | counter as u64)
    }

    /// The packed form, as it travels.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The stamp of a packed form. Every 64-bit value is one.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The counter that orders stamps within one millisecond.
    #[must_use]
    pub const fn counter(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// The lowest stamp above this one; a full counter runs over into the next millisecond.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis(), self.counter())
    }
}

/// The version of a record. Ordered by stamp, then by writer; two different writes never have equal versions, because
/// a writer never hands out one stamp twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Version {
    /// When, in hybrid time.
    pub stamp: Stamp,
    /// Boot id of the coordinator that stamped it.
    pub writer: u64,
}

impl Version {
    /// A version from its parts.
    #[must_use]
    pub const fn new(stamp: Stamp, writer: u64) -> Self {
        Self { stamp, writer }
    }
}

/// A remote stamp was too far ahead; it was not merged. Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("remote clock is {ahead_millis} ms ahead, more than the {DRIFT_MAX_MILLIS} ms allowed")]
pub struct Drift {
    /// How far the stamp was ahead of the local wall clock.
    pub ahead_millis: u64,
}

/// A node's hybrid clock. The wall clock is a parameter, so that the clock runs under simulation.
#[derive(Debug, Default)]
pub struct HybridClock {
    latest: AtomicU64,
}

impl HybridClock {
    /// A clock that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A new stamp, above every stamp handed out or observed so far.
    pub fn stamp(&self, wall_millis: u64) -> Stamp {
        let physical = Stamp::new(wall_millis, 0);
        self.raise(|latest| physical.max(latest.next()))
    }

    /// Hybrid time without a new stamp: what peer messages carry and what expiry is judged by.
    pub fn now(&self, wall_millis: u64) -> Stamp {
        Stamp(self.latest.load(Ordering::Acquire)).max(Stamp::new(wall_millis, 0))
    }

    /// Moves the clock past a remote stamp.
    ///
    /// # Errors
    /// [`Drift`] when the stamp is more than [`DRIFT_MAX_MILLIS`] ahead of the wall clock; the clock is unchanged.
    pub fn observe(&self, remote: Stamp, wall_millis: u64) -> Result<(), Drift> {
        let ahead_millis = remote.millis().saturating_sub(wall_millis);
        if ahead_millis > DRIFT_MAX_MILLIS {
            return Err(Drift { ahead_millis });
        }
        // Nearly every message finds the clock already past it: a load is cheaper than a compare-and-swap.
        if self.latest.load(Ordering::Acquire) < remote.raw() {
            self.raise(|latest| latest.max(remote));
        }
        Ok(())
    }

    fn raise(&self, next: impl Fn(Stamp) -> Stamp) -> Stamp {
        let mut current = self.latest.load(Ordering::Acquire);
        loop {
            let raised = next(Stamp(current));
            match self.latest.compare_exchange_weak(
                current,
                raised.raw(),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return raised,
                Err(seen) => current = seen,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn stamps_strictly_increase_whatever_the_wall_clock_does(walls in prop::collection::vec(0u64..10_000, 1..200)) {
            let clock = HybridClock::new();
            let mut last = Stamp::default();
            for wall in walls {
                let stamp = clock.stamp(wall);
                prop_assert!(stamp > last);
                last = stamp;
            }
        }

        #[test]
        fn packing_keeps_the_order(a in (0..=MILLIS_MAX, any::<u16>()), b in (0..=MILLIS_MAX, any::<u16>())) {
            prop_assert_eq!(Stamp::new(a.0, a.1).cmp(&Stamp::new(b.0, b.1)), a.cmp(&b));
            prop_assert_eq!((Stamp::new(a.0, a.1).millis(), Stamp::new(a.0, a.1).counter()), a);
        }

        #[test]
        fn a_stamp_after_observing_is_above_what_was_observed(wall in 0u64..1 << 40, ahead in 0..=DRIFT_MAX_MILLIS, counter: u16) {
            let clock = HybridClock::new();
            let remote = Stamp::new(wall + ahead, counter);
            prop_assert!(clock.observe(remote, wall).is_ok());
            prop_assert!(clock.stamp(wall) > remote);
        }
    }

    #[test]
    fn a_stamp_too_far_ahead_is_refused_and_not_merged() {
        let clock = HybridClock::new();
        let remote = Stamp::new(10_000 + DRIFT_MAX_MILLIS + 1, 0);
        assert_eq!(
            clock.observe(remote, 10_000),
            Err(Drift { ahead_millis: 501 })
        );
        assert_eq!(clock.now(10_000), Stamp::new(10_000, 0));
    }

    #[test]
    fn a_full_counter_runs_over_into_the_next_millisecond() {
        assert_eq!(Stamp::new(7, u16::MAX).next(), Stamp::new(8, 0));
    }
}
