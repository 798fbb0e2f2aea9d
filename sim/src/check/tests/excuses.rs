//! What excuses a miss, and what does not.

use super::story::{MILLI, Story, delete, get, set, v};
use crate::{
    check::Excuse,
    history::{Event, Held, Invariant, Promises},
};

fn written() -> Story {
    Story::new().then(10, 15, set('a').ok(1))
}

#[test]
fn an_expired_value_may_be_missed_and_a_living_one_may_not() {
    let story = |at| {
        Story::new()
            .then(10, 15, set('a').lives(1000).ok(1))
            .then(at, at + 5, get().miss_at(1))
            .with(|history| history.header.clocks.bound_ns = 100 * MILLI)
    };
    // 10 + 1000 - 2 x 100 - 1: one clock behind stamps it, one ahead judges it.
    story(804).is_kept();
    story(803).breaks(Invariant::Durability);
    let verdict = story(2000).judged_by(&Promises::full());
    assert_eq!(verdict.counts.excused.get(&Excuse::Expired), Some(&1));
    Story::new()
        .then(10, 15, set('a').lives_unrecorded().ok(1))
        .then(20, 25, get().miss())
        .is_kept();
}

#[test]
fn a_newer_value_that_expired_explains_a_miss_and_an_older_one_does_not() {
    let story = |deed| {
        Story::new()
            .then(10, 15, set('a').ok(5))
            .then(20, 25, deed)
            .then(2000, 2005, get().miss())
    };
    story(set('b').lives(100)).is_kept();
    story(set('b').lives(100).one().ok(6)).is_kept();
    story(set('b').lives(100).one().ok(4)).breaks(Invariant::Durability);
    story(set('b').lives(100).failed()).breaks(Invariant::Durability);
}

#[test]
fn an_unknown_write_explains_only_what_it_may_have_been_stamped_above() {
    // Versions are milliseconds since the epoch of the history, 1000.
    let story = |within: Option<u64>, set_at: u64| {
        Story::new()
            .then(10, 60, delete())
            .then(set_at, set_at + 5, set('a').ok(1000 + set_at))
            .then(300, 305, get().miss_at(1000 + set_at + 1))
            .with(|history| {
                history.header.clocks.epoch_millis = Some(1000);
                history.header.clocks.stamps_within_ns = within.map(|millis| millis * MILLI);
            })
    };
    story(None, 200).is_kept();
    story(Some(139), 200).breaks(Invariant::Durability);
    story(Some(140), 200).is_kept();
    story(Some(0), 50).is_kept();
}

#[test]
fn a_miss_under_the_version_of_a_living_value_breaks_durability() {
    let story = |deed| {
        Story::new()
            .then(10, 15, set('a').ok(1))
            .then(20, 25, delete())
            .then(30, 60, deed)
            .then(40, 45, get().miss_at(5))
    };
    story(set('b').ok(5)).breaks(Invariant::Durability);
    story(set('b').lives(1).ok(5)).is_kept();
    story(set('b').ok(6)).is_kept();
    story(delete().ok(5)).is_kept();
}

#[test]
fn a_deleted_value_never_comes_back_however_long_tombstones_live() {
    let story = |life: Option<u64>, deed| {
        Story::new()
            .then(10, 15, set('a').ok(1))
            .then(20, 25, delete().ok(2))
            .then(30, 35, deed)
            .then(1000, 1005, get().hit('a', 1))
            .with(|history| {
                history.header.clocks.bound_ns = 100 * MILLI;
                history.header.tombstone_life_ns = life.map(|millis| millis * MILLI);
            })
    };
    for life in [Some(100), Some(2000), None] {
        story(life, get().miss_at(2)).breaks(Invariant::NoResurrection);
        story(life, set('b').ok(3)).breaks(Invariant::NoResurrection);
    }
}

/// A look at node 1, in this life of its memory.
fn life(boot_id: u64) -> Event {
    Event::Evictions {
        node: 1,
        boot_id,
        total: 0,
    }
}

fn evictions(total: u64) -> Event {
    Event::Evictions {
        node: 2,
        boot_id: 7,
        total,
    }
}

#[test]
fn an_eviction_excuses_a_miss_from_the_last_sample_without_one() {
    let story = |at| {
        written()
            .mark(50, evictions(0))
            .mark(90, evictions(1))
            .then(at, at + 5, get().miss())
    };
    story(45).is_kept();
    story(44).breaks(Invariant::Durability);
    written()
        .mark(50, evictions(0))
        .mark(90, evictions(0))
        .then(60, 65, get().miss())
        .breaks(Invariant::Durability);
    written()
        .then(60, 65, get().miss())
        .with(|history| history.header.evictions_recorded = false)
        .is_kept();
}

#[test]
fn an_eviction_does_not_excuse_an_older_value() {
    let story = Story::new()
        .then(10, 15, set('a').ok(1))
        .then(20, 25, set('b').ok(2))
        .mark(26, evictions(1))
        .then(30, 35, get().hit('a', 1));
    story.breaks(Invariant::ReadYourWrites);
    let mut traceless = Promises::full();
    traceless.gone_leaves_a_trace = false;
    story.is_kept_by(&traceless);
    let resurrected = Story::new()
        .then(10, 15, set('a').ok(1))
        .then(20, 25, delete().ok(2))
        .mark(26, evictions(1))
        .then(30, 35, get().hit('a', 1));
    resurrected.breaks(Invariant::NoResurrection);
    resurrected.is_kept_by(&traceless);
}

#[test]
fn a_miss_under_a_floor_does_not_bind_later_reads() {
    // The floor may have risen over another key of the slot; the next quorum has the value.
    written()
        .mark(16, evictions(1))
        .then(20, 25, get().miss_at(9))
        .then(30, 35, get().hit('a', 1))
        .is_kept();
}

fn crash(node: u32) -> Event {
    Event::Crash { node }
}

#[test]
fn the_loss_of_one_node_excuses_nothing_and_of_two_before_it_settled_a_miss() {
    let story = |marks: &[(u64, Event)]| {
        let mut story = written();
        for (at, event) in marks {
            story = story.mark(*at, event.clone());
        }
        story.then(90, 95, get().miss())
    };
    story(&[(20, crash(0))]).breaks(Invariant::Durability);
    story(&[(20, crash(0)), (30, crash(1))]).is_kept();
    story(&[(20, crash(0)), (25, Event::Settled), (30, crash(1))]).breaks(Invariant::Durability);
    // The same node twice: the other two hold everything.
    let boot = |boot_id| Event::Boot { node: 0, boot_id };
    story(&[(20, crash(0)), (30, boot(2)), (40, crash(0))]).breaks(Invariant::Durability);
    // A restart without a crash before it is a loss; the first start is none.
    story(&[(1, boot(1)), (20, boot(2)), (30, crash(1))]).is_kept();
    story(&[(1, boot(1)), (30, crash(1))]).breaks(Invariant::Durability);
    story(&[(20, crash(0)), (95, crash(1))]).is_kept();
    // Too late for this read.
    story(&[(20, crash(0)), (96, crash(1))]).breaks(Invariant::Durability);
}

#[test]
fn only_losses_of_owners_count_where_owners_are_known() {
    let story = |owners: &[u32]| {
        written()
            .with(|history| history.header.cluster.nodes = (0..5).map(|n| n.to_string()).collect())
            .mark(
                1,
                Event::Owners {
                    key: "k".to_owned(),
                    nodes: owners.to_vec(),
                },
            )
            .mark(20, crash(3))
            .mark(30, crash(4))
            .then(90, 95, get().miss())
    };
    story(&[0, 1, 2]).breaks(Invariant::Durability);
    story(&[0, 1, 4]).breaks(Invariant::Durability);
    story(&[0, 3, 4]).is_kept();
}

#[test]
fn what_was_written_after_the_losses_have_settled_is_protected_again() {
    let story = |at| {
        written()
            .mark(20, crash(0))
            .mark(30, crash(1))
            .mark(40, Event::Settled)
            .then(at, at + 5, set('b').ok(2))
            .then(90, 95, get().miss())
    };
    story(39).is_kept();
    story(40).breaks(Invariant::Durability);
}

#[test]
fn in_a_ring_of_two_every_loss_is_one_too_many() {
    let story = |nodes: &[&str]| {
        written()
            .with(|history| {
                history.header.cluster.nodes = nodes.iter().map(|n| (*n).to_owned()).collect();
            })
            .mark(20, crash(0))
            .then(90, 95, get().miss())
    };
    story(&["a", "b"]).is_kept();
    story(&["a", "b", "c"]).breaks(Invariant::Durability);
}

#[test]
fn a_lost_slot_starts_afresh_with_lower_versions_but_old_values_stay_gone() {
    let story = || {
        Story::new()
            .then(10, 15, set('a').ok(1))
            .then(20, 25, set('b').ok(9))
            .mark(30, crash(0))
            .mark(31, crash(1))
    };
    story()
        .then(40, 45, get().hit('a', 1))
        .breaks(Invariant::ReadYourWrites);
    story()
        .then(40, 45, set('c').ok(5))
        .then(50, 55, get().hit('c', 5))
        .is_kept();
    let mut reviving = Promises::full();
    reviving.lost_slot_starts_afresh = false;
    story()
        .then(40, 45, get().hit('a', 1))
        .is_kept_by(&reviving);
}

#[test]
fn a_ring_that_gives_way_later_may_have_had_fewer_owners() {
    let story = |second: u64| {
        Story::new()
            .mark(
                5,
                Event::Boot {
                    node: 1,
                    boot_id: 7,
                },
            )
            .then(10, 15, set('a').node(1).ok(1).by(1, None))
            .mark(50, life(7))
            .mark(60, life(second))
    };
    story(8).is_kept();
    story(7).breaks(Invariant::NoSilentDegrade);
    // What another node answered is judged.
    let other = Story::new().then(10, 15, set('a').node(2).ok(1).by(1, None));
    other
        .mark(20, life(7))
        .mark(60, life(8))
        .breaks(Invariant::NoSilentDegrade);
}

#[test]
fn a_younger_ring_that_gives_way_leaves_what_the_older_one_had() {
    let story = |second: u64| {
        Story::new()
            .then(10, 15, set('a').ok(1))
            .mark(20, crash(0))
            .mark(21, crash(1))
            .mark(
                30,
                Event::Boot {
                    node: 1,
                    boot_id: 7,
                },
            )
            .mark(31, life(7))
            .then(40, 45, set('b').ok(2))
            .mark(60, life(second))
            .then(70, 75, get().hit('a', 1))
    };
    story(8).is_kept();
    story(7).breaks(Invariant::ReadYourWrites);
}

#[test]
fn a_change_of_owners_excuses_only_where_the_promises_exclude_it() {
    let story = Story::new()
        .with(|history| history.header.cluster.nodes = (0..4).map(|n| n.to_string()).collect())
        .then(10, 15, set('a').ok(1))
        .mark(20, Event::Join { node: 3 })
        .then(30, 35, get().miss());
    story.breaks(Invariant::Durability);
    let mut fixed = Promises::full();
    fixed.owners_change_safely = false;
    story.is_kept_by(&fixed);
    // Three nodes keep their owners, whatever happens to one of them.
    written()
        .mark(20, crash(0))
        .then(30, 35, get().miss())
        .breaks_by(Invariant::Durability, &fixed);
    // What was written after the change has settled is covered again.
    story
        .mark(40, Event::Settled)
        .then(50, 55, set('b').ok(2))
        .then(60, 65, get().miss())
        .breaks_by(Invariant::Durability, &fixed);
}

#[test]
fn a_ring_that_shrank_to_two_tolerates_no_loss_until_the_third_is_back() {
    let story = |leaves, joins, crashes| {
        Story::new()
            .mark(1, Event::Settled)
            .mark(leaves, Event::Leave { node: 2 })
            .mark(joins, Event::Join { node: 2 })
            .mark(joins + 1, Event::Settled)
            .then(10, 15, set('a').ok(1))
            .mark(crashes, crash(0))
            .then(90, 95, get().miss())
    };
    story(5, 50, 30).is_kept();
    story(5, 50, 60).breaks(Invariant::Durability);
}

#[test]
fn excused_reads_are_counted_by_their_reason() {
    let verdict = written()
        .mark(16, evictions(1))
        .then(20, 25, get().miss())
        .then(30, 35, get().hit('a', 1))
        .judged_by(&Promises::full());
    assert_eq!(verdict.counts.excused.get(&Excuse::Evicted), Some(&1));
    assert_eq!(verdict.counts.judged_reads, 1);
}

#[test]
fn copies_are_excused_as_reads_are() {
    written()
        .copy(30, 0, Held::Nothing)
        .copy(30, 1, Held::Gone { version: v(1) })
        .mark(20, evictions(1))
        .is_kept();
}
