use rand::SeedableRng as _;
use shard_cache_membership::identity::NodeId;

use super::*;
use crate::{
    handoff::test_peers::{EPOCH, OTHER, OWN, PEER, World, key, record},
    store::{Absence, Body, Lookup, Record},
};

const RATE: u64 = 1 << 30;

fn repair(world: &World) -> Repair {
    repair_with(world, &SlotSet::new())
}

/// With these slots on their way.
fn repair_with(world: &World, unsettled: &SlotSet) -> Repair {
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
        agreements: Agreements::default(),
        slots: world.slots(unsettled),
        clock: Arc::clone(&world.clock) as Arc<dyn Clock>,
        metrics: Arc::clone(&world.metrics),
        interval: Duration::from_secs(60),
        bytes_per_second_max: RATE,
        budget: Budget::ample(),
        tracer: Tracer::off(),
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
async fn what_is_older_than_what_was_given_up_here_is_asked_for_once() {
    let world = World::new();
    let (own, peer) = (world.peers.store(OWN), world.peers.store(PEER));
    peer.merge(&key("a"), record(Duration::ZERO), 0);
    let mortal = Record {
        expires_at: Some(1),
        ..record(Duration::from_millis(100))
    };
    own.merge(&key("a"), mortal, 0);
    assert_eq!(own.expire(1, usize::MAX), 1);
    let mut repair = repair(&world);
    go_on(&world, &mut repair, Duration::from_secs(300)).await;
    assert!(!world.peers.holds(OWN, "a"));
    let asked = world.peers.pages_of(PEER).len();
    assert_eq!(asked, 1, "nothing has changed since");
}

#[tokio::test]
async fn what_was_given_up_as_soon_as_it_came_is_heard_of_by_who_holds_an_older_value() {
    let world = World::new();
    let (own, peer) = (world.peers.store(OWN), world.peers.store(PEER));
    own.merge(&key("a"), record(Duration::ZERO), 0);
    let mortal = |record| Record {
        expires_at: Some(1),
        ..record
    };
    let give_up = |record| {
        peer.merge(&key("a"), record, 0);
        assert_eq!(peer.expire(1, usize::MAX), 1);
    };
    give_up(mortal(record(Duration::ZERO)));
    let mut repair = repair(&world);
    go_on(&world, &mut repair, Duration::from_secs(120)).await;
    assert!(world.peers.holds(OWN, "a"));
    let newer = mortal(record(Duration::from_millis(100)));
    give_up(newer.clone());
    go_on(&world, &mut repair, Duration::from_secs(120)).await;
    let ghost = Lookup::Miss(Absence::Ghost(newer.version));
    assert_eq!(own.peek(&key("a"), 0), ghost);
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

#[tokio::test]
async fn a_peer_is_told_when_everything_it_had_is_here() {
    let world = World::new();
    let peer = world.peers.store(PEER);
    peer.merge(&key("a"), record(Duration::ZERO), 0);
    world.peers.set_broken(&[OTHER]);
    let mut repair = repair(&world);
    go_on(&world, &mut repair, Duration::from_secs(10)).await;
    assert!(world.peers.holds(OWN, "a"));
    let told = agreed_with(&world, PEER);
    let began = EPOCH + millis(SETTLE);
    assert!(
        matches!(*told, [at] if (began..began + 1000).contains(&at)),
        "the time is that before the comparison: {told:?}"
    );
    assert!(agreed_with(&world, OTHER).is_empty(), "out of reach");
    go_on(&world, &mut repair, Duration::from_secs(60)).await;
    assert_eq!(agreed_with(&world, PEER).len(), 2, "with every comparison");
}

#[tokio::test]
async fn a_peer_is_not_told_while_a_slot_is_on_its_way_or_a_record_was_refused() {
    let world = World::new();
    let mut moving = repair_with(&world, &[Slot(3)].into_iter().collect());
    go_on(&world, &mut moving, Duration::from_secs(70)).await;
    assert!(world.peers.agreed().is_empty());
    let ahead = Duration::from_secs(400);
    let peer = world.peers.store(PEER);
    peer.merge(&key("ahead"), record(ahead), 0);
    let mut repair = repair(&world);
    go_on(&world, &mut repair, Duration::from_secs(10)).await;
    assert!(
        agreed_with(&world, PEER).is_empty(),
        "of whom one was refused"
    );
    assert_eq!(agreed_with(&world, OTHER).len(), 1);
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

fn agreed_with(world: &World, peer: NodeId) -> Vec<u64> {
    let told = world.peers.agreed().into_iter();
    told.filter(|(to, _)| *to == peer)
        .map(|(_, at)| at)
        .collect()
}
