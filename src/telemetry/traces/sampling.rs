//! Which requests are recorded, and the ids of those that are.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::trace::TraceParent;

/// Decides which requests are recorded. A ratio is held against the trace id, as other services do, so that those who
/// decide by the same ratio decide alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sampler {
    heeds_parent: bool,
    /// Of 2^63: traces whose id, as a number of 63 bits, is below are recorded.
    threshold: u64,
}

impl Sampler {
    /// Records the share `ratio` (0 to 1) of traces.
    #[must_use]
    pub fn ratio(ratio: f64) -> Self {
        let whole = (1_u64 << 63) as f64;
        Self {
            heeds_parent: false,
            // At most 2^63.
            threshold: (ratio.clamp(0.0, 1.0) * whole) as u64,
        }
    }

    /// The same for traces that begin here; others go by what their caller decided.
    #[must_use]
    pub const fn heeding_parent(self) -> Self {
        Self {
            heeds_parent: true,
            ..self
        }
    }

    /// Whether nothing is ever recorded.
    #[must_use]
    pub const fn is_off(self) -> bool {
        self.threshold == 0 && !self.heeds_parent
    }

    /// Whether a request is recorded whose trace id ends in `low`.
    pub(super) fn records(self, parent: Option<&TraceParent>, low: u64) -> bool {
        match parent {
            Some(parent) if self.heeds_parent => parent.sampled,
            Some(_) | None => low >> 1 < self.threshold,
        }
    }
}

/// A stream of ids that many threads draw from without waiting for each other: SplitMix64 (Steele, Lea and Flood, "Fast
/// splittable pseudorandom number generators", OOPSLA 2014), whose state is a counter.
#[derive(Debug)]
pub(super) struct Ids {
    state: AtomicU64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Ids {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            state: AtomicU64::new(seed),
        }
    }

    /// Never 0, which stands for "none".
    pub(super) fn next(&self) -> u64 {
        let state = self.state.fetch_add(GOLDEN, Ordering::Relaxed);
        mixed(state.wrapping_add(GOLDEN)).max(1)
    }
}

/// The `nth` of a family of ids that one draw stands for.
pub(super) const fn nth(base: u64, nth: u8) -> u64 {
    let id = mixed(base ^ (nth as u64 + 1).wrapping_mul(GOLDEN));
    if id == 0 { 1 } else { id }
}

const fn mixed(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn parent(sampled: bool) -> TraceParent {
        TraceParent {
            trace_id: u128::MAX,
            span_id: 1,
            sampled,
            state: None,
        }
    }

    #[test]
    fn a_ratio_is_met_and_its_ends_are_exact() {
        let ids = Ids::new(7);
        let recorded = |ratio: f64| {
            let sampler = Sampler::ratio(ratio);
            (0..100_000)
                .filter(|_request| sampler.records(None, ids.next()))
                .count()
        };
        assert_eq!(recorded(0.0), 0);
        assert_eq!(recorded(1.0), 100_000);
        let hundredth = recorded(0.01);
        assert!((800..1200).contains(&hundredth), "{hundredth}");
    }

    #[test]
    fn a_caller_decides_only_where_it_is_heeded() {
        let heeding = Sampler::ratio(0.0).heeding_parent();
        assert!(heeding.records(Some(&parent(true)), u64::MAX));
        assert!(!heeding.records(Some(&parent(false)), 0));
        assert!(!Sampler::ratio(0.0).records(Some(&parent(true)), 0));
        assert!(Sampler::ratio(1.0).records(Some(&parent(false)), u64::MAX));
        assert!(!heeding.is_off());
        assert!(Sampler::ratio(0.0).is_off());
    }

    #[test]
    fn ids_do_not_repeat_and_depend_on_the_seed_alone() {
        let (one, other) = (Ids::new(1), Ids::new(1));
        let drawn: Vec<u64> = (0..10_000).map(|_| one.next()).collect();
        assert!(drawn.iter().all(|&id| id == other.next()));
        let family = drawn
            .iter()
            .flat_map(|&base| (0..7).map(move |n| nth(base, n)));
        let distinct: HashSet<u64> = family.chain(drawn.iter().copied()).collect();
        assert_eq!(distinct.len(), 80_000);
    }
}
