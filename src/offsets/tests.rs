use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
/// Between two judgements.
const STEP: Duration = Duration::from_millis(250);
const LIMIT: i64 = OFFSET_MAX_MILLIS as i64;

const fn exact(ahead_millis: i64) -> Sample {
    Sample {
        ahead_millis,
        doubt_millis: 0,
    }
}

/// Peers that answer all the time, until the time is up.
fn hear(offsets: &mut Offsets, now: &mut Monotonic, lasts: Duration, ahead: &[i64]) -> Judgement {
    let until = *now + lasts;
    loop {
        for (peer, ahead_millis) in (1..).zip(ahead) {
            offsets.observe(NodeId(peer), exact(*ahead_millis), *now);
        }
        let judgement = offsets.judge(*now);
        if *now >= until {
            return judgement;
        }
        *now += STEP;
    }
}

#[test]
fn a_node_that_is_off_most_of_its_peers_refuses_after_a_while_and_recovers_after_as_long() {
    let (mut offsets, mut now) = (Offsets::default(), SECOND);
    let off = [612, 612, 3];
    let early = hear(&mut offsets, &mut now, OFF_FOR - STEP, &off);
    assert_eq!(early.refusing, None);
    assert_eq!(early.median_ahead_millis, Some(612));
    now += STEP;
    let late = hear(&mut offsets, &mut now, Duration::ZERO, &off);
    assert_eq!(late.refusing, Some(ClockOff { ahead_millis: 612 }));
    now += STEP;
    let corrected = hear(&mut offsets, &mut now, OFF_FOR - STEP, &[0, 12, 3]);
    assert!(corrected.refusing.is_some());
    now += STEP;
    let recovered = hear(&mut offsets, &mut now, Duration::ZERO, &[0, 12, 3]);
    assert_eq!(recovered.refusing, None);
    assert_eq!(recovered.median_ahead_millis, Some(3));
}

#[test]
fn the_limit_is_allowed_and_more_is_not_either_way() {
    for (ahead, refuses) in [(LIMIT, false), (LIMIT + 1, true)] {
        for ahead in [ahead, -ahead] {
            let (mut offsets, mut now) = (Offsets::default(), SECOND);
            let judged = hear(&mut offsets, &mut now, OFF_FOR, &[ahead]);
            assert_eq!(judged.refusing.is_some(), refuses, "{ahead}");
        }
    }
}

#[test]
fn half_of_the_peers_are_not_most_of_them() {
    let (mut offsets, mut now) = (Offsets::default(), SECOND);
    let judged = hear(&mut offsets, &mut now, 60 * SECOND, &[900, 0, -900, 0]);
    assert_eq!(judged.refusing, None);
}

#[test]
fn a_break_begins_the_wait_anew() {
    let (mut offsets, mut now) = (Offsets::default(), SECOND);
    for _ in 0..10 {
        hear(&mut offsets, &mut now, OFF_FOR - STEP, &[900]);
        now += STEP;
        let judged = hear(&mut offsets, &mut now, Duration::ZERO, &[0]);
        assert_eq!(judged.refusing, None);
    }
}

#[test]
fn silent_peers_count_for_nothing_and_a_node_without_peers_serves() {
    let (mut offsets, mut now) = (Offsets::default(), SECOND);
    hear(&mut offsets, &mut now, Duration::ZERO, &[900]);
    let judged = hear(&mut offsets, &mut now, HEARD_WITHIN, &[]);
    assert_eq!(judged.median_ahead_millis, None);
    let (mut offsets, mut now) = (Offsets::default(), SECOND);
    let judged = hear(&mut offsets, &mut now, OFF_FOR, &[900]);
    assert!(judged.refusing.is_some());
    let judged = hear(&mut offsets, &mut now, HEARD_WITHIN + OFF_FOR, &[]);
    assert_eq!(judged.refusing, None);
}

#[test]
fn what_the_network_may_have_caused_is_not_held_against_anybody() {
    let now = Now {
        monotonic: SECOND,
        wall_millis: 10_000,
    };
    // It answered a second ago at the earliest, with the same clock.
    let paused = Sample::of_reply(9_000, now, SECOND);
    assert_eq!((paused.ahead_millis, paused.is_off()), (500, false));
    let off = Sample::of_reply(8_500, now, SECOND);
    assert_eq!((off.ahead_millis, off.is_off()), (1_000, true));
    let ahead = Sample::of_reply(10_612, now, Duration::ZERO);
    assert_eq!((ahead.ahead_millis, ahead.is_off()), (-612, true));
}

#[test]
fn junk_clocks_overflow_nothing() {
    for wall_millis in [0, 1, u64::MAX] {
        for peer in [0, 1, u64::MAX] {
            for round_trip in [Duration::ZERO, Duration::MAX] {
                let now = Now {
                    monotonic: SECOND,
                    wall_millis,
                };
                let sample = Sample::of_reply(peer, now, round_trip);
                let mut offsets = Offsets::default();
                offsets.observe(NodeId(1), sample, SECOND);
                offsets.judge(SECOND);
            }
        }
    }
}

#[test]
fn the_reason_names_value_and_limit() {
    let shown = |ahead_millis| ClockOff { ahead_millis }.to_string();
    assert_eq!(
        shown(612),
        "this node's clock is 612 ms ahead of most of its peers, more than the 400 ms allowed"
    );
    assert!(shown(-612).contains("612 ms behind most of its peers"));
}

#[test]
fn each_turn_is_told_once() {
    let clocks = PeerClocks::new();
    let mut turns = Vec::new();
    for step in 0..200 {
        let now = SECOND + STEP * step;
        let ahead_millis = if step < 100 { 900 } else { 0 };
        clocks.observe(NodeId(1), exact(ahead_millis), now);
        turns.extend(clocks.judge(now));
        let refuses = turns.len() == 1;
        assert_eq!(clocks.refusing().is_some(), refuses);
        assert_eq!(clocks.median_ahead_millis(), ahead_millis);
    }
    let off = ClockOff { ahead_millis: 900 };
    assert_eq!(turns, [Turn::Refuses(off), Turn::Coordinates]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever the clocks were and however long the replies took: a node whose clock is within the bound of every peer
    /// never refuses.
    #[test]
    fn a_node_within_the_bound_of_all_never_refuses(
        heard in prop::collection::vec((0u64..5, -LIMIT..=LIMIT, 0u64..20_000, 0.0f64..=1.0), 1..200),
    ) {
        let mut offsets = Offsets::default();
        let mut now = SECOND;
        for (peer, ahead, round_trip, back) in heard {
            let at = Now { monotonic: now, wall_millis: 1_000_000 };
            let way_back = (round_trip as f64 * back) as u64;
            let peer_wall = (1_000_000 - way_back).saturating_add_signed(-ahead);
            let sample = Sample::of_reply(peer_wall, at, Duration::from_millis(round_trip));
            offsets.observe(NodeId(peer), sample, now);
            prop_assert_eq!(offsets.judge(now).refusing, None);
            now += STEP;
        }
    }

    /// Never earlier than after the whole wait does a node change what it does, and it refuses for a reason.
    #[test]
    fn a_change_takes_the_whole_wait(
        heard in prop::collection::vec((0u64..4, -2_000i64..2_000), 1..400),
    ) {
        let mut offsets = Offsets::default();
        let mut now = SECOND;
        let (mut refused, mut changed) = (false, now);
        for (peer, ahead_millis) in heard {
            offsets.observe(NodeId(peer), exact(ahead_millis), now);
            let refusing = offsets.judge(now).refusing;
            if refusing.is_some() != refused {
                prop_assert!(now - changed >= OFF_FOR);
                (refused, changed) = (!refused, now);
            }
            if let Some(off) = refusing {
                prop_assert!(off.ahead_millis != 0);
            }
            now += STEP;
        }
    }
}
