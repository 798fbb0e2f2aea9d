//! What answers to writes must say, and how long values may be served: write order, expiry, no silent degrade.

use super::story::{MILLI, Story, delete, get, set};
use crate::history::{Event, Invariant};

#[test]
fn a_later_write_with_a_lower_version_breaks_write_order() {
    let story = |second| {
        Story::new()
            .then(10, 15, set('a').ok(5))
            .then(20, 25, second)
    };
    story(set('b').ok(4)).breaks(Invariant::WriteOrder);
    story(set('b').ok(5)).breaks(Invariant::WriteOrder);
    story(delete().all().ok(4)).breaks(Invariant::WriteOrder);
    story(set('b').ok(6)).is_kept();
    // No order is promised at ONE, or degraded, or beside each other.
    story(set('b').one().ok(4)).is_kept();
    story(set('b').accepts_degraded().ok(4).degraded()).is_kept();
    Story::new()
        .then(10, 15, set('a').one().ok(5))
        .then(20, 25, set('b').ok(4))
        .is_kept();
    Story::new()
        .then(10, 15, set('a').ok(5))
        .then(15, 25, set('b').ok(4))
        .is_kept();
}

#[test]
fn a_write_below_what_a_quorum_has_read_breaks_write_order() {
    let story = |read| {
        Story::new()
            .then(10, 15, set('a'))
            .then(20, 25, read)
            .then(30, 35, set('b').ok(4))
    };
    story(get().hit('a', 5)).breaks(Invariant::WriteOrder);
    story(get().one().hit('a', 5)).is_kept();
}

#[test]
fn a_version_given_twice_breaks_write_order() {
    for (one, other) in [
        (set('a').ok(5), set('b').ok(5)),
        (set('a').one().ok(5), delete().one().ok(5)),
    ] {
        Story::new()
            .then(10, 15, one)
            .then(12, 25, other)
            .breaks(Invariant::WriteOrder);
    }
}

#[test]
fn a_value_served_after_its_expiry_breaks_expiry() {
    let story = |at| {
        Story::new().then(10, 15, set('a').lives(1000).ok(1)).then(
            at,
            at + 5,
            get().one().hit('a', 1),
        )
    };
    // 15 + 1000 + 500, and a millisecond that times in versions lack.
    story(1516).is_kept();
    story(1517).breaks(Invariant::Expiry);
}

#[test]
fn versions_that_compare_with_times_tell_the_expiry_exactly() {
    // Stamped at 100 ms after the epoch of the history, and acknowledged much later.
    let story = |at| {
        Story::new()
            .then(10, 900, set('a').lives(1000).ok(1_100))
            .then(at, at + 5, get().hit('a', 1_100))
            .with(|history| history.header.clocks.epoch_millis = Some(1_000))
    };
    story(1601).is_kept();
    story(1602).breaks(Invariant::Expiry);
}

#[test]
fn an_unknown_set_expires_as_its_version_says_or_nobody_knows_when() {
    let story = |epoch| {
        Story::new()
            .then(10, 15, set('a').lives(1000))
            .then(9000, 9005, get().hit('a', 1_100))
            .with(|history| history.header.clocks.epoch_millis = epoch)
    };
    story(None).is_kept();
    story(Some(1_000)).breaks(Invariant::Expiry);
}

#[test]
fn a_life_that_was_begun_anew_breaks_expiry() {
    let story = |left| {
        Story::new().then(10, 15, set('a').lives(5000).ok(1)).then(
            2000,
            2005,
            get().hit('a', 1).left(left),
        )
    };
    story(3000).is_kept();
    story(5000).breaks(Invariant::Expiry);
}

#[test]
fn a_clock_out_of_bounds_excuses_late_service_by_its_node() {
    let story = |offset_millis: i64, node| {
        Story::new()
            .mark(
                0,
                Event::Clock {
                    node: 1,
                    offset_ns: offset_millis * MILLI as i64,
                },
            )
            .then(10, 15, set('a').lives(1000).ok(1))
            .then(3000, 3005, get().node(node).hit('a', 1))
            .with(|history| history.header.clocks.bound_ns = 100 * MILLI)
    };
    story(-101, 1).is_kept();
    story(-101, 0).breaks(Invariant::Expiry);
    story(-100, 1).breaks(Invariant::Expiry);
}

#[test]
fn a_clock_that_is_ahead_draws_others_along_as_far_as_they_accept() {
    let story = |ahead: i64, at| {
        let offset_ns = ahead * MILLI as i64;
        Story::new()
            .mark(0, Event::Clock { node: 2, offset_ns })
            .then(10, 15, set('a').lives(1000).ok(1))
            .then(at, at + 5, get().hit('a', 1))
    };
    story(300, 1816).is_kept();
    story(300, 1817).breaks(Invariant::Expiry);
    story(9000, 2017).breaks(Invariant::Expiry);
}

#[test]
fn a_clock_that_was_ahead_is_trusted_again_once_time_has_caught_up() {
    let story = |at| {
        let clock = |offset_ns| Event::Clock { node: 0, offset_ns };
        Story::new()
            .mark(0, clock(2000 * MILLI as i64))
            .mark(100, clock(0))
            .then(at, at + 5, set('a').lives(100).ok(1))
            .then(9000, 9005, get().node(1).hit('a', 1))
    };
    story(2100).is_kept();
    story(2101).breaks(Invariant::Expiry);
}

#[test]
fn too_few_owners_without_saying_so_break_no_silent_degrade() {
    let one = Story::new();
    let story = |deed| one.clone().then(10, 15, deed);
    story(set('a').ok(1).by(2, Some(3))).is_kept();
    story(set('a').ok(1).by(1, Some(3))).breaks(Invariant::NoSilentDegrade);
    story(set('a').ok(1).by(1, None)).breaks(Invariant::NoSilentDegrade);
    story(set('a').ok(1).by(1, Some(1))).is_kept();
    story(set('a').all().ok(1).by(2, Some(3))).breaks(Invariant::NoSilentDegrade);
    story(set('a').all().ok(1).by(2, Some(2))).is_kept();
    story(get().miss().by(1, Some(2))).breaks(Invariant::NoSilentDegrade);
    story(get().one().miss().by(1, Some(3))).is_kept();
    story(get().one().miss().by(0, Some(3))).breaks(Invariant::NoSilentDegrade);
    story(set('a').accepts_degraded().ok(1).degraded().by(1, Some(3))).is_kept();
    story(set('a').accepts_degraded().ok(1).by(1, Some(3))).breaks(Invariant::NoSilentDegrade);
}

#[test]
fn degraded_service_that_nobody_accepted_breaks_no_silent_degrade() {
    Story::new()
        .then(10, 15, set('a').ok(1).degraded())
        .breaks(Invariant::NoSilentDegrade);
}

#[test]
fn a_small_ring_needs_a_majority_of_what_there_is() {
    let story = |deed| {
        Story::new()
            .mark(5, Event::Join { node: 1 })
            .mark(6, Event::Join { node: 2 })
            .then(10, 15, deed)
    };
    // The owners of an operation are not recorded, so the smallest ring so far counts.
    story(set('a').ok(1).by(1, None)).is_kept();
    story(set('a').ok(1).by(1, Some(3))).breaks(Invariant::NoSilentDegrade);
}
