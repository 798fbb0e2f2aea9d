//! One name, one address, one process: who comes late is refused, who comes back is taken in, wherever it is.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use shard_cache::node::{Drained, Node, Rival, Seams, StartError};
use shard_cache_client::{CallOptions, Ttl};
use shard_cache_membership::resolver::{Resolution, Resolver};

use crate::harness::{
    Cluster, Launch, NodeProcess, Options, PATIENCE, Room, holds, http, inside, until,
};

/// So that a dead node is replaced soon.
const GRACE: (&str, &str) = ("cluster.ring_down_grace", "1s");

/// Longest time between two exchanges of the full state: gossip does not reach who is not at its address.
const NEXT_EXCHANGE: Duration = Duration::from_secs(30);

/// Longer than a node waits before it asks for a rival again.
const SUSPICIONS: Duration = Duration::from_secs(7);

/// Many rounds of gossip.
const WHILE: Duration = Duration::from_secs(2);

/// What each node knows of the members, and which ring it has after how many changes.
async fn standing(cluster: &Cluster) -> Result<Vec<Standing>, String> {
    let mut found = Vec::new();
    for node in cluster.nodes() {
        let health = node.health().await?;
        let changes = node.metric("shardcache_ring_changes_total", &[]).await?;
        let members = node.members().await?.into_iter();
        let members = members.map(|it| {
            // On a slow machine anybody may be suspected for a moment.
            let is_present = it.liveness != "down";
            (it.name, it.boot_id, it.peer_address, is_present)
        });
        found.push((health["ring_hash"].to_string(), changes, members.collect()));
    }
    Ok(found)
}

/// A ring's hash, the number of rings so far, and of each member name, life, address and whether it is present.
type Standing = (String, u64, BTreeSet<(String, u64, String, bool)>);

/// Looks for a while: what is gossiped takes its time.
async fn assert_nobody_notices(cluster: &Cluster, before: &[Standing]) {
    holds("nobody notices", WHILE, async || {
        let now = standing(cluster).await?;
        if now == before {
            Ok(())
        } else {
            Err(format!("{now:?} is not {before:?}"))
        }
    })
    .await;
}

/// Waits until each of these nodes sees the member at this address, alive and in the ring, and `count` in all.
async fn wait_until_member(nodes: &[&NodeProcess], name: &str, at: SocketAddr, count: usize) {
    let address = at.to_string();
    until(&format!("{name} is a member"), PATIENCE, async || {
        let mut rings = BTreeSet::new();
        for node in nodes {
            let members = node.members().await?;
            let health = node.health().await?;
            let alive = members.iter().filter(|member| member.liveness == "alive");
            let is_in = members.iter().any(|member| {
                (&member.name[..], &member.peer_address) == (name, &address)
                    && member.liveness == "alive"
                    && member.in_ring
            });
            if !is_in || alive.count() != count {
                return Err(format!("{} sees {members:?}", node.name()));
            }
            rings.insert(health["ring_hash"].to_string());
        }
        if rings.len() == 1 {
            Ok(())
        } else {
            Err(format!("rings differ: {rings:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn a_newcomer_with_a_taken_name_is_refused_and_nobody_notices() {
    let cluster = Cluster::start(3, Options::default(), Room::shared().await).await;
    let before = standing(&cluster).await.expect("all answer");
    // It does not know the holder; its seed does.
    let newcomer = Launch::new("n2", 2).seed(cluster[0].addresses().peer);
    let (status, said) = newcomer.refused().await;
    assert_eq!(status.code(), Some(1), "{said}");
    let holder = cluster[1].addresses().peer.to_string();
    for part in ["\"n2\"", holder.as_str(), "node.name"] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
    assert_nobody_notices(&cluster, &before).await;
}

#[tokio::test]
async fn a_newcomer_that_advertises_anothers_address_is_refused_and_nobody_notices() {
    let cluster = Cluster::start(3, Options::default(), Room::shared().await).await;
    let before = standing(&cluster).await.expect("all answer");
    let taken = cluster[1].addresses().peer;
    let newcomer = Launch::new("n4", 2)
        .seed(cluster[0].addresses().peer)
        .setting("server.advertise", taken);
    let (status, said) = newcomer.refused().await;
    assert_eq!(status.code(), Some(1), "{said}");
    for part in ["\"n4\"", taken.to_string().as_str(), "server.advertise"] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
    assert_nobody_notices(&cluster, &before).await;
}

#[tokio::test]
async fn a_node_that_died_comes_back_at_another_address() {
    let mut cluster = Cluster::start(3, Options::default(), Room::shared().await).await;
    cluster[1].kill9();
    // At once: the others still believe that it is there.
    let back = Launch::new("n2", 2)
        .seed(cluster[0].addresses().peer)
        .start()
        .await;
    let at = back.addresses().peer;
    assert_ne!(at, cluster[1].addresses().peer);
    wait_until_member(&[&cluster[0], &cluster[2], &back], "n2", at, 3).await;
}

#[tokio::test]
async fn a_node_that_was_replaced_while_it_stood_still_ends_and_its_successor_stays() {
    let mut cluster = Cluster::start(3, Options::default(), Room::shared().await).await;
    cluster[1].freeze();
    let successor = Launch::new("n2", 2)
        .seed(cluster[0].addresses().peer)
        .start()
        .await;
    let at = successor.addresses().peer;
    wait_until_member(&[&cluster[0], &cluster[2], &successor], "n2", at, 3).await;
    cluster[1].thaw();
    let status = cluster[1].ended(PATIENCE).await;
    let log = cluster[1].log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains(&at.to_string()), "{log}");
    wait_until_member(&[&cluster[0], &cluster[2], &successor], "n2", at, 3).await;
    let client = successor.client().await;
    let set = client
        .set("k", "v".into(), Ttl::Default, &CallOptions::default())
        .await;
    assert!(set.expect("the cluster serves").stored >= 2);
}

/// Nobody answers for the address when the newcomer asks. It is where the other one is reached all the same.
#[tokio::test]
async fn who_is_not_reached_at_the_address_that_it_advertises_has_to_end() {
    let cluster = Cluster::start(3, Options::default(), Room::shared().await).await;
    let taken = cluster[1].addresses().peer;
    cluster[1].freeze();
    let mut newcomer = Launch::new("n4", 2)
        .seed(cluster[0].addresses().peer)
        .setting("server.advertise", taken)
        .start()
        .await;
    cluster[1].thaw();
    let status = newcomer.ended(NEXT_EXCHANGE + PATIENCE).await;
    let log = newcomer.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("server.advertise"), "{log}");
    let all = [&cluster[0], &cluster[1], &cluster[2]];
    wait_until_member(&all, "n2", taken, 3).await;
}

#[tokio::test]
async fn of_two_that_start_at_once_by_one_name_exactly_one_has_to_end() {
    let _room = Room::shared().await;
    let seed = Launch::new("n1", 2).start().await;
    let seeds = seed.addresses().peer.to_string();
    let settings = [
        ("cluster.seeds", seeds.as_str()),
        ("cluster.min_members", "2"),
        ("node.name", "n2"),
    ];
    let twin = || Node::start(inside::configuration(&settings), Seams::system());
    let (one, other) = match tokio::join!(twin(), twin()) {
        (Ok(one), Ok(other)) => (one, other),
        // One was so fast that the other found it.
        (Ok(_), Err(StartError::Rival(_))) | (Err(StartError::Rival(_)), Ok(_)) => return,
        (one, other) => panic!("{:?}; {:?}", one.err(), other.err()),
    };
    let ends = async {
        tokio::select! {
            biased;
            rival = one.superseded() => (&one, &other, rival),
            rival = other.superseded() => (&other, &one, rival),
        }
    };
    let ended = tokio::time::timeout(PATIENCE, ends).await;
    let (ended, stays, rival) = ended.expect("one of them hears of the other");
    let is_expected =
        matches!(&rival, Rival::Name { address, .. } if *address == stays.addresses().peer);
    assert!(is_expected, "{rival}");
    assert_ne!(ended.addresses().peer, stays.addresses().peer);
    let both = tokio::time::timeout(SUSPICIONS, stays.superseded()).await;
    assert!(both.is_err(), "the other one has to end, too: {both:?}");
}

/// A cluster survives the loss of its seed: others join through any member, and who restarts at its old address is
/// found by those that knew it.
#[tokio::test]
async fn the_seed_is_gone_for_good_and_nodes_still_join_and_come_back() {
    let options = Options::default().setting(GRACE.0, GRACE.1);
    let mut cluster = Cluster::start(3, options, Room::shared().await).await;
    cluster[0].kill9();
    cluster.wait_until_down(&[1, 2], "n1").await;
    let joined = Launch::new("n4", 2)
        .setting(GRACE.0, GRACE.1)
        .seed(cluster[0].addresses().peer)
        .seed(cluster[1].addresses().peer)
        .start()
        .await;
    let at = joined.addresses().peer;
    wait_until_member(&[&cluster[1], &cluster[2], &joined], "n4", at, 3).await;

    // Two of three copies must not be lost at once.
    let all = [&cluster[1], &cluster[2], &joined];
    until("n1 is replaced", PATIENCE, async || replaced(&all).await).await;
    // The only seed that it is configured with is the dead one.
    cluster[2].kill9();
    cluster[2].restart().await;
    let at = cluster[2].addresses().peer;
    wait_until_member(&[&cluster[1], &cluster[2], &joined], "n3", at, 3).await;
    let client = cluster[2].client().await;
    let set = client
        .set("k", "v".into(), Ttl::Default, &CallOptions::default())
        .await;
    assert!(set.expect("the cluster serves").stored >= 2);
}

/// Whether the ring has these nodes alone, and nothing is left to be taken over.
async fn replaced(nodes: &[&NodeProcess]) -> Result<(), String> {
    for node in nodes {
        let members = node.members().await?;
        let in_ring = members.iter().filter(|member| member.in_ring).count();
        let unsettled = node.metric("shardcache_slots_unsettled", &[]).await?;
        if in_ring != nodes.len() || unsettled > 0 {
            return Err(format!(
                "{}: {unsettled} unsettled, {members:?}",
                node.name()
            ));
        }
    }
    Ok(())
}

/// The seed's name leads somewhere else after the seed has moved. Nothing else tells the two of each other.
#[tokio::test]
async fn a_seed_that_moved_is_found_by_its_name() {
    const NAME: &str = "seed.shard-cache.test:7946";
    let _room = Room::shared().await;
    let mut seed = Launch::new("n1", 2).start().await;
    let names = Arc::new(Moving(Mutex::new(seed.addresses().peer)));
    let seams = Seams {
        resolver: Arc::clone(&names) as Arc<dyn Resolver>,
        ..Seams::system()
    };
    let settings = [
        ("cluster.seeds", NAME),
        ("cluster.min_members", "2"),
        ("node.name", "n2"),
    ];
    let node = Node::start(inside::configuration(&settings), seams)
        .await
        .expect("the node starts");
    let at = node.addresses().http;
    let agree = async |seed: &NodeProcess| {
        until("both agree", PATIENCE, async || {
            let (own, other) = (http::get(at, "/health").await?.json(), seed.health().await?);
            let are_whole = [&own, &other]
                .iter()
                .all(|health| health["status"] == "ok" && health["members_alive"] == 2);
            if are_whole && own["ring_hash"] == other["ring_hash"] {
                Ok(())
            } else {
                Err(format!("{own}; {other}"))
            }
        })
        .await;
    };
    agree(&seed).await;
    seed.kill9();
    let moved = Launch::new("n1", 2).start().await;
    assert_ne!(moved.addresses().peer, seed.addresses().peer);
    *names.0.lock().expect("no holder panics") = moved.addresses().peer;
    agree(&moved).await;
    assert_eq!(node.drain().await, Drained::Clean);
}

/// A name whose address changes.
struct Moving(Mutex<SocketAddr>);

impl Resolver for Moving {
    fn resolve<'a>(&'a self, _name: &'a str) -> Resolution<'a> {
        let address = *self.0.lock().expect("no holder panics");
        Box::pin(std::future::ready(Ok(vec![address])))
    }
}
