//! G5: a write that starts after another was acknowledged gets a higher version.
//!
//! **Violation**: a covered write was acknowledged under a version that is not above one that a covered operation had
//! been acknowledged with, or had read, before the write began. (A version that a covered read returned is as good as
//! acknowledged: the read had stored it on a write quorum.) Also: two acknowledged writes, of whatever level, share a
//! version.
//!
//! **Excused**: the earlier version was lost with too many owners, since versions of a slot that starts afresh begin
//! anew. Where the promises in force say that gone values leave no trace, an earlier one that may have been evicted or
//! have expired.
//!
//! **Not concluded**: writes at ONE, degraded or of unknown outcome; writes that overlap, which may have either order.

use super::{
    Case,
    findings::{Finding, Findings},
    floors::Known,
    key_log::KeyLog,
};
use crate::history::{Invariant, Operation};

pub(super) fn check(log: &KeyLog<'_, '_>, case: &Case<'_>, findings: &mut Findings<'_>) {
    for (version, write) in log.by_version() {
        if !write.is_covered() {
            continue;
        }
        let Some(known) = log.covered.before(write.invoked_ns) else {
            continue;
        };
        if known.version < *version || is_excused(log, case, &known, write) {
            continue;
        }
        let finding = finding(log, known.by, write);
        findings.add(finding, || {
            format!(
                "{} is not above {}, which was over before it began",
                case.words(write),
                case.words(known.by)
            )
        });
    }
    for pair in log.by_version().windows(2) {
        let [(version, one), (other_version, other)] = pair else {
            continue;
        };
        // Equal versions in order are reported above already.
        let is_ordered = one.is_covered()
            && other.is_covered()
            && case.circumstances.over_ns(one) < other.invoked_ns;
        if version == other_version && !is_ordered {
            findings.add(finding(log, one, other), || {
                let (one, other) = (case.words(one), case.words(other));
                format!("{one} and {other} were given the same version")
            });
        }
    }
}

fn is_excused(log: &KeyLog<'_, '_>, case: &Case<'_>, known: &Known<'_>, write: &Operation) -> bool {
    let circumstances = &case.circumstances;
    let by_ns = circumstances.over_ns(write);
    let upheaval = circumstances
        .upheavals
        .between(&log.events.owners, known.by.invoked_ns, by_ns);
    if upheaval.is_some() {
        return true;
    }
    let may_have_expired = || {
        let gone = log.expirable.by(by_ns);
        gone.is_some_and(|gone| gone.version >= known.version)
    };
    !case.promises.gone_leaves_a_trace
        && (circumstances.may_be_evicted(by_ns) || may_have_expired())
}

fn finding<'k>(log: &KeyLog<'k, '_>, earlier: &Operation, later: &Operation) -> Finding<'k> {
    Finding {
        invariant: Invariant::WriteOrder,
        at_ns: later.completed_ns,
        key: Some(log.events.key),
        operations: vec![earlier.id, later.id],
    }
}
