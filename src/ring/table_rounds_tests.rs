//! Rounds of questions: what is asked about how often, and what is replied.

use std::sync::Arc;

use shard_cache_membership::identity::{BootId, NodeId};

use super::*;
use crate::ring::{Bootstrap, Shape, zone::ZonedMember};

const SLOTS: u16 = 64;
const BOOTSTRAP: Bootstrap = Bootstrap {
    formed_millis: 1,
    former: BootId(1),
};
const QUORUMS: Quorums = Quorums {
    replication_factor: 2,
    write_quorum: 2,
};

fn member(node: u64) -> RingMember {
    RingMember {
        node_id: NodeId(node),
        boot_id: BootId(node),
    }
}

fn ring(nodes: &[u64]) -> Arc<Ring> {
    let shape = Shape {
        slots: SLOTS,
        replication_factor: 2,
    };
    let members = nodes.iter().copied().map(member);
    let members = members.map(ZonedMember::without_zone).collect();
    Arc::new(Ring::build(shape, BOOTSTRAP, members))
}

/// In the first ring of two nodes, of which the other one has said nothing yet.
fn table(own: u64) -> SlotTable {
    let mut table = SlotTable::new(SLOTS, member(own), QUORUMS);
    let ring = ring(&[1, 2]);
    table.form(&ring);
    table.want(ring);
    assert_eq!(table.moves(), vec![]);
    table
}

/// What there is to ask another one in this round.
fn questions(table: &SlotTable, peer: u64) -> Vec<Question> {
    table.questions(member(peer), &table.open_slots(Slot(0)))
}

fn asked(table: &mut SlotTable) -> usize {
    table.begin_round();
    questions(table, 2).len()
}

#[test]
fn without_news_a_slot_is_asked_about_more_and_more_seldom_but_in_one_of_eight_rounds() {
    let mut table = table(1);
    let all = usize::from(SLOTS);
    let first: Vec<usize> = (0..4).map(|_| asked(&mut table)).collect();
    assert_eq!(first[0], all);
    assert!(first.iter().sum::<usize>() < 4 * all);
    for _ in 0..32 {
        asked(&mut table);
    }
    let mut rounds = vec![0; all];
    for _ in 0..8 {
        table.begin_round();
        for question in questions(&table, 2) {
            rounds[question.slot.index()] += 1;
        }
    }
    assert_eq!(rounds, vec![1; all]);
}

#[test]
fn news_of_a_slot_and_other_peers_have_it_asked_about_at_once() {
    let mut table = table(1);
    for _ in 0..16 {
        asked(&mut table);
    }
    table.want(ring(&[1, 3]));
    let moves = table.moves();
    let moved: Vec<Slot> = moves.iter().map(|to| to.slot).collect();
    table.make(moves);
    table.begin_round();
    let of_third = questions(&table, 3);
    assert_eq!(of_third.len(), usize::from(SLOTS));
    assert_eq!(moved.len(), usize::from(SLOTS));
    for _ in 0..16 {
        asked(&mut table);
    }
    table.rouse();
    assert_eq!(questions(&table, 3).len(), usize::from(SLOTS));
}

#[test]
fn what_has_to_be_covered_is_told_to_who_pulls_or_joins_and_to_nobody_else() {
    let mut table = table(1);
    table.want(ring(&[1, 3]));
    let moves = table.moves();
    let configuration = moves[0].to.clone();
    let slot = moves[0].slot;
    table.make(moves);
    let question = |is_pull: bool, is_joiner: bool| Question {
        slot,
        stand: (!is_joiner).then(|| Stand {
            configuration: configuration.clone(),
            is_full: false,
        }),
        is_pull,
        is_awaited: false,
    };
    let mut told = |question: Question| {
        let reply = table.reply(&question);
        let grant = reply.and_then(|reply| reply.grant);
        grant.map_or(0, |grant| grant.predecessors.len())
    };
    assert_eq!(told(question(false, false)), 0);
    assert_eq!(told(question(true, false)), 1);
    assert_eq!(told(question(false, true)), 1);
}

#[test]
fn a_slot_that_a_request_waits_for_is_known_until_it_is_full_or_left() {
    let mut table = table(1);
    table.doubt(Slot(3));
    assert!(!table.is_awaited(Slot(3)), "this node is full in it");
    table.want(ring(&[1, 3]));
    let moves = table.moves();
    table.make(moves);
    assert_eq!(table.awaits(), 0);
    table.doubt(Slot(3));
    table.doubt(Slot(3));
    assert!(table.is_awaited(Slot(3)));
    assert_eq!(table.awaits(), 1);
    // Somebody waits for another one at another node.
    let asked = Question {
        slot: Slot(4),
        stand: None,
        is_pull: false,
        is_awaited: true,
    };
    table.reply(&asked);
    assert!(table.is_awaited(Slot(4)));
    table.want(ring(&[1, 4]));
    let moves = table.moves();
    table.make(moves);
    assert!(!table.is_awaited(Slot(3)) && !table.is_awaited(Slot(4)));
}
