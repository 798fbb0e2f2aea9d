use rand::SeedableRng as _;
use shard_cache_membership::{
    identity::BootId,
    record::Phase,
    view::{Liveness, Member},
};

use super::*;
use crate::{
    handoff::HintLimits,
    handoff::test_peers::{
        EPOCH, FORMER, LeapClock, OTHER, OWN, PEER, World, key, record, ring_of, shown,
    },
    store::{Body, Form, Lookup, Value},
    version::{Stamp, Version},
};

const NONE: Duration = Duration::ZERO;
const HALF_A_MINUTE: Duration = Duration::from_secs(30);

fn delivery(world: &World) -> HintDelivery {
    let parts = DeliveryParts {
        own: OWN,
        hints: Arc::clone(&world.hints),
        marks: RepairMarks::default(),
        replica: Arc::clone(&world.replica),
        transport: Arc::clone(&world.peers) as Arc<dyn PeerTransport>,
        ring: Arc::clone(&world.ring),
        gates: Arc::clone(&world.gates),
        view: world.view.subscribe(),
        clock: Arc::clone(&world.clock) as Arc<dyn Clock>,
        metrics: Arc::clone(&world.metrics),
        budget: Budget::ample(),
        tracer: Tracer::off(),
    };
    HintDelivery::new(parts, StdRng::seed_from_u64(1))
}

async fn run_until(delivery: &mut HintDelivery, time: Duration) {
    while delivery.parts.clock.monotonic() < time {
        delivery.turn().await;
    }
}

fn retried(world: &World, reason: RetryReason) -> u64 {
    world.metrics.hints_retried.get(reason).get()
}

/// Each pause is at least half of what it may be, so that this many attempts at most fit into a time.
fn attempts_within(time: Duration) -> usize {
    let mut rng = StdRng::seed_from_u64(0);
    let (mut backoff, mut passed, mut attempts) = (Backoff::new(RETRY_PAUSE_MAX), NONE, 0);
    while passed < time {
        attempts += 1;
        let pause = backoff.fail(NONE, &mut rng);
        passed += pause.min(RETRY_PAUSE_MAX / 2);
    }
    2 * attempts
}

#[tokio::test]
async fn what_a_target_refuses_is_tried_again_after_growing_pauses_and_nothing_else_is() {
    let world = World::new();
    let mut delivery = delivery(&world);
    world.hints.owe(PEER, &key("old"), &record(NONE));
    world.hints.owe(PEER, &key("ahead"), &record(HALF_A_MINUTE));
    run_until(&mut delivery, Duration::from_secs(29)).await;
    assert_eq!(world.peers.sends_of(PEER, "old").len(), 1);
    assert!(world.peers.holds(PEER, "old") && !world.peers.holds(PEER, "ahead"));
    assert_eq!(world.owed_to(PEER), 1);
    let sends = world.peers.sends_of(PEER, "ahead");
    let sends_max = attempts_within(HALF_A_MINUTE);
    assert!((5..=sends_max).contains(&sends.len()), "{sends:?}");
    let pauses: Vec<_> = sends.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        pauses
            .iter()
            .all(|pause| *pause <= RETRY_PAUSE_MAX + 2 * IDLE_PAUSE),
        "{pauses:?}"
    );
    assert!(pauses.last() >= Some(&(RETRY_PAUSE_MAX / 2)), "{pauses:?}");
    assert_eq!(retried(&world, RetryReason::Refused), sends.len() as u64);
    // When its clock has come far enough, it is not long until it takes the rest.
    run_until(
        &mut delivery,
        HALF_A_MINUTE + RETRY_PAUSE_MAX + 2 * IDLE_PAUSE,
    )
    .await;
    assert!(world.peers.holds(PEER, "ahead"));
    assert_eq!(world.owed_to(PEER), 0);
}

#[tokio::test]
async fn a_target_whose_clock_is_corrected_gets_everything_soon() {
    let world = World::new();
    let mut delivery = delivery(&world);
    world.peers.set_clocks(-60_000);
    for name in ["a", "b", "c"] {
        world.hints.owe(PEER, &key(name), &record(NONE));
    }
    run_until(&mut delivery, Duration::from_secs(20)).await;
    assert_eq!(world.owed_to(PEER), 3);
    world.peers.set_clocks(0);
    run_until(
        &mut delivery,
        Duration::from_secs(20) + RETRY_PAUSE_MAX + 2 * IDLE_PAUSE,
    )
    .await;
    assert_eq!(world.owed_to(PEER), 0);
}

#[tokio::test]
async fn what_was_refused_holds_up_nothing_else() {
    let world = World::new();
    let mut delivery = delivery(&world);
    world.hints.owe(PEER, &key("ahead"), &record(HALF_A_MINUTE));
    run_until(&mut delivery, Duration::from_secs(10)).await;
    world.hints.owe(PEER, &key("new"), &record(NONE));
    delivery.turn().await;
    if !world.peers.holds(PEER, "new") {
        // It was the turn of what was refused.
        delivery.turn().await;
    }
    assert!(world.peers.holds(PEER, "new"));
    let batches = world.peers.batches_to(PEER);
    assert!(
        batches.iter().all(|(_, keys)| keys.len() == 1),
        "{batches:?}"
    );
}

#[tokio::test]
async fn calls_that_fail_are_repeated_after_growing_pauses_however_busy_another_target_keeps_the_node()
 {
    let world = World::new();
    let mut delivery = delivery(&world);
    world.peers.set_broken(&[PEER]);
    world.hints.owe(PEER, &key("owed"), &record(NONE));
    let mut count = 0;
    while world.clock.monotonic() < HALF_A_MINUTE {
        world
            .hints
            .owe(OTHER, &key(&count.to_string()), &record(NONE));
        delivery.turn().await;
        count += 1;
    }
    assert!(count > 5_000 && world.owed_to(OTHER) == 0, "{count}");
    let sends = world.peers.sends_of(PEER, "owed").len();
    assert!(
        (5..=attempts_within(HALF_A_MINUTE)).contains(&sends),
        "{sends}"
    );
    assert_eq!(retried(&world, RetryReason::Failed), sends as u64);
    world.peers.set_broken(&[]);
    run_until(
        &mut delivery,
        HALF_A_MINUTE + RETRY_PAUSE_MAX + 2 * IDLE_PAUSE,
    )
    .await;
    assert!(world.peers.holds(PEER, "owed") && world.owed_to(PEER) == 0);
}

#[tokio::test]
async fn a_node_that_refuses_what_it_owes_to_itself_does_not_try_in_haste_either() {
    let world = World::new();
    let mut delivery = delivery(&world);
    world.hints.owe(OWN, &key("ahead"), &record(HALF_A_MINUTE));
    run_until(&mut delivery, Duration::from_secs(29)).await;
    let refused = retried(&world, RetryReason::Refused);
    assert!(
        (5..=attempts_within(HALF_A_MINUTE) as u64).contains(&refused),
        "{refused}"
    );
    run_until(
        &mut delivery,
        HALF_A_MINUTE + RETRY_PAUSE_MAX + 2 * IDLE_PAUSE,
    )
    .await;
    assert!(world.peers.holds(OWN, "ahead") && world.owed_to(OWN) == 0);
}

#[tokio::test]
async fn what_has_expired_while_it_waited_ends_what_is_older_and_is_never_served() {
    let world = World::new();
    let mut delivery = delivery(&world);
    let older = Record {
        version: Version::new(Stamp::new(EPOCH - 1, 0), 7),
        ..record(NONE)
    };
    world.peers.store(PEER).merge(&key("k"), older, EPOCH);
    let second = Duration::from_secs(1);
    let expiring = Record {
        expires_at: Some(EPOCH + 1_000),
        ..record(NONE)
    };
    world.hints.owe(PEER, &key("k"), &expiring);
    world.peers.set_broken(&[PEER]);
    run_until(&mut delivery, 10 * second).await;
    assert!(world.peers.holds(PEER, "k"), "the older one");
    world.peers.set_broken(&[]);
    // Its clock has not come to the expiry, and the value is not what it would serve.
    world.peers.set_clocks(-9_900);
    run_until(&mut delivery, 16 * second).await;
    assert_eq!(world.owed_to(PEER), 0);
    for now_millis in [EPOCH, EPOCH + 500, EPOCH + 20_000] {
        let held = world.peers.store(PEER).peek(&key("k"), now_millis);
        assert!(matches!(held, Lookup::Miss { .. }), "{held:?}");
    }
}

/// A target that is owed some MiB in records of 64 KiB.
fn owe_mib(world: &World, target: NodeId, mib: usize) {
    for index in 0..16 * mib {
        let bytes = vec![0; 64 * 1024].into();
        let large = Record {
            body: Body::Value(Value {
                bytes,
                form: Form::Bytes,
            }),
            ..record(NONE)
        };
        world.hints.owe(target, &key(&index.to_string()), &large);
    }
}

fn delivered_bytes(world: &World) -> u64 {
    world.metrics.hints_replayed_bytes.get()
}

const MIB: u64 = 1024 * 1024;

#[tokio::test]
async fn a_target_that_comes_back_gets_little_at_first_and_more_each_second() {
    let world = World::new();
    let mut delivery = delivery(&world);
    owe_mib(&world, PEER, 12);
    world.peers.set_delay(Duration::from_millis(5));
    run_until(&mut delivery, Duration::from_secs(1)).await;
    let first = delivered_bytes(&world);
    assert!((MIB / 2..=3 * MIB / 2).contains(&first), "{first}");
    run_until(&mut delivery, Duration::from_secs(4)).await;
    let early = delivered_bytes(&world);
    run_until(&mut delivery, Duration::from_secs(7)).await;
    assert_eq!(world.owed_to(PEER), 0);
    assert!(delivered_bytes(&world) - early > early, "{early}");
    assert_eq!(world.metrics.hints_slowed.get(), 0);
    // What is owed to others did not wait for it.
    world.hints.owe(OTHER, &key("other"), &record(NONE));
    delivery.turn().await;
    assert!(world.peers.holds(OTHER, "other"));
}

#[tokio::test]
async fn a_target_that_is_late_or_refuses_for_load_gets_less() {
    let world = World::new();
    let mut delivery = delivery(&world);
    owe_mib(&world, PEER, 15);
    world.peers.set_delay(Duration::from_millis(5));
    run_until(&mut delivery, Duration::from_secs(4)).await;
    let early = delivered_bytes(&world);
    world.peers.set_delay(Duration::from_millis(200));
    run_until(&mut delivery, Duration::from_secs(8)).await;
    let late = delivered_bytes(&world) - early;
    assert!(late * 2 < early, "{early} {late}");
    let slowed = world.metrics.hints_slowed.get();
    assert!(slowed > 1);
    world.peers.set_overloaded(&[PEER]);
    let before = delivered_bytes(&world);
    run_until(&mut delivery, Duration::from_secs(12)).await;
    assert_eq!(delivered_bytes(&world), before);
    assert!(world.metrics.hints_slowed.get() > slowed);
    world.peers.set_overloaded(&[]);
    world.peers.set_delay(Duration::from_millis(5));
    run_until(&mut delivery, Duration::from_secs(120)).await;
    assert_eq!(world.owed_to(PEER), 0);
}

fn slots_of(names: &[&str]) -> SlotSet {
    names.iter().map(|name| key(name).slot(16)).collect()
}

#[tokio::test]
async fn a_target_is_told_of_the_slots_for_which_hints_were_dropped_once_it_has_the_others() {
    let world = World::new();
    let mut delivery = delivery(&world);
    world.hints.owe(PEER, &key("dropped"), &record(NONE));
    world.hints.owe(OTHER, &key("other"), &record(NONE));
    world.hints.discard(PEER);
    let marks = slots_of(&["dropped"]);
    assert_eq!(world.hints.marks(PEER), marks);
    assert_eq!(world.hints.marked(), [PEER]);
    world.hints.owe(PEER, &key("owed"), &record(NONE));
    world.hints.owe(PEER, &key("ahead"), &record(HALF_A_MINUTE));
    delivery.turn().await;
    assert!(world.peers.holds(PEER, "owed"));
    assert_eq!(world.peers.repairs(), []);
    run_until(&mut delivery, Duration::from_secs(2)).await;
    // What it refuses does not hold that up.
    assert_eq!(world.owed_to(PEER), 1);
    assert_eq!(world.peers.repairs(), [(PEER, marks)]);
    assert!(world.hints.marked().is_empty());
}

#[tokio::test]
async fn marks_are_kept_until_the_target_could_be_told_and_add_up() {
    let world = World::new();
    let mut delivery = delivery(&world);
    world.peers.set_broken(&[PEER]);
    world.hints.owe(PEER, &key("a"), &record(NONE));
    world.hints.discard(PEER);
    run_until(&mut delivery, HALF_A_MINUTE).await;
    let attempts = world.peers.repairs().len();
    assert!(
        (5..=attempts_within(HALF_A_MINUTE)).contains(&attempts),
        "{attempts}"
    );
    assert_eq!(world.hints.marks(PEER), slots_of(&["a"]));
    world.hints.owe(PEER, &key("b"), &record(NONE));
    world.hints.discard(PEER);
    world.peers.set_broken(&[]);
    run_until(
        &mut delivery,
        HALF_A_MINUTE + RETRY_PAUSE_MAX + 2 * IDLE_PAUSE,
    )
    .await;
    let told = world.peers.repairs().last().cloned();
    assert_eq!(told, Some((PEER, slots_of(&["a", "b"]))));
    assert!(world.hints.marked().is_empty());
}

#[tokio::test]
async fn a_node_marks_its_own_slots_without_a_call() {
    let world = World::new();
    let mut delivery = delivery(&world);
    world.hints.owe(OWN, &key("a"), &record(NONE));
    world.hints.discard(OWN);
    run_until(&mut delivery, Duration::from_secs(1)).await;
    assert_eq!(delivery.parts.marks.take(), slots_of(&["a"]));
    assert_eq!(world.peers.repairs(), []);
    assert!(world.hints.marked().is_empty());
}

#[tokio::test]
async fn marks_of_a_member_that_has_left_or_that_nobody_knows_are_forgotten() {
    let world = World::new();
    let mut delivery = delivery(&world);
    let stranger = NodeId(77);
    for target in [FORMER, stranger] {
        world.hints.owe(target, &key("a"), &record(NONE));
        world.hints.discard(target);
    }
    world.peers.set_broken(&[FORMER]);
    run_until(&mut delivery, Duration::from_secs(1)).await;
    assert_eq!(world.hints.marked(), [FORMER]);
    world.show_former(left());
    run_until(&mut delivery, Duration::from_secs(2)).await;
    assert!(world.hints.marked().is_empty());
}

#[test]
fn whatever_is_dropped_although_it_is_lacked_leaves_a_mark() {
    let clock = Arc::new(LeapClock::default());
    let limits = HintLimits {
        target_bytes_max: 1_000,
        total_bytes_max: 1_000,
        window_millis: 1_000,
    };
    let metrics = Arc::new(Metrics::new());
    let seam = Arc::clone(&clock) as Arc<dyn Clock>;
    let hints = OwedHints::new(limits, 16, seam, metrics);
    // Each takes a quarter.
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        hints.owe(PEER, &key(name), &record(NONE));
    }
    assert_eq!(hints.marks(PEER), slots_of(&["a", "b"]));
    drop(clock.sleep(Duration::from_secs(2)));
    hints.expire();
    assert_eq!(hints.marks(PEER), slots_of(&names));
    hints.clear();
    assert!(hints.marks(PEER).is_empty());
}

fn left() -> Member {
    shown(FORMER, Liveness::Down, Phase::Leaving)
}

#[tokio::test]
async fn hints_of_a_member_that_has_left_go_to_the_present_owners() {
    let world = World::new();
    let mut delivery = delivery(&world);
    world.peers.set_broken(&[FORMER]);
    for name in ["a", "b"] {
        world.hints.owe(FORMER, &key(name), &record(NONE));
    }
    world.show_former(left());
    run_until(&mut delivery, Duration::from_secs(1)).await;
    assert_eq!(world.hints.targets(), []);
    for node in [OWN, PEER, OTHER] {
        assert!(
            world.peers.holds(node, "a") && world.peers.holds(node, "b"),
            "{node}"
        );
    }
    assert_eq!(world.metrics.hints_moved.get(), 2);
    assert_eq!(world.metrics.hints_written.get(), 2 + 2 * 3);
    assert_eq!(world.peers.batches_to(FORMER), []);
    // A write that began before it left may still be settled.
    world.hints.owe(FORMER, &key("late"), &record(NONE));
    run_until(&mut delivery, Duration::from_secs(2)).await;
    assert_eq!(world.hints.targets(), []);
}

#[tokio::test]
async fn a_member_keeps_its_hints_unless_it_has_left_for_good() {
    let came_back = Member {
        boot_id: BootId(99),
        record: None,
        ..shown(FORMER, Liveness::Alive, Phase::Joining)
    };
    let down_again = Member {
        liveness: Liveness::Down,
        ..came_back.clone()
    };
    let stays = [
        shown(FORMER, Liveness::Down, Phase::Active),
        shown(FORMER, Liveness::Alive, Phase::Leaving),
        shown(FORMER, Liveness::Suspect, Phase::Leaving),
        came_back,
        down_again,
        // What it said of a life before this one.
        Member {
            boot_id: BootId(99),
            ..left()
        },
    ];
    for former in stays {
        let world = World::new();
        let mut delivery = delivery(&world);
        world.peers.set_broken(&[FORMER]);
        world.hints.owe(FORMER, &key("a"), &record(NONE));
        world.show_former(former.clone());
        run_until(&mut delivery, Duration::from_secs(10)).await;
        assert_eq!(world.owed_to(FORMER), 1, "{former:?}");
    }
}

#[tokio::test]
async fn a_member_that_has_left_keeps_its_hints_while_the_ring_names_it() {
    let world = World::new();
    let mut delivery = delivery(&world);
    world.ring.store(Some(ring_of(&[OWN, PEER, FORMER])));
    world.peers.set_broken(&[FORMER]);
    world.hints.owe(FORMER, &key("a"), &record(NONE));
    world.show_former(left());
    run_until(&mut delivery, Duration::from_secs(10)).await;
    assert_eq!(world.owed_to(FORMER), 1);
    world.ring.store(Some(ring_of(&[OWN, PEER, OTHER])));
    run_until(&mut delivery, Duration::from_secs(11)).await;
    assert_eq!(world.hints.targets(), []);
}

#[tokio::test]
async fn a_step_hands_over_a_bounded_number_of_hints() {
    let world = World::new();
    let mut delivery = delivery(&world);
    for index in 0..=HAND_OVER_MAX {
        world
            .hints
            .owe(FORMER, &key(&index.to_string()), &record(NONE));
    }
    world.show_former(left());
    assert_eq!(delivery.step().await, Step::Busy);
    assert_eq!(world.owed_to(FORMER), 1);
    assert_eq!(delivery.step().await, Step::Busy);
    assert_eq!(world.owed_to(FORMER), 0);
}
