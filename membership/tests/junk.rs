//! No datagram, however made, makes an agent panic, and every refused one is counted under its
//! reason.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod network;

use std::{net::SocketAddr, time::Duration};

use network::{identity, record};
use rand::{Rng, RngExt, SeedableRng, rngs::SmallRng};
use shard_cache_membership::{
    agent::{Agent, Input, Now},
    config::{AgentConfig, Profile, SourceCheck},
    counters::CountersSnapshot,
    envelope::{DATAGRAM_BYTES_MAX, ENVELOPE_BYTES},
    identity::NodeIdentity,
    record::Phase,
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const WALL: u64 = 1_800_000_000_000;
/// The last bytes of the envelope.
const CHECKSUM_BYTES: usize = 4;
const WEEK_MILLIS: u64 = 7 * 24 * 3600 * 1000;

fn at(millis: u64) -> Now {
    Now {
        monotonic: Duration::from_millis(millis),
        wall_millis: WALL + millis,
    }
}

fn addr(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 7946))
}

fn config() -> AgentConfig {
    AgentConfig::of_profile(Profile::Lan, "test")
}

fn agent_of(config: AgentConfig, identity: NodeIdentity, name: &str) -> Agent {
    let rng = SmallRng::seed_from_u64(u64::from(identity.addr.port()));
    Agent::new(config, identity, record(name), rng, at(0)).unwrap()
}

fn agent(last: u8) -> Agent {
    let name = format!("node-{last}");
    agent_of(
        config(),
        identity(addr(last), &name, u64::from(last), WALL),
        &name,
    )
}

/// The datagrams that three agents exchange while they join, gossip, probe and leave: material for
/// mutations.
fn valid_datagrams() -> Vec<(SocketAddr, Vec<u8>)> {
    let mut agents = [agent(1), agent(2), agent(3)];
    let mut seen = Vec::new();
    for millis in (0..6_000).step_by(10) {
        for index in 0..agents.len() {
            let input = match (millis, index) {
                (0, _) => Input::Seeds(vec![addr(1)]),
                (2_000, 1) => Input::UpdateRecord {
                    phase: Phase::Joining,
                    attachment: vec![7; 64],
                },
                (3_000, 2) => Input::Leave {
                    within: Duration::ZERO,
                },
                _ => Input::Time,
            };
            agents[index].handle(at(millis), input).unwrap();
            while let Some(datagram) = agents[index].next_datagram() {
                let from = agents[index].identity().addr;
                let to = usize::from(datagram.to.port() == 7946) * (last_octet(datagram.to) - 1);
                seen.push((datagram.to, datagram.bytes.clone()));
                let payload = datagram.bytes.as_slice();
                agents[to]
                    .handle(at(millis), Input::Datagram { from, payload })
                    .unwrap();
            }
        }
    }
    assert!(seen.len() > 100);
    seen
}

fn last_octet(addr: SocketAddr) -> usize {
    match addr.ip() {
        std::net::IpAddr::V4(ip) => usize::from(ip.octets()[3]),
        std::net::IpAddr::V6(_) => unreachable!("all test addresses are IPv4"),
    }
}

fn mutate(rng: &mut SmallRng, datagram: &mut Vec<u8>) {
    for _ in 0..rng.random_range(1..6) {
        let length = datagram.len().max(1);
        let position = rng
            .random_range(0..length)
            .min(datagram.len().saturating_sub(1));
        match rng.random_range(0..5) {
            0 => datagram.truncate(position),
            1 => datagram.insert(position, rng.random()),
            2 => datagram.extend((0..rng.random_range(1..40)).map(|_| rng.random::<u8>())),
            3 if !datagram.is_empty() => datagram[position] = rng.random(),
            _ if !datagram.is_empty() => datagram[position] ^= 1 << rng.random_range(0..8),
            _ => {}
        }
    }
}

/// The checksum of an envelope around `payload`, so that what is mutated reaches the decoders.
fn checksum(payload: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let cluster = xxh3_64(config().cluster_id.as_bytes());
    let [.., a, b, c, d] = xxh3_64_with_seed(payload, cluster).to_be_bytes();
    [a, b, c, d]
}

fn refused(counters: &CountersSnapshot) -> u64 {
    counters.rejected_junk
        + counters.rejected_foreign_cluster
        + counters.rejected_protocol
        + counters.rejected_oversize
        + counters.rejected_bump
}

#[test]
fn random_datagrams_are_counted_and_change_nothing() {
    let mut agent = agent(1);
    let mut rng = SmallRng::seed_from_u64(1);
    let version = agent.current_view().version;
    for index in 0..10_000_u64 {
        let mut junk = vec![0; rng.random_range(0..1300)];
        rng.fill_bytes(&mut junk);
        let input = Input::Datagram {
            from: addr(9),
            payload: &junk,
        };
        agent.handle(at(index), input).unwrap();
    }
    let counters = agent.counters().snapshot();
    assert_eq!(counters.datagrams_received, 10_000);
    assert_eq!(refused(&counters), 10_000);
    assert!(counters.rejected_oversize > 0 && counters.rejected_junk > 0);
    assert_eq!(agent.current_view().version, version);
}

#[test]
fn mutated_datagrams_never_panic() {
    let material = valid_datagrams();
    let mut rng = SmallRng::seed_from_u64(2);
    let mut target = agent(1);
    target.handle(at(0), Input::Seeds(vec![addr(2)])).unwrap();
    for index in 0..20_000_u64 {
        let (_, datagram) = &material[rng.random_range(0..material.len())];
        let mut datagram = datagram.clone();
        // Half of them keep the envelope, so that the decoders behind it get their share.
        if rng.random() {
            let mut payload = datagram.split_off(ENVELOPE_BYTES);
            mutate(&mut rng, &mut payload);
            datagram.truncate(ENVELOPE_BYTES - CHECKSUM_BYTES);
            datagram.extend(checksum(&payload));
            datagram.extend(payload);
        } else {
            mutate(&mut rng, &mut datagram);
        }
        let input = Input::Datagram {
            from: addr(2),
            payload: &datagram,
        };
        target.handle(at(index), input).unwrap();
        while let Some(reply) = target.next_datagram() {
            assert!(reply.bytes.len() <= DATAGRAM_BYTES_MAX);
        }
        let view = target.current_view();
        assert!(view.members.is_sorted_by(|a, b| a.node_id < b.node_id));
        assert!(view.member(view.own).is_some());
        // No push-pull is made here; its queue must stay bounded by itself.
    }
    let counters = target.counters().snapshot();
    assert_eq!(counters.datagrams_received, 20_000);
    assert!(refused(&counters) > 1_000, "{counters:?}");
    assert_eq!(counters.internal_errors, 0);
}

#[test]
fn mutated_states_never_panic() {
    let mut exporter = agent(2);
    exporter.handle(at(0), Input::Seeds(vec![addr(1)])).unwrap();
    let mut rng = SmallRng::seed_from_u64(3);
    let mut target = agent(1);
    for index in 0..2_000_u64 {
        let mut state = exporter.export_state();
        mutate(&mut rng, &mut state);
        // A mutation may leave the state valid; both outcomes are fine.
        let refused = target.handle(at(index), Input::MergeState(&state)).is_err();
        let counters = target.counters().snapshot();
        assert_eq!(
            counters.states_merged + counters.states_rejected,
            index + 1,
            "{refused}"
        );
    }
}

/// The first datagram of an agent that announces to us, as it is or with its identity changed.
fn announcement(config: AgentConfig, identity: NodeIdentity) -> Vec<u8> {
    let mut sender = agent_of(config, identity, "node-2");
    sender.handle(at(0), Input::Seeds(vec![addr(1)])).unwrap();
    sender.next_datagram().expect("an announcement").bytes
}

#[test]
fn each_reason_to_refuse_has_its_counter() {
    let stranger = identity(addr(2), "node-2", 2, WALL);
    let receive = |config: AgentConfig, bytes: &[u8]| {
        let mut agent = agent_of(config, identity(addr(1), "node-1", 1, WALL), "node-1");
        let from = SocketAddr::from(([10, 9, 9, 9], 1));
        agent
            .handle(
                at(100),
                Input::Datagram {
                    from,
                    payload: bytes,
                },
            )
            .unwrap();
        (
            agent.counters().snapshot(),
            agent.current_view().members.len(),
        )
    };
    let good = announcement(config(), stranger);
    assert_eq!(receive(config(), &good).1, 2);

    let foreign = AgentConfig::of_profile(Profile::Lan, "other");
    let (counters, members) = receive(config(), &announcement(foreign, stranger));
    assert_eq!((counters.rejected_foreign_cluster, members), (1, 1));

    let newer = NodeIdentity {
        protocol_min: 2,
        protocol_max: 3,
        ..stranger
    };
    let (counters, members) = receive(config(), &announcement(config(), newer));
    assert_eq!((counters.rejected_protocol, members), (1, 1));

    let future = NodeIdentity {
        bump: WALL + WEEK_MILLIS + 1000,
        ..stranger
    };
    let (counters, members) = receive(config(), &announcement(config(), future));
    assert_eq!((counters.rejected_bump, members), (1, 1));

    let oversize = [good.as_slice(), &[0; DATAGRAM_BYTES_MAX]].concat();
    let (counters, members) = receive(config(), &oversize);
    assert_eq!((counters.rejected_oversize, members), (1, 1));

    let strict = AgentConfig {
        source_check: SourceCheck::SameIp,
        ..config()
    };
    let (counters, members) = receive(strict, &good);
    assert_eq!((counters.rejected_source, members), (1, 1));

    let twin = identity(addr(1), "node-2", 9, WALL);
    let echo = {
        let mut sender = agent_of(config(), twin, "node-2");
        sender.handle(at(0), Input::Seeds(vec![addr(3)])).unwrap();
        sender.next_datagram().unwrap().bytes
    };
    let (counters, members) = receive(config(), &echo);
    assert_eq!(
        (
            counters.data_from_ourselves,
            counters.address_conflicts,
            members
        ),
        (1, 1, 1)
    );
}
