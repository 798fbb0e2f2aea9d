//! How often nodes took paths that are rare in production: a simulator that never takes them shows nothing about them.

use std::collections::BTreeMap;

use shard_cache::telemetry::{
    BreakerState, HedgeOutcome, HintDropReason, Metrics, RepairMode, ReplicaOp, ReplicaOutcome,
};

/// Paths that a sweep with a gate must take, by the names of [`of`].
pub const GATED: [&str; 5] = [
    "re-stamp",
    "write-back",
    "hint overflow",
    "configuration mismatch",
    "breaker opened",
];
/// How often each of them must be taken at least.
pub const FLOOR: u64 = 100;

/// The gated paths that were taken too seldom, and how often they were.
#[must_use]
pub fn seldom(taken: &BTreeMap<&'static str, u64>) -> Vec<(&'static str, u64)> {
    let counted = GATED.map(|name| (name, taken.get(name).copied().unwrap_or_default()));
    counted
        .into_iter()
        .filter(|(_, count)| *count < FLOOR)
        .collect()
}

/// The rare paths that a node has counted in its life.
#[must_use]
pub fn of(metrics: &Metrics) -> Vec<(&'static str, u64)> {
    let answers = |outcome: ReplicaOutcome| {
        let peers = &metrics.peers;
        peers.total(ReplicaOp::Read, outcome) + peers.total(ReplicaOp::Write, outcome)
    };
    vec![
        ("re-stamp", metrics.restamps.get()),
        (
            "write-back",
            metrics.read_repairs.get(RepairMode::Blocking).get(),
        ),
        ("hint written", metrics.hints_written.get()),
        ("hint delivered", metrics.hints_replayed.get()),
        (
            "hint overflow",
            metrics.hints_dropped.get(HintDropReason::Overflow).get(),
        ),
        (
            "configuration mismatch",
            answers(ReplicaOutcome::WrongConfig),
        ),
        ("too late at the replica", answers(ReplicaOutcome::Expired)),
        (
            "breaker opened",
            metrics.breaker_transitions.get(BreakerState::Open).get(),
        ),
        ("hedge sent", metrics.hedges.get(HedgeOutcome::Sent).get()),
        ("clock refused", metrics.hlc_rejected.get()),
        ("record pulled", metrics.pulled_records.get()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_below_the_floor_is_named_and_one_on_it_is_not() {
        let mut taken: BTreeMap<_, _> = GATED.map(|name| (name, FLOOR)).into();
        assert_eq!(seldom(&taken), vec![]);
        taken.insert("write-back", FLOOR - 1);
        taken.remove("re-stamp");
        assert_eq!(
            seldom(&taken),
            vec![("re-stamp", 0), ("write-back", FLOOR - 1)]
        );
    }

    #[test]
    fn every_gated_path_is_counted() {
        let counted: Vec<_> = of(&Metrics::default())
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert!(
            GATED.iter().all(|name| counted.contains(name)),
            "{counted:?}"
        );
    }
}
