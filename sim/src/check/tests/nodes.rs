//! What nodes hold and see: convergence, bounded resources, membership agreement, vacuity.

use super::story::{Story, delete, get, set, v};
use crate::history::{Event, Floors, Held, Invariant, Promises, Resource};

fn healed() -> Event {
    Event::Healed {
        nodes: vec![0, 1, 2],
    }
}

/// Two writes, a heal at 100 ms, and copies well after it.
fn converged() -> Story {
    Story::new()
        .then(10, 15, set('a').one().ok(1))
        .then(20, 25, set('b').one().ok(2))
        .mark(100, healed())
        .holds(70_000, 0, 'b', 2)
}

#[test]
fn owners_that_differ_after_a_heal_break_convergence() {
    converged().holds(70_000, 1, 'b', 2).is_kept();
    converged()
        .holds(70_000, 1, 'a', 1)
        .breaks(Invariant::Convergence);
    converged()
        .copy(70_000, 1, Held::Nothing)
        .breaks(Invariant::Convergence);
}

#[test]
fn owners_may_differ_too_soon_after_a_heal_or_without_one_or_apart() {
    let differ = |story: Story, at| story.holds(at, 0, 'b', 2).holds(at, 1, 'a', 1);
    let written = || {
        Story::new()
            .then(10, 15, set('a').one().ok(1))
            .then(20, 25, set('b').one().ok(2))
    };
    differ(written(), 70_000).is_kept();
    differ(written().mark(100, healed()), 60_099).is_kept();
    differ(written().mark(100, healed()), 60_100).breaks(Invariant::Convergence);
    let crash = Event::Crash { node: 2 };
    differ(written().mark(100, healed()).mark(50_000, crash), 70_000).is_kept();
    let majority = Event::Healed { nodes: vec![0, 2] };
    differ(written().mark(100, majority), 70_000).is_kept();
}

#[test]
fn an_owner_may_lack_what_expired_or_was_evicted_but_not_hold_something_older() {
    let evicted = Event::Evictions {
        node: 1,
        boot_id: 1,
        total: 1,
    };
    converged()
        .mark(50, evicted.clone())
        .copy(70_000, 1, Held::Nothing)
        .is_kept();
    converged()
        .mark(50, evicted)
        .holds(70_000, 1, 'a', 1)
        .breaks(Invariant::Convergence);
    Story::new()
        .then(10, 15, set('a').lives(1000).ok(1))
        .mark(100, healed())
        .holds(70_000, 0, 'a', 1)
        .copy(70_000, 1, Held::Gone { version: v(1) })
        .copy(70_000, 2, Held::Nothing)
        .is_kept();
}

#[test]
fn an_expired_value_that_leaves_no_trace_lets_an_older_one_stay_elsewhere() {
    let story = |newer| {
        Story::new()
            .then(10, 15, set('a').ok(1))
            .then(20, 25, newer)
            .mark(100, healed())
            .holds(70_000, 0, 'a', 1)
            .copy(70_000, 1, Held::Nothing)
    };
    let mut traceless = Promises::full();
    traceless.gone_leaves_a_trace = false;
    story(set('b').lives(1000).ok(2)).is_kept_by(&traceless);
    story(set('b').lives(1000).ok(2)).breaks(Invariant::Convergence);
    // What is older than what is left does not explain it.
    let older = Story::new()
        .then(10, 15, set('b').lives(1000).ok(1))
        .then(20, 25, set('a').ok(2))
        .mark(100, healed())
        .holds(70_000, 0, 'a', 2)
        .copy(70_000, 1, Held::Nothing);
    older.breaks(Invariant::Convergence);
}

#[test]
fn an_owner_may_lack_a_tombstone_that_may_be_forgotten() {
    let story = |life: u64| {
        Story::new()
            .then(10, 15, delete().ok(1))
            .mark(100, healed())
            .copy(70_000, 0, Held::Gone { version: v(1) })
            .copy(70_000, 1, Held::Nothing)
            .with(|history| history.header.tombstone_life_ns = Some(life * super::story::MILLI))
    };
    story(60_000).is_kept();
    story(80_000).breaks(Invariant::Convergence);
}

fn usage(used: u64, limit: Option<u64>) -> Event {
    Event::Usage {
        node: 1,
        resource: Resource::HintBytes,
        used,
        limit,
    }
}

#[test]
fn more_than_the_limit_breaks_bounded_resources() {
    let story = |used| Story::new().mark(10, usage(used, Some(100)));
    story(100).is_kept();
    story(101).breaks(Invariant::BoundedResources);
    // Once per node and resource.
    story(101)
        .mark(20, usage(102, Some(100)))
        .breaks(Invariant::BoundedResources);
}

#[test]
fn growth_without_end_breaks_bounded_resources() {
    let story = |level: fn(u64) -> u64| {
        (0..40).fold(Story::new(), |story, at| {
            story.mark(at, usage(level(at), None))
        })
    };
    story(|at| 10 + at * 10).breaks(Invariant::BoundedResources);
    story(|at| 10 + at % 10 * 100).is_kept();
    story(|at| 10 + at).is_kept();
    story(|at| 1000 + at * 10).is_kept();
    // A restart begins anew.
    let boot = |boot_id| Event::Boot { node: 1, boot_id };
    story(|at| 10 + at * 10)
        .mark(15, boot(2))
        .mark(30, boot(3))
        .is_kept();
}

fn sees(node: u32, members: u64, ring: u64) -> Event {
    Event::Membership {
        node,
        members,
        ring,
        ring_members: Vec::new(),
    }
}

#[test]
fn nodes_that_disagree_long_after_a_heal_break_membership_agreement() {
    let story = |at, members, ring| {
        Story::new()
            .mark(100, healed())
            .mark(at, sees(0, 1, 1))
            .mark(at, sees(1, members, ring))
    };
    story(20_000, 1, 1).is_kept();
    story(20_000, 1, 2).breaks(Invariant::MembershipAgreement);
    story(8_000, 1, 2).is_kept();
    story(8_000, 2, 1).breaks(Invariant::MembershipAgreement);
    story(6_100, 2, 2).is_kept();
    story(6_101, 2, 2).breaks(Invariant::MembershipAgreement);
    // A node that the heal did not reach, or after the next fault.
    story(20_000, 1, 1).mark(20_001, sees(7, 2, 2)).is_kept();
    let fault = Event::FaultBegin {
        fault: "cut".to_owned(),
        nodes: vec![1],
    };
    Story::new()
        .mark(100, healed())
        .mark(20_000, sees(0, 1, 1))
        .mark(20_001, fault)
        .mark(20_002, sees(1, 2, 2))
        .is_kept();
}

#[test]
fn a_ring_that_names_who_left_clean_breaks_membership_agreement() {
    let names = |at, members: &[u32]| {
        let event = Event::Membership {
            node: 0,
            members: 1,
            ring: 1,
            ring_members: members.to_vec(),
        };
        move |story: Story| story.mark(at, event)
    };
    let drained = |is_clean| Event::Drained { node: 2, is_clean };
    let left = |is_clean| Story::new().mark(40, drained(is_clean));
    let healed = |story: Story| story.mark(100, healed());
    names(20_000, &[0, 1, 2])(healed(left(true))).breaks(Invariant::MembershipAgreement);
    names(20_000, &[0, 1])(healed(left(true))).is_kept();
    // It said that nobody may have heard.
    names(20_000, &[0, 1, 2])(healed(left(false))).is_kept();
    // There is still time.
    names(10_100, &[0, 1, 2])(healed(left(true))).is_kept();
    names(10_101, &[0, 1, 2])(healed(left(true))).breaks(Invariant::MembershipAgreement);
    // It is back, or who knew of it may have lost its memory.
    let back = Event::Boot {
        node: 2,
        boot_id: 9,
    };
    let other = Event::Boot {
        node: 1,
        boot_id: 9,
    };
    let crash = Event::Crash { node: 1 };
    names(20_000, &[0, 1, 2])(healed(left(true).mark(50, back))).is_kept();
    names(20_000, &[0, 1, 2])(healed(left(true).mark(50, crash.clone()))).is_kept();
    let before = Story::new().mark(30, crash).mark(35, other);
    names(20_000, &[0, 1, 2])(healed(before.mark(40, drained(true))))
        .breaks(Invariant::MembershipAgreement);
    // Once is enough.
    let twice = names(20_000, &[0, 1, 2])(healed(left(true)));
    names(20_001, &[0, 1, 2])(twice).breaks(Invariant::MembershipAgreement);
}

#[test]
fn nodes_that_never_settled_break_membership_agreement() {
    let unsettled = Event::Unsettled {
        fault: "cut".to_owned(),
    };
    Story::new()
        .mark(100, unsettled)
        .breaks(Invariant::MembershipAgreement);
    Story::new().mark(100, Event::Settled).is_kept();
}

#[test]
fn a_history_below_its_floors_is_vacuous() {
    let fault = |name: &str| Event::FaultBegin {
        fault: name.to_owned(),
        nodes: Vec::new(),
    };
    let end = |name: &str| Event::FaultEnd {
        fault: name.to_owned(),
    };
    let story = Story::new()
        .mark(10, fault("a"))
        .mark(12, fault("b"))
        .mark(14, end("a"))
        .mark(16, end("b"))
        .then(5, 11, set('a').ok(1))
        .then(15, 25, get().hit('a', 1))
        .then(16, 25, get().hit('a', 1));
    let floors = Floors {
        operations_min: 3,
        acknowledged_min: 1,
        hits_min: 2,
        judged_min: 2,
        faults_min: 2,
        during_faults_min: 1,
        compared_min: 0,
    };
    let promises = |floors| Promises {
        floors,
        ..Promises::full()
    };
    assert_eq!(story.judged_by(&promises(floors)).vacuous, []);
    let higher = Floors {
        during_faults_min: 2,
        compared_min: 1,
        ..floors
    };
    let vacuous = story.judged_by(&promises(higher)).vacuous;
    let short: Vec<_> = vacuous.iter().map(|s| (s.what, s.have, s.need)).collect();
    assert_eq!(
        short,
        [
            ("operations during faults", 1, 2),
            ("keys compared after a heal", 0, 1)
        ]
    );
}
