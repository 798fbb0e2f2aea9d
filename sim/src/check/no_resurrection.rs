//! G3: an acknowledged delete never comes back; only a later set supersedes it.
//!
//! **Violation**: a covered read shows a value whose version is below that of a covered delete that had been
//! acknowledged before the read began. Or, in the end, such a value is the newest that any owner holds, and enough owners
//! were looked at.
//!
//! **Excused**: nothing, by the semantics: not eviction, not a loss of owners (a slot that lost too many starts afresh,
//! and what was written since may have lower versions). Where the promises in force say that gone values leave no trace
//! or that owners must stay, these excuse it.
//!
//! **Not concluded**: a set that began before the delete was acknowledged may have a higher version and may be read.
//! Deletes at ONE, degraded ones and those of unknown outcome promise nothing.

use super::{
    Case,
    findings::{Finding, Findings},
    key_log::KeyLog,
    standing::Standing,
    words::time,
};
use crate::history::Invariant;

pub(super) fn check(log: &KeyLog<'_, '_>, case: &Case<'_>, findings: &mut Findings<'_>) {
    for (read, standing) in &log.standings {
        let Standing::Resurrected { delete } = standing else {
            continue;
        };
        let finding = Finding {
            invariant: Invariant::NoResurrection,
            at_ns: read.completed_ns,
            key: Some(log.events.key),
            operations: vec![delete.id, read.id],
        };
        findings.add(finding, || {
            format!(
                "{} shows a value older than {}, which had been acknowledged before",
                case.words(read),
                case.words(delete)
            )
        });
    }
    if let Some((at_ns, Standing::Resurrected { delete })) = log.final_standing {
        let finding = Finding {
            invariant: Invariant::NoResurrection,
            at_ns,
            key: Some(log.events.key),
            operations: vec![delete.id],
        };
        findings.add(finding, || {
            format!(
                "the newest copy that any owner holds at {} is a value older than {}",
                time(at_ns),
                case.words(delete)
            )
        });
    }
}
