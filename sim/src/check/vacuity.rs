//! Vacuity: a history in which too little happened proves nothing, and says so.

use super::{
    Case,
    verdict::{Counts, Shortfall},
};
use crate::history::{Event, Floors, Mark};

/// Counts faults and what fell inside them.
pub(super) fn count(case: &Case<'_>, counts: &mut Counts) {
    let (faults, windows) = fault_windows(case);
    counts.faults = faults;
    for operation in &case.history.operations {
        let before = windows.partition_point(|(from, _)| *from <= operation.invoked_ns);
        let window = before.checked_sub(1).and_then(|at| windows.get(at));
        if window.is_some_and(|(_, to)| operation.invoked_ns < *to) {
            counts.during_faults += 1;
            let is_acknowledged = operation.written_version().is_some();
            counts.acknowledged_during_faults += u64::from(is_acknowledged);
        }
    }
}

/// How many faults there were, and the times in which at least one worked, apart and in order.
fn fault_windows(case: &Case<'_>) -> (u64, Vec<(u64, u64)>) {
    let mut marks: Vec<&Mark> = case.history.marks.iter().collect();
    marks.sort_by_key(|mark| mark.at_ns);
    let mut faults = 0;
    let mut working: Vec<&str> = Vec::new();
    let mut windows: Vec<(u64, u64)> = Vec::new();
    for mark in marks {
        match &mark.event {
            Event::FaultBegin { fault, .. } => {
                faults += 1;
                if working.is_empty() {
                    windows.push((mark.at_ns, u64::MAX));
                }
                working.push(fault);
            }
            Event::FaultEnd { fault } => {
                working.retain(|other| *other != fault.as_str());
                if working.is_empty()
                    && let Some(window) = windows.last_mut()
                {
                    window.1 = window.1.min(mark.at_ns);
                }
            }
            Event::Crash { .. }
            | Event::Boot { .. }
            | Event::Join { .. }
            | Event::Leave { .. }
            | Event::Drained { .. }
            | Event::Clock { .. }
            | Event::Owners { .. }
            | Event::Settled
            | Event::Unsettled { .. }
            | Event::Healed { .. }
            | Event::Evictions { .. }
            | Event::Membership { .. }
            | Event::Usage { .. }
            | Event::Broken { .. } => {}
        }
    }
    (faults, windows)
}

/// Every floor that the counts do not reach.
pub(super) fn shortfalls(counts: &Counts, floors: &Floors) -> Vec<Shortfall> {
    let pairs = [
        ("operations", counts.operations, floors.operations_min),
        (
            "acknowledged writes",
            counts.acknowledged,
            floors.acknowledged_min,
        ),
        ("reads that found a value", counts.hits, floors.hits_min),
        ("judged reads", counts.judged_reads, floors.judged_min),
        ("faults", counts.faults, floors.faults_min),
        (
            "operations during faults",
            counts.during_faults,
            floors.during_faults_min,
        ),
        (
            "keys compared after a heal",
            counts.compared_keys,
            floors.compared_min,
        ),
    ];
    let short = pairs.into_iter().filter(|(_, have, need)| have < need);
    short
        .map(|(what, have, need)| Shortfall { what, have, need })
        .collect()
}
