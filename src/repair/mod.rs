//! Anti-entropy: owners of a slot compare digests of it, and copy from each other what they lack, until they agree.
//!
//! A node compares the slots that it shares with a peer within every [`RepairParts::interval`], and soon after the peer can be
//! reached again, after a change of the ring, and when somebody had to drop hints. Slots whose digests differ twice in a
//! row, so that it is no write under way, are copied: records that this node holds are not sent, nor what it has given up.
//! Copies keep to a rate, and give way to requests ([`Pace`]).
//!
//! Two nodes that evict may differ for ever. What was compared once and yielded nothing is not copied again before either
//! side has changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rand::{RngExt as _, rngs::StdRng};
use shard_cache_membership::view::View;
use tokio::sync::watch;

use crate::{
    clock::{Clock, Monotonic},
    handoff::{
        Budget, Pace, RepairMarks, RingCell,
        records::{self, NotRecords},
        rounds::{COPY_SLOTS_MAX, HELD_RECORDS_MAX, PAGE_BYTES_MAX, REPLY_TIMEOUT},
        slots::Slots,
    },
    key::Slot,
    replica::Replica,
    ring::RingMember,
    slot_set::SlotSet,
    store::{Fingerprint, Inventory, Store, Traces},
    telemetry::{
        Metrics,
        traces::{self, KeyValue, Tracer},
    },
    transport::{
        COMPARED_SLOTS_MAX, CallError, Comparison, PageRequest, PeerTransport, Reach, SlotDigest,
    },
};

mod agreements;
mod memory;
#[cfg(all(test, not(feature = "race")))]
mod tests;

pub use agreements::Agreements;
use memory::Fruitless;

/// How often it is looked whether something is due.
const TICK: Duration = Duration::from_millis(500);
/// After a peer has come back or the ring has changed: hints and slot handoff go first.
const SETTLE: Duration = Duration::from_secs(2);
/// After a comparison that failed, and after records were refused for their stamps.
const RETRY: Duration = Duration::from_secs(5);
/// Between the two comparisons that have to differ.
const CONFIRM: Duration = Duration::from_millis(500);
/// What share of the interval passes before a comparison: never all of it, because what a comparison finds has to be
/// confirmed and copied within the interval as well.
const SHARE: std::ops::Range<f64> = 0.7..0.95;

/// What repair works with.
pub struct RepairParts {
    /// The ring, and the node's slots.
    pub cell: RingCell,
    /// Its records.
    pub store: Arc<Store>,
    /// Where copied records go.
    pub replica: Arc<Replica>,
    /// How peers are reached.
    pub transport: Arc<dyn PeerTransport>,
    /// Who there is.
    pub view: watch::Receiver<Arc<View>>,
    /// Slots that somebody had to drop hints for.
    pub marks: RepairMarks,
    /// What others have taken of this node.
    pub agreements: Agreements,
    /// Where its slots are.
    pub slots: Arc<Slots>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Longest time between two comparisons with one peer.
    pub interval: Duration,
    /// Most bytes of keys and values that are copied in a second.
    pub bytes_per_second_max: u64,
    /// What all background work may take together.
    pub budget: Budget,
    /// Records copies as requests are sampled.
    pub tracer: Tracer,
}

/// Keeps one node's slots in agreement with the other owners.
pub struct Repair {
    parts: RepairParts,
    rng: StdRng,
    pace: Pace,
    /// Peers that can be reached, and when they are due.
    due: BTreeMap<RingMember, Monotonic>,
    /// Slots of which records were refused, and when they are tried again.
    refused: BTreeMap<RingMember, (SlotSet, Monotonic)>,
    /// The slot at which a comparison was broken off.
    broken_off: BTreeMap<RingMember, Slot>,
    /// Hash of the ring at the last look.
    ring: u64,
    fruitless: Fruitless,
}

impl Repair {
    /// Repair that has not begun. `rng` decides about times.
    #[must_use]
    pub fn new(parts: RepairParts, rng: StdRng) -> Self {
        Self {
            pace: Pace::new(parts.bytes_per_second_max, parts.budget.clone()),
            parts,
            rng,
            due: BTreeMap::new(),
            refused: BTreeMap::new(),
            broken_off: BTreeMap::new(),
            ring: 0,
            fruitless: Fruitless::default(),
        }
    }

    /// Works for as long as the node runs.
    pub async fn run(mut self) {
        loop {
            let clock = Arc::clone(&self.parts.clock);
            let marks = self.parts.marks.clone();
            tokio::select! {
                biased;
                () = marks.added.notified() => {}
                () = clock.sleep(TICK) => {}
            }
            self.turn().await;
            let agreed = self.parts.agreements.oldest_millis();
            self.parts.store.hold_tombstones(agreed);
        }
    }

    /// Compares with whoever is due.
    async fn turn(&mut self) {
        #[cfg(feature = "planted-bugs")]
        if crate::planted::nothing_is_repaired() {
            return;
        }
        let now = self.parts.clock.monotonic();
        self.look(now);
        let marked = self.parts.marks.take();
        if !marked.is_empty() {
            for peer in self.due.keys().copied().collect::<Vec<_>>() {
                // Whatever fails is compared in its turn.
                let _complete = self.compare(peer, Some(&marked)).await;
            }
        }
        let again = self.refused.iter().filter(|(_, (_, at))| *at <= now);
        for peer in again.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            if let Some((slots, _)) = self.refused.remove(&peer) {
                let _complete = self.compare(peer, Some(&slots)).await;
            }
        }
        let due = self.due.iter().filter(|(_, at)| **at <= now);
        for peer in due.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            let began = self.parts.replica.now_millis(self.parts.clock.now());
            let is_complete = self.compare(peer, None).await;
            if is_complete {
                self.tell_agreement(peer, began).await;
            }
            let pause = if is_complete { self.jittered() } else { RETRY };
            let next = self.parts.clock.monotonic() + pause;
            self.due.insert(peer, next);
        }
    }

    /// Tells a peer that everything it had at a time is here now, too, unless a slot is on its way, which a comparison
    /// leaves out, or records were refused.
    async fn tell_agreement(&self, peer: RingMember, agreed_millis: u64) {
        if self.parts.slots.counts().unsettled > 0 || self.refused.contains_key(&peer) {
            return;
        }
        let told = Comparison {
            digests: Vec::new(),
            agreed_millis,
        };
        if let Err(error) = self.ask(peer, told).await {
            tracing::debug!(peer = %peer.node_id, %error, "the peer was not told of a comparison");
        }
    }

    fn jittered(&mut self) -> Duration {
        self.parts.interval.mul_f64(self.rng.random_range(SHARE))
    }

    /// Takes note of who can be reached and of a changed ring.
    fn look(&mut self, now: Monotonic) {
        let reached: BTreeSet<RingMember> = {
            let view = self.parts.view.borrow();
            let others = view.present().filter(|it| it.node_id != view.own);
            let linked = others.filter(|it| self.parts.transport.reach(it.node_id) == Reach::Up);
            linked
                .map(|member| RingMember {
                    node_id: member.node_id,
                    boot_id: member.boot_id,
                })
                .collect()
        };
        self.due.retain(|peer, _| reached.contains(peer));
        self.refused.retain(|peer, _| reached.contains(peer));
        self.fruitless.retain(&reached);
        let ring = self.parts.cell.ring.load();
        let ring = ring.as_ref().map_or(0, |ring| ring.hash());
        let has_moved = ring != self.ring;
        self.ring = ring;
        for peer in reached {
            let soon = now + SETTLE;
            let due = self.due.entry(peer).or_insert(soon);
            if has_moved {
                *due = (*due).min(soon);
            }
        }
    }

    /// Compares slots that this node shares with a peer, all or some of them, and copies what differs for good. Returns
    /// whether it came to an end.
    async fn compare(&mut self, peer: RingMember, only: Option<&SlotSet>) -> bool {
        let mut shared = self.shared(peer, only);
        // Where the last comparison was broken off, so that links that break often keep nobody from the later slots.
        let from = self.broken_off.remove(&peer).unwrap_or(Slot(0));
        let place = shared.partition_point(|it| it.slot < from);
        shared.rotate_left(place);
        let (mut differing, mut is_complete) = (SlotSet::new(), true);
        for some in shared.chunks(COMPARED_SLOTS_MAX) {
            match self.differing(peer, some).await {
                Ok(found) => {
                    differing.extend(found.into_iter().map(|(slot, _)| slot));
                    self.parts.metrics.repair_compared.inc_by(some.len() as u64);
                }
                Err(error) => {
                    tracing::debug!(peer = %peer.node_id, %error, "slots were not compared");
                    self.broken_off
                        .extend(some.first().map(|it| (peer, it.slot)));
                    is_complete = false;
                    break;
                }
            }
        }
        if differing.is_empty() {
            return is_complete;
        }
        self.parts.clock.sleep(CONFIRM).await;
        let shared = self.shared(peer, Some(&differing));
        let mut confirmed = Vec::new();
        for some in shared.chunks(COMPARED_SLOTS_MAX) {
            match self.differing(peer, some).await {
                Ok(found) => confirmed.extend(found),
                Err(error) => {
                    tracing::debug!(peer = %peer.node_id, %error, "slots were not compared again");
                    is_complete = false;
                }
            }
        }
        self.parts
            .metrics
            .repair_differing
            .inc_by(confirmed.len() as u64);
        confirmed.retain(|(slot, theirs)| {
            let ours = self.parts.store.fingerprint(*slot);
            !self.fruitless.contains(peer, *slot, (ours, *theirs))
        });
        let slots: Vec<Slot> = confirmed.iter().map(|(slot, _)| *slot).collect();
        // Those of what was compared: a slot that moves into another root meanwhile takes nothing of the old one.
        let roots: BTreeMap<Slot, u64> = shared.iter().map(|it| (it.slot, it.root)).collect();
        let mut refused = SlotSet::new();
        for some in slots.chunks(COPY_SLOTS_MAX) {
            let mut span = self.parts.tracer.begin_root("slot.repair", &[]);
            if let Some(span) = &mut span {
                span.note([
                    KeyValue::new("shard_cache.peer.id", peer.node_id.to_string()),
                    KeyValue::new("shard_cache.slots", traces::whole(some.len())),
                ]);
            }
            let some = some.iter().copied().collect();
            let copied = self.copy(peer, some, &roots, &mut refused).await;
            let failure = copied.as_ref().err().map(RepairError::word);
            traces::end(&mut span, [], failure);
            if let Err(error) = copied {
                tracing::debug!(peer = %peer.node_id, %error, "slots were not repaired");
                is_complete = false;
            }
        }
        for (slot, theirs) in confirmed {
            let ours = self.parts.store.fingerprint(slot);
            if is_complete && ours.digest != theirs.digest && !refused.contains(slot) {
                self.fruitless.note(peer, slot, (ours, theirs));
            }
        }
        if !refused.is_empty() {
            let again = self.parts.clock.monotonic() + RETRY;
            let owed = self.refused.entry(peer);
            owed.or_insert_with(|| (SlotSet::new(), again))
                .0
                .extend(refused.iter());
        }
        is_complete
    }

    /// Slots that both own in the configuration that this node is in, and in which it is full: what it lacks otherwise is
    /// for slot handoff to bring.
    fn shared(&self, peer: RingMember, only: Option<&SlotSet>) -> Vec<SlotDigest> {
        let gates = self.parts.cell.gates.load();
        let is_shared = |slot: &Slot| {
            gates.is_full(*slot)
                && gates
                    .configuration(*slot)
                    .is_some_and(|configuration| configuration.names(peer))
        };
        let slots: Vec<Slot> = match only {
            Some(only) => only.iter().filter(is_shared).collect(),
            None => gates.slots().filter(is_shared).collect(),
        };
        let digest = |slot: Slot| {
            Some(SlotDigest {
                slot,
                root: gates.root(slot)?,
                digest: self.parts.store.slot_digest(slot),
            })
        };
        slots.into_iter().filter_map(digest).collect()
    }

    /// Those of some slots that differ, with what the peer has of them.
    async fn differing(
        &self,
        peer: RingMember,
        digests: &[SlotDigest],
    ) -> Result<Vec<(Slot, Fingerprint)>, CallError> {
        if digests.is_empty() {
            return Ok(Vec::new());
        }
        let comparison = Comparison {
            digests: digests.to_vec(),
            agreed_millis: 0,
        };
        self.ask(peer, comparison).await
    }

    async fn ask(
        &self,
        peer: RingMember,
        comparison: Comparison,
    ) -> Result<Vec<(Slot, Fingerprint)>, CallError> {
        let transport = &self.parts.transport;
        let asked = transport.compare_slots(peer.node_id, peer.boot_id, comparison);
        tokio::select! {
            biased;
            differing = asked => differing,
            () = self.parts.clock.sleep(REPLY_TIMEOUT) => Err(CallError::Unreachable {
                reason: format!("no reply within {REPLY_TIMEOUT:?}"),
            }),
        }
    }

    /// Copies what a peer has of some slots and this node has not. Adds slots of which records were refused.
    async fn copy(
        &mut self,
        peer: RingMember,
        slots: SlotSet,
        roots: &BTreeMap<Slot, u64>,
        refused: &mut SlotSet,
    ) -> Result<(), RepairError> {
        let mut pending = vec![slots];
        while let Some(slots) = pending.pop() {
            let held = self.parts.replica.held(&slots, HELD_RECORDS_MAX);
            if held.is_none() && slots.len() > 1 {
                // Too many to name, and all would be sent.
                let half = slots.len() / 2;
                pending.push(slots.iter().skip(half).collect());
                pending.push(slots.iter().take(half).collect());
                continue;
            }
            let held = held.unwrap_or_default();
            self.copy_few(peer, slots, held, roots, refused).await?;
        }
        Ok(())
    }

    async fn copy_few(
        &mut self,
        peer: RingMember,
        slots: SlotSet,
        held: Inventory,
        roots: &BTreeMap<Slot, u64>,
        refused: &mut SlotSet,
    ) -> Result<(), RepairError> {
        let root_of = |slot: Slot| roots.get(&slot).copied();
        let (mut cursor, mut traces) = (0, Traces::default());
        loop {
            let began = self.parts.clock.monotonic();
            let request = PageRequest {
                boot_id: peer.boot_id,
                slots: slots.clone(),
                cursor,
                bytes_max: PAGE_BYTES_MAX,
                held: held.clone(),
            };
            let page = tokio::select! {
                biased;
                page = self.parts.transport.pull_slots(peer.node_id, request) => page?,
                () = self.parts.clock.sleep(REPLY_TIMEOUT) => return Err(RepairError::Late),
            };
            let bytes = page.records.len();
            let records = records::decode(&page.records)?;
            let metrics = &self.parts.metrics;
            metrics.repair_bytes.inc_by(bytes as u64);
            let now = self.parts.clock.now();
            let merged = self.parts.replica.merge(root_of, records, now);
            metrics.repair_records.inc_by(merged.stored);
            metrics.hlc_rejected.inc_by(merged.refused.len() as u64);
            let gates = self.parts.cell.gates.load();
            refused.extend(merged.refused.iter().map(|it| gates.slot(&it.key)));
            traces.add(page.traces);
            let now = self.parts.clock.monotonic();
            let pause = self.pace.pay(bytes, now.saturating_sub(began), now);
            if !pause.is_zero() {
                self.parts.clock.sleep(pause).await;
            }
            match page.next_cursor {
                Some(next) => cursor = next,
                None => break,
            }
        }
        let now = self.parts.clock.now();
        if self.parts.replica.take_traces(root_of, &traces, now) > 0 {
            refused.extend(slots.iter());
        }
        Ok(())
    }
}

/// Why slots were not repaired. They are compared again later.
#[derive(Debug, thiserror::Error)]
enum RepairError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Unreadable(#[from] NotRecords),
    #[error("no page within {REPLY_TIMEOUT:?}")]
    Late,
}

impl RepairError {
    /// In a word, for spans.
    const fn word(&self) -> &'static str {
        match self {
            Self::Call(error) => error.word(),
            Self::Unreadable(_) => "unreadable",
            Self::Late => "late",
        }
    }
}
