//! G6: no value is served later than its expiry and the margin (500 ms).
//!
//! **Violation**: a read, at any level, that began later than the last moment at which the value may have been served
//! returned it; or the rest of its life that a read announced reaches beyond that moment, as when a copy's life was
//! begun anew. That moment follows from the life that the set asked for, counted from its version's time where the
//! history says how versions and times compare, or else from its acknowledgement, whichever is earlier.
//!
//! **Excused**: the clock of the node that coordinated the set or the read was set further off than the bound.
//!
//! **Not concluded**: the set's outcome is unknown and versions cannot be compared with times; its life is a default
//! that was not recorded. Expiring too early is not this promise: a miss before its time is [`super::durability`].

use super::{
    Case,
    findings::{Finding, Findings},
    key_log::KeyLog,
    words::time,
};
use crate::history::{Answer, Invariant, Operation, ValueId, Version};

pub(super) fn check(log: &KeyLog<'_, '_>, case: &Case<'_>, findings: &mut Findings<'_>) {
    for read in &log.events.operations {
        let Some(answered) = read.answered() else {
            continue;
        };
        let Answer::Hit {
            value,
            version,
            expires_in_ns,
        } = answered.answer
        else {
            continue;
        };
        if let Some((set, last_ns)) = last_moment(log, case, value, version)
            && !case.circumstances.is_astray(read)
            && !case.circumstances.is_astray(set)
        {
            check_hit(
                log,
                case,
                &Hit {
                    read,
                    set,
                    last_ns,
                    expires_in_ns,
                },
                findings,
            );
        }
    }
}

struct Hit<'a> {
    read: &'a Operation,
    set: &'a Operation,
    last_ns: u64,
    expires_in_ns: Option<u64>,
}

/// The set of a value and the last moment at which it may have been served; none if it may still be.
fn last_moment<'a>(
    log: &KeyLog<'a, '_>,
    case: &Case<'_>,
    value: ValueId,
    version: Version,
) -> Option<(&'a Operation, u64)> {
    let mut latest = None;
    for set in log.writers(value).filter(|set| !set.surely_had_no_effect()) {
        let expires_ns = case.circumstances.expires_latest_ns(set, version)?;
        let last_ns = expires_ns.saturating_add(case.promises.expiry_margin_ns);
        if latest.is_none_or(|(_, other_ns)| other_ns < last_ns) {
            latest = Some((set, last_ns));
        }
    }
    latest
}

fn check_hit(log: &KeyLog<'_, '_>, case: &Case<'_>, hit: &Hit<'_>, findings: &mut Findings<'_>) {
    let began_ns = hit
        .read
        .invoked_ns
        .saturating_sub(case.circumstances.apart_ns);
    let announced_ns = began_ns.saturating_add(hit.expires_in_ns.unwrap_or_default());
    if announced_ns <= hit.last_ns {
        return;
    }
    let finding = Finding {
        invariant: Invariant::Expiry,
        at_ns: hit.read.completed_ns,
        key: Some(log.events.key),
        operations: vec![hit.set.id, hit.read.id],
    };
    findings.add(finding, || {
        let verb = if began_ns > hit.last_ns {
            "serves".to_owned()
        } else {
            format!("announces until {}", time(announced_ns))
        };
        format!(
            "{} {verb} the value of {}, which may be served until {} at most",
            case.words(hit.read),
            case.words(hit.set),
            time(hit.last_ns)
        )
    });
}
