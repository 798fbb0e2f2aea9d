//! Several nodes, and what it means that they agree.

use std::{
    collections::BTreeSet,
    ops::{Index, IndexMut},
    time::Duration,
};

use shard_cache_client::Client;

use super::{Launch, NodeProcess, PATIENCE, Room, until};

/// How a cluster is started.
#[derive(Clone, Default)]
pub(crate) struct Options {
    settings: Vec<(String, String)>,
}

impl Options {
    /// Sets a field of every node's configuration.
    pub(crate) fn setting(mut self, path: &str, value: impl ToString) -> Self {
        self.settings.push((path.to_owned(), value.to_string()));
        self
    }
}

/// Nodes `n1`, `n2` and so on; `n1` is the seed of the others.
pub(crate) struct Cluster {
    nodes: Vec<NodeProcess>,
    // Dropped last: the next test starts when the processes of this one are gone.
    _room: Room,
}

impl Cluster {
    /// Starts `count` nodes and waits until all agree.
    pub(crate) async fn start(count: usize, options: Options, room: Room) -> Self {
        let mut nodes: Vec<NodeProcess> = Vec::with_capacity(count);
        for number in 1..=count {
            let mut launch = Launch::new(&format!("n{number}"), count.min(2));
            if count == 1 {
                launch = launch.setting("cluster.bootstrap_wait", "100ms");
            }
            if let Some(first) = nodes.first() {
                launch = launch.seed(first.addresses().peer);
            }
            launch.settings.extend(options.settings.iter().cloned());
            nodes.push(launch.start().await);
        }
        let cluster = Self::of(nodes, room);
        cluster.wait_until_ready().await;
        cluster
    }

    /// A cluster of nodes that were started otherwise.
    pub(crate) const fn of(nodes: Vec<NodeProcess>, room: Room) -> Self {
        Self { nodes, _room: room }
    }

    pub(crate) fn nodes(&self) -> &[NodeProcess] {
        &self.nodes
    }

    /// Waits until every node sees every node alive and in the ring, is ready, and has the same ring as the others.
    pub(crate) async fn wait_until_ready(&self) {
        self.wait_until_ready_within(PATIENCE).await;
    }

    pub(crate) async fn wait_until_ready_within(&self, deadline: Duration) {
        until("all nodes agree", deadline, async || self.agree().await).await;
    }

    /// Waits until every node says that it may be lost without the loss of anything acknowledged.
    pub(crate) async fn wait_until_safe(&self) {
        until("all nodes are safe to stop", PATIENCE, async || {
            self.agree().await?;
            for node in &self.nodes {
                let client = node.client().await;
                let answer = client.safe_to_stop().await;
                let answer = answer.map_err(|error| error.to_string())?;
                if !answer.safe {
                    return Err(format!("{}: {:?}", answer.node, answer.reasons));
                }
            }
            Ok(())
        })
        .await;
    }

    async fn agree(&self) -> Result<(), String> {
        let names: BTreeSet<&str> = self.nodes.iter().map(NodeProcess::name).collect();
        let mut rings = BTreeSet::new();
        for node in &self.nodes {
            let health = node.health().await?;
            let alive = health["members_alive"].as_u64();
            if health["status"] != "ok" || alive != u64::try_from(names.len()).ok() {
                return Err(format!("{}: {health}", node.name()));
            }
            rings.insert(health["ring_hash"].to_string());
            let members = node.members().await?;
            let whole: BTreeSet<&str> = members
                .iter()
                .filter(|member| member.liveness == "alive" && member.in_ring)
                .map(|member| member.name.as_str())
                .collect();
            if whole != names {
                return Err(format!("{} sees {members:?}", node.name()));
            }
        }
        if rings.len() == 1 {
            Ok(())
        } else {
            Err(format!("rings differ: {rings:?}"))
        }
    }

    /// Waits until each of `observers` sees the node of this name down.
    pub(crate) async fn wait_until_down(&self, observers: &[usize], name: &str) {
        until(&format!("{name} is seen down"), PATIENCE, async || {
            for &observer in observers {
                let node = &self.nodes[observer];
                let members = node.members().await?;
                if !members
                    .iter()
                    .any(|member| member.name == name && member.liveness == "down")
                {
                    return Err(format!("{} sees {members:?}", node.name()));
                }
            }
            Ok(())
        })
        .await;
    }

    /// Waits until none of these nodes owes a hint to anybody.
    pub(crate) async fn wait_until_nothing_is_owed(&self, nodes: &[usize]) {
        until("all hints are delivered", PATIENCE, async || {
            for &node in nodes {
                let node = &self.nodes[node];
                let pending = node.metric("shardcache_hints_pending", &[]).await?;
                if pending > 0 {
                    return Err(format!("{} owes {pending}", node.name()));
                }
            }
            Ok(())
        })
        .await;
    }

    /// The sum of a metric over some nodes.
    pub(crate) async fn sum(&self, nodes: &[usize], name: &str, labels: &[(&str, &str)]) -> u64 {
        let mut sum = 0;
        for &node in nodes {
            sum += self.nodes[node].figure(name, labels).await;
        }
        sum
    }

    /// A client of one node with a deadline of 2 s.
    pub(crate) async fn client(&self, node: usize) -> Client {
        self.nodes[node].client().await
    }

    /// A client for each node with a deadline of 2 s.
    pub(crate) async fn clients(&self) -> Vec<Client> {
        let mut clients = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            clients.push(node.client().await);
        }
        clients
    }
}

impl Index<usize> for Cluster {
    type Output = NodeProcess;

    fn index(&self, node: usize) -> &NodeProcess {
        &self.nodes[node]
    }
}

impl IndexMut<usize> for Cluster {
    fn index_mut(&mut self, node: usize) -> &mut NodeProcess {
        &mut self.nodes[node]
    }
}
