//! Hinted handoff: hands hints over when their target is back, in bounded batches, one at a time per target; those of a
//! target that has left go to the present owners.
//!
//! Each target has a rate of its own, low when it comes back, that grows while its answers come quickly and falls when they
//! do not (`pace`).
//!
//! What cannot be delivered stays owed and is tried again after a pause that grows ([`RETRY_PAUSE_MAX`]). A call that
//! fails holds up its target; records that the target refuses hold up only each other, and are not sent with those that
//! it has taken.
//!
//! When a target has all that is still owed to it, but for what it refuses, it is told of the slots for which hints were
//! dropped, so that it repairs them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwapOption;
use rand::rngs::StdRng;
use shard_cache_membership::{identity::NodeId, view::View};
use tokio::sync::watch;

use crate::{
    clock::{Clock, Monotonic},
    handoff::{
        Lane, OwedHints, RepairMarks,
        backoff::Backoff,
        pace::{Budget, Ramp},
        records::{self, NotRecords},
    },
    key::Key,
    replica::Replica,
    ring::{Ring, gates::GateCell},
    slot_set::SlotSet,
    store::Record,
    telemetry::{
        Metrics, RetryReason,
        traces::{self, KeyValue, Span, Tracer},
    },
    transport::{CallError, Delivery, PeerTransport, Reach},
};

/// Keys and values in one batch.
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Hints that go from a target that has left to the present owners in one step.
const HAND_OVER_MAX: usize = 1024;
/// What a record takes besides its key and value, roughly.
const RECORD_OVERHEAD_BYTES: usize = 32;
/// Pause when nothing can be delivered.
const IDLE_PAUSE: Duration = Duration::from_millis(100);
/// Pause between two batches, so that a returning node is not flooded.
const BATCH_PAUSE: Duration = Duration::from_millis(5);
/// Longest pause before a target that cannot be called, or records that it has refused, are tried again. A target whose
/// clock is corrected waits no longer than this.
pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Of a delivery without records.
const NO_ROOT: u64 = 0;

/// The parts of a node that hint delivery works with.
pub struct DeliveryParts {
    /// This node. A coordinator may owe a record to its own node, which was not an owner yet when the write was sent.
    pub own: NodeId,
    /// What is owed.
    pub hints: Arc<OwedHints>,
    /// Where slots go that this node itself has to repair.
    pub marks: RepairMarks,
    /// Where this node's own records go.
    pub replica: Arc<Replica>,
    /// How the others are reached.
    pub transport: Arc<dyn PeerTransport>,
    /// The ring in use.
    pub ring: Arc<ArcSwapOption<Ring>>,
    /// The members: who has left.
    pub view: watch::Receiver<Arc<View>>,
    /// The node's slots.
    pub gates: Arc<GateCell>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What all background work may take together.
    pub budget: Budget,
    /// Records deliveries of what sampled writes have left, and others as requests are sampled.
    pub tracer: Tracer,
}

/// Delivers the hints of one node.
pub struct HintDelivery {
    parts: DeliveryParts,
    rng: StdRng,
    /// Of targets that are owed something.
    paces: BTreeMap<NodeId, Pace>,
}

/// When a target may be tried again.
#[derive(Clone, Debug)]
struct Pace {
    /// After what it has taken.
    rate: Ramp,
    /// At all.
    calls: Backoff,
    /// With what it has refused.
    refused: Backoff,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            rate: Ramp::default(),
            calls: Backoff::new(RETRY_PAUSE_MAX),
            refused: Backoff::new(RETRY_PAUSE_MAX),
        }
    }
}

/// What a step came to, by how soon the next one has to follow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Step {
    Busy,
    /// Nothing before this moment.
    Until(Monotonic),
    Idle,
}

/// What may be sent to a target.
enum Next {
    Batch(Lane, Vec<(Key, Record)>),
    /// Nothing before this moment.
    Later(Monotonic),
    /// It is not to be called yet.
    Held,
    /// No batch.
    Nothing,
}

impl HintDelivery {
    /// A delivery that has not begun. `rng` decides about pauses.
    #[must_use]
    pub const fn new(parts: DeliveryParts, rng: StdRng) -> Self {
        Self {
            parts,
            rng,
            paces: BTreeMap::new(),
        }
    }

    /// Delivers for as long as the node runs.
    pub async fn run(mut self) {
        loop {
            self.turn().await;
        }
    }

    /// A step and the pause after it.
    async fn turn(&mut self) {
        let pause = match self.step().await {
            Step::Busy => BATCH_PAUSE,
            Step::Until(due) => {
                let wait = due.saturating_sub(self.parts.clock.monotonic());
                wait.clamp(BATCH_PAUSE, IDLE_PAUSE)
            }
            Step::Idle => IDLE_PAUSE,
        };
        self.parts.clock.sleep(pause).await;
    }

    /// One batch for each target that can be reached or has left.
    async fn step(&mut self) -> Step {
        self.parts.hints.expire();
        let Some(ring) = self.parts.ring.load_full() else {
            return Step::Idle;
        };
        self.forget_strangers(&ring);
        let DeliveryParts { hints, .. } = &self.parts;
        let targets: BTreeSet<_> = hints.targets().into_iter().chain(hints.marked()).collect();
        self.paces.retain(|target, _| targets.contains(target));
        let mut step = Step::Idle;
        for target in targets {
            let came_to = if self.has_left(target, &ring) {
                self.parts.hints.take_marks(target);
                match self.parts.hints.hand_over(target, &ring, HAND_OVER_MAX) {
                    0 => Step::Idle,
                    _ => Step::Busy,
                }
            } else {
                self.deliver(target).await
            };
            step = step.min(came_to);
        }
        step
    }

    /// Whether a target has left for good. One that is only down will be back, or its hints expire.
    fn has_left(&self, target: NodeId, ring: &Ring) -> bool {
        let view = self.parts.view.borrow();
        let is_in_ring = || ring.members().iter().any(|member| member.node_id == target);
        view.member(target).is_some_and(|member| member.has_left()) && !is_in_ring()
    }

    /// Marks of targets that nobody knows any more would be kept for ever.
    fn forget_strangers(&self, ring: &Ring) {
        let view = self.parts.view.borrow();
        let hints = &self.parts.hints;
        for target in hints.marked() {
            let is_in_ring = ring.members().iter().any(|member| member.node_id == target);
            if view.member(target).is_none() && !is_in_ring {
                hints.take_marks(target);
            }
        }
    }

    /// Busy if something was delivered. What was not stays owed.
    async fn deliver(&mut self, target: NodeId) -> Step {
        if self.parts.transport.reach(target) != Reach::Up {
            return Step::Idle;
        }
        let (lane, mut batch) = match self.next_batch(target) {
            Next::Batch(lane, batch) => (lane, batch),
            Next::Later(due) => return Step::Until(due),
            Next::Held => return Step::Idle,
            Next::Nothing => return self.tell_marks(target).await,
        };
        // A delivery is of one root. Before this node has a configuration nothing is owed, and of a root that is gone all was
        // forgotten.
        let gates = self.parts.gates.load();
        let root_of = |key: &Key| gates.root(gates.slot(key));
        let Some(root) = batch.iter().find_map(|(key, _)| root_of(key)) else {
            return Step::Idle;
        };
        batch.retain(|(key, _)| root_of(key) == Some(root));
        let sent = batch.len();
        let mut span = self.begin_span(target, &batch);
        let begun = self.parts.clock.monotonic();
        let delivered = if target == self.parts.own {
            Ok(self.keep(&batch, root))
        } else {
            self.send(target, &batch, root, SlotSet::new()).await
        };
        match delivered {
            Ok(refused) => {
                let taken = sent - refused.len();
                traces::end(&mut span, [("shard_cache.records.taken", taken)], None);
                self.pay(target, &batch, begun);
                self.settle(target, lane, batch, &refused);
                if refused.len() < sent {
                    Step::Busy
                } else {
                    Step::Idle
                }
            }
            Err(error) => {
                traces::end(&mut span, [], Some(error.word()));
                tracing::debug!(%target, %error, "hints stay owed");
                let retries = &self.parts.metrics.hints_retried;
                retries.get(RetryReason::Failed).inc_by(sent as u64);
                self.back_off(target, &error);
                Step::Idle
            }
        }
    }

    fn begin_span(&self, target: NodeId, batch: &[(Key, Record)]) -> Option<Box<Span>> {
        let DeliveryParts { hints, tracer, .. } = &self.parts;
        let origins = hints
            .origins()
            .take(target, batch.iter().map(|(key, _)| key));
        let mut span = tracer.begin_root("hint.delivery", &origins)?;
        span.note([
            KeyValue::new("shard_cache.peer.id", target.to_string()),
            KeyValue::new("shard_cache.records", traces::whole(batch.len())),
        ]);
        Some(span)
    }

    /// A batch was taken that was sent then.
    fn pay(&mut self, target: NodeId, batch: &[(Key, Record)], begun: Monotonic) {
        let DeliveryParts {
            clock,
            metrics,
            budget,
            ..
        } = &self.parts;
        let bytes = batch.iter().map(|(key, record)| {
            let overhead = RECORD_OVERHEAD_BYTES;
            key.bytes().len() + record.payload_bytes() + overhead
        });
        let bytes = bytes.sum();
        metrics.hints_replayed_bytes.inc_by(bytes as u64);
        let now = clock.monotonic();
        let pace = self.paces.entry(target).or_default();
        if pace.rate.pay(bytes, now.saturating_sub(begun), now, budget) {
            metrics.hints_slowed.inc();
        }
    }

    fn back_off(&mut self, target: NodeId, error: &NotDelivered) {
        let now = self.parts.clock.monotonic();
        let pace = self.paces.entry(target).or_default();
        pace.calls.fail(now, &mut self.rng);
        match error {
            NotDelivered::Call(CallError::Overloaded { .. }) => {
                pace.rate.slow_down(now);
                self.parts.metrics.hints_slowed.inc();
            }
            NotDelivered::Call(
                CallError::NoAddress
                | CallError::Unreachable { .. }
                | CallError::Refused { .. }
                | CallError::Malformed { .. },
            )
            | NotDelivered::Unencodable(_) => pace.rate.start_over(),
        }
    }

    /// Tells a target that has all fresh hints of the slots that it has to repair. Busy if it was told.
    async fn tell_marks(&mut self, target: NodeId) -> Step {
        let marks = self.parts.hints.take_marks(target);
        if marks.is_empty() {
            return Step::Idle;
        }
        if target == self.parts.own {
            self.parts.marks.add(&marks);
            return Step::Busy;
        }
        let told = self.send(target, &[], NO_ROOT, marks.clone()).await;
        let Err(error) = told else {
            let slots = marks.len();
            tracing::info!(%target, slots, "told of slots to repair: hints for them were dropped");
            return Step::Busy;
        };
        tracing::debug!(%target, %error, "slots to repair stay marked");
        self.parts.hints.give_back(target, &marks);
        self.back_off(target, &error);
        Step::Idle
    }

    /// What may be tried now. What was refused goes first: it is older, and once it is taken there is no end of it.
    fn next_batch(&mut self, target: NodeId) -> Next {
        let DeliveryParts { hints, clock, .. } = &self.parts;
        let now = clock.monotonic();
        let batch_of = |lane| {
            let batch = hints.batch(target, lane, BATCH_BYTES_MAX);
            (!batch.is_empty()).then_some(Next::Batch(lane, batch))
        };
        let pace = self.paces.entry(target).or_default();
        if !pace.calls.is_due(now) {
            return Next::Held;
        }
        if pace.rate.due() > now {
            return Next::Later(pace.rate.due());
        }
        if pace.refused.is_due(now) {
            if let Some(refused) = batch_of(Lane::Refused) {
                return refused;
            }
            pace.refused.succeed();
        }
        batch_of(Lane::Fresh).unwrap_or(Next::Nothing)
    }

    /// The places of what the target has refused.
    async fn send(
        &self,
        target: NodeId,
        batch: &[(Key, Record)],
        root: u64,
        repair: SlotSet,
    ) -> Result<BTreeSet<usize>, NotDelivered> {
        let records = records::encode(batch)?;
        let delivery = Delivery {
            root,
            records,
            repair,
        };
        let receipt = self.parts.transport.deliver(target, delivery).await?;
        let refused = receipt.refused.into_iter();
        let places = refused.filter_map(|place| usize::try_from(place).ok());
        Ok(places.filter(|place| *place < batch.len()).collect())
    }

    /// The places of what this node itself has refused.
    fn keep(&self, batch: &[(Key, Record)], root: u64) -> BTreeSet<usize> {
        let DeliveryParts { replica, clock, .. } = &self.parts;
        let merged = replica.merge(|_slot| Some(root), batch.to_vec(), clock.now());
        merged.refused_places().collect()
    }

    /// The target has judged a batch.
    fn settle(
        &mut self,
        target: NodeId,
        lane: Lane,
        batch: Vec<(Key, Record)>,
        refused: &BTreeSet<usize>,
    ) {
        let (mut taken, mut left) = (Vec::new(), Vec::new());
        for (place, (key, record)) in batch.into_iter().enumerate() {
            if refused.contains(&place) {
                left.push(key);
            } else {
                taken.push((key, record.version));
            }
        }
        self.parts.hints.delivered(target, &taken);
        self.parts.hints.refused(target, &left);
        let now = self.parts.clock.monotonic();
        let pace = self.paces.entry(target).or_default();
        pace.calls.succeed();
        match lane {
            Lane::Refused if left.is_empty() => pace.refused.succeed(),
            Lane::Refused => {
                pace.refused.fail(now, &mut self.rng);
            }
            // They wait together with those that were refused before.
            Lane::Fresh if left.is_empty() || pace.refused.is_failing() => {}
            Lane::Fresh => {
                let refused = left.len();
                tracing::info!(
                    %target,
                    refused,
                    "hints stay owed: their owner has no configuration of their slots yet, or its clock is behind"
                );
                pace.refused.fail(now, &mut self.rng);
            }
        }
    }
}

/// Why a batch stays owed.
#[derive(Debug, thiserror::Error)]
enum NotDelivered {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Unencodable(#[from] NotRecords),
}

impl NotDelivered {
    /// In a word, for spans.
    const fn word(&self) -> &'static str {
        match self {
            Self::Call(error) => error.word(),
            Self::Unencodable(_) => "unencodable",
        }
    }
}

#[cfg(all(test, not(feature = "race")))]
mod tests;
