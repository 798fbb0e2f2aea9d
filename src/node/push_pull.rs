//! Push-pull: two nodes exchange all they know of the members, the ring, and what operators have ordered.

use std::{net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use bytes::Bytes;
use shard_cache_membership::handle::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use super::keeper::Standing;
use crate::{
    api::ForgetRefusal,
    ring::{RingMember, orders::Orders, roster::RosterState},
    transport::{CallError, PeerTransport, PushPull},
    workers::Workers,
};

/// Push-pulls under way at most; further targets are skipped, and come up again.
const PUSH_PULLS_MAX: usize = 8;
/// Adopted states, and news of orders, that wait at most.
const WAITING_MAX: usize = 16;

/// News about orders, for the keeper.
#[derive(Debug)]
pub(super) enum OrderNews {
    /// Another node has heard of these.
    Heard(Orders),
    /// An operator declares this life of a member gone for good.
    Forget {
        member: RingMember,
        name: String,
        done: oneshot::Sender<Result<(), ForgetRefusal>>,
    },
    /// An operator accepts that slots are lost.
    AcceptLosses { done: oneshot::Sender<()> },
}

/// What is offered to others, as it is now. Clones are equal.
#[derive(Clone, Default)]
pub(super) struct Offer {
    /// The roster's state, encoded; empty before the first ring.
    pub(super) ring: Arc<ArcSwap<Bytes>>,
    /// All orders that this node has heard of.
    pub(super) orders: Arc<ArcSwap<Orders>>,
}

/// Where what others offer goes: to the keeper.
#[derive(Clone)]
pub(super) struct Intake {
    pub(super) membership: Handle,
    rings: mpsc::Sender<RosterState>,
    orders: mpsc::Sender<OrderNews>,
    offer: Offer,
}

/// What the keeper takes from it.
pub(super) struct Taken {
    pub(super) rings: mpsc::Receiver<RosterState>,
    pub(super) orders: mpsc::Receiver<OrderNews>,
}

impl Intake {
    pub(super) fn new(membership: Handle, offer: Offer) -> (Self, Taken) {
        let (rings, rings_taken) = mpsc::channel(WAITING_MAX);
        let (orders, orders_taken) = mpsc::channel(WAITING_MAX);
        let intake = Self {
            membership,
            rings,
            orders,
            offer,
        };
        let taken = Taken {
            rings: rings_taken,
            orders: orders_taken,
        };
        (intake, taken)
    }

    /// What this node offers.
    ///
    /// # Errors
    /// If membership has stopped.
    pub(super) async fn offered(&self) -> Result<PushPull, String> {
        let members = self.membership.export_state().await;
        Ok(PushPull {
            members: members.map_err(|error| error.to_string())?.into(),
            ring: Bytes::clone(&self.offer.ring.load()),
            orders: self.offer.orders.load().encode().into(),
        })
    }

    /// Takes a peer's member state, its ring if this node has none, and orders that are new.
    ///
    /// # Errors
    /// If something of it cannot be read, or membership has stopped.
    pub(super) async fn take(&self, state: &PushPull) -> Result<(), String> {
        let members = self.membership.merge_state(state.members.to_vec()).await;
        members.map_err(|error| error.to_string())?;
        if !state.ring.is_empty() {
            let ring = RosterState::decode(&state.ring).map_err(|error| error.to_string())?;
            // A full queue means that a ring is being adopted already.
            drop(self.rings.try_send(ring));
        }
        let orders = Orders::decode(&state.orders).map_err(|error| error.to_string())?;
        let mut known = Orders::clone(&self.offer.orders.load());
        if known.merge(&orders) {
            // With a full queue they come again with the next exchange.
            drop(self.orders.try_send(OrderNews::Heard(orders)));
        }
        Ok(())
    }

    /// Tells the keeper what an operator orders. Returns whether it still listens.
    pub(super) async fn order(&self, news: OrderNews) -> bool {
        self.orders.send(news).await.is_ok()
    }
}

/// Exchanges states with other nodes.
#[derive(Clone)]
pub(super) struct PushPulls {
    intake: Intake,
    transport: Arc<dyn PeerTransport>,
    workers: Arc<dyn Workers>,
    standing: watch::Sender<Standing>,
    places: Arc<tokio::sync::Semaphore>,
}

impl PushPulls {
    pub(super) fn new(
        intake: Intake,
        transport: Arc<dyn PeerTransport>,
        workers: Arc<dyn Workers>,
        standing: watch::Sender<Standing>,
    ) -> Self {
        Self {
            intake,
            transport,
            workers,
            standing,
            places: Arc::new(tokio::sync::Semaphore::new(PUSH_PULLS_MAX)),
        }
    }

    /// Starts an exchange with the node at `address`, if there is room for one more.
    pub(super) fn start(&self, address: SocketAddr) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return;
        };
        let (intake, transport) = (self.intake.clone(), Arc::clone(&self.transport));
        let standing = self.standing.clone();
        let task = async move {
            let _place = place;
            match exchange(address, &intake, &*transport).await {
                Ok(()) => standing.send_modify(|standing| standing.refusal = None),
                Err(CallError::Refused { reason }) => {
                    // Every exchange is refused until somebody does something about it.
                    if standing.borrow().refusal.as_ref() != Some(&reason) {
                        tracing::error!(%address, reason, "a peer refuses this node");
                    }
                    standing.send_modify(|standing| standing.refusal = Some(reason));
                }
                Err(error) => tracing::debug!(%address, %error, "no push-pull"),
            }
        };
        self.workers.spawn("push-pull", Box::pin(task));
    }
}

/// One exchange with the node at `address`.
///
/// # Errors
/// [`CallError`]; the peer may have taken over what was offered all the same.
pub(super) async fn exchange(
    address: SocketAddr,
    intake: &Intake,
    transport: &dyn PeerTransport,
) -> Result<(), CallError> {
    let malformed = |reason: String| CallError::Malformed { reason };
    let ours = intake.offered().await.map_err(malformed)?;
    let theirs = transport.push_pull(address, ours).await?;
    intake.take(&theirs).await.map_err(malformed)
}
