//! The peer service: what other nodes ask of this one. On the peer port only.
//!
//! A link is served without a task or a lock of its own: each batch that arrives is carried out at once, in order, and
//! its answers go out in one message.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_core::Stream;
use hyper::server::conn::http2;
use hyper_util::{rt::TokioExecutor, service::TowerToHyperService};
use shard_cache_membership::identity::BootId;
use shard_cache_proto::peer::{self, peer_server};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, Streaming};

use super::{
    connections::{self, Accepted, accept, serve_http2},
    frames,
};
use crate::{
    clock::{BoxFuture, Clock, Now},
    handoff::{records, slots::Slots},
    key::Slot,
    operation::{Answer, Failure, Operation},
    replica::Replica,
    store::{Inventory, SlotSet},
    telemetry::{Complaints, Direction, Metrics},
    transport::{COMPARED_SLOTS_MAX, MESSAGE_BYTES_MAX, PushPull, slots, wire},
    version::{HybridClock, Stamp},
    workers::Lanes,
};

/// Bytes of values after which a reply batch is closed.
const REPLY_BYTES_MAX: usize = 1024 * 1024;
/// Most bytes of keys and values in a page of a bulk pull.
const PAGE_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 4;

/// A quiet connection is probed this often, and closed without an answer within as long again.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// What the peer service needs of the node beyond its replica.
pub trait PeerDesk: Send + Sync + 'static {
    /// Merges a peer's member state and returns this node's own.
    fn push_pull(&self, offer: PushPull) -> BoxFuture<Result<PushPull, String>>;

    /// This node's own report, an encoded `shardcache.v1.NodeReport`.
    fn encoded_report(&self) -> Bytes;

    /// A peer has dropped hints for keys of these slots: this node has to repair them.
    fn mark_for_repair(&self, slots: &SlotSet);

    /// A peer, in this life, has everything that this node had at that time, in hybrid milliseconds.
    fn note_agreement(&self, peer: BootId, millis: u64);

    /// The node's present boot id.
    fn boot(&self) -> u64;
}

/// Serves peers.
pub struct PeerApi {
    /// The parts of the node that answer.
    pub parts: Arc<PeerParts>,
}

/// The parts of the node that answer peers.
pub struct PeerParts {
    /// Carries operations out.
    pub replica: Arc<Replica>,
    /// Answers where this node is.
    pub slots: Arc<Slots>,
    /// Answers for membership and status.
    pub desk: Arc<dyn PeerDesk>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Hybrid time.
    pub hybrid: Arc<HybridClock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The cluster's id: others are refused.
    pub cluster_id: String,
    /// Settings that must be equal on all nodes: others are refused.
    pub parameters: String,
    /// About operations that cannot be read.
    pub complaints: Complaints,
}

#[tonic::async_trait]
impl peer_server::Peer for PeerApi {
    type LinkStream = LinkReplies;

    async fn link(
        &self,
        request: Request<Streaming<peer::Batch>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        Ok(Response::new(LinkReplies {
            batches: request.into_inner(),
            parts: Arc::clone(&self.parts),
            ready: VecDeque::new(),
        }))
    }

    async fn operate(
        &self,
        request: Request<peer::Batch>,
    ) -> Result<Response<peer::ReplyBatch>, Status> {
        let mut ready = VecDeque::new();
        self.parts.answer(request.into_inner(), &mut ready);
        let replies = match (ready.pop_front(), ready.pop_front()) {
            (Some(replies), None) => Some(replies),
            (None | Some(_), _) => None,
        };
        // Only several operations can have answers that one message does not hold.
        replies
            .map(Response::new)
            .ok_or_else(|| Status::out_of_range("the answers do not fit one message"))
    }

    async fn push_pull(
        &self,
        request: Request<peer::PushPullRequest>,
    ) -> Result<Response<peer::PushPullResponse>, Status> {
        let parts = &self.parts;
        let request = request.into_inner();
        if request.cluster_id != parts.cluster_id {
            return Err(Status::permission_denied(format!(
                "cluster id {:?} is not {:?}",
                request.cluster_id, parts.cluster_id
            )));
        }
        if request.parameters != parts.parameters {
            return Err(Status::failed_precondition(format!(
                "cluster-wide settings {:?} differ from {:?}",
                request.parameters, parts.parameters
            )));
        }
        parts.observe(request.clock);
        let offer = PushPull {
            members: request.members,
            ring: request.ring,
            orders: request.orders,
        };
        let own = parts
            .desk
            .push_pull(offer)
            .await
            .map_err(Status::invalid_argument)?;
        Ok(Response::new(peer::PushPullResponse {
            members: own.members,
            ring: own.ring,
            orders: own.orders,
            clock: parts.present_clock(),
        }))
    }

    async fn pull_slots(
        &self,
        request: Request<peer::PullSlotsRequest>,
    ) -> Result<Response<peer::PullSlotsResponse>, Status> {
        let parts = &self.parts;
        let request = request.into_inner();
        parts.expect_boot(request.receiver)?;
        let slots = SlotSet::from_bytes(&request.slots);
        let bytes_max = (request.bytes_max as usize).clamp(1, PAGE_BYTES_MAX);
        let held = Inventory::of_terms(request.held);
        let now = parts.clock.now();
        let page = parts
            .replica
            .scan(&slots, request.cursor, bytes_max, &held, now);
        let records =
            records::encode(&page.records).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(peer::PullSlotsResponse {
            sender: parts.desk.boot(),
            clock: parts.present_clock(),
            records,
            next_cursor: page.next_cursor,
            ghosts: wire::encode_ghosts(&page.traces),
            floors: wire::encode_slot_traces(&page.traces.floors),
            marks: wire::encode_slot_traces(&page.traces.marks),
        }))
    }

    async fn exchange_slots(
        &self,
        request: Request<peer::ExchangeSlotsRequest>,
    ) -> Result<Response<peer::ExchangeSlotsResponse>, Status> {
        let parts = &self.parts;
        let request = request.into_inner();
        parts.expect_boot(request.receiver)?;
        parts.observe(request.clock);
        let (sender, questions) = slots::decode_questions(request)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let (own, replies) = parts.slots.answer(sender, &questions);
        Ok(Response::new(slots::encode_replies(
            own,
            parts.present_clock(),
            &replies,
        )))
    }

    async fn compare_slots(
        &self,
        request: Request<peer::CompareSlotsRequest>,
    ) -> Result<Response<peer::CompareSlotsResponse>, Status> {
        let parts = &self.parts;
        let request = request.into_inner();
        parts.expect_boot(request.receiver)?;
        let is_trusted = parts.observe(request.clock);
        if is_trusted && request.agreed_millis > 0 {
            let peer = BootId(request.sender);
            parts.desk.note_agreement(peer, request.agreed_millis);
        }
        let slots = request.slots.into_iter().take(COMPARED_SLOTS_MAX);
        let slots = slots.filter_map(|slot| u16::try_from(slot).ok().map(Slot));
        let roots = request.roots.into_iter().zip(request.digests);
        let (mut differing, mut digests, mut ghosts) = (Vec::new(), Vec::new(), Vec::new());
        for (slot, (root, digest)) in slots.zip(roots) {
            if let Some(ours) = parts.replica.fingerprint_of(slot, root)
                && ours.digest != digest
            {
                differing.push(u32::from(slot.0));
                digests.push(ours.digest);
                ghosts.push(ours.ghosts);
            }
        }
        Ok(Response::new(peer::CompareSlotsResponse {
            sender: parts.desk.boot(),
            clock: parts.present_clock(),
            slots: differing,
            digests,
            ghosts,
        }))
    }

    async fn deliver(
        &self,
        request: Request<peer::DeliverRequest>,
    ) -> Result<Response<peer::DeliverResponse>, Status> {
        let parts = &self.parts;
        let request = request.into_inner();
        parts.observe(request.clock);
        let records = records::decode(&request.records)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let root_of = |_slot| Some(request.root);
        let merged = parts.replica.merge(root_of, records, parts.clock.now());
        parts
            .metrics
            .hlc_rejected
            .inc_by(merged.refused.len() as u64);
        // After the records: what was in them need not be repaired.
        parts
            .desk
            .mark_for_repair(&SlotSet::from_bytes(&request.repair));
        let refused = merged.refused_places();
        let refused: Vec<u32> = refused
            .filter_map(|place| u32::try_from(place).ok())
            .collect();
        Ok(Response::new(peer::DeliverResponse {
            sender: parts.desk.boot(),
            clock: parts.present_clock(),
            refused,
        }))
    }

    async fn report(
        &self,
        _request: Request<peer::ReportRequest>,
    ) -> Result<Response<peer::ReportResponse>, Status> {
        Ok(Response::new(peer::ReportResponse {
            report: self.parts.desk.encoded_report(),
        }))
    }
}

impl PeerParts {
    fn observe(&self, clock: u64) -> bool {
        let observed = self
            .hybrid
            .observe(Stamp::from_raw(clock), self.clock.wall_millis());
        if observed.is_err() {
            self.metrics.hlc_rejected.inc();
        }
        observed.is_ok()
    }

    fn present_clock(&self) -> u64 {
        self.hybrid.now(self.clock.wall_millis()).raw()
    }

    /// A page of a memory that is gone would look like an empty one.
    fn expect_boot(&self, receiver: u64) -> Result<(), Status> {
        let boot = self.desk.boot();
        if receiver != boot {
            return Err(Status::unavailable(format!(
                "boot id {receiver:016x} was asked, this is {boot:016x}"
            )));
        }
        Ok(())
    }

    /// Carries a batch out and appends its answers, in order.
    pub fn answer(&self, batch: peer::Batch, ready: &mut VecDeque<peer::ReplyBatch>) {
        let trusted = self.observe(batch.clock);
        self.metrics.link_batches.get(Direction::Received).inc();
        self.metrics
            .link_operations
            .get(Direction::Received)
            .inc_by(batch.operations.len() as u64);
        let now = self.clock.now();
        let asks_for_clock = batch.operations.is_empty();
        let operations = batch.operations.into_iter().map(|operation| {
            let token = operation.token;
            (token, self.read(operation, trusted, now))
        });
        let operations: Vec<_> = operations.collect();
        if operations.len() > 1 {
            let readable = operations.iter().filter_map(|(_, it)| it.as_ref().ok());
            self.replica.look_ahead(readable);
        }
        let mut replies = Vec::with_capacity(operations.len());
        let mut reply_bytes = 0;
        for (token, operation) in operations {
            let answer = match operation {
                Ok(operation) => self.replica.handle(&operation, now),
                Err(failure) => Answer::Failed(failure),
            };
            let reply = wire::encode_answer(token, answer);
            reply_bytes += reply.record.as_ref().map_or(0, |record| record.value.len());
            replies.push(reply);
            if reply_bytes > REPLY_BYTES_MAX {
                ready.push_back(self.reply_batch(std::mem::take(&mut replies)));
                reply_bytes = 0;
            }
        }
        if asks_for_clock || !replies.is_empty() {
            ready.push_back(self.reply_batch(replies));
        }
    }

    fn read(
        &self,
        operation: peer::Operation,
        trusted: bool,
        now: Now,
    ) -> Result<Operation, Failure> {
        if !trusted {
            return Err(Failure::Drift);
        }
        wire::decode_operation(operation, now.monotonic).map_err(|error| {
            if let Some(before) = self.complaints.due(now.monotonic) {
                tracing::warn!(%error, before, "a peer sent an operation that cannot be read");
            }
            Failure::Broken
        })
    }

    fn reply_batch(&self, replies: Vec<peer::Reply>) -> peer::ReplyBatch {
        self.metrics.link_batches.get(Direction::Sent).inc();
        let wall_millis = self.clock.wall_millis();
        peer::ReplyBatch {
            sender: self.desk.boot(),
            clock: self.hybrid.now(wall_millis).raw(),
            replies,
            wall_millis,
        }
    }
}

/// The answering half of a link.
pub struct LinkReplies {
    batches: Streaming<peer::Batch>,
    parts: Arc<PeerParts>,
    ready: VecDeque<peer::ReplyBatch>,
}

impl Stream for LinkReplies {
    type Item = Result<peer::ReplyBatch, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(batch)));
            }
            match Pin::new(&mut self.batches).poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(status))) => return Poll::Ready(Some(Err(status))),
                Poll::Ready(Some(Ok(batch))) => {
                    let this = &mut *self;
                    this.parts.answer(batch, &mut this.ready);
                }
            }
        }
    }
}

/// Serves the peer port until `stopped` completes, then finishes what was begun on open connections.
pub async fn serve(
    listener: TcpListener,
    parts: Arc<PeerParts>,
    lanes: Lanes,
    stopped: impl Future<Output = ()>,
) {
    let clock = Arc::clone(&parts.clock);
    let api = PeerApi {
        parts: Arc::clone(&parts),
    };
    let service = peer_server::PeerServer::new(api)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let service = TowerToHyperService::new(service);
    let serve = |connection: Accepted, closing| {
        let (service, parts) = (service.clone(), Arc::clone(&parts));
        async move {
            let Some(connection) = connection.into_stream() else {
                return;
            };
            match frames::is_framed(&connection).await {
                Ok(false) => serve_http2(http2(), connection, service, closing).await,
                Ok(true) => {
                    let ended = frames::serve(connection, parts).await;
                    tracing::debug!(?ended, "a link ended");
                }
                Err(error) => tracing::debug!(%error, "a peer's connection was lost"),
            }
        }
    };
    accept(listener, clock, &lanes, "peer connection", stopped, serve).await;
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut http2 = connections::http2();
    http2
        .initial_stream_window_size(8 * 1024 * 1024)
        .initial_connection_window_size(16 * 1024 * 1024)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE);
    http2
}

#[cfg(all(test, not(feature = "race")))]
#[path = "peer_tests.rs"]
mod tests;
