//! Lets a share of the requests of one class through, evenly spread and without randomness: the
//! parts of a refusal are added up, and a request is refused whenever they make a whole one (error
//! diffusion). Of any 100 requests in a row at a share of 5 %, 95 are refused, give or take one.

use crate::sync::atomic::{AtomicU32, Ordering};

/// A whole refusal.
const WHOLE: f64 = u32::MAX as f64 + 1.0;

/// See the module.
#[derive(Debug)]
pub(super) struct Valve {
    /// Share of the requests that is refused, in parts of [`WHOLE`]. Written by one task and read
    /// by all; nothing else is published with it, so relaxed access will do.
    shed: AtomicU32,
    /// Parts of a refusal that have added up. Only its own modification order matters, which even
    /// relaxed read-modify-writes have: no two requests see the same value.
    carry: AtomicU32,
}

impl Valve {
    /// Lets everything through.
    pub(super) fn new() -> Self {
        Self {
            shed: AtomicU32::new(0),
            carry: AtomicU32::new(0),
        }
    }

    /// Refuses this share of the requests from now on, 0 to 1. A whole 1 is a tiny bit less.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of floats saturates"
    )]
    pub(super) fn set(&self, shed_share: f64) {
        self.shed
            .store((shed_share * WHOLE) as u32, Ordering::Relaxed);
    }

    /// Whether the next request is let through. While nothing is shed, this is one load.
    pub(super) fn lets_through(&self) -> bool {
        let shed = self.shed.load(Ordering::Relaxed);
        if shed == 0 {
            return true;
        }
        let before = self.carry.fetch_add(shed, Ordering::Relaxed);
        before.checked_add(shed).is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn of_requests_in_a_row_the_share_is_refused_give_or_take_one(
            share in 0.0..=1.0, skipped in 0usize..50, count in 1usize..500,
        ) {
            let valve = Valve::new();
            valve.set(share);
            (0..skipped).for_each(|_| { valve.lets_through(); });
            let refused = (0..count).filter(|_| !valve.lets_through()).count();
            let expected = share * count as f64;
            prop_assert!((refused as f64 - expected).abs() <= 1.001, "{refused} of {count}");
        }
    }

    #[test]
    fn racing_requests_share_one_count() {
        let valve = Valve::new();
        valve.set(0.25);
        let refused = std::thread::scope(|scope| {
            let count = || (0..1000).filter(|_| !valve.lets_through()).count();
            let counters: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            let refused = counters.into_iter().map(|counter| counter.join().unwrap());
            refused.sum::<usize>()
        });
        assert_eq!(refused, 1000);
    }

    #[test]
    fn nothing_is_refused_at_zero() {
        let valve = Valve::new();
        valve.set(0.9);
        valve.set(0.0);
        assert!((0..100).all(|_| valve.lets_through()));
    }
}
