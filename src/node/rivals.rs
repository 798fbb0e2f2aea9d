//! Other processes with this node's name or address.
//!
//! Before a node takes part, it asks its seeds whom they know by its name, and asks those; it starts only if none of them
//! answers by that name, so that the one that has it is not disturbed. One that cannot be asked (nobody knew it yet, or
//! it did not answer in time) is met later: then the one that outranks the other keeps the name, and the other ends. An
//! address belongs to whoever is reached there.
//!
//! Only an answer of the other process counts, never what is said of it: a node that restarted finds its former life
//! everywhere, and nobody who answers for it.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use shard_cache_membership::{
    identity::{BootId, NodeId, NodeIdentity},
    inquiry::{self, Inquired},
    resolver::Resolver,
};
use thiserror::Error;
use tokio::sync::watch;

use crate::{
    clock::{BoxFuture, Clock},
    transport::{
        PeerTransport, PushPull,
        dial::Dialer,
        inquiry::{Terms, push_pull},
    },
};

/// How long resolving a name or asking a node may take. One that is slower is taken for one that is not there.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Most seeds, and most addresses of a seed, that are asked before the node starts.
const SEEDS_MAX: usize = 8;
/// Most nodes that are asked whether they have the name.
const HOLDERS_MAX: usize = 8;
/// After so long a rival is asked again: only one that answers twice is believed.
const CONFIRM_AFTER: Duration = Duration::from_millis(500);

/// Another process has this node's name or its address, and answers.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Rival {
    /// The name.
    #[error(
        "the node name {name:?} is taken: the node at {address} answers by it (boot id {boot_id}); \
         give this node a node.name of its own, or stop the other one"
    )]
    Name {
        /// The name.
        name: String,
        /// Where the other one answers.
        address: SocketAddr,
        /// The life of its memory.
        boot_id: BootId,
    },
    /// The address.
    #[error(
        "the address {address} that the node {name:?} tells others is taken: another node answers there (node id \
         {node_id}, boot id {boot_id}); set server.advertise to an address that leads to this node"
    )]
    Address {
        /// Our name.
        name: String,
        /// The address.
        address: SocketAddr,
        /// Who answers there.
        node_id: NodeId,
        /// The life of its memory.
        boot_id: BootId,
    },
}

/// What is claimed: a name, and an address.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) name: String,
    /// Peer links, as others are told.
    pub(super) address: SocketAddr,
    pub(super) cluster_id: String,
}

impl Claim {
    /// What it means that `by` answers at the address that was asked; `own` is our boot id, once we answer ourselves.
    fn judge(&self, asked: SocketAddr, by: &NodeIdentity, own: Option<BootId>) -> Option<Rival> {
        if own == Some(by.boot_id) {
            return None;
        }
        if asked == self.address {
            return Some(Rival::Address {
                name: self.name.clone(),
                address: asked,
                node_id: by.node_id,
                boot_id: by.boot_id,
            });
        }
        let has_our_name = by.node_id == NodeId::of_name(&self.name);
        has_our_name.then(|| Rival::Name {
            name: self.name.clone(),
            address: asked,
            boot_id: by.boot_id,
        })
    }
}

/// Looks for rivals before the node starts.
pub(super) struct Search<'a> {
    pub(super) claim: &'a Claim,
    pub(super) terms: Terms,
    pub(super) seeds: &'a [String],
    /// Whether what is sent to the address that others are told surely arrives at this process.
    pub(super) address_is_ours: bool,
    pub(super) clock: &'a dyn Clock,
    pub(super) dialer: &'a dyn Dialer,
    pub(super) resolver: &'a dyn Resolver,
}

impl Search<'_> {
    /// Asks whoever may have the name or the address. Takes three times [`ANSWER_TIMEOUT`] at most. Dropping the future
    /// leaves nothing behind.
    ///
    /// # Errors
    /// The rival that answered.
    pub(super) async fn run(&self) -> Result<(), Rival> {
        let mut suspects: BTreeSet<SocketAddr> = BTreeSet::new();
        let node_id = NodeId::of_name(&self.claim.name);
        let seeds = self.seed_addresses().await;
        let answers = join_all(seeds.into_iter().map(|seed| self.ask(seed))).await;
        for (_, answer) in answers.iter().flatten() {
            suspects.extend(answer.named(node_id).map(NodeIdentity::peer_addr));
        }
        if self.address_is_ours {
            suspects.remove(&self.claim.address);
        } else {
            suspects.insert(self.claim.address);
        }
        let suspects = suspects.into_iter().take(HOLDERS_MAX);
        let answers = join_all(suspects.map(|suspect| self.ask(suspect))).await;
        let rival = answers
            .iter()
            .flatten()
            .find_map(|(asked, answer)| self.claim.judge(*asked, &answer.by, None));
        rival.map_or(Ok(()), Err)
    }

    async fn seed_addresses(&self) -> BTreeSet<SocketAddr> {
        let seeds = self.seeds.iter().take(SEEDS_MAX);
        let found = join_all(seeds.map(|seed| self.resolve(seed))).await;
        let mut addresses: BTreeSet<_> = found.into_iter().flatten().collect();
        addresses.remove(&self.claim.address);
        addresses
    }

    async fn resolve(&self, seed: &str) -> Vec<SocketAddr> {
        if let Ok(address) = seed.parse() {
            return vec![address];
        }
        let resolving = async { self.resolver.resolve(seed).await.ok() };
        let mut found = in_time(self.clock, resolving).await.unwrap_or_default();
        found.truncate(SEEDS_MAX);
        found
    }

    async fn ask(&self, address: SocketAddr) -> Option<(SocketAddr, Inquired)> {
        let cluster_id = &self.claim.cluster_id;
        let asking = async {
            let question = Bytes::from(inquiry::question(cluster_id));
            push_pull(self.dialer, &self.terms, address, question)
                .await
                .ok()
        };
        let state = in_time(self.clock, asking).await?;
        let answer = inquiry::answer(cluster_id, &state.members).ok()?;
        Some((address, answer))
    }
}

/// Looks out for rivals while the node runs.
pub(super) struct RivalWatch {
    pub(super) claim: Claim,
    pub(super) suspicions: watch::Receiver<Option<SocketAddr>>,
    pub(super) transport: Arc<dyn PeerTransport>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) boot: Arc<AtomicU64>,
    pub(super) found: watch::Sender<Option<Rival>>,
}

impl RivalWatch {
    /// Ends when a rival has been found before which this node has to give way, or when membership has stopped.
    pub(super) async fn run(mut self) {
        while self.suspicions.changed().await.is_ok() {
            let suspicion = *self.suspicions.borrow_and_update();
            let Some(address) = suspicion else { continue };
            let Some(rival) = self.rival_at(address).await else {
                continue;
            };
            self.clock.sleep(CONFIRM_AFTER).await;
            if self.rival_at(address).await.as_ref() == Some(&rival) {
                tracing::error!(%rival, "this node has to give way");
                self.found.send_replace(Some(rival));
                return;
            }
        }
    }

    async fn rival_at(&self, address: SocketAddr) -> Option<Rival> {
        let offer = PushPull {
            members: inquiry::question(&self.claim.cluster_id).into(),
            ring: Bytes::new(),
            orders: Bytes::new(),
        };
        let asking = async { self.transport.push_pull(address, offer).await.ok() };
        let state = in_time(&*self.clock, asking).await?;
        let answer = inquiry::answer(&self.claim.cluster_id, &state.members).ok()?;
        let own = BootId(self.boot.load(Ordering::Acquire));
        self.claim.judge(address, &answer.by, Some(own))
    }
}

/// What comes within [`ANSWER_TIMEOUT`].
async fn in_time<T>(clock: &dyn Clock, answer: impl Future<Output = Option<T>>) -> Option<T> {
    let timeout: BoxFuture<()> = clock.sleep(ANSWER_TIMEOUT);
    tokio::select! {
        biased;
        answer = answer => answer,
        () = timeout => None,
    }
}

#[cfg(test)]
mod tests;
