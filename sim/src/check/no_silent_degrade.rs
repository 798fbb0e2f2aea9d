//! G8: a quorum is never silently reduced.
//!
//! **Violation**: an answer says that it is not degraded, though fewer owners took part than its level asks for; or it
//! is degraded, though neither the request nor the configuration accepts that.
//!
//! **Not concluded**: where the answer does not tell how many owners took part, or came from a ring that gave way to an
//! older one, which may have had fewer members. Where it does not tell how many there
//! were, the fewest count that the ring had so far (which is exact in a cluster that began complete).

use super::{
    Case,
    findings::{Finding, Findings},
    key_log::KeyLog,
};
use crate::history::{Answered, Consistency, Degrade, Invariant, Operation};

pub(super) fn check(log: &KeyLog<'_, '_>, case: &Case<'_>, findings: &mut Findings<'_>) {
    for operation in &log.events.operations {
        let Some(answered) = operation.answered() else {
            continue;
        };
        let needed = needed(case, operation, answered);
        let problem = match (answered.degraded, answered.took_part) {
            (true, _) if operation.degrade == Degrade::Refuse => {
                "is degraded, though nobody accepted that".to_owned()
            }
            (false, Some(took_part))
                if took_part < needed && !is_of_ring_that_gave_way(case, operation) =>
            {
                format!(
                    "was answered by {took_part} owners instead of {needed} and does not say so"
                )
            }
            (true, _) | (false, Some(_) | None) => continue,
        };
        let finding = Finding {
            invariant: Invariant::NoSilentDegrade,
            at_ns: operation.completed_ns,
            key: Some(log.events.key),
            operations: vec![operation.id],
        };
        findings.add(finding, || format!("{} {problem}", case.words(operation)));
    }
}

fn is_of_ring_that_gave_way(case: &Case<'_>, operation: &Operation) -> bool {
    let (upheavals, at_ns) = (&case.circumstances.upheavals, operation.completed_ns);
    upheavals.may_have_given_way(at_ns, at_ns) || upheavals.may_give_way(operation.node, at_ns)
}

/// Owners that have to take part.
fn needed(case: &Case<'_>, operation: &Operation, answered: &Answered) -> u8 {
    let cluster = &case.history.header.cluster;
    let fewest = || {
        case.circumstances
            .upheavals
            .owners_min(operation.completed_ns)
    };
    let owners = answered.owners.unwrap_or_else(fewest);
    match operation.consistency {
        Consistency::One => 1,
        Consistency::All => owners,
        Consistency::Quorum if operation.request.is_write() => cluster.write_quorum_of(owners),
        Consistency::Quorum => cluster.read_quorum_of(owners),
    }
}
