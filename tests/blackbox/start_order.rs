//! Nodes may start in any order, and before their seed has an address.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use shard_cache::node::{Drained, Node, Seams};
use shard_cache_client::{CallOptions, Ttl, Value};
use shard_cache_membership::resolver::{Resolution, Resolver};

use crate::harness::{Cluster, Launch, NodeProcess, PATIENCE, Room, holds, http, inside, until};

/// How much later the seed starts than the others.
const SEED_DELAY: Duration = Duration::from_secs(4);

#[tokio::test]
async fn nodes_that_start_before_their_seed_wait_for_it() {
    let room = Room::shared().await;
    let seed = free_address();
    let (second, third) = tokio::join!(
        Launch::new("n2", 2).seed(seed).start(),
        Launch::new("n3", 2).seed(seed).start(),
    );
    let waiting = [&second, &third];
    holds("nodes without their seed wait", SEED_DELAY, async || {
        for node in waiting {
            still_joining(node).await?;
        }
        Ok(())
    })
    .await;
    let mut launch = Launch::new("n1", 2).seed(seed);
    launch.peer_port = seed.port();
    let first = launch.start().await;
    let cluster = Cluster::of(vec![first, second, third], room);
    cluster.wait_until_ready().await;
    let clients = cluster.clients().await;
    let call = CallOptions::default();
    let written = clients[1]
        .set("k", Value::from("v"), Ttl::Default, &call)
        .await;
    assert!(written.expect("a whole cluster takes writes").stored >= 2);
    for client in &clients {
        assert!(
            client
                .get("k", &call)
                .await
                .expect("an answer")
                .hit
                .is_some()
        );
    }
}

async fn still_joining(node: &NodeProcess) -> Result<(), String> {
    let health = node.health().await?;
    let is_waiting = health["status"] == "joining" && health["ring_hash"] == "";
    if is_waiting {
        Ok(())
    } else {
        Err(format!("{}: {health}", node.name()))
    }
}

/// An address that was free a moment ago, for UDP and TCP.
fn free_address() -> SocketAddr {
    let mut tries = (0..100).map(|_| {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a UDP port is free");
        let address = udp.local_addr().expect("a bound socket has an address");
        // Another test may have the TCP port of that number.
        std::net::TcpListener::bind(address).map(|_| address)
    });
    let free = tries.find_map(Result::ok);
    free.expect("one of a hundred UDP ports is free for TCP too")
}

#[tokio::test]
async fn a_seed_name_that_resolves_only_later_is_found() {
    let _room = Room::shared().await;
    let first = Launch::new("n1", 2).start().await;
    let resolver = Arc::new(LateName::default());
    let seams = Seams {
        resolver: Arc::clone(&resolver) as Arc<dyn Resolver>,
        ..Seams::system()
    };
    let second = Node::start(
        inside::configuration(&[
            ("cluster.seeds", "late.shard-cache.test:7946"),
            ("cluster.min_members", "2"),
            ("node.name", "n2"),
        ]),
        seams,
    )
    .await
    .expect("the node starts");
    let at = second.addresses().http;
    until(
        "the name was asked for again",
        PATIENCE,
        async || match resolver.asked.load(Ordering::Relaxed) {
            asked if asked >= 3 => Ok(()),
            asked => Err(format!("asked {asked} times")),
        },
    )
    .await;
    let health = http::get(at, "/health").await.expect("an answer").json();
    assert_eq!(health["status"], "joining", "{health}");

    resolver.appear(first.addresses().peer);
    until("the node joins", PATIENCE, async || {
        let (own, other) = (
            http::get(at, "/health").await?.json(),
            first.health().await?,
        );
        let joined = [&own, &other]
            .iter()
            .all(|one| one["status"] == "ok" && one["members_alive"] == 2);
        let same = own["ring_hash"] == other["ring_hash"];
        if joined && same {
            Ok(())
        } else {
            Err(format!("{own}; {other}"))
        }
    })
    .await;
    let put = http::request(at, "PUT", "/v1/keys/k", &[], b"v")
        .await
        .expect("an answer");
    assert_eq!(
        (put.status, put.header("x-shardcache-stored")),
        (204, Some("2"))
    );
    assert_eq!(
        first.http("/v1/keys/k").await.expect("an answer").body,
        b"v"
    );
    assert_eq!(second.drain().await, Drained::Clean);
}

/// A name that has no address until it appears.
#[derive(Default)]
struct LateName {
    asked: AtomicU32,
    address: Mutex<Option<SocketAddr>>,
}

impl LateName {
    fn appear(&self, address: SocketAddr) {
        *self.address.lock().expect("no holder panics") = Some(address);
    }
}

impl Resolver for LateName {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolution<'a> {
        assert_eq!(name, "late.shard-cache.test:7946");
        self.asked.fetch_add(1, Ordering::Relaxed);
        let address = *self.address.lock().expect("no holder panics");
        let unknown = || io::Error::new(io::ErrorKind::NotFound, "no such name yet");
        Box::pin(std::future::ready(
            address.map(|address| vec![address]).ok_or_else(unknown),
        ))
    }
}
