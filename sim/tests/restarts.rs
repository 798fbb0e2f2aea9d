//! A node that restarts is met again at once by those whom it has forgotten.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{sync::Arc, time::Duration};

use shard_cache::{config::Config, node::Node};
use shard_cache_sim::{
    node,
    world::{HostId, Power, World, nanos},
};

/// The longest pause of a peer that looks for a former life, and what it takes to meet it.
const MET: Duration = Duration::from_millis(1200);
/// How long the seed is gone: as a process that starts anew at once, and such that the pauses of the others are long.
const AWAY_MILLIS: [u64; 6] = [50, 400, 700, 1000, 1500, 3000];

fn config(index: u16) -> Config {
    let mut config = Config::default();
    config.node.name = Some(node::name(index));
    // The first has nobody to turn to.
    config.cluster.seeds = vec![node::address(0).to_string()];
    config.cluster.slots = 64;
    config.cluster.min_members = Some(2);
    config.server.cache.max_memory = Some(64 << 20);
    config
}

fn run_for(world: &World, time: Duration) {
    world.run_until(world.now() + nanos(time));
}

#[test]
fn a_seed_that_restarts_beside_a_newcomer_forms_no_ring_with_it() {
    // The clock of the second life is behind the first one's in half of the runs.
    let cases = AWAY_MILLIS.map(|away| [(away, 0), (away, -300)]);
    for (seed, (away_millis, offset)) in (1..).zip(cases.into_iter().flatten()) {
        let world = World::new(seed);
        for index in 0..3 {
            world.add_host(node::address(index));
        }
        let start = |index: u16, life: u64| -> Arc<Node> {
            let entropy = seed << 16 ^ life << 8 ^ u64::from(index);
            node::start(&world, HostId(index), &config(index), entropy).unwrap()
        };
        let [_, stayed] = [0, 1].map(|index| start(index, 1));
        run_for(&world, Duration::from_secs(20));
        assert_eq!(stayed.ring().unwrap().members().len(), 2);

        world.crash(HostId(0), Power::Ended);
        world.set_wall_offset(HostId(0), offset);
        run_for(&world, Duration::from_millis(away_millis));
        let nodes = [start(0, 2), stayed, start(2, 1)];
        let lives = || nodes.each_ref().map(|node| node.boot_id());
        let begun = lives();
        run_for(&world, MET);
        let stayed = begun[1];
        for node in &nodes {
            let ring = node
                .ring()
                .unwrap_or_else(|| panic!("seed {seed}: no ring"));
            let is_in = ring.members().iter().any(|it| it.boot_id == stayed);
            assert!(is_in, "seed {seed}, away for {away_millis} ms: {ring:?}");
        }
        run_for(&world, Duration::from_secs(5));
        assert_eq!(
            lives(),
            begun,
            "seed {seed}: a ring gave way to an older one"
        );
        for node in &nodes {
            let ring = node.ring().unwrap();
            let is_in = |boot| ring.members().iter().any(|it| it.boot_id == boot);
            assert!(begun.into_iter().all(is_in), "seed {seed}");
        }
    }
}
