//! A node whose wall clock is off its peers' stops coordinating, says so, and comes back.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{sync::Arc, time::Duration};

use shard_cache::{
    clock::Clock as _,
    config::Config,
    coordinator::{Consistency, Degrade, Detail, SetRequest, Terms, Ttl, Unavailable},
    key::Key,
    node::Node,
    store::{Form, Value},
};
use shard_cache_sim::{
    node,
    world::{HostId, World, nanos},
};

const NODES: u16 = 3;
const OFF: HostId = HostId(1);
/// A link is quiet for 2 s at most, and the judgement takes 5 s.
const NOTICED: Duration = Duration::from_secs(8);

fn config(index: u16) -> Config {
    let mut config = Config::default();
    config.node.name = Some(node::name(index));
    config.cluster.seeds = vec![node::address(0).to_string()];
    config.cluster.slots = 64;
    config.cluster.min_members = Some(usize::from(NODES));
    config.server.cache.max_memory = Some(64 << 20);
    config
}

fn run_for(world: &World, time: Duration) {
    world.run_until(world.now() + nanos(time));
}

/// Every owner stores a write that another node coordinates.
fn every_owner_stores(world: &World, nodes: &[Arc<Node>]) {
    let coordinator = Arc::clone(nodes[0].coordinator());
    let set = SetRequest {
        key: Key::new(format!("key-{}", world.now()).into()),
        value: Value {
            bytes: "value".into(),
            form: Form::Text,
        },
        ttl: Ttl::Never,
        terms: Terms {
            consistency: Consistency::All,
            degrade: Degrade::Refuse,
            arrived: world.clock(HostId(0)).monotonic(),
            deadline: world.clock(HostId(0)).monotonic() + Duration::from_millis(500),
            detail: Detail::Answer,
        },
        trace: None,
    };
    let (tell, mut told) = tokio::sync::oneshot::channel();
    let request = async move {
        tell.send(coordinator.set(set).await).unwrap();
    };
    world.spawn(HostId(0), "request", Box::pin(request));
    run_for(world, Duration::from_secs(1));
    assert_eq!(told.try_recv().unwrap().unwrap().stored, 3);
}

#[test]
fn a_node_whose_clock_is_off_its_peers_stops_coordinating_until_it_agrees_again() {
    let world = World::new(1);
    for index in 0..NODES {
        world.add_host(node::address(index));
    }
    let start = |index| node::start(&world, HostId(index), &config(index), index.into()).unwrap();
    let nodes: Vec<Arc<Node>> = (0..NODES).map(start).collect();
    run_for(&world, Duration::from_secs(20));
    let admits = |node: &Arc<Node>| node.coordinator().check_admitting();
    assert!(nodes.iter().all(|node| admits(node).is_ok()));

    for ahead_millis in [700, -700] {
        world.set_wall_offset(OFF, ahead_millis);
        run_for(&world, Duration::from_secs(4));
        assert_eq!(admits(&nodes[1]), Ok(()), "not before it has lasted");
        run_for(&world, NOTICED);
        let Err(Unavailable::Clock(off)) = admits(&nodes[1]) else {
            panic!("it coordinates with a clock that is {ahead_millis} ms ahead");
        };
        assert!(off.ahead_millis.abs_diff(ahead_millis) < 50, "{off}");
        let queries = nodes[1].queries();
        let health = queries.health();
        assert!(!health.is_ready() && health.condition.as_str() == "degraded");
        assert!(health.reason.starts_with("clock: "), "{}", health.reason);
        let figures = queries.snapshot();
        assert_eq!(figures.clock_refusing, 1);
        assert!((figures.clock_offset_seconds - ahead_millis as f64 / 1000.0).abs() < 0.05);
        for node in [&nodes[0], &nodes[2]] {
            assert_eq!(admits(node), Ok(()));
            assert!(node.queries().health().is_ready());
        }
        if ahead_millis > 0 {
            // Behind, it refuses what the others stamp.
            every_owner_stores(&world, &nodes);
        }

        world.set_wall_offset(OFF, 0);
        run_for(&world, NOTICED);
        assert_eq!(admits(&nodes[1]), Ok(()));
        assert!(nodes[1].queries().health().is_ready());
        every_owner_stores(&world, &nodes);
    }
}
