//! A node that restarts is met again at once by those whom it has forgotten.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{sync::Arc, time::Duration};

use shard_cache::{config::Config, node::Node};
use shard_cache_sim::{
    node,
    world::{HostId, Power, World, nanos},
};

/// Less than it takes to find a peer dead, and to form a first ring.
const MET: Duration = Duration::from_millis(400);

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
    for (seed, wall_millis) in (1..=8).zip([0, -300].into_iter().cycle()) {
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
        world.set_wall_offset(HostId(0), wall_millis);
        run_for(&world, Duration::from_millis(50));
        let restarted = start(0, 2);
        let newcomer = start(2, 1);
        run_for(&world, MET);
        let former = stayed.ring().unwrap();
        for node in [&restarted, &newcomer] {
            let members = node.ring().map(|ring| ring.members().to_vec());
            let members = members.unwrap_or_else(|| panic!("seed {seed}: no ring"));
            let has_stayed = |member: &&_| former.members().contains(*member);
            assert!(
                members.iter().any(|it| has_stayed(&it)),
                "seed {seed}: {members:?}"
            );
        }
        run_for(&world, Duration::from_secs(5));
        let boots = [&restarted, &stayed, &newcomer].map(|node| node.boot_id());
        for node in [&restarted, &stayed, &newcomer] {
            let ring = node.ring().unwrap();
            let is_in = |boot| ring.members().iter().any(|member| member.boot_id == boot);
            assert!(boots.into_iter().all(is_in), "seed {seed}");
        }
    }
}
