//! G7: FAILED means surely not applied.
//!
//! **Violation**: a read, at any level, or an owner's copy shows a value that only sets with the outcome FAILED wrote;
//! or a covered read finds nothing under a version above the value that has to be there, where nothing but a delete
//! with the outcome FAILED can have made it.
//!
//! **Not concluded**: UNKNOWN may take effect at any later time or never, and is never wrong. A miss that names no newer
//! version is a loss and not a delete.

use super::{
    Case,
    findings::{Finding, Findings},
    key_log::{KeyLog, Origin},
    standing::Standing,
    words::time,
};
use crate::history::{Answer, Held, Invariant, Operation};

pub(super) fn check(log: &KeyLog<'_, '_>, case: &Case<'_>, findings: &mut Findings<'_>) {
    for read in &log.events.operations {
        if let Some(answered) = read.answered()
            && let Answer::Hit { value, version, .. } = answered.answer
            && let Origin::OnlyFailed(set) =
                log.origin(value, version, case.circumstances.over_ns(read))
        {
            findings.add(
                finding(log, read.completed_ns, vec![set.id, read.id]),
                || effect(case, &case.words(read), set),
            );
        }
    }
    for copy in &log.events.copies {
        if let Held::Value { value, version } = copy.held
            && let Origin::OnlyFailed(set) = log.origin(value, version, copy.at_ns)
        {
            findings.add(finding(log, copy.at_ns, vec![set.id]), || {
                let copy = format!(
                    "the copy at {} at {}",
                    case.node(copy.node),
                    time(copy.at_ns)
                );
                effect(case, &copy, set)
            });
        }
    }
    for (read, standing) in &log.standings {
        if let Standing::DeletedByFailure { delete } = standing {
            findings.add(
                finding(log, read.completed_ns, vec![delete.id, read.id]),
                || effect(case, &case.words(read), delete),
            );
        }
    }
}

fn effect(case: &Case<'_>, seen: &str, failed: &Operation) -> String {
    format!(
        "{seen} shows the effect of {}, which surely had none",
        case.words(failed)
    )
}

fn finding<'k>(log: &KeyLog<'k, '_>, at_ns: u64, operations: Vec<u64>) -> Finding<'k> {
    Finding {
        invariant: Invariant::FailedMeansFailed,
        at_ns,
        key: Some(log.events.key),
        operations,
    }
}
