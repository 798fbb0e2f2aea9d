//! G2: after a heal all owners of a key come to agree, within 60 s.
//!
//! **Violation**: of the owners that a heal connected, looked at no sooner than that time after it and with nothing
//! having happened since, one holds another version of the key than the newest that any of them holds.
//!
//! **Excused**: one holds no value, where the newest may have expired or something may have been evicted ("none after
//! eviction"), or where the newest is a tombstone that may have been forgotten. An older *value* beside a newer version
//! is excused by nothing, except by eviction and expiry where the promises in force say that gone values leave no trace:
//! then one may also hold nothing any more of a newer value that has expired, and another the older one.
//!
//! **Not concluded**: without copies, without a heal before them, or too soon after it. Copies on nodes that own nothing
//! are not asked for. More than 100 MiB of divergence is beyond the promise; the history does not tell.

use super::{
    Case,
    findings::{Finding, Findings},
    key_log::KeyLog,
    words::time,
};
use crate::history::{Event, Held, Invariant, OwnerCopy, Version};

pub(super) fn check(log: &KeyLog<'_, '_>, case: &Case<'_>, findings: &mut Findings<'_>) {
    let copies = &log.events.copies;
    let Some(first_ns) = copies.iter().map(|copy| copy.at_ns).min() else {
        return;
    };
    let Some((healed_ns, nodes)) = last_heal(case, first_ns) else {
        return;
    };
    if first_ns < healed_ns.saturating_add(case.promises.data_agrees_within_ns) {
        return;
    }
    let healed = || copies.iter().filter(|copy| nodes.contains(&copy.node));
    let Some(newest) = healed().max_by_key(|copy| copy.held.version()) else {
        return;
    };
    findings.counts.compared_keys += 1;
    let Some(version) = newest.held.version() else {
        return;
    };
    let other = healed().find(|copy| !agree(log, case, copy, newest, version));
    let Some(other) = other else {
        return;
    };
    let finding = Finding {
        invariant: Invariant::Convergence,
        at_ns: other.at_ns,
        key: Some(log.events.key),
        operations: Vec::new(),
    };
    findings.add(finding, || {
        format!(
            "{} after the heal {} holds {} and {} holds {}",
            time(other.at_ns - healed_ns),
            case.node(newest.node),
            words(newest.held),
            case.node(other.node),
            words(other.held)
        )
    });
}

/// The last heal before a time, if nothing has happened since, and the nodes that it connected.
fn last_heal<'a>(case: &Case<'a>, before_ns: u64) -> Option<(u64, &'a [u32])> {
    let marks = case.history.marks.iter();
    let last = marks
        .filter(|mark| mark.at_ns <= before_ns && ends_or_begins_peace(&mark.event))
        .max_by_key(|mark| mark.at_ns)?;
    let Event::Healed { nodes } = &last.event else {
        return None;
    };
    Some((last.at_ns, nodes))
}

/// Whether an event begins or ends a time in which nodes must agree.
pub(super) const fn ends_or_begins_peace(event: &Event) -> bool {
    match event {
        Event::Healed { .. }
        | Event::FaultBegin { .. }
        | Event::Crash { .. }
        | Event::Boot { .. }
        | Event::Join { .. }
        | Event::Leave { .. } => true,
        Event::FaultEnd { .. }
        | Event::Drained { .. }
        | Event::Clock { .. }
        | Event::Owners { .. }
        | Event::Settled
        | Event::Unsettled { .. }
        | Event::Evictions { .. }
        | Event::Membership { .. }
        | Event::Usage { .. }
        | Event::Broken { .. } => false,
    }
}

/// Whether a copy is as good as the newest one, whose version is `version`.
fn agree(
    log: &KeyLog<'_, '_>,
    case: &Case<'_>,
    copy: &OwnerCopy,
    newest: &OwnerCopy,
    version: Version,
) -> bool {
    if copy.held == newest.held {
        return true;
    }
    let newer_may_have_expired = || {
        let gone = log.expirable.by(copy.at_ns);
        gone.is_some_and(|gone| gone.version >= version)
    };
    let may_have_expired = match newest.held {
        Held::Value { value, .. } => log.may_have_expired(value, copy.at_ns, case),
        // What is gone may have been any value of unknown version.
        Held::Gone { .. } | Held::Nothing => newer_may_have_expired(),
    };
    let may_be_gone = may_have_expired || case.circumstances.may_be_evicted(copy.at_ns);
    let may_be_forgotten = || {
        let forgotten = log.forgotten.by(copy.at_ns);
        forgotten.is_some_and(|delete| delete.version >= version)
    };
    match (copy.held, newest.held) {
        // One version with two contents: [`super::no_invention`] says so.
        (Held::Value { .. }, Held::Value { .. }) if copy.held.version() == Some(version) => true,
        // An expired value that one has put away and the other not yet.
        (Held::Value { .. }, Held::Gone { .. }) if copy.held.version() == Some(version) => {
            may_be_gone
        }
        (Held::Value { .. }, _) => may_be_gone && !case.promises.gone_leaves_a_trace,
        (Held::Gone { .. } | Held::Nothing, Held::Gone { .. }) => may_be_gone || may_be_forgotten(),
        (Held::Gone { .. } | Held::Nothing, Held::Value { .. } | Held::Nothing) => {
            may_be_gone || (!case.promises.gone_leaves_a_trace && newer_may_have_expired())
        }
    }
}

fn words(held: Held) -> String {
    match held {
        Held::Value { value, version } => format!("{value}, version {version}"),
        Held::Gone { version } => format!("no value, version {version}"),
        Held::Nothing => "nothing".to_owned(),
    }
}
