//! G4: read your writes and monotonic reads, in real-time order across clients.
//!
//! **Violation**: a covered read returns a value with a version below one that a covered operation, of any client, had
//! been acknowledged with or had read before the read began; or it finds nothing where an earlier covered read had
//! found a value that no acknowledged set wrote, and nothing explains the absence (see [`super::standing`]).
//!
//! **Excused**: as for G1, what explains a miss. An older *value* is excused only by a lost slot that started afresh, if
//! the value was written since.
//!
//! **Not concluded**: reads at ONE and degraded ones may be as old as they like. Overlapping operations have no order.
//! Where an acknowledged set is missed altogether, this is [`super::durability`]; where a delete was undone,
//! [`super::no_resurrection`].

use super::{
    Case,
    findings::{Finding, Findings},
    floors::Known,
    key_log::KeyLog,
    standing::Standing,
};
use crate::history::{Invariant, Operation};

pub(super) fn check(log: &KeyLog<'_, '_>, case: &Case<'_>, findings: &mut Findings<'_>) {
    for (read, standing) in &log.standings {
        match standing {
            Standing::Stale { newer } => report(log, case, read, newer, findings),
            Standing::WentBack { known } => report(log, case, read, known, findings),
            Standing::Unjudged
            | Standing::NotWritten
            | Standing::Fine
            | Standing::Excused(_)
            | Standing::Resurrected { .. }
            | Standing::Lost { .. }
            | Standing::DeletedByFailure { .. } => {}
        }
    }
}

fn report(
    log: &KeyLog<'_, '_>,
    case: &Case<'_>,
    read: &Operation,
    known: &Known<'_>,
    findings: &mut Findings<'_>,
) {
    let finding = Finding {
        invariant: Invariant::ReadYourWrites,
        at_ns: read.completed_ns,
        key: Some(log.events.key),
        operations: vec![known.by.id, read.id],
    };
    findings.add(finding, || {
        let was = if known.by.request.is_write() {
            "had been acknowledged"
        } else {
            "had seen something newer"
        };
        let (read, by) = (case.words(read), case.words(known.by));
        format!("{read} goes back behind {by}, which {was} before it began")
    });
}
