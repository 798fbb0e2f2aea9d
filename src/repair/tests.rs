use rand::SeedableRng as _;

use super::*;
use crate::{
    handoff::test_peers::{OTHER, OWN, PEER, World, key, record},
    store::{Absence, Body, Lookup, Record},
};

const RATE: u64 = 1 << 30;

fn repair(world: &World) -> Repair {
    let cell = RingCell {
        ring: Arc::clone(&world.ring),
        gates: Arc::clone(&world.gates),
        ..RingCell::new(16)
    };
    let parts = RepairParts {
        cell,
        store: Arc::clone(world.peers.store(OWN)),
        replica: Arc::clone(&world.replica),
        transport: Arc::clone(&world.peers) as Arc<dyn PeerTransport>,
        view: world.view.subscribe(),
        marks: RepairMarks::default(),
        clock: Arc::clone(&world.clock) as Arc<dyn Clock>,
        metrics: Arc::clone(&world.metrics),
        interval: Duration::from_secs(60),
        bytes_per_second_max: RATE,
    };
    Repair::new(parts, StdRng::seed_from_u64(1))
}

/// Lets so much time pass, turn by turn.
async fn go_on(world: &World, repair: &mut Repair, time: Duration) {
    let until = world.clock.monotonic() + time;
    while world.clock.monotonic() < until {
        world.clock.sleep(TICK).await;
        repair.turn().await;
    }
}

#[tokio::test]
async fn owners_that_differ_agree_soon_after_they_can_reach_each_other() {
    let world = World::new();
    let (own, peer) = (world.peers.store(OWN), world.peers.store(PEER));
    peer.merge(&key("lacking"), record(Duration::ZERO), 0);
    own.merge(&key("deleted"), record(Duration::ZERO), 0);
    let tombstone = Record {
        body: Body::Tombstone,
        ..record(Duration::from_millis(100))
    };
    peer.merge(&key("deleted"), tombstone.clone(), 0);
    let mut repair = repair(&world);
    go_on(&world, &mut repair, SETTLE + Duration::from_secs(3)).await;
    assert!(world.peers.holds(OWN, "lacking"));
    let gone = Lookup::Miss(Absence::Gone(tombstone.version));
    assert_eq!(own.peek(&key("deleted"), 0), gone);
    assert_eq!(world.metrics.repair_records.get(), 2);
}

#[tokio::test]
async fn what_was_given_up_here_is_not_taken_back_and_not_asked_for_again() {
    let world = World::new();
    let (own, peer) = (world.peers.store(OWN), world.peers.store(PEER));
    let value = record(Duration::ZERO);
    peer.merge(&key("a"), value.clone(), 0);
    // It was here and went.
    let mortal = Record {
        expires_at: Some(1),
        ..value.clone()
    };
    own.merge(&key("a"), mortal, 0);
    assert_eq!(own.expire(1, usize::MAX), 1);
    let mut repair = repair(&world);
    go_on(&world, &mut repair, Duration::from_secs(300)).await;
    let ghost = Lookup::Miss(Absence::Ghost(value.version));
    assert_eq!(own.peek(&key("a"), 0), ghost);
    assert_eq!(world.metrics.repair_records.get(), 0);
    let asked = world.peers.pages_of(PEER).len();
    assert_eq!(asked, 1, "nothing has changed since");
}

#[tokio::test]
async fn what_is_stamped_too_far_ahead_is_taken_when_its_time_has_come() {
    let world = World::new();
    // Here time passes also for what is not waited for to its end.
    let ahead = Duration::from_secs(400);
    world
        .peers
        .store(PEER)
        .merge(&key("ahead"), record(ahead), 0);
    let mut repair = repair(&world);
    go_on(&world, &mut repair, Duration::from_secs(15)).await;
    assert!(!world.peers.holds(OWN, "ahead"));
    go_on(&world, &mut repair, ahead).await;
    assert!(world.peers.holds(OWN, "ahead"));
}

#[tokio::test]
async fn marked_slots_are_compared_at_once_and_a_failure_is_made_up_for() {
    let world = World::new();
    let mut repair = repair(&world);
    go_on(&world, &mut repair, Duration::from_secs(10)).await;
    world
        .peers
        .store(OTHER)
        .merge(&key("late"), record(Duration::ZERO), 0);
    let slot = key("late").slot(16);
    repair.parts.marks.add(&[slot].into_iter().collect());
    repair.turn().await;
    assert!(world.peers.holds(OWN, "late"));
    // A peer that fails is asked again, sooner than after the interval.
    world.peers.set_broken(&[PEER]);
    world
        .peers
        .store(PEER)
        .merge(&key("later"), record(Duration::ZERO), 0);
    go_on(&world, &mut repair, Duration::from_secs(60)).await;
    assert!(!world.peers.holds(OWN, "later"));
    world.peers.set_broken(&[]);
    go_on(&world, &mut repair, RETRY + Duration::from_secs(2)).await;
    assert!(world.peers.holds(OWN, "later"));
}
