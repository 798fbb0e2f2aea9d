//! Rules one at a time, and the worked examples that fit on a few lines. Agreement with the model over many schedules is
//! tested in `sim/tests/slot_twin.rs`.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use shard_cache_membership::identity::{BootId, NodeId};

use super::{state::AfterLoss, *};
use crate::ring::{Bootstrap, RingMember};

const QUORUMS: Quorums = Quorums {
    replication_factor: 3,
    write_quorum: 2,
};
const BOOTSTRAP: Bootstrap = Bootstrap {
    formed_millis: 1_000,
    former: BootId(77),
};
const A: RingMember = member(1, 1);
const B: RingMember = member(2, 1);
const C: RingMember = member(3, 1);
const D: RingMember = member(4, 1);
const B_AGAIN: RingMember = member(2, 2);

const fn member(node: u64, boot: u64) -> RingMember {
    RingMember {
        node_id: NodeId(node),
        boot_id: BootId(boot),
    }
}

fn config(number: u32, owners: &[RingMember]) -> Configuration {
    Configuration::new(Root::first(BOOTSTRAP), number, owners)
}

fn formed(owners: &[RingMember], own: RingMember) -> SlotState {
    SlotState::form(config(1, owners), own)
}

/// `puller` asks `source`, which is asked in time and answers.
fn pull(
    (puller, puller_own): (&mut SlotState, RingMember),
    (source, source_own): (&mut SlotState, RingMember),
) -> bool {
    let asked = puller.configuration().id();
    let Some(answer) = source.answer_pull(asked, source_own) else {
        return false;
    };
    puller.take_answer(asked, answer, puller_own, QUORUMS)
}

/// Whether these owners' answers make a quorum under `asked` (rule 5).
fn is_quorum(asked: &Configuration, voters: &[(&SlotState, RingMember)]) -> bool {
    let votes: Vec<_> = voters
        .iter()
        .filter_map(|(state, own)| state.vote(asked.id(), *own, QUORUMS))
        .collect();
    if votes.len() < QUORUMS.write(asked.owners().len()) {
        return false;
    }
    let carried_by_enough = |carry: Carry| {
        let same = votes
            .iter()
            .filter(|vote| vote.carry == Some(carry))
            .count();
        same >= usize::from(carry.cover)
    };
    votes.iter().any(|vote| vote.is_full)
        || votes
            .iter()
            .filter_map(|vote| vote.carry)
            .any(carried_by_enough)
}

#[test]
fn covers_meet_write_quorums_and_each_other() {
    for replication_factor in 1..=7u8 {
        for write_quorum in 1..=replication_factor {
            let quorums = Quorums {
                replication_factor,
                write_quorum,
            };
            for owners in 1..=usize::from(replication_factor) {
                let (write, cover) = (quorums.write(owners), quorums.cover(owners));
                assert!(cover + write > owners, "{quorums:?} {owners}");
                assert!(2 * cover > owners, "{quorums:?} {owners}");
                assert!((1..=owners).contains(&cover), "{quorums:?} {owners}");
            }
        }
    }
    // Two owners: both, or two lines of descent could begin.
    assert_eq!(QUORUMS.cover(2), 2);
}

#[test]
fn configurations_are_ordered_by_root_number_and_owners() {
    let older = Root::first(Bootstrap {
        formed_millis: 999,
        ..BOOTSTRAP
    });
    let ordered = [
        config(1, &[A, B, C]),
        config(1, &[A, B, D]),
        config(2, &[A, B, C]),
        Configuration::new(
            Root::first(BOOTSTRAP).after_loss(&config(2, &[A, B, C])),
            2,
            [A],
        ),
        Configuration::new(older, 1, [A]),
    ];
    assert!(
        ordered.is_sorted_by(|lower, higher| lower < higher),
        "{ordered:?}"
    );
}

#[test]
fn a_node_never_goes_down_and_never_to_a_former_self() {
    let mut state = formed(&[A, B, C], B_AGAIN);
    assert!(!state.is_full(), "the configuration names an earlier life");
    assert!(!state.adopt(config(2, &[A, B, D]), B_AGAIN, QUORUMS));
    assert!(state.adopt(config(3, &[A, B_AGAIN, C]), B_AGAIN, QUORUMS));
    assert!(!state.adopt(config(2, &[A, C, D]), B_AGAIN, QUORUMS));
    let elsewhere = Root::first(Bootstrap {
        formed_millis: 1,
        ..BOOTSTRAP
    });
    assert!(!state.adopt(Configuration::new(elsewhere, 9, [A]), B_AGAIN, QUORUMS));
    assert_eq!(state.configuration().number(), 3);
}

#[test]
fn replacing_an_owner_serves_at_once_and_the_new_one_after_a_copy() {
    let mut nodes = [A, B, C, D].map(|own| (formed(&[A, B, C], own), own));
    let next = config(2, &[A, B, D]);
    for (state, own) in &mut nodes {
        assert!(state.adopt(next.clone(), *own, QUORUMS));
        assert!(!state.is_full());
    }
    let [(mut a, _), (mut b, _), (c, _), (mut d, _)] = nodes;
    assert!(is_quorum(&next, &[(&a, A), (&b, B)]), "both carry");
    assert!(
        !is_quorum(&next, &[(&a, A), (&d, D)]),
        "one carries, and one is empty"
    );
    assert!(c.vote(next.id(), C, QUORUMS).is_none(), "it is no owner");
    assert!(
        pull((&mut a, A), (&mut b, B)),
        "a cover of the first has answered"
    );
    assert!(is_quorum(&next, &[(&a, A), (&d, D)]), "one is full");
    assert!(pull((&mut d, D), (&mut a, A)), "a copy of a full owner");
}

#[test]
fn a_copy_is_dropped_once_the_configuration_is_settled_and_only_by_others() {
    let next = config(2, &[A, B, D]);
    let mut c = formed(&[A, B, C], C);
    c.adopt(next.clone(), C, QUORUMS);
    assert_eq!(c.settle(&config(1, &[A, B, C]), C), OnSettled::Keep);
    assert_eq!(c.settle(&next, C), OnSettled::DropCopy);
    assert!(c.top().is_none() && c.predecessors().is_empty());
    let mut a = formed(&[A, B, C], A);
    a.adopt(next.clone(), A, QUORUMS);
    assert_eq!(a.settle(&next, A), OnSettled::Keep);
}

#[test]
fn what_a_full_owner_covered_is_told_to_joiners_until_it_is_settled() {
    let next = config(2, &[A, B, D]);
    let [mut a, mut b] = [A, B].map(|own| formed(&[A, B, C], own));
    for (state, own) in [(&mut a, A), (&mut b, B)] {
        state.adopt(next.clone(), own, QUORUMS);
    }
    assert!(pull((&mut a, A), (&mut b, B)));
    assert_eq!(a.grant().predecessors, [config(1, &[A, B, C])]);
    a.settle(&next, A);
    assert!(a.grant().predecessors.is_empty());
}

#[test]
fn a_restarted_owner_copies_and_the_others_serve_meanwhile() {
    let next = config(2, &[A, B_AGAIN, C]);
    let [mut a, mut c] = [A, C].map(|own| formed(&[A, B, C], own));
    let mut b = SlotState::join(a.grant(), B_AGAIN).unwrap();
    for (state, own) in [(&mut a, A), (&mut c, C), (&mut b, B_AGAIN)] {
        assert!(state.adopt(next.clone(), own, QUORUMS));
    }
    assert!(is_quorum(&next, &[(&a, A), (&c, C)]));
    assert!(!is_quorum(&next, &[(&a, A), (&b, B_AGAIN)]));
    assert!(
        !pull((&mut b, B_AGAIN), (&mut a, A)),
        "one of two is no cover"
    );
    assert!(pull((&mut b, B_AGAIN), (&mut c, C)));
}

#[test]
fn one_of_two_restarts_and_the_other_keeps_its_data_in_a_new_root() {
    let next = config(2, &[A, B_AGAIN]);
    let mut a = formed(&[A, B], A);
    let mut b = SlotState::join(a.grant(), B_AGAIN).unwrap();
    for (state, own) in [(&mut a, A), (&mut b, B_AGAIN)] {
        assert!(state.adopt(next.clone(), own, QUORUMS));
    }
    assert!(
        !pull((&mut a, A), (&mut b, B_AGAIN)),
        "two owners: both are a cover"
    );
    let evidence = LossEvidence {
        answers_needed: 2,
        is_gone: &|member| member == B,
    };
    assert!(
        b.declare_lost(B_AGAIN, QUORUMS, &evidence).is_none(),
        "only the first owner may"
    );
    let declared = a.declare_lost(A, QUORUMS, &evidence);
    assert_eq!(declared, Some(AfterLoss::KeepCopy));
    assert!(a.is_full() && a.configuration().root().generation == 1);
    assert!(b.follow(a.grant(), B_AGAIN), "a higher root");
    assert!(pull((&mut b, B_AGAIN), (&mut a, A)));
}

#[test]
fn a_loss_is_not_declared_while_owners_are_merely_away() {
    let next = config(2, &[A, B_AGAIN]);
    let mut a = formed(&[A, B], A);
    a.adopt(next, A, QUORUMS);
    let evidence = LossEvidence {
        answers_needed: 1,
        is_gone: &|_| false,
    };
    assert!(
        a.declare_lost(A, QUORUMS, &evidence).is_none(),
        "the other owner has not answered"
    );
    let mut b = SlotState::join(a.grant(), B_AGAIN).unwrap();
    pull((&mut a, A), (&mut b, B_AGAIN));
    assert!(
        a.declare_lost(A, QUORUMS, &evidence).is_none(),
        "nobody says that it is gone"
    );
}

#[test]
fn a_slot_that_somebody_who_is_away_may_be_serving_is_not_lost_by_losses_elsewhere() {
    // One owner per slot. A is cut off with the data; B takes its place, and restarts before it could be full.
    let quorums = Quorums {
        replication_factor: 1,
        write_quorum: 1,
    };
    let held = config(5, &[A]);
    let a = SlotState::form(held.clone(), A);
    let [mut b, mut c] = [B, C].map(|own| SlotState::form(held.clone(), own));
    for (state, own) in [(&mut b, B), (&mut c, C)] {
        assert!(state.adopt(config(6, &[B]), own, quorums));
    }
    let asked = config(6, &[B]).id();
    let answer = c.answer_pull(asked, C).unwrap();
    assert!(!b.take_answer(asked, answer, B, quorums));
    let mut again = SlotState::join(c.grant(), B_AGAIN).unwrap();
    let next = config(7, &[B_AGAIN]);
    for (state, own) in [(&mut again, B_AGAIN), (&mut c, C)] {
        assert!(state.adopt(next.clone(), own, quorums));
    }
    let answer = c.answer_pull(next.id(), C).unwrap();
    assert!(!again.take_answer(next.id(), answer, B_AGAIN, quorums));
    let evidence = |gone: &'static [RingMember]| LossEvidence {
        answers_needed: 2,
        is_gone: if gone.len() == 1 {
            &|member| member == B
        } else {
            &|member| member == B || member == A
        },
    };
    let declared = |evidence| again.clone().declare_lost(B_AGAIN, quorums, &evidence);
    assert_eq!(declared(evidence(&[B])), None, "A has it");
    assert!(a.vote(held.id(), A, quorums).unwrap().is_full);
    assert!(
        declared(evidence(&[B, A])).is_some(),
        "A will not come back"
    );
}

#[test]
fn each_slot_of_a_split_serves_on_one_side_at_most() {
    // {A, B} | {C, D}: slot ABC stays on the left, and the right cannot take it.
    let left = config(1, &[A, B, C]);
    let [a, b] = [A, B].map(|own| formed(&[A, B, C], own));
    let [mut c, mut d] = [C, D].map(|own| formed(&[A, B, C], own));
    let right = config(2, &[C, D]);
    for (state, own) in [(&mut c, C), (&mut d, D)] {
        assert!(state.adopt(right.clone(), own, QUORUMS));
    }
    assert!(is_quorum(&left, &[(&a, A), (&b, B)]));
    assert!(!pull((&mut c, C), (&mut d, D)), "one of three is no cover");
    assert!(!is_quorum(&right, &[(&c, C), (&d, D)]));
}

#[test]
fn a_stay_in_which_nothing_was_answered_leaves_no_trace() {
    let mut a = formed(&[A, B, C], A);
    a.adopt(config(2, &[A, B, D]), A, QUORUMS);
    a.adopt(config(3, &[A, C, D]), A, QUORUMS);
    assert_eq!(a.predecessors(), [config(1, &[A, B, C])]);
    assert_eq!(a.carried(), Some(&config(1, &[A, B, C])));
    a.saw();
    a.adopt(config(4, &[A, B, C]), A, QUORUMS);
    assert_eq!(a.predecessors().len(), 2);
    assert!(a.carried().is_none(), "others may rest on what it answered");
}

#[test]
fn a_joiner_is_not_full_by_being_named() {
    let mut a = formed(&[A], A);
    a.adopt(config(2, &[A, D]), A, QUORUMS);
    assert!(a.is_full(), "it covers the first alone");
    a.settle(&config(2, &[A, D]), A);
    assert!(
        SlotState::join(a.grant(), D).is_none(),
        "it would be full by hearsay"
    );
}
