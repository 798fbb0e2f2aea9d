//! Nodes as processes of this machine, without containers: started, ended and looked at.
//!
//! - [`process`]: one node: started, killed, ended in order, paused, started again with what it had but its memory.
//! - [`network`]: where nodes listen: on loopback addresses of their own, or in network namespaces that can be cut.
//! - [`http`]: as much of HTTP/1.1 as a look at `/health` and `/metrics` needs.
//! - [`look`]: what a node says of itself, and whether all of them are at rest.

pub(crate) mod http;
pub(crate) mod look;
pub(crate) mod network;
pub(crate) mod process;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use shard_cache_client::{Client, ClientOptions};
use tokio::time::{Instant, sleep};

use self::{
    look::Look,
    network::Network,
    process::{Launch, NodeProcess},
};

/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(50);
/// How often in a row nodes must be at rest: news of a change may be on their way.
const AGREEMENTS: u32 = 3;

/// What a cluster is started from.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    /// The node's program.
    pub(crate) binary: PathBuf,
    /// How many nodes there will be at most; all are the seeds of all.
    pub(crate) nodes: usize,
    /// How many of them form the first ring.
    pub(crate) first: usize,
    /// Dotted paths of the configuration and their values.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// Where logs go.
    pub(crate) logs: PathBuf,
}

/// How long nodes took to agree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agreement {
    /// Until all saw all alive.
    pub(crate) members: Duration,
    /// Until they also went by one ring.
    pub(crate) ring: Duration,
}

/// Nodes `n1`, `n2` and so on, which know their addresses before they are started. Dropping them kills them.
#[derive(Debug)]
pub(crate) struct Nodes {
    list: Vec<NodeProcess>,
    network: Network,
}

impl Nodes {
    /// Takes places for the nodes; starts none.
    ///
    /// # Errors
    /// No port is free.
    pub(crate) fn new(planned: &Planned, network: Network) -> anyhow::Result<Self> {
        let places: anyhow::Result<Vec<_>> =
            (0..planned.nodes).map(|node| network.place(node)).collect();
        let places = places?;
        let seeds: Vec<String> = places.iter().map(|place| place.peer.to_string()).collect();
        let launch = |(node, place)| Launch {
            binary: planned.binary.clone(),
            name: name(node),
            place,
            seeds: seeds.clone(),
            min_members: planned.first,
            settings: planned.settings.clone(),
            log: planned.logs.join(format!("{}.log", name(node))),
        };
        let launches = places.into_iter().enumerate().map(launch);
        Ok(Self {
            list: launches.map(NodeProcess::new).collect(),
            network,
        })
    }

    /// One node.
    #[must_use]
    pub(crate) fn node(&self, place: usize) -> &NodeProcess {
        &self.list[place]
    }

    /// One node, to be started or ended.
    pub(crate) fn node_mut(&mut self, place: usize) -> &mut NodeProcess {
        &mut self.list[place]
    }

    /// The network that the nodes are in.
    #[must_use]
    pub(crate) const fn network(&self) -> &Network {
        &self.network
    }

    /// Client addresses, of nodes that are not started, too.
    #[must_use]
    pub(crate) fn addresses(&self) -> Vec<String> {
        let nodes = self.list.iter();
        nodes.map(|node| node.place().grpc.to_string()).collect()
    }

    /// Places of the nodes whose process was started and not ended.
    #[must_use]
    pub(crate) fn running(&self) -> Vec<usize> {
        let places = 0..self.list.len();
        places
            .filter(|node| self.list[*node].is_started())
            .collect()
    }

    /// Starts the first nodes and waits until they are at rest.
    ///
    /// # Errors
    /// One does not start, or they do not come to rest within the time.
    pub(crate) async fn start(&mut self, first: usize, longest: Duration) -> anyhow::Result<()> {
        for node in &mut self.list[..first] {
            node.spawn()?;
        }
        for node in &mut self.list[..first] {
            node.answers().await?;
        }
        self.at_rest(longest).await.map(drop)
    }

    /// Looks at every running node once, at all beside each other.
    ///
    /// # Errors
    /// The first node that cannot be looked at.
    pub(crate) async fn looks(&self) -> Result<Vec<Look>, String> {
        let running = self.running();
        look::looks(running.iter().map(|place| self.list[*place].place().http)).await
    }

    /// Waits until every running node is well, agrees with the others, has no slot that moves and owes nothing; and
    /// returns since when that is so.
    ///
    /// # Errors
    /// What was still missing when the time was over.
    pub(crate) async fn at_rest(&self, longest: Duration) -> anyhow::Result<Instant> {
        let mut agreements = 0;
        let mut since = Instant::now();
        until("the nodes do not come to rest", longest, async || {
            let looks = self.looks().await;
            let rest = looks.and_then(|looks| look::all_at_rest(&looks, self.running().len()));
            agreements = if rest.is_ok() { agreements + 1 } else { 0 };
            rest?;
            if agreements == 1 {
                since = Instant::now();
            }
            if agreements < AGREEMENTS {
                return Err("they have only just come to rest".to_owned());
            }
            Ok(())
        })
        .await?;
        Ok(since)
    }

    /// Waits until all running nodes see each other and go by one ring, and returns how long each took from then on.
    ///
    /// # Errors
    /// They do not within the time.
    pub(crate) async fn agreement(
        &self,
        from: Instant,
        longest: Duration,
    ) -> anyhow::Result<Agreement> {
        let nodes = self.running().len();
        let (mut members, mut ring) = (None, None);
        loop {
            if let Ok(looks) = self.looks().await {
                let first = looks.first().map(|look| look.health.ring_hash.clone());
                let sees_all = |look: &Look| look.health.members_alive == nodes;
                let has_ring = |look: &Look| Some(&look.health.ring_hash) == first.as_ref();
                // Not for good yet where it changes again.
                let note = |noted: Option<Duration>, holds| {
                    let now = from.elapsed();
                    if holds { noted.or(Some(now)) } else { None }
                };
                members = note(members, looks.iter().all(sees_all));
                ring = note(ring, members.is_some() && looks.iter().all(has_ring));
            }
            if let (Some(members), Some(ring)) = (members, ring) {
                return Ok(Agreement { members, ring });
            }
            anyhow::ensure!(
                from.elapsed() < longest,
                "the nodes do not agree within {longest:?}"
            );
            sleep(POLL).await;
        }
    }

    /// Waits until a node says that it may be stopped without a loss.
    ///
    /// # Errors
    /// Why it may not, when the time is over.
    pub(crate) async fn safe_to_stop(&self, place: usize, longest: Duration) -> anyhow::Result<()> {
        let node = &self.list[place];
        let address = node.place().grpc.to_string();
        let client = Client::connect(&address, ClientOptions::default()).await?;
        let what = format!("{} is not safe to stop", node.name());
        until(&what, longest, async || {
            let answer = client.safe_to_stop().await;
            match answer.map_err(|error| error.to_string())? {
                answer if answer.safe => Ok(()),
                answer => Err(answer.reasons.join("; ")),
            }
        })
        .await
    }

    /// Waits until a node says that clients should be sent to it.
    ///
    /// # Errors
    /// Its process ended, or it did not say so within the time.
    pub(crate) async fn ready(&mut self, place: usize, longest: Duration) -> anyhow::Result<()> {
        let address = self.list[place].place().http;
        let until_ready = until(
            "a node does not become ready",
            longest,
            async || match http::get(address, "/readyz").await? {
                answer if answer.status == 200 => Ok(()),
                answer => Err(format!("/readyz says {}", answer.status)),
            },
        );
        until_ready.await?;
        self.list[place].still_runs()
    }

    /// Kills what runs and removes the network.
    pub(crate) async fn remove(mut self) {
        for node in &mut self.list {
            if node.is_started() {
                node.kill9().await.ok();
            }
        }
        self.network.remove();
    }

    /// Says whether every process that should run does.
    ///
    /// # Errors
    /// The first that ended by itself, with the end of its log.
    pub(crate) fn all_run(&mut self) -> anyhow::Result<()> {
        let started = self.list.iter_mut().filter(|node| node.is_started());
        for node in started {
            node.still_runs()?;
        }
        Ok(())
    }
}

/// The name of the node at a place.
#[must_use]
pub(crate) fn name(place: usize) -> String {
    format!("n{}", place + 1)
}

/// Waits until an attempt succeeds, and returns what it found.
///
/// # Errors
/// The last reason why it did not, when the time is over.
pub(crate) async fn until<T>(
    what: &str,
    longest: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T, String>,
) -> anyhow::Result<T> {
    let end = Instant::now() + longest;
    loop {
        match attempt().await {
            Ok(found) => return Ok(found),
            Err(reason) if Instant::now() >= end => {
                anyhow::bail!("{what} within {longest:?}: {reason}")
            }
            Err(_) => sleep(POLL).await,
        }
    }
}

/// A new directory for the logs of this process's nodes.
///
/// # Errors
/// It cannot be made.
pub(crate) fn log_directory(under: Option<&Path>, run: &str) -> anyhow::Result<PathBuf> {
    let own = format!("shard-cache-chaos-{}", std::process::id());
    let parent = under.map_or_else(|| std::env::temp_dir().join(own), Path::to_path_buf);
    let directory = parent.join(run);
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory)
}
