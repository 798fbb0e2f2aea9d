//! What a covered read comes to. The invariants about reads (G1, G3, G4, and G7 for deletes) each report one kind of
//! outcome, so that one wrong read breaks one law: the one that says most about it.
//!
//! What has to be there is the highest version that covered operations vouched for before the read began. Reading that
//! or anything newer is right. What is older is *resurrected* if an acknowledged delete lies between, else *stale*.
//! Nothing at all, where the version that has to be there is a value, needs an explanation:
//!
//! - the miss names a version above: if a delete was acknowledged under it, that is why; if a set was, its value must
//!   have had time to expire; else a delete that may have that version must have begun, or a value that may have it must
//!   have had time to expire;
//! - the miss names that version itself: the value must have had time to expire;
//! - the miss names less, or nothing: the answering owners know of nothing, so the value itself or a newer one must have
//!   had time to expire, or a newer tombstone to be forgotten;
//! - or, in any case, something was evicted by then, or more owners than may have lost their memory.

use super::{
    Case,
    circumstances::Excuse,
    floors::Known,
    key_log::{KeyLog, Origin},
};
use crate::history::{Answer, Invariant, Operation, Request, ValueId, Version};

/// What was seen of a key, between two moments.
pub(super) struct Sight {
    /// The value; none if there was none.
    pub(super) value: Option<ValueId>,
    /// The newest version known.
    pub(super) version: Option<Version>,
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
}

impl Sight {
    /// What a read saw, if it was answered.
    pub(super) fn of(read: &Operation, case: &Case<'_>) -> Option<Self> {
        let (value, version) = match read.answered()?.answer {
            Answer::Written { .. } => return None,
            Answer::Hit { value, version, .. } => (Some(value), Some(version)),
            Answer::Miss { version } => (None, version),
        };
        Some(Self {
            value,
            version,
            from_ns: read.invoked_ns,
            to_ns: case.circumstances.over_ns(read),
        })
    }
}

/// What a covered read comes to.
#[derive(Clone, Copy)]
pub(super) enum Standing<'a> {
    /// Nothing had to be there.
    Unjudged,
    /// It saw a value that cannot have been written: another law's business.
    NotWritten,
    /// It saw what it had to see.
    Fine,
    /// It need not have.
    Excused(Excuse),
    /// It saw a value older than an acknowledged delete.
    Resurrected { delete: &'a Operation },
    /// It saw a value older than what had to be there.
    Stale { newer: Known<'a> },
    /// It saw nothing, though a set had been acknowledged.
    Lost { set: &'a Operation },
    /// It saw nothing, or nothing any more under a version above all acknowledged writes, though an earlier read had
    /// seen a newer value that no acknowledged set wrote.
    WentBack { known: Known<'a> },
    /// It saw a newer version without a value, and only a delete that failed can have made it.
    DeletedByFailure { delete: &'a Operation },
}

/// Judges what was seen by what had to be there.
pub(super) fn judge<'a>(log: &KeyLog<'a, '_>, case: &Case<'_>, sight: &Sight) -> Standing<'a> {
    match (sight.value, sight.version) {
        (Some(value), Some(version)) => judge_value(log, case, sight, value, version),
        (None, _) | (_, None) => judge_miss(log, case, sight),
    }
}

fn judge_value<'a>(
    log: &KeyLog<'a, '_>,
    case: &Case<'_>,
    sight: &Sight,
    value: ValueId,
    version: Version,
) -> Standing<'a> {
    match log.origin(value, version, sight.to_ns) {
        Origin::Written => {}
        Origin::Nobody | Origin::OnlyFailed(_) | Origin::OnlyLater(_) | Origin::Acknowledged(_) => {
            return Standing::NotWritten;
        }
    }
    let Some(known) = log.covered.before(sight.from_ns) else {
        return Standing::Unjudged;
    };
    if version >= known.version {
        return Standing::Fine;
    }
    let excuse = |newer: &Known<'_>| excuse_value(log, case, sight, value, newer);
    if case.promises.hold(Invariant::NoResurrection)
        && let Some(deleted) = log.deleted.before(sight.from_ns)
        && deleted.version > version
        && excuse(&deleted).is_none()
    {
        return Standing::Resurrected { delete: deleted.by };
    }
    excuse(&known).map_or(Standing::Stale { newer: known }, Standing::Excused)
}

/// Why an older value may be seen than the newer one that is known.
fn excuse_value(
    log: &KeyLog<'_, '_>,
    case: &Case<'_>,
    sight: &Sight,
    value: ValueId,
    newer: &Known<'_>,
) -> Option<Excuse> {
    let upheavals = &case.circumstances.upheavals;
    let upheaval = upheavals.between(&log.events.owners, newer.by.invoked_ns, sight.to_ns);
    if let Some(upheaval) = upheaval {
        // What was written since is the beginning of the new line of data, even if its version is lower.
        let is_new = || {
            log.writers(value)
                .any(|set| set.answered().is_none() || set.completed_ns > upheaval.from_ns)
        };
        let is_excused = match upheaval.excuse {
            Excuse::Lost => {
                !case.promises.lost_slot_starts_afresh
                    || is_new()
                    || upheavals.may_have_given_way(newer.by.invoked_ns, sight.to_ns)
            }
            Excuse::OwnersChanged | Excuse::Deleted | Excuse::Expired | Excuse::Evicted => true,
        };
        if is_excused {
            return Some(upheaval.excuse);
        }
    }
    if case.promises.gone_leaves_a_trace {
        return None;
    }
    let may_have_expired = log
        .expirable
        .by(sight.to_ns)
        .is_some_and(|gone| gone.version >= newer.version);
    if may_have_expired {
        return Some(Excuse::Expired);
    }
    case.circumstances
        .may_be_evicted(sight.to_ns)
        .then_some(Excuse::Evicted)
}

fn judge_miss<'a>(log: &KeyLog<'a, '_>, case: &Case<'_>, sight: &Sight) -> Standing<'a> {
    let Some(known) = log.covered.before(sight.from_ns) else {
        return Standing::Unjudged;
    };
    let Some(known_value) = known.value else {
        return Standing::Fine;
    };
    let above = sight.version.filter(|version| *version > known.version);
    let named = above.and_then(|version| log.acknowledged_as(version));
    let is_deleted = match (named, above) {
        (Some(write), _) => write.request == Request::Delete && write.invoked_ns <= sight.to_ns,
        (None, Some(version)) => log
            .deletes
            .by(sight.to_ns)
            .is_some_and(|delete| delete.version >= version),
        (None, None) if sight.version == Some(known.version) => false,
        (None, None) => log
            .forgotten
            .by(sight.to_ns)
            .is_some_and(|delete| delete.version > known.version),
    };
    if is_deleted {
        return Standing::Excused(Excuse::Deleted);
    }
    let newer_may_have_expired = |least: Version| {
        let gone = log.expirable.by(sight.to_ns);
        gone.is_some_and(|value| value.version >= least)
    };
    let has_expired = |value| log.may_have_expired(value, sight.to_ns, case);
    let may_have_expired = match (named.map(|write| write.request.value()), above) {
        (Some(value), _) => value.is_some_and(has_expired),
        (None, Some(version)) => newer_may_have_expired(version),
        (None, None) if sight.version == Some(known.version) => has_expired(known_value),
        (None, None) => has_expired(known_value) || newer_may_have_expired(known.version),
    };
    if may_have_expired {
        return Standing::Excused(Excuse::Expired);
    }
    if case.circumstances.may_be_evicted(sight.to_ns) {
        return Standing::Excused(Excuse::Evicted);
    }
    let upheavals = &case.circumstances.upheavals;
    let upheaval = upheavals.between(&log.events.owners, known.by.invoked_ns, sight.to_ns);
    if let Some(upheaval) = upheaval {
        return Standing::Excused(upheaval.excuse);
    }
    let failed = log.failed_delete.filter(|d| d.invoked_ns <= sight.to_ns);
    match (failed, above, log.acknowledged.before(sight.from_ns)) {
        (Some(delete), Some(_), _) => Standing::DeletedByFailure { delete },
        // Under a version between the two, the miss is as old as what it names, and the set is not lost.
        (_, None, Some(acknowledged)) if sight.version > Some(acknowledged.version) => {
            Standing::WentBack { known }
        }
        (_, _, Some(acknowledged)) if acknowledged.value.is_some() => Standing::Lost {
            set: acknowledged.by,
        },
        (_, _, Some(_) | None) => Standing::WentBack { known },
    }
}
