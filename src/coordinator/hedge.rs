//! The hedging budget: how many reads may turn to another owner although nothing has failed.
//!
//! A token bucket that fills with a share of the reads (Dean and Barroso, "The Tail at Scale", CACM 2013, "hedged
//! requests"): slow owners cannot double the load on the others.

use std::sync::atomic::{AtomicU64, Ordering};

/// What one hedge costs; the bucket counts in thousandths.
const HEDGE_COST: u64 = 1000;
/// Hedges that may be saved up.
const HEDGES_SAVED_MAX: u64 = 16;

/// Counts reads and hedges.
#[derive(Debug)]
pub(super) struct HedgeBudget {
    earned_per_read: AtomicU64,
    saved: AtomicU64,
}

impl HedgeBudget {
    /// At most `ratio` (0 to 1) of reads are hedged.
    pub(super) fn new(ratio: f64) -> Self {
        let earned = earned(ratio);
        Self {
            earned_per_read: AtomicU64::new(earned),
            saved: AtomicU64::new(if earned == 0 { 0 } else { HEDGE_COST }),
        }
    }

    /// Goes by another ratio from now on. With 0 what was saved is gone, too.
    pub(super) fn allow(&self, ratio: f64) {
        let earned = earned(ratio);
        self.earned_per_read.store(earned, Ordering::Relaxed);
        if earned == 0 {
            self.saved.store(0, Ordering::Relaxed);
        }
    }

    /// A read has begun.
    pub(super) fn earn(&self) {
        let saved = self.saved.load(Ordering::Relaxed);
        if saved < HEDGES_SAVED_MAX * HEDGE_COST {
            // Lost updates only make the budget smaller.
            let earned = self.earned_per_read.load(Ordering::Relaxed);
            self.saved.store(saved + earned, Ordering::Relaxed);
        }
    }

    /// Whether a hedge may be sent.
    pub(super) fn spend(&self) -> bool {
        self.saved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| {
                saved.checked_sub(HEDGE_COST)
            })
            .is_ok()
    }
}

/// What a read earns: between 0 and [`HEDGE_COST`].
fn earned(ratio: f64) -> u64 {
    (ratio.clamp(0.0, 1.0) * HEDGE_COST as f64).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hedges_stay_within_their_share_of_reads() {
        let budget = HedgeBudget::new(0.1);
        let hedges = (0..10_000)
            .filter(|_read| {
                budget.earn();
                budget.spend()
            })
            .count();
        assert!(
            (1000..=1001).contains(&hedges),
            "{hedges} hedges in 10 000 reads"
        );
    }

    #[test]
    fn quiet_times_save_up_only_so_much() {
        let budget = HedgeBudget::new(0.1);
        (0..100_000).for_each(|_read| budget.earn());
        let burst = (0..100).filter(|_hedge| budget.spend()).count();
        assert_eq!(burst as u64, HEDGES_SAVED_MAX);
    }

    #[test]
    fn a_ratio_of_zero_never_hedges() {
        let budget = HedgeBudget::new(0.0);
        budget.earn();
        assert!(!budget.spend());
    }
}
