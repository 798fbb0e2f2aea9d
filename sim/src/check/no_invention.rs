//! No invention: what is read was written.
//!
//! **Violation**: a read, at any level, or an owner's copy shows a value that no request ever set under this key, or one
//! whose set began only after it had been seen, or one under a higher version than its set was acknowledged with; or
//! one version stands for two different values, or for a value and a delete.
//!
//! **Not concluded**: a set may be seen under several versions at or below the one that it was acknowledged with,
//! because it is stamped anew when it meets something newer, and under any version while its outcome is unknown. Values
//! of sets that failed belong to [`super::failed_means_failed`].

use super::{
    Case,
    findings::{Finding, Findings},
    key_log::{KeyLog, Origin},
    words::time,
};
use crate::history::{Answer, Held, Invariant, Operation, Request, ValueId, Version};

/// A value that somebody saw.
struct Seen<'a> {
    value: ValueId,
    version: Version,
    by_ns: u64,
    /// The read; none for an owner's copy.
    read: Option<&'a Operation>,
    words: String,
}

pub(super) fn check(log: &KeyLog<'_, '_>, case: &Case<'_>, findings: &mut Findings<'_>) {
    let mut contents = Vec::new();
    for operation in &log.events.operations {
        let Some(answered) = operation.answered() else {
            continue;
        };
        match (answered.answer, operation.request) {
            (Answer::Written { version, .. }, Request::Set { value, .. }) => {
                contents.push((version, Some(value), *operation));
            }
            (Answer::Written { version, .. }, Request::Delete) => {
                contents.push((version, None, *operation));
            }
            (Answer::Hit { value, version, .. }, _) => {
                let by_ns = case.circumstances.over_ns(operation);
                let read = Some(*operation);
                if is_written(log, value, version, by_ns) {
                    contents.push((version, Some(value), *operation));
                } else {
                    let words = case.words(operation);
                    let seen = Seen {
                        value,
                        version,
                        by_ns,
                        read,
                        words,
                    };
                    report(log, case, &seen, findings);
                }
            }
            (Answer::Written { .. } | Answer::Miss { .. }, _) => {}
        }
    }
    for copy in &log.events.copies {
        if let Held::Value { value, version } = copy.held
            && !is_written(log, value, version, copy.at_ns)
        {
            let node = case.node(copy.node);
            let words = format!("the copy of {value}, version {version}, at {node}");
            let seen = Seen {
                value,
                version,
                by_ns: copy.at_ns,
                read: None,
                words,
            };
            report(log, case, &seen, findings);
        }
    }
    check_contents(log, contents, findings);
}

fn is_written(log: &KeyLog<'_, '_>, value: ValueId, version: Version, by_ns: u64) -> bool {
    matches!(log.origin(value, version, by_ns), Origin::Written)
}

fn report(log: &KeyLog<'_, '_>, case: &Case<'_>, seen: &Seen<'_>, findings: &mut Findings<'_>) {
    let (set, reason) = match log.origin(seen.value, seen.version, seen.by_ns) {
        Origin::Written | Origin::OnlyFailed(_) => return,
        Origin::Nobody => (None, "but nobody ever set that value under this key"),
        Origin::OnlyLater(set) => (Some(set), "but its only set began later"),
        Origin::Acknowledged(set) => (
            Some(set),
            "but its set was acknowledged under a lower version",
        ),
    };
    let involved = [seen.read, set].into_iter().flatten();
    let finding = Finding {
        invariant: Invariant::NoInvention,
        at_ns: seen.by_ns,
        key: Some(log.events.key),
        operations: involved.map(|operation| operation.id).collect(),
    };
    findings.add(finding, || {
        let by = set.map_or(String::new(), |set| format!(": {}", case.words(set)));
        format!("{} shows a value, {reason}{by}", seen.words)
    });
}

/// One version is one content. Two acknowledged writes of one version are the business of [`super::write_order`].
fn check_contents(
    log: &KeyLog<'_, '_>,
    mut contents: Vec<(Version, Option<ValueId>, &Operation)>,
    findings: &mut Findings<'_>,
) {
    contents.sort_unstable_by_key(|(version, content, by)| (*version, *content, by.id));
    for pair in contents.windows(2) {
        let [(version, one, first), (other_version, other, second)] = pair else {
            continue;
        };
        let are_writes = first.request.is_write() && second.request.is_write();
        if version != other_version || one == other || are_writes {
            continue;
        }
        let at_ns = first.completed_ns.max(second.completed_ns);
        let finding = Finding {
            invariant: Invariant::NoInvention,
            at_ns,
            key: Some(log.events.key),
            operations: vec![first.id, second.id],
        };
        findings.add(finding, || {
            let (first, second) = (first.id, second.id);
            format!(
                "version {version} stands for two different contents, in operations {first} and {second}, at {}",
                time(at_ns)
            )
        });
    }
}
