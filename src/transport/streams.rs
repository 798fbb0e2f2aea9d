//! The transport: one long-lived stream per peer, with many operations in flight.
//!
//! Each known peer has one task that connects, opens the stream, reads replies, and connects again when the stream
//! breaks, with a bounded back-off. The outgoing stream drains the link's queue whenever the connection is ready for
//! more, so that everything queued goes out in one message.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use dashmap::DashMap;
use foldhash::fast::FixedState;
use futures_core::Stream;
use futures_util::StreamExt as _;
use shard_cache_membership::identity::{BootId, NodeId};
use shard_cache_proto::peer;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::{
    clock::{BoxFuture, Clock, Monotonic},
    key::Slot,
    offsets::{PeerClocks, Sample},
    operation::Operation,
    replica::Replica,
    ring::table::Reply,
    store::Fingerprint,
    telemetry::{BreakerState, Complaints, Direction, Metrics, PeerRequests},
    transport::{
        CallError, Comparison, Completions, Delivery, NotSent, Outlook, Page, PageRequest,
        PeerTransport, PushPull, Reach, Receipt, SlotExchange,
        dial::{Connection, Dialer},
        link::{Drained, Link, LinkLimits, Queued, Severed, kind_of, outcome_of},
        slots, wire,
    },
    version::{HybridClock, Stamp},
    workers::Workers,
};

/// Largest message between peers, in bytes: a batch of 256 KiB, or one operation or reply with the largest value.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// First pause between two attempts to connect.
const RECONNECT_MIN: Duration = Duration::from_millis(20);
/// How often links are looked at for stalls.
const MONITOR_INTERVAL: Duration = Duration::from_millis(25);
/// A peer in another life than expected is told of once in this time, until the view shows that life.
const REBORN_INTERVAL: Duration = Duration::from_millis(100);
/// How long a unary call to a peer may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings of the transport.
#[derive(Clone, Debug)]
pub struct StreamTransportConfig {
    /// The node's own id: operations for it go to its replica.
    pub own: NodeId,
    /// The cluster's id, checked at push-pull.
    pub cluster_id: String,
    /// Settings that must be equal on all nodes, checked at push-pull.
    pub parameters: String,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long the oldest operation may be unanswered before the peer counts as stalled.
    pub stall_timeout: Duration,
    /// Most bytes queued for a peer.
    pub queue_bytes_max: usize,
    /// Longest pause between two attempts to connect.
    pub reconnect_max: Duration,
}

/// Where a peer is and which life of its memory is expected there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerTarget {
    /// Its peer port.
    pub address: SocketAddr,
    /// Its boot id as the view shows it.
    pub boot_id: BootId,
}

/// The transport over one stream per peer.
pub struct StreamTransport {
    shared: Arc<Shared>,
    /// Hashed alike in every run, so that simulated ones repeat.
    peers: DashMap<NodeId, Arc<PeerLink>, FixedState>,
}

/// The parts of a node that the transport works with.
pub struct Surroundings {
    /// The node's present boot id.
    pub boot: Arc<AtomicU64>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where link tasks run.
    pub workers: Arc<dyn Workers>,
    /// Connects to peers.
    pub dialer: Arc<dyn Dialer>,
    /// The hybrid clock that batches carry.
    pub hybrid: Arc<HybridClock>,
    /// What is known of the peers' wall clocks.
    pub clocks: Arc<PeerClocks>,
    /// Answers operations for the node itself.
    pub replica: Arc<Replica>,
    /// Where answers go.
    pub completions: Arc<dyn Completions>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Where a peer is told of that answers from another life than the view shows. Gossip alone tells of that only when the
    /// former life is found dead, and until then a node that restarted may know nobody.
    pub reborn: mpsc::Sender<SocketAddr>,
}

struct Shared {
    config: StreamTransportConfig,
    clock: Arc<dyn Clock>,
    workers: Arc<dyn Workers>,
    dialer: Arc<dyn Dialer>,
    hybrid: Arc<HybridClock>,
    clocks: Arc<PeerClocks>,
    replica: Arc<Replica>,
    completions: Arc<dyn Completions>,
    metrics: Arc<Metrics>,
    /// What the node asks of its own replica.
    own_requests: Arc<PeerRequests>,
    boot: Arc<AtomicU64>,
    reborn: mpsc::Sender<SocketAddr>,
    /// About peers whose answers cannot be followed: their links are closed, and opened again.
    complaints: Complaints,
}

struct PeerLink {
    node_id: NodeId,
    link: Link,
    target: PeerTarget,
    /// Cuts a reconnect pause short.
    hurry: Notify,
    closed: CancellationToken,
}

impl StreamTransport {
    /// A transport that knows no peers yet.
    #[must_use]
    pub fn new(config: StreamTransportConfig, surroundings: Surroundings) -> Self {
        let Surroundings {
            boot,
            clock,
            workers,
            dialer,
            hybrid,
            clocks,
            replica,
            completions,
            metrics,
            reborn,
        } = surroundings;
        let own_requests = metrics.peers.of(config.own);
        Self {
            shared: Arc::new(Shared {
                config,
                clock,
                workers,
                dialer,
                hybrid,
                clocks,
                replica,
                completions,
                metrics,
                own_requests,
                boot,
                reborn,
                complaints: Complaints::default(),
            }),
            peers: DashMap::with_hasher(FixedState::default()),
        }
    }

    /// Looks for stalled and for quiet links, for as long as the node runs.
    pub async fn monitor(self: Arc<Self>) {
        loop {
            self.shared.clock.sleep(MONITOR_INTERVAL).await;
            let now = self.shared.clock.monotonic();
            let peers: Vec<_> = self
                .peers
                .iter()
                .map(|peer| Arc::clone(peer.value()))
                .collect();
            for peer in peers {
                for token in peer.link.tick(now) {
                    self.shared.completions.stall(token);
                }
                peer.link.probe_if_quiet(now);
            }
        }
    }

    /// Tries again at once to reach a peer, because something suggests that it is there.
    pub fn hurry(&self, peer: NodeId) {
        if let Some(peer) = self.peer(peer) {
            peer.hurry.notify_one();
        }
    }

    fn peer(&self, node_id: NodeId) -> Option<Arc<PeerLink>> {
        self.peers
            .get(&node_id)
            .map(|peer| Arc::clone(peer.value()))
    }
}

impl PeerTransport for StreamTransport {
    fn retarget(&self, targets: &BTreeMap<NodeId, PeerTarget>) {
        self.peers.retain(|node_id, peer| {
            let kept = targets.get(node_id) == Some(&peer.target);
            if !kept {
                peer.closed.cancel();
            }
            kept
        });
        for (node_id, target) in targets {
            if *node_id == self.shared.config.own || self.peers.contains_key(node_id) {
                continue;
            }
            let peer = Arc::new(PeerLink {
                node_id: *node_id,
                link: Link::new(
                    LinkLimits {
                        queue_bytes_max: self.shared.config.queue_bytes_max,
                        stall_timeout: self.shared.config.stall_timeout,
                    },
                    self.shared.metrics.peers.of(*node_id),
                ),
                target: *target,
                hurry: Notify::new(),
                closed: CancellationToken::new(),
            });
            self.peers.insert(*node_id, Arc::clone(&peer));
            let shared = Arc::clone(&self.shared);
            self.shared
                .workers
                .spawn("peer link", Box::pin(shared.run_link(peer)));
        }
    }

    fn submit(&self, peer: NodeId, operation: Operation) -> Result<(), NotSent> {
        let shared = &self.shared;
        if peer == shared.config.own {
            let answer = shared.replica.handle(&operation, shared.clock.now());
            let ended = (kind_of(&operation), outcome_of(&answer));
            shared.own_requests.ended.get(ended).inc();
            shared.completions.complete(operation.token, answer);
            return Ok(());
        }
        let peer = self.peers.get(&peer).ok_or(NotSent::Disconnected)?;
        peer.link
            .submit(operation, shared.clock.monotonic())
            .inspect_err(|refusal| {
                if matches!(refusal, NotSent::QueueFull { .. }) {
                    shared.metrics.link_queue_full.inc();
                }
            })
    }

    fn reach(&self, peer: NodeId) -> Reach {
        if peer == self.shared.config.own {
            return Reach::Up;
        }
        self.peers
            .get(&peer)
            .map_or(Reach::Down, |peer| peer.link.reach())
    }

    fn outlook(&self, peer: NodeId) -> Outlook {
        let of = |reach| Outlook {
            reach,
            round_trip: Duration::ZERO,
            late_after: None,
        };
        if peer == self.shared.config.own {
            return of(Reach::Up);
        }
        let now = self.shared.clock.monotonic();
        self.peers
            .get(&peer)
            .map_or(of(Reach::Down), |peer| peer.link.outlook(now))
    }

    fn push_pull(
        &self,
        address: SocketAddr,
        offer: PushPull,
    ) -> BoxFuture<Result<PushPull, CallError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let request = peer::PushPullRequest {
                cluster_id: shared.config.cluster_id.clone(),
                parameters: shared.config.parameters.clone(),
                members: offer.members,
                ring: offer.ring,
                orders: offer.orders,
                clock: shared.hybrid.now(shared.clock.wall_millis()).raw(),
            };
            let response = shared
                .call(address, |connection| connection.push_pull(request))
                .await?;
            Ok(PushPull {
                members: response.members,
                ring: response.ring,
                orders: response.orders,
            })
        })
    }

    fn pull_slots(&self, peer: NodeId, page: PageRequest) -> BoxFuture<Result<Page, CallError>> {
        let shared = Arc::clone(&self.shared);
        let target = self.peer(peer).map(|peer| peer.target);
        Box::pin(async move {
            let target = target.ok_or(CallError::NoAddress)?;
            let request = peer::PullSlotsRequest {
                sender: shared.boot.load(Ordering::Acquire),
                receiver: page.boot_id.0,
                slots: Bytes::from(page.slots.to_bytes()),
                cursor: page.cursor,
                bytes_max: u32::try_from(page.bytes_max).unwrap_or(u32::MAX),
                held: page.held.terms().to_vec(),
            };
            let response = shared
                .call(target.address, |connection| connection.pull_slots(request))
                .await?;
            Ok(Page {
                traces: wire::decode_traces(&response),
                records: response.records,
                next_cursor: response.next_cursor,
            })
        })
    }

    fn exchange_slots(
        &self,
        peer: NodeId,
        exchange: SlotExchange,
    ) -> BoxFuture<Result<Vec<Reply>, CallError>> {
        let shared = Arc::clone(&self.shared);
        let target = self.peer(peer).map(|peer| peer.target);
        Box::pin(async move {
            let target = target.ok_or(CallError::NoAddress)?;
            let clock = shared.hybrid.now(shared.clock.wall_millis()).raw();
            let SlotExchange {
                from,
                boot_id,
                questions,
            } = exchange;
            let request = slots::encode_questions(from, boot_id, clock, &questions);
            let response = shared
                .call(target.address, |connection| {
                    connection.exchange_slots(request)
                })
                .await?;
            let malformed = |error: slots::MalformedSlots| CallError::Malformed {
                reason: error.to_string(),
            };
            let (sender, replies) = slots::decode_replies(response).map_err(malformed)?;
            if sender.node_id != peer || sender.boot_id != boot_id {
                return Err(CallError::Malformed {
                    reason: format!(
                        "node {} answered with boot id {}",
                        sender.node_id, sender.boot_id
                    ),
                });
            }
            Ok(replies)
        })
    }

    fn compare_slots(
        &self,
        peer: NodeId,
        boot_id: BootId,
        comparison: Comparison,
    ) -> BoxFuture<Result<Vec<(Slot, Fingerprint)>, CallError>> {
        let shared = Arc::clone(&self.shared);
        let target = self.peer(peer).map(|peer| peer.target);
        Box::pin(async move {
            let target = target.ok_or(CallError::NoAddress)?;
            let Comparison {
                digests,
                agreed_millis,
            } = comparison;
            let request = peer::CompareSlotsRequest {
                sender: shared.boot.load(Ordering::Acquire),
                receiver: boot_id.0,
                clock: shared.hybrid.now(shared.clock.wall_millis()).raw(),
                slots: digests.iter().map(|it| u32::from(it.slot.0)).collect(),
                roots: digests.iter().map(|it| it.root).collect(),
                digests: digests.iter().map(|it| it.digest).collect(),
                agreed_millis,
            };
            let response = shared
                .call(target.address, |connection| {
                    connection.compare_slots(request)
                })
                .await?;
            // A peer of before says nothing of its ghosts.
            let ghosts = response.ghosts.into_iter().chain(std::iter::repeat(0));
            let fingerprints = response.digests.into_iter().zip(ghosts);
            let fingerprints = fingerprints.map(|(digest, ghosts)| Fingerprint { digest, ghosts });
            let differing = response.slots.into_iter().zip(fingerprints);
            let known = differing
                .filter_map(|(slot, theirs)| Some((Slot(u16::try_from(slot).ok()?), theirs)));
            Ok(known.collect())
        })
    }

    fn deliver(&self, peer: NodeId, delivery: Delivery) -> BoxFuture<Result<Receipt, CallError>> {
        let shared = Arc::clone(&self.shared);
        let target = self.peer(peer).map(|peer| peer.target);
        Box::pin(async move {
            let target = target.ok_or(CallError::NoAddress)?;
            let request = peer::DeliverRequest {
                sender: shared.boot.load(Ordering::Acquire),
                receiver: target.boot_id.0,
                clock: shared.hybrid.now(shared.clock.wall_millis()).raw(),
                root: delivery.root,
                records: delivery.records,
                repair: Bytes::from(delivery.repair.to_bytes()),
            };
            let response = shared
                .call(target.address, |connection| connection.deliver(request))
                .await?;
            Ok(Receipt {
                refused: response.refused,
            })
        })
    }

    fn report(&self, peer: NodeId) -> BoxFuture<Result<Bytes, CallError>> {
        let shared = Arc::clone(&self.shared);
        let target = self.peer(peer).map(|peer| peer.target);
        Box::pin(async move {
            let target = target.ok_or(CallError::NoAddress)?;
            let response = shared
                .call(target.address, |connection| {
                    connection.report(peer::ReportRequest {})
                })
                .await?;
            Ok(response.report)
        })
    }
}

impl Shared {
    /// Connects, serves the link until it breaks, and starts again, until the peer is let go.
    async fn run_link(self: Arc<Self>, peer: Arc<PeerLink>) {
        let mut pause = RECONNECT_MIN;
        loop {
            let (session, severed) = peer.link.open();
            self.fail(severed);
            let ended = tokio::select! {
                biased;
                () = peer.closed.cancelled() => true,
                served = self.serve_link(&peer, session) => {
                    if served {
                        pause = RECONNECT_MIN;
                    }
                    false
                }
            };
            let was_up = peer.link.reach() != Reach::Down;
            self.fail(peer.link.close(session));
            if was_up {
                self.metrics
                    .breaker_transitions
                    .get(BreakerState::Open)
                    .inc();
            }
            if ended {
                return;
            }
            tokio::select! {
                biased;
                () = peer.closed.cancelled() => return,
                () = peer.hurry.notified() => {}
                () = self.clock.sleep(pause) => {}
            }
            pause = (pause * 2).min(self.config.reconnect_max);
        }
    }

    /// One connection. Returns whether it came up at all.
    async fn serve_link(&self, peer: &Arc<PeerLink>, session: u64) -> bool {
        let connection = tokio::select! {
            biased;
            connected = self.dialer.dial_link(peer.target.address) => match connected {
                Ok(connection) => connection,
                Err(_unreachable) => return false,
            },
            () = self.clock.sleep(self.config.connect_timeout) => return false,
        };
        let outgoing = Outgoing {
            peer: Arc::clone(peer),
            session,
            clock: Arc::clone(&self.clock),
            hybrid: Arc::clone(&self.hybrid),
            metrics: Arc::clone(&self.metrics),
            sender: self.boot.load(Ordering::Acquire),
        };
        let opened = tokio::select! {
            biased;
            opened = connection.link(outgoing) => opened,
            () = self.clock.sleep(self.config.connect_timeout) => return false,
        };
        let Ok(mut replies) = opened else {
            return false;
        };
        peer.link.accept(session);
        self.metrics
            .breaker_transitions
            .get(BreakerState::Closed)
            .inc();
        let mut told = None;
        loop {
            match replies.next().await {
                Some(Ok(batch)) => {
                    if batch.sender != peer.target.boot_id.0 {
                        self.tell_reborn(peer.target.address, &mut told);
                    }
                    if let Err(error) = self.take_replies(peer, batch) {
                        if let Some(before) = self.complaints.due(self.clock.monotonic()) {
                            let peer = peer.target.address;
                            tracing::warn!(%peer, %error, before, "closing a peer link");
                        }
                        return true;
                    }
                }
                None | Some(Err(_)) => return true,
            }
        }
    }

    fn tell_reborn(&self, address: SocketAddr, told: &mut Option<Monotonic>) {
        let now = self.clock.monotonic();
        if told.is_none_or(|told| now.saturating_sub(told) >= REBORN_INTERVAL) {
            // With a full queue it is told of again.
            if self.reborn.try_send(address).is_ok() {
                *told = Some(now);
            }
        }
    }

    fn take_replies(&self, peer: &PeerLink, batch: peer::ReplyBatch) -> anyhow::Result<()> {
        let now = self.clock.now();
        if self
            .hybrid
            .observe(Stamp::from_raw(batch.clock), now.wall_millis)
            .is_err()
        {
            self.metrics.hlc_rejected.inc();
        }
        self.metrics.link_batches.get(Direction::Received).inc();
        let mut malformed = None;
        let answers = batch.replies.into_iter().map_while(|reply| {
            let answer = wire::decode_answer(reply);
            answer.map_err(|error| malformed = Some(error)).ok()
        });
        let round_trip = peer
            .link
            .answered(answers, now.monotonic, |token, answer| {
                self.completions.complete(token, answer);
            })?;
        if let Some(malformed) = malformed {
            return Err(malformed.into());
        }
        // Zero stands for "unknown" on the wire.
        if let Some(round_trip) = round_trip.filter(|_| batch.wall_millis > 0) {
            let sample = Sample::of_reply(batch.wall_millis, now, round_trip);
            self.clocks.observe(peer.node_id, sample, now.monotonic);
        }
        Ok(())
    }

    fn fail(&self, severed: Severed) {
        for (token, failure) in severed.tokens {
            self.completions
                .complete(token, crate::operation::Answer::Failed(failure));
        }
    }

    async fn call<R>(
        &self,
        address: SocketAddr,
        request: impl FnOnce(Box<dyn Connection>) -> BoxFuture<Result<R, Status>>,
    ) -> Result<R, CallError> {
        let exchange = async {
            let connection = self.dialer.dial(address).await?;
            request(connection).await.map_err(call_error)
        };
        tokio::select! {
            biased;
            answered = exchange => answered,
            () = self.clock.sleep(CALL_TIMEOUT) => {
                Err(CallError::Unreachable { reason: format!("no answer within {CALL_TIMEOUT:?}") })
            }
        }
    }
}

pub(super) fn call_error(status: Status) -> CallError {
    match status.code() {
        Code::FailedPrecondition | Code::PermissionDenied | Code::InvalidArgument => {
            CallError::Refused {
                reason: status.message().to_owned(),
            }
        }
        Code::ResourceExhausted => CallError::Overloaded {
            reason: status.message().to_owned(),
        },
        code => CallError::Unreachable {
            reason: format!("{code:?}: {}", status.message()),
        },
    }
}

/// The outgoing half of a link: drains the queue whenever the connection can take more.
pub struct Outgoing {
    peer: Arc<PeerLink>,
    session: u64,
    clock: Arc<dyn Clock>,
    hybrid: Arc<HybridClock>,
    metrics: Arc<Metrics>,
    sender: u64,
}

/// What goes out next.
pub(super) struct NextBatch {
    head: peer::Batch,
    queued: VecDeque<Queued>,
    now: Monotonic,
}

impl NextBatch {
    /// The batch without its operations, and these, in order.
    pub(super) fn parts(self) -> (peer::Batch, impl Iterator<Item = peer::Operation>) {
        let Self { head, queued, now } = self;
        let queued = queued.into_iter();
        let operations = queued.map(move |it| wire::encode_operation(it.operation, now));
        (head, operations)
    }
}

impl Outgoing {
    /// The next batch, or none once this connection is over.
    pub(super) fn poll_batch(&self, context: &mut Context<'_>) -> Poll<Option<NextBatch>> {
        let now = self.clock.now();
        let link = &self.peer.link;
        match link.drain(self.session, context.waker(), now.monotonic) {
            Drained::Closed => Poll::Ready(None),
            Drained::Empty => Poll::Pending,
            Drained::Batch(queued) => {
                self.metrics.link_batches.get(Direction::Sent).inc();
                let operations = self.metrics.link_operations.get(Direction::Sent);
                operations.inc_by(queued.len() as u64);
                Poll::Ready(Some(NextBatch {
                    head: peer::Batch {
                        sender: self.sender,
                        receiver: self.peer.target.boot_id.0,
                        clock: self.hybrid.now(now.wall_millis).raw(),
                        operations: Vec::new(),
                    },
                    queued,
                    now: now.monotonic,
                }))
            }
        }
    }
}

impl Stream for Outgoing {
    type Item = peer::Batch;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<peer::Batch>> {
        let next = ready!(self.poll_batch(context));
        Poll::Ready(next.map(|next| {
            let (head, operations) = next.parts();
            peer::Batch {
                operations: operations.collect(),
                ..head
            }
        }))
    }
}
