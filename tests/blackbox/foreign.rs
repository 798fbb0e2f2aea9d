//! Strangers: a node of another cluster, and junk on the gossip and peer ports.

use std::{net::SocketAddr, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use shard_cache_client::{CallOptions, Ttl, Value};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, net::UdpSocket};

use crate::harness::{
    Cluster, Launch, NodeProcess, Options, PATIENCE, Room,
    relay::{Cable, relayed_pair},
    until,
};

const DATAGRAMS: usize = 20_000;
/// Datagrams sent before the node has to have seen them, so that none is lost in the socket's buffer.
const BURST: usize = 100;
const DATAGRAM_BYTES_MAX: usize = 1_200;
/// What stands before the payload of a gossip datagram.
const ENVELOPE_BYTES: usize = 17;

#[tokio::test]
async fn a_node_of_another_cluster_is_refused_and_counted() {
    let cluster = Cluster::start(2, Options::default(), Room::shared().await).await;
    let stranger = Launch::new("stranger", 1)
        .seed(cluster[0].addresses().peer)
        .setting("cluster.id", "another")
        .setting("cluster.bootstrap_wait", "100ms")
        .start()
        .await;
    until(
        "the stranger forms a cluster of its own",
        PATIENCE,
        async || {
            let health = stranger.health().await?;
            if health["status"] == "ok" {
                Ok(())
            } else {
                Err(health.to_string())
            }
        },
    )
    .await;
    until(
        "its datagrams are refused and counted",
        PATIENCE,
        async || match rejected(&cluster[0], "foreign_cluster").await? {
            0 | 1 => Err("not yet twice".to_owned()),
            _ => Ok(()),
        },
    )
    .await;
    let call = CallOptions::default();
    let strangers = stranger.client().await;
    strangers
        .set("k", Value::from("theirs"), Ttl::Default, &call)
        .await
        .expect("it serves");
    for node in cluster.nodes() {
        let health = node.health().await.expect("an answer");
        assert_eq!(
            (&health["status"], &health["members_known"]),
            (&"ok".into(), &2.into())
        );
        let client = node.client().await;
        assert_eq!(client.get("k", &call).await.expect("an answer").hit, None);
        let own = client
            .set(node.name(), Value::from("ours"), Ttl::Default, &call)
            .await;
        assert_eq!(own.expect("a whole cluster takes writes").stored, 2);
    }
    let health = stranger.health().await.expect("an answer");
    assert_eq!(health["members_known"], 1, "{health}");
}

#[tokio::test]
async fn junk_datagrams_are_ignored_and_counted() {
    let (cluster, relays) = relayed_pair(Room::alone().await, &Cable::new(), &[]).await;
    let real = until("gossip has passed", PATIENCE, async || {
        let passed = relays[0].passed();
        if passed.len() >= 32 {
            Ok(passed)
        } else {
            Err(format!("{} datagrams", passed.len()))
        }
    })
    .await;
    let before = rejected(&cluster[0], "").await.expect("an answer");
    let mut junk = Junk {
        rng: StdRng::seed_from_u64(7),
        real,
    };
    let socket = UdpSocket::bind("127.0.0.1:0")
        .await
        .expect("a UDP port is free");
    let target = cluster[0].addresses().peer;
    let mut sent = 0;
    while sent < DATAGRAMS {
        for _ in 0..BURST {
            socket
                .send_to(&junk.datagram(sent), target)
                .await
                .expect("loopback takes datagrams");
            sent += 1;
        }
        until(
            "a burst is refused and counted",
            PATIENCE,
            async || match rejected(&cluster[0], "").await? - before {
                counted if counted >= sent as u64 => Ok(()),
                counted => Err(format!("{counted} of {sent}")),
            },
        )
        .await;
    }
    let counted = rejected(&cluster[0], "").await.expect("an answer") - before;
    println!("junk: {sent} datagrams sent, {counted} refused and counted");
    for node in cluster.nodes() {
        let members = node.members().await.expect("an answer");
        assert_eq!(members.len(), 2, "junk became a member: {members:?}");
    }
    cluster.wait_until_ready().await;
    let call = CallOptions::default();
    let written = cluster
        .client(0)
        .await
        .set("k", Value::from("v"), Ttl::Default, &call)
        .await;
    assert_eq!(written.expect("a whole cluster takes writes").stored, 2);
}

#[tokio::test]
async fn junk_on_the_peer_port_is_harmless() {
    let cluster = Cluster::start(2, Options::default(), Room::shared().await).await;
    let mut rng = StdRng::seed_from_u64(11);
    for number in 0..50 {
        let mut bytes = vec![0; 16 * 1024];
        rng.fill_bytes(&mut bytes);
        if number % 2 == 0 {
            // Far enough into the protocol to be taken for a peer.
            bytes[..24].copy_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        }
        send_junk(cluster[number % 2].addresses().peer, &bytes).await;
    }
    // Connections that say nothing at all.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(
            TcpStream::connect(cluster[0].addresses().peer)
                .await
                .expect("a connection"),
        );
    }
    cluster.wait_until_ready().await;
    for (number, client) in cluster.clients().await.iter().enumerate() {
        let (key, call) = (format!("k{number}"), CallOptions::default());
        let written = client
            .set(&key, Value::from("v"), Ttl::Default, &call)
            .await;
        assert_eq!(written.expect("a whole cluster takes writes").stored, 2);
    }
}

/// The node may close the connection at any byte.
async fn send_junk(target: SocketAddr, bytes: &[u8]) {
    let mut connection = TcpStream::connect(target).await.expect("a connection");
    let sending = connection.write_all(bytes);
    drop(tokio::time::timeout(Duration::from_secs(2), sending).await);
}

/// Gossip datagrams refused for a reason, or for any when it is empty.
async fn rejected(node: &NodeProcess, reason: &str) -> Result<u64, String> {
    let label = [("reason", reason)];
    let labels = if reason.is_empty() {
        &[][..]
    } else {
        &label[..]
    };
    node.metric("shardcache_gossip_rejected_total", labels)
        .await
}

struct Junk {
    rng: StdRng,
    real: Vec<Vec<u8>>,
}

impl Junk {
    /// In turn: noise; noise in a good envelope; a real datagram with some bytes changed; one cut short.
    fn datagram(&mut self, number: usize) -> Vec<u8> {
        let chosen = self.below(self.real.len());
        let real = self.real[chosen].clone();
        match number % 4 {
            0 => self.noise(),
            1 => {
                let mut datagram = real[..ENVELOPE_BYTES].to_vec();
                datagram.extend(self.noise());
                datagram.truncate(DATAGRAM_BYTES_MAX);
                datagram
            }
            2 => {
                let mut datagram = real.clone();
                for _ in 0..1 + self.below(4) {
                    let at = self.below(datagram.len());
                    datagram[at] ^= 1 + self.below(255) as u8;
                }
                // Two changes of one byte may undo each other.
                if datagram == real {
                    datagram[0] ^= 1;
                }
                datagram
            }
            _ => {
                let length = self.below(real.len());
                real[..length].to_vec()
            }
        }
    }

    fn noise(&mut self) -> Vec<u8> {
        let mut noise = vec![0; 1 + self.below(DATAGRAM_BYTES_MAX)];
        self.rng.fill_bytes(&mut noise);
        noise
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.rng.next_u64() % bound as u64) as usize
    }
}
