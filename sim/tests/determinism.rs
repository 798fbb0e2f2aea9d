//! The first law: a run follows from its seed alone.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{sync::Arc, time::Duration};

use shard_cache::{
    clock::Clock as _,
    config::Config,
    coordinator::{Consistency, Degrade, Detail, KeyRequest, SetRequest, Terms, Ttl},
    key::Key,
    node::Node,
    store::{Form, Value},
};
use shard_cache_sim::{
    node,
    world::{HostId, Power, World, nanos},
};

const NODES: u16 = 3;

fn config(index: u16) -> Config {
    let mut config = Config::default();
    config.node.name = Some(node::name(index));
    config.cluster.seeds = vec![node::address(0).to_string()];
    config.cluster.slots = 64;
    config.cluster.min_members = Some(usize::from(NODES));
    config.server.cache.max_memory = Some(64 << 20);
    config
}

fn terms(world: &World, host: HostId) -> Terms {
    Terms {
        consistency: Consistency::Quorum,
        degrade: Degrade::Refuse,
        arrived: world.clock(host).monotonic(),
        deadline: world.clock(host).monotonic() + Duration::from_millis(500),
        detail: Detail::Answer,
    }
}

/// Three nodes form a ring, one crashes and comes back, and clients write all the while. Returns the trace's hash.
fn run(seed: u64) -> u64 {
    let world = World::new(seed);
    for index in 0..NODES {
        world.add_host(node::address(index));
    }
    let start = |index: u16, life: u64| {
        node::start(
            &world,
            HostId(index),
            &config(index),
            seed ^ life << 8 ^ u64::from(index),
        )
        .unwrap()
    };
    let mut nodes: Vec<Arc<Node>> = (0..NODES).map(|index| start(index, 1)).collect();
    world.run_until(nanos(Duration::from_secs(5)));
    assert!(
        nodes.iter().all(|node| node.ring().is_some()),
        "a ring is formed"
    );
    world.network(|network| network.change_all(|path| path.loss_ppm = 50_000));
    for round in 0..100u16 {
        if round == 30 {
            world.crash(HostId(1), Power::Gone);
        }
        if round == 60 {
            nodes[1] = start(1, 2);
        }
        let coordinator = Arc::clone(nodes[2].coordinator());
        let terms = terms(&world, HostId(2));
        let key = Key::new(format!("key-{}", round % 7).into());
        let value = Value {
            bytes: round.to_be_bytes().to_vec().into(),
            form: Form::Bytes,
        };
        let noted = world.clone();
        let request = async move {
            let key_again = key.clone();
            let ttl = Ttl::Never;
            let set = SetRequest {
                key,
                value,
                ttl,
                terms,
                trace: None,
            };
            let written = coordinator.set(set).await;
            noted.note(|| format!("{written:?}"));
            let read = coordinator
                .get(KeyRequest {
                    key: key_again,
                    terms,
                    trace: None,
                })
                .await;
            noted.note(|| format!("{read:?}"));
        };
        world.spawn(HostId(2), "request", Box::pin(request));
        world.run_until(world.now() + nanos(Duration::from_millis(100)));
    }
    world.run_until(world.now() + nanos(Duration::from_secs(5)));
    let own = nodes[1].boot_id();
    let members = nodes[0].ring().unwrap().members().to_vec();
    assert!(
        members.iter().any(|member| member.boot_id == own),
        "it is back in the ring"
    );
    world.trace_hash()
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let first = run(1);
    assert_eq!(first, run(1));
    assert_ne!(first, run(2));
}
