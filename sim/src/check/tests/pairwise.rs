//! The laws of reads and writes by pairs: for each read, every other operation is looked at, as the promises say it.
//! Quadratic and right by sight; the checker has to agree with it on small random histories, operation by operation.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::twin::Dice;
use crate::{
    check::check,
    history::{
        Answer, Answered, Consistency, Degrade, History, Invariant, Life, Operation, Outcome,
        Promises, Request, Unanswered, ValueId, Version,
    },
};

/// What an operation is made of, before its version is known to be unique.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) kind: u8,
    pub(super) level: u8,
    pub(super) fate: u8,
    pub(super) invoked: u64,
    pub(super) takes: u64,
    /// Which set a read found.
    pub(super) seen: usize,
    /// A version, in steps that leave room between them.
    pub(super) version: u64,
}

pub(super) fn drafts(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Draft>> {
    let draft = (
        0u8..10,
        0u8..8,
        0u8..12,
        0u64..30,
        1u64..12,
        0usize..8,
        0u64..8,
    );
    let draft = draft.prop_map(|(kind, level, fate, invoked, takes, seen, version)| Draft {
        kind,
        level,
        fate,
        invoked,
        takes,
        seen,
        version,
    });
    prop::collection::vec(draft, count)
}

/// The same from dice, to count how often what is compared happens at all.
pub(super) fn rolled(dice: &mut Dice, count: u64) -> Vec<Draft> {
    let draft = |dice: &mut Dice| Draft {
        kind: dice.below(10) as u8,
        level: dice.below(8) as u8,
        fate: dice.below(12) as u8,
        invoked: dice.below(30),
        takes: 1 + dice.below(11),
        seen: dice.below(8) as usize,
        version: dice.below(8),
    };
    (0..count).map(|_| draft(dice)).collect()
}

fn version(step: u64, index: usize) -> Version {
    Version::new(step, index as u32, 1)
}

/// A history of one key in which acknowledged versions are unique; anything may have been read.
fn history(drafts: &[Draft]) -> History {
    let is_set = |draft: &Draft| draft.kind < 3;
    let sets: Vec<usize> = (0..drafts.len()).filter(|i| is_set(&drafts[*i])).collect();
    let operation = |(index, draft): (usize, &Draft)| {
        let own = version(draft.version, index);
        let seen = sets.get(draft.seen % sets.len().max(1)).copied();
        let (request, answer) = match draft.kind {
            0..3 => {
                let value = ValueId(index as u64);
                let life = Life::Never;
                let written = Answer::Written {
                    version: own,
                    replaced: None,
                };
                (Request::Set { value, life }, written)
            }
            3 => (
                Request::Delete,
                Answer::Written {
                    version: own,
                    replaced: None,
                },
            ),
            kind => {
                let hit = seen.filter(|_| kind < 8).map(|set| Answer::Hit {
                    value: ValueId(set as u64),
                    // Mostly the version that the set was acknowledged with.
                    version: version(drafts[set].version + u64::from(draft.fate == 9), set),
                    expires_in_ns: None,
                });
                let miss = Answer::Miss {
                    version: (draft.version > 2).then_some(own),
                };
                (Request::Get, hit.unwrap_or(miss))
            }
        };
        let outcome = match draft.fate {
            10 => Outcome::Failed(Unanswered::default()),
            11 => Outcome::Unknown(Unanswered::default()),
            fate => Outcome::Ok(Answered {
                answer,
                degraded: fate == 8,
                took_part: None,
                owners: None,
            }),
        };
        Operation {
            id: index as u64,
            client: 0,
            node: 0,
            key: "k".to_owned(),
            request,
            consistency: match draft.level {
                0 => Consistency::One,
                1 => Consistency::All,
                _ => Consistency::Quorum,
            },
            degrade: Degrade::Accept,
            invoked_ns: draft.invoked,
            completed_ns: draft.invoked + draft.takes,
            outcome,
        }
    };
    History {
        operations: drafts.iter().enumerate().map(operation).collect(),
        ..History::default()
    }
}

/// Every violation as (law, the later operation).
type Found = BTreeSet<(Invariant, u64)>;

fn is_credible(all: &[Operation], read: &Operation, value: ValueId, seen: Version) -> bool {
    all.iter().any(|set| {
        set.request.value() == Some(value)
            && !set.surely_had_no_effect()
            && set.invoked_ns <= read.completed_ns
            && set.written_version().is_none_or(|own| own >= seen)
    })
}

/// What an operation vouches for: a version, and the value if it is one.
fn vouches(all: &[Operation], o: &Operation) -> Option<(Version, Option<ValueId>)> {
    if !o.is_covered() {
        return None;
    }
    match o.answered()?.answer {
        Answer::Written { version, .. } => Some((version, o.request.value())),
        Answer::Hit { value, version, .. } => {
            is_credible(all, o, value, version).then_some((version, Some(value)))
        }
        Answer::Miss { version } => Some((version?, None)),
    }
}

fn pairwise(all: &[Operation]) -> Found {
    let mut found = Found::new();
    for later in all.iter().filter(|o| o.is_covered()) {
        let known: Vec<_> = all
            .iter()
            .filter(|earlier| earlier.completed_ns < later.invoked_ns)
            .filter_map(|earlier| Some((earlier, vouches(all, earlier)?)))
            .collect();
        let Some(answered) = later.answered() else {
            continue;
        };
        match answered.answer {
            Answer::Written { version, .. } => {
                if known.iter().any(|(_, (other, _))| *other >= version) {
                    found.insert((Invariant::WriteOrder, later.id));
                }
            }
            Answer::Hit { value, version, .. } if is_credible(all, later, value, version) => {
                let mut newer = known.iter().filter(|(_, (other, _))| *other > version);
                if newer.clone().any(|(by, _)| by.request == Request::Delete) {
                    found.insert((Invariant::NoResurrection, later.id));
                } else if newer.next().is_some() {
                    found.insert((Invariant::ReadYourWrites, later.id));
                }
            }
            Answer::Hit { .. } => {}
            Answer::Miss { version } => {
                found.extend(missed(all, later, &known, version).map(|law| (law, later.id)));
            }
        }
    }
    found
}

type Known<'a> = (&'a Operation, (Version, Option<ValueId>));

fn missed(
    all: &[Operation],
    read: &Operation,
    known: &[Known<'_>],
    named: Option<Version>,
) -> Option<Invariant> {
    let highest = known.iter().map(|(_, (version, _))| *version).max()?;
    let mut at_highest = known.iter().filter(|(_, (version, _))| *version == highest);
    // A write says what its version is; a read of it may have found it gone.
    let is_value = match at_highest.clone().find(|(by, _)| by.request.is_write()) {
        Some((write, _)) => write.request.value().is_some(),
        None => at_highest.any(|(_, (_, value))| value.is_some()),
    };
    if !is_value {
        return None;
    }
    let mut deletes = all
        .iter()
        .filter(|o| o.request == Request::Delete && o.invoked_ns <= read.completed_ns);
    let acknowledged = all
        .iter()
        .find(|o| named.is_some() && o.written_version() == named);
    let is_explained = deletes.clone().any(|delete| {
        let may_have = |least: Version| delete.written_version().is_none_or(|own| own >= least);
        !delete.surely_had_no_effect()
            && match named {
                Some(named) if named > highest => match acknowledged {
                    Some(write) => write.id == delete.id,
                    None => may_have(named),
                },
                Some(named) if named == highest => false,
                Some(_) | None => delete.written_version().is_none_or(|own| own > highest),
            }
    });
    if is_explained {
        return None;
    }
    let names_newer = named.is_some_and(|named| named > highest);
    if names_newer && deletes.any(Operation::surely_had_no_effect) {
        return Some(Invariant::FailedMeansFailed);
    }
    let writes = known.iter().filter(|(by, _)| by.request.is_write());
    match writes.max_by_key(|(_, (version, _))| *version) {
        // It is as old as the version that it names, and has not lost what is older still.
        Some((_, (version, _))) if !names_newer && named > Some(*version) => {
            Some(Invariant::ReadYourWrites)
        }
        Some((write, _)) if write.request.value().is_some() => Some(Invariant::Durability),
        Some(_) | None => Some(Invariant::ReadYourWrites),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_checker_agrees_with_every_pair(drafts in drafts(1..14)) {
        let history = history(&drafts);
        let mut promises = Promises::full();
        let laws = [
            Invariant::Durability,
            Invariant::NoResurrection,
            Invariant::ReadYourWrites,
            Invariant::WriteOrder,
            Invariant::FailedMeansFailed,
        ];
        promises.invariants = laws.into();
        let verdict = check(&history, &promises);
        // Values of failed sets are another part of that law.
        let is_of_reads = |ids: &[u64]| {
            let first = ids.first().and_then(|id| usize::try_from(*id).ok());
            first.is_some_and(|first| history.operations[first].request.value().is_none())
        };
        let found: Found = verdict
            .violations
            .iter()
            .filter(|v| v.invariant != Invariant::FailedMeansFailed || is_of_reads(&v.operations))
            .filter_map(|v| Some((v.invariant, *v.operations.last()?)))
            .collect();
        prop_assert_eq!(found, pairwise(&history.operations));
    }
}

#[test]
fn the_pairs_find_every_law_broken_often_enough() {
    let mut dice = Dice::new(1);
    let mut counts: BTreeMap<Option<Invariant>, u64> = BTreeMap::new();
    for _ in 0..4000 {
        let found = pairwise(&history(&rolled(&mut dice, 8)).operations);
        if found.is_empty() {
            *counts.entry(None).or_default() += 1;
        }
        for (law, _) in found {
            *counts.entry(Some(law)).or_default() += 1;
        }
    }
    assert_eq!(counts.len(), 6, "{counts:?}");
    assert!(counts.values().all(|count| *count >= 20), "{counts:?}");
}
