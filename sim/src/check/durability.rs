//! G1: an acknowledged write survives the loss of any one node.
//!
//! **Violation**: a covered read finds nothing, though a covered set had been acknowledged before the read began and
//! nothing explains its absence (see [`super::standing`] for what does). Or, in the end: no owner that is up holds the
//! value that has to be there or anything newer, and at least n - W + 1 owners were looked at, so that one of them had
//! to.
//!
//! **Excused**: expiry, eviction, a delete that may be newer, and the loss of more owners than a cover allows before the
//! cluster had settled. In a ring of fewer than three any loss is one too many. A pause or a partition is no loss.
//!
//! **Not concluded**: reads that were not answered prove nothing. An older value instead of the newest one is
//! [`super::read_your_writes`] or [`super::no_resurrection`].

use super::{
    Case,
    findings::{Finding, Findings},
    key_log::KeyLog,
    standing::Standing,
    words::time,
};
use crate::history::{Invariant, Operation};

pub(super) fn check(log: &KeyLog<'_, '_>, case: &Case<'_>, findings: &mut Findings<'_>) {
    for (read, standing) in &log.standings {
        if let Standing::Lost { set } = standing {
            let finding = finding(log, read.completed_ns, vec![set.id, read.id]);
            findings.add(finding, || {
                format!(
                    "{}, though {} had been acknowledged and nothing explains its absence",
                    case.words(read),
                    case.words(set)
                )
            });
        }
    }
    if let Some((at_ns, Standing::Lost { set })) = log.final_standing {
        report_copies(log, case, set, at_ns, findings);
    }
}

fn report_copies(
    log: &KeyLog<'_, '_>,
    case: &Case<'_>,
    set: &Operation,
    at_ns: u64,
    findings: &mut Findings<'_>,
) {
    let count = log.events.copies.len();
    findings.add(finding(log, at_ns, vec![set.id]), || {
        format!(
            "none of {count} owners holds at {} what {} was acknowledged for, or anything newer, and nothing explains its absence",
            time(at_ns),
            case.words(set)
        )
    });
}

fn finding<'k>(log: &KeyLog<'k, '_>, at_ns: u64, operations: Vec<u64>) -> Finding<'k> {
    Finding {
        invariant: Invariant::Durability,
        at_ns,
        key: Some(log.events.key),
        operations,
    }
}
