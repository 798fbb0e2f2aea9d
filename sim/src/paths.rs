//! How often nodes took paths that are rare in production: a simulator that never takes them shows nothing about them.

use shard_cache::telemetry::{
    BreakerState, HedgeOutcome, HintDropReason, Metrics, RepairMode, ReplicaOp, ReplicaOutcome,
};

/// The rare paths that a node has counted in its life.
#[must_use]
pub fn of(metrics: &Metrics) -> Vec<(&'static str, u64)> {
    let answers = |outcome: ReplicaOutcome| {
        let answers = &metrics.replica_requests;
        answers.get((ReplicaOp::Read, outcome)).get()
            + answers.get((ReplicaOp::Write, outcome)).get()
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
