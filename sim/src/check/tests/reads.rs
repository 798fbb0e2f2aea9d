//! What reads may and must not see: durability, no resurrection, read your writes, no invention, failed means failed.

use super::story::{Story, delete, get, set, v};
use crate::history::{Held, Invariant, Promises};

#[test]
fn what_is_read_as_it_was_written_is_legal() {
    Story::new()
        .then(10, 15, set('a').ok(1))
        .then(20, 25, get().hit('a', 1))
        .then(30, 35, set('b').ok(2))
        .then(40, 45, get().hit('b', 2))
        .then(50, 55, delete().ok(3))
        .then(60, 65, get().miss_at(3))
        .then(70, 75, get().miss())
        .then(80, 85, set('c').all().ok(4))
        .then(90, 95, get().all().hit('c', 4))
        .is_kept();
}

#[test]
fn an_acknowledged_write_that_is_missed_breaks_durability() {
    let story = Story::new().then(10, 15, set('a').ok(1));
    let verdict = story
        .clone()
        .then(20, 25, get().miss())
        .breaks(Invariant::Durability);
    assert_eq!(verdict.violations[0].operations, [1, 2]);
    story
        .clone()
        .then(20, 25, get().miss_at(1))
        .breaks(Invariant::Durability);
    story
        .clone()
        .then(20, 25, get().miss_at(7))
        .breaks(Invariant::Durability);
    // Beside the write, or at ONE, or degraded, it may be missed.
    story.clone().then(15, 25, get().miss()).is_kept();
    story.clone().then(20, 25, get().one().miss()).is_kept();
    story
        .then(20, 25, get().accepts_degraded().miss().degraded())
        .is_kept();
}

#[test]
fn a_one_or_degraded_or_unknown_or_failed_write_need_not_be_there() {
    for deed in [
        set('a').one().ok(1),
        set('a').accepts_degraded().ok(1).degraded(),
        set('a'),
        set('a').failed(),
    ] {
        Story::new()
            .then(10, 15, deed)
            .then(20, 25, get().miss())
            .is_kept();
    }
}

#[test]
fn what_no_quorum_acknowledged_may_be_read_and_binds_once_a_quorum_has_read_it() {
    for deed in [
        set('b').one().ok(2),
        set('b').accepts_degraded().ok(2).degraded(),
        set('b'),
    ] {
        let story = Story::new()
            .then(10, 15, set('a').ok(1))
            .then(20, 25, deed)
            .then(30, 35, get().hit('a', 1))
            .then(40, 45, get().hit('b', 2));
        story.clone().then(50, 55, get().hit('b', 2)).is_kept();
        story
            .clone()
            .then(50, 55, get().hit('a', 1))
            .breaks(Invariant::ReadYourWrites);
        // A read at ONE binds nobody, and is bound by nobody.
        story
            .clone()
            .then(50, 55, get().one().hit('a', 1))
            .is_kept();
    }
    Story::new()
        .then(10, 15, set('a').ok(1))
        .then(20, 25, set('b'))
        .then(30, 35, get().one().hit('b', 2))
        .then(40, 45, get().hit('a', 1))
        .is_kept();
}

#[test]
fn an_unacknowledged_value_that_a_quorum_read_does_not_vanish() {
    let story = Story::new()
        .then(10, 15, set('a'))
        .then(20, 25, get().hit('a', 1));
    story
        .clone()
        .then(30, 35, get().miss())
        .breaks(Invariant::ReadYourWrites);
    story.then(25, 35, get().miss()).is_kept();
}

#[test]
fn an_overwritten_value_that_is_read_breaks_read_your_writes() {
    let story = Story::new()
        .then(10, 15, set('a').ok(1))
        .then(20, 25, set('b').ok(2));
    story
        .clone()
        .then(30, 35, get().hit('a', 1))
        .breaks(Invariant::ReadYourWrites);
    story.then(25, 35, get().hit('a', 1)).is_kept();
}

#[test]
fn an_uncertain_clock_orders_only_what_is_further_apart() {
    let story = Story::new()
        .then(10, 15, set('a').ok(1))
        .then(20, 25, get().miss());
    let uncertain = |millis: u64| {
        story.clone().with(|history| {
            history.header.clocks.uncertainty_ns = millis * super::story::MILLI;
        })
    };
    uncertain(2).breaks(Invariant::Durability);
    uncertain(3).is_kept();
}

#[test]
fn a_deleted_value_that_is_read_breaks_no_resurrection() {
    let story = Story::new()
        .then(10, 15, set('a').ok(1))
        .then(20, 25, delete().ok(2));
    story
        .clone()
        .then(30, 35, get().hit('a', 1))
        .breaks(Invariant::NoResurrection);
    story.clone().then(25, 35, get().hit('a', 1)).is_kept();
    story
        .clone()
        .then(30, 35, get().one().hit('a', 1))
        .is_kept();
    // Only a later set supersedes it.
    story
        .then(30, 35, set('b').ok(3))
        .then(40, 45, get().hit('b', 3))
        .then(50, 55, get().hit('a', 1))
        .breaks(Invariant::NoResurrection);
}

#[test]
fn without_that_promise_a_resurrected_value_is_a_stale_one() {
    let mut promises = Promises::full();
    promises.invariants.remove(&Invariant::NoResurrection);
    Story::new()
        .then(10, 15, set('a').ok(1))
        .then(20, 25, delete().ok(2))
        .then(30, 35, get().hit('a', 1))
        .breaks_by(Invariant::ReadYourWrites, &promises);
}

#[test]
fn a_delete_that_no_quorum_acknowledged_may_come_undone() {
    for deed in [
        delete(),
        delete().one().ok(2),
        delete().accepts_degraded().ok(2).degraded(),
    ] {
        Story::new()
            .then(10, 15, set('a').ok(1))
            .then(20, 25, deed)
            .then(30, 35, get().miss_at(2))
            .is_kept();
    }
    // Unless a quorum read has seen it, and so stored it.
    Story::new()
        .then(10, 15, set('a').ok(1))
        .then(20, 25, delete())
        .then(30, 35, get().miss_at(2))
        .then(40, 45, get().hit('a', 1))
        .breaks(Invariant::ReadYourWrites);
}

#[test]
fn a_delete_explains_a_miss_only_if_it_may_be_newer_and_had_begun() {
    let story = |deed| {
        Story::new()
            .then(10, 15, set('a').ok(3))
            .then(20, 25, get().hit('a', 3))
            .then(30, 60, deed)
    };
    story(delete()).then(40, 45, get().miss_at(4)).is_kept();
    story(delete().ok(4))
        .then(40, 45, get().miss_at(4))
        .is_kept();
    // It may have had a lower version before it was stamped anew.
    story(delete().ok(5))
        .then(40, 45, get().miss_at(4))
        .is_kept();
    story(delete().one().ok(2))
        .then(40, 45, get().miss())
        .breaks(Invariant::Durability);
    story(delete())
        .then(22, 25, get().miss_at(4))
        .breaks(Invariant::Durability);
    story(delete().ok(4))
        .then(40, 45, get().miss_at(5))
        .breaks(Invariant::Durability);
}

#[test]
fn a_miss_that_knows_no_newer_version_is_explained_by_a_forgotten_tombstone_only() {
    let story = |life: Option<u64>| {
        Story::new()
            .then(10, 15, set('a').ok(1))
            .then(20, 25, delete())
            .then(100, 105, get().miss())
            .with(|history| {
                history.header.tombstone_life_ns = life.map(|millis| millis * super::story::MILLI);
            })
    };
    story(None).is_kept();
    story(Some(50)).is_kept();
    story(Some(200)).breaks(Invariant::Durability);
}

#[test]
fn what_nobody_wrote_breaks_no_invention() {
    Story::new()
        .then(10, 15, get().hit('x', 1))
        .breaks(Invariant::NoInvention);
    let other_key = Story::new()
        .then(5, 8, set('a').ok(1))
        .with(|history| history.operations[0].key = "other".to_owned())
        .then(10, 15, get().one().hit('a', 1));
    other_key.breaks(Invariant::NoInvention);
}

#[test]
fn a_value_from_the_future_breaks_no_invention() {
    Story::new()
        .then(10, 15, get().one().hit('a', 1))
        .then(20, 25, set('a').ok(1))
        .breaks(Invariant::NoInvention);
    Story::new()
        .then(10, 15, get().one().hit('a', 1))
        .then(12, 25, set('a').ok(1))
        .is_kept();
}

#[test]
fn a_value_is_seen_under_its_version_or_an_earlier_stamp_but_not_a_later_one() {
    let story = Story::new().then(10, 50, set('a').ok(5));
    story.clone().then(20, 25, get().hit('a', 3)).is_kept();
    story
        .clone()
        .then(20, 25, get().hit('a', 6))
        .breaks(Invariant::NoInvention);
    let unknown = Story::new().then(10, 50, set('a'));
    unknown
        .then(20, 25, get().hit('a', 3))
        .then(30, 35, get().hit('a', 6))
        .is_kept();
}

#[test]
fn one_version_with_two_values_breaks_no_invention() {
    Story::new()
        .then(10, 15, set('a').ok(5))
        .then(20, 25, set('b'))
        .then(30, 35, get().one().hit('b', 5))
        .breaks(Invariant::NoInvention);
    Story::new()
        .then(10, 15, delete().ok(5))
        .then(20, 25, set('b'))
        .then(30, 35, get().one().hit('b', 5))
        .breaks(Invariant::NoInvention);
}

#[test]
fn an_invented_copy_breaks_no_invention() {
    Story::new()
        .then(10, 15, set('a'))
        .holds(20, 0, 'x', 1)
        .breaks(Invariant::NoInvention);
    Story::new()
        .then(10, 15, set('a'))
        .holds(20, 0, 'a', 1)
        .is_kept();
}

#[test]
fn a_failed_set_that_appears_breaks_failed_means_failed() {
    for read in [get(), get().one(), get().all()] {
        Story::new()
            .then(10, 15, set('a').failed())
            .then(20, 25, read.clone().hit('a', 1))
            .breaks(Invariant::FailedMeansFailed);
        // The same value set again may be seen.
        Story::new()
            .then(10, 15, set('a').failed())
            .then(16, 18, set('a').ok(1))
            .then(20, 25, read.hit('a', 1))
            .is_kept();
    }
    Story::new()
        .then(10, 15, set('a').failed())
        .holds(20, 0, 'a', 1)
        .breaks(Invariant::FailedMeansFailed);
}

#[test]
fn a_failed_delete_that_takes_effect_breaks_failed_means_failed() {
    let story = |deed| {
        Story::new()
            .then(10, 15, set('a').ok(1))
            .then(20, 25, deed)
            .then(30, 35, get().miss_at(2))
    };
    story(delete().failed()).breaks(Invariant::FailedMeansFailed);
    story(delete()).is_kept();
    // A miss that knows of nothing newer is a loss.
    Story::new()
        .then(10, 15, set('a').ok(1))
        .then(20, 25, delete().failed())
        .then(30, 35, get().miss())
        .breaks(Invariant::Durability);
}

#[test]
fn owners_that_hold_less_than_was_acknowledged_break_durability() {
    let story = Story::new()
        .then(10, 15, set('a').ok(2))
        .then(5, 8, set('z'));
    let absent = |story: Story, node| story.copy(30, node, Held::Nothing);
    absent(absent(story.clone(), 0), 1).breaks(Invariant::Durability);
    // One of three proves nothing: the write needed two.
    absent(story.clone(), 0).is_kept();
    absent(story.clone(), 0).holds(30, 1, 'a', 2).is_kept();
    story
        .clone()
        .holds(30, 0, 'z', 1)
        .holds(30, 1, 'z', 1)
        .breaks(Invariant::Durability);
    story
        .then(20, 25, delete().ok(3))
        .copy(30, 0, Held::Gone { version: v(3) })
        .copy(30, 1, Held::Gone { version: v(3) })
        .is_kept();
}

#[test]
fn owners_need_not_hold_what_has_expired_though_something_older_is_there() {
    let story = |newer| {
        Story::new()
            .then(10, 15, set('a').ok(1))
            .then(20, 25, newer)
            .holds(3000, 0, 'a', 1)
            .holds(3000, 1, 'a', 1)
    };
    story(set('b').lives(100).ok(2)).is_kept();
    story(set('b').lives(9000).ok(2)).breaks(Invariant::Durability);
}

#[test]
fn owners_that_hold_a_deleted_value_break_no_resurrection() {
    let story = Story::new()
        .then(10, 15, set('a').ok(1))
        .then(20, 25, delete().ok(2))
        .holds(30, 0, 'a', 1);
    story
        .clone()
        .copy(30, 1, Held::Nothing)
        .breaks(Invariant::NoResurrection);
    story.copy(30, 1, Held::Gone { version: v(2) }).is_kept();
}
