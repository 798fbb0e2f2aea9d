use rand::SeedableRng as _;

use super::*;
use crate::handoff::test_peers::{OTHER, OWN, PEER, World, key, member, record};

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

/// Lets the node under test copy everything from the two others.
async fn pull(world: &World) -> u64 {
    let ring = world.ring.load_full().expect("there is a ring");
    let pull = Pull {
        replica: Arc::clone(&world.replica),
        transport: Arc::clone(&world.peers) as Arc<dyn PeerTransport>,
        clock: Arc::clone(&world.clock) as Arc<dyn Clock>,
        metrics: Arc::clone(&world.metrics),
        view: world.view.subscribe(),
        rng: StdRng::seed_from_u64(1),
        bytes_per_second_max: 1 << 30,
        budget: Budget::ample(),
    };
    pull.run(
        PullPlan::new(&ring, ZonedMember::without_zone(member(OWN))),
        ring.root(),
    )
    .await
}

fn retries(world: &World, reason: RetryReason) -> u64 {
    world.metrics.pull_retries.get(reason).get()
}

/// Pauses are at least half as long as they may be, apart from the first ones, which are shorter still.
fn attempts_within(time: Duration) -> u64 {
    let longest = RETRY_PAUSE_MAX.as_secs_f64() / 2.0;
    10 + (time.as_secs_f64() / longest) as u64
}

#[tokio::test]
async fn a_page_with_refused_records_is_asked_for_once_and_taken_over_when_the_clock_has_come_far_enough()
 {
    let world = World::new();
    for (name, ahead) in [("old", Duration::ZERO), ("ahead", HALF_A_MINUTE)] {
        let store = world.peers.store(PEER);
        store.merge(&key(name), record(ahead), 0);
    }
    assert_eq!(pull(&world).await, 2);
    assert!(world.peers.holds(OWN, "old") && world.peers.holds(OWN, "ahead"));
    assert_eq!(world.peers.pages_of(PEER).len(), 1);
    let took = world.clock.monotonic();
    assert!(
        took > Duration::from_secs(29) && took < HALF_A_MINUTE + RETRY_PAUSE_MAX,
        "{took:?}"
    );
    let refused = retries(&world, RetryReason::Refused);
    assert!(
        (5..=attempts_within(HALF_A_MINUTE)).contains(&refused),
        "{refused}"
    );
    assert_eq!(world.metrics.hlc_rejected.get(), 1);
    assert_eq!(retries(&world, RetryReason::Failed), 0);
}

#[tokio::test]
async fn a_source_that_fails_is_asked_again_after_growing_pauses_until_it_answers() {
    let world = World::new();
    world
        .peers
        .store(OTHER)
        .merge(&key("a"), record(Duration::ZERO), 0);
    world.peers.set_broken(&[OTHER]);
    let peers = Arc::clone(&world.peers);
    let clock = Arc::clone(&world.clock);
    // The clock leaps whenever the pull waits, so that the other task gets its turn by looking at it.
    let (pulled, ()) = tokio::join!(pull(&world), async move {
        while clock.monotonic() < HALF_A_MINUTE {
            tokio::task::yield_now().await;
        }
        peers.set_broken(&[]);
    });
    assert_eq!(pulled, 1);
    let asked = world.peers.pages_of(OTHER);
    let failed = retries(&world, RetryReason::Failed);
    assert_eq!(asked.len() as u64, failed + 1);
    assert!(
        (10..=attempts_within(HALF_A_MINUTE)).contains(&failed),
        "{failed}"
    );
    let pauses: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        pauses.iter().all(|pause| *pause <= RETRY_PAUSE_MAX),
        "{pauses:?}"
    );
    assert!(world.peers.holds(OWN, "a"));
}
