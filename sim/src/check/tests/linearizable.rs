//! A search for a total order, after Wing and Gong, "Testing and verifying concurrent objects" (J. Parallel Distrib.
//! Comput. 17, 1993): does any order of the operations that respects real time explain every read of a register? The
//! checker asks for more (versions), so a small history of quorum operations that it accepts must have such an order.
//!
//! Two things are left out, because the semantics allow them and a register does not: a write that is stamped anew may be
//! seen twice while it is unacknowledged, so here every value is seen under one version; and an unknown write may take
//! effect under a version that is already outdated, so here none does.

use std::collections::HashSet;

use proptest::prelude::*;

use super::{
    pairwise::{Draft, drafts, rolled},
    twin::Dice,
};
use crate::{
    check::check,
    history::{
        Answer, Answered, Consistency, Degrade, History, Life, Operation, Outcome, Promises,
        Request, Unanswered, ValueId, Version,
    },
};

const TOMBSTONE_LIFE_NS: u64 = 1_000_000_000_000;

fn version(draft: &Draft, index: usize) -> Version {
    Version::new(draft.version, index as u32, 1)
}

/// A history of sets, deletes and reads at QUORUM. Only sets are of unknown outcome.
fn history(drafts: &[Draft]) -> History {
    let writes: Vec<usize> = (0..drafts.len()).filter(|i| drafts[*i].kind < 5).collect();
    let operation = |(index, draft): (usize, &Draft)| {
        let own = version(draft, index);
        let is_delete = |draft: &Draft| draft.kind == 4;
        let seen = writes.get(draft.seen % (writes.len() + 1)).copied();
        let (request, answer) = match draft.kind {
            0..4 => {
                let (value, life) = (ValueId(index as u64), Life::Never);
                (
                    Request::Set { value, life },
                    Answer::Written {
                        version: own,
                        replaced: None,
                    },
                )
            }
            4 => (
                Request::Delete,
                Answer::Written {
                    version: own,
                    replaced: None,
                },
            ),
            _ => {
                let answer = match seen {
                    None => Answer::Miss { version: None },
                    Some(at) if is_delete(&drafts[at]) => Answer::Miss {
                        version: Some(version(&drafts[at], at)),
                    },
                    Some(at) => Answer::Hit {
                        value: ValueId(at as u64),
                        version: version(&drafts[at], at),
                        expires_in_ns: None,
                    },
                };
                (Request::Get, answer)
            }
        };
        let is_unknown = draft.kind < 4 && draft.fate < 3;
        Operation {
            id: index as u64,
            client: 0,
            node: 0,
            key: "k".to_owned(),
            request,
            consistency: Consistency::Quorum,
            degrade: Degrade::Refuse,
            invoked_ns: draft.invoked,
            completed_ns: draft.invoked + draft.takes,
            outcome: if is_unknown {
                Outcome::Unknown(Unanswered::default())
            } else {
                Outcome::Ok(Answered {
                    answer,
                    degraded: false,
                    took_part: None,
                    owners: None,
                })
            },
        }
    };
    let mut history = History {
        operations: drafts.iter().enumerate().map(operation).collect(),
        ..History::default()
    };
    history.header.tombstone_life_ns = Some(TOMBSTONE_LIFE_NS);
    history
}

/// Whether an unknown set has a version at or below what was over before it began.
fn is_outdated(drafts: &[Draft], history: &History) -> bool {
    let over = |set: &Operation, own: Version| {
        history.operations.iter().any(|other| {
            let theirs = other.answered().and_then(|answered| match answered.answer {
                Answer::Written { version, .. } | Answer::Hit { version, .. } => Some(version),
                Answer::Miss { version } => version,
            });
            other.completed_ns < set.invoked_ns && theirs >= Some(own)
        })
    };
    let unknown = history.operations.iter().zip(drafts).enumerate();
    unknown
        .filter(|(_, (operation, _))| operation.answered().is_none())
        .any(|(index, (set, draft))| over(set, version(draft, index)))
}

/// Whether some order explains everything. `done` holds the operations placed so far, as bits.
fn has_order(
    all: &[Operation],
    done: u32,
    value: Option<ValueId>,
    tried: &mut HashSet<(u32, Option<ValueId>)>,
) -> bool {
    if !tried.insert((done, value)) {
        return false;
    }
    let is_open = |index: usize| done & (1 << index) == 0;
    let must = |o: &Operation| o.answered().is_some();
    let open: Vec<usize> = (0..all.len()).filter(|index| is_open(*index)).collect();
    if !open.iter().any(|index| must(&all[*index])) {
        return true;
    }
    // Whatever was over before it began comes first; an unknown write never is over.
    let is_next = |index: &usize| {
        let mut earlier = open.iter().filter(|other| must(&all[**other]));
        !earlier.any(|other| all[*other].completed_ns < all[*index].invoked_ns)
    };
    open.iter()
        .copied()
        .filter(|index| is_next(index))
        .any(|index| {
            let after = match (all[index].request, all[index].answered().map(|a| a.answer)) {
                (Request::Set { value, .. }, _) => Some(value),
                (Request::Delete, _) => None,
                (Request::Get, Some(Answer::Hit { value: seen, .. })) if value == Some(seen) => {
                    value
                }
                (Request::Get, Some(Answer::Miss { .. })) if value.is_none() => None,
                (Request::Get, _) => return false,
            };
            has_order(all, done | 1 << index, after, tried)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_checker_accepts_is_linearizable(drafts in drafts(2..9)) {
        let history = history(&drafts);
        let is_kept = !check(&history, &Promises::full()).is_violated();
        if is_kept && !is_outdated(&drafts, &history) {
            prop_assert!(has_order(&history.operations, 0, None, &mut HashSet::new()), "{:#?}", history.operations);
        }
    }
}

#[test]
fn the_search_itself_finds_what_is_wrong() {
    let draft = |kind, invoked, seen, version| Draft {
        kind,
        level: 2,
        fate: 5,
        invoked,
        takes: 2,
        seen,
        version,
    };
    let orders = |drafts: &[Draft]| {
        let history = history(drafts);
        has_order(&history.operations, 0, None, &mut HashSet::new())
    };
    let sets = [draft(0, 0, 0, 1), draft(0, 5, 0, 2)];
    assert!(orders(&[
        sets[0].clone(),
        sets[1].clone(),
        draft(9, 10, 1, 0)
    ]));
    assert!(!orders(&[
        sets[0].clone(),
        sets[1].clone(),
        draft(9, 10, 0, 0)
    ]));
    assert!(!orders(&[sets[0].clone(), draft(9, 10, 1, 0)]));
}

#[test]
fn both_answers_happen_often_enough() {
    let mut dice = Dice::new(1);
    let (mut kept, mut disordered, mut stricter) = (0, 0, 0);
    for _ in 0..20_000 {
        let drafts = rolled(&mut dice, 6);
        let history = history(&drafts);
        let is_kept = !check(&history, &Promises::full()).is_violated();
        let is_ordered = has_order(&history.operations, 0, None, &mut HashSet::new());
        let has_reads = drafts.iter().filter(|draft| draft.kind > 4).count() > 1;
        kept += u64::from(is_kept && has_reads);
        disordered += u64::from(!is_ordered);
        stricter += u64::from(!is_kept && is_ordered);
    }
    println!("kept {kept}, without an order {disordered}, with an order but not kept {stricter}");
    assert!(kept > 1000 && disordered > 5000, "{kept} {disordered}");
}
