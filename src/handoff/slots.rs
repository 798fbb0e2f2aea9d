//! Slot handoff: carries out slot reconfiguration. Asks peers where they are, moves slots, copies what this node lacks,
//! and publishes the gates that operations go by. The rules are in `ring::slot` and `ring::table`; this is the shell.
//!
//! - [`Slots`]: the table of one node behind a lock, and everything that has to happen when it changes.
//! - [`SlotHandoff`]: the task that asks and copies.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use shard_cache_membership::view::View;
use tokio::sync::{Notify, watch};

use crate::{
    clock::Clock,
    handoff::{
        OwedHints, RingCell,
        records::{self, NotRecords},
    },
    key::Slot,
    replica::Replica,
    ring::{
        Ring, RingMember,
        orders::Orders,
        slot::{Configuration, SlotState},
        table::{EXCHANGE_SLOTS_MAX, Question, Reply, SlotCounts, SlotTable, Stand},
    },
    slot_set::SlotSet,
    store::Store,
    sync::{Mutex, lock},
    telemetry::Metrics,
    transport::{CallError, PageRequest, PeerTransport, SlotExchange},
};

/// Between two rounds of questions: at least, and at most while slots are not settled.
const ROUND_PAUSE_MIN: Duration = Duration::from_millis(10);
const ROUND_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long a peer may take to reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// Keys and values in one page of a copy.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// What has to be copied from whom, and the configuration in which the source answered before.
type Copies = BTreeMap<RingMember, BTreeMap<Slot, Configuration>>;

/// The slots of one node.
pub struct Slots {
    table: Mutex<SlotTable>,
    cell: RingCell,
    store: Arc<Store>,
    hints: Arc<OwedHints>,
    metrics: Arc<Metrics>,
    /// Notified when there may be something to ask.
    stirred: Notify,
    on_loss: OnLoss,
    /// Until when losses are accepted, in milliseconds since the Unix epoch.
    losses_accepted_until: AtomicU64,
    /// Slots that have lost their data and wait for an operator.
    losses_waiting: AtomicUsize,
}

/// What happens when a slot has lost its data for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnLoss {
    /// It starts afresh at once.
    Auto,
    /// It waits until an operator accepts that.
    Manual,
}

impl Slots {
    /// The slots of a node in its first life.
    #[must_use]
    pub fn new(
        table: SlotTable,
        cell: RingCell,
        store: Arc<Store>,
        hints: Arc<OwedHints>,
        metrics: Arc<Metrics>,
        on_loss: OnLoss,
    ) -> Self {
        let slots = Self {
            table: Mutex::new(table),
            cell,
            store,
            hints,
            metrics,
            stirred: Notify::new(),
            on_loss,
            losses_accepted_until: AtomicU64::new(0),
            losses_waiting: AtomicUsize::new(0),
        };
        slots.cell.gates.publish(lock(&slots.table).gates());
        slots
    }

    /// Enters the configurations that a first ring makes.
    pub fn form(&self, ring: &Ring) {
        self.change(|table| table.form(ring));
    }

    /// Goes by another ring.
    pub fn want(&self, ring: Arc<Ring>) {
        self.change(|table| table.want(ring));
    }

    /// Goes by what operators have ordered. Losses are accepted until then, in milliseconds since the Unix epoch.
    pub fn obey(&self, orders: &Orders, losses_accepted_until: u64) {
        self.losses_accepted_until
            .store(losses_accepted_until, Ordering::Relaxed);
        self.change(|table| table.forget(orders.forgotten()));
    }

    /// Slots that have lost their data and wait for an operator, as far as this node would have to declare it.
    #[must_use]
    pub fn losses_waiting(&self) -> usize {
        self.losses_waiting.load(Ordering::Relaxed)
    }

    /// Has an empty memory and another life. The store has to be cleared after that.
    pub fn start_over(&self, own: RingMember) {
        self.change(|table| table.start_over(own));
    }

    /// How many slots are how far.
    #[must_use]
    pub fn counts(&self) -> SlotCounts {
        lock(&self.table).counts()
    }

    /// Whether there is nothing to ask anybody.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        lock(&self.table).is_at_rest()
    }

    /// Replies to a peer, after taking note of where it is; with this node in the life in which it replies.
    #[must_use]
    pub fn answer(&self, peer: RingMember, questions: &[Question]) -> (RingMember, Vec<Reply>) {
        let mut table = lock(&self.table);
        let before = table.changes();
        for question in questions {
            if let Some(stand) = &question.stand {
                table.observe(peer, question.slot, stand);
            }
        }
        self.settle(&mut table);
        let replies: Vec<_> = questions
            .iter()
            .filter_map(|question| table.reply(question))
            .collect();
        let (own, is_stirred) = (table.own(), table.changes() != before);
        drop(table);
        if is_stirred {
            self.stirred.notify_one();
        }
        let replies = replies.into_iter().map(|reply| self.digested(reply));
        (own, replies.collect())
    }

    /// With the digest of the slot, taken after the reply: all that was acknowledged below is in it.
    fn digested(&self, reply: Reply) -> Reply {
        Reply {
            digest: if reply.is_answered {
                self.store.slot_digest(reply.slot)
            } else {
                0
            },
            ..reply
        }
    }

    fn change<R>(&self, change: impl FnOnce(&mut SlotTable) -> R) -> R {
        let mut table = lock(&self.table);
        let result = change(&mut table);
        self.settle(&mut table);
        drop(table);
        self.stirred.notify_one();
        result
    }

    /// Makes the moves that are due, drops what is to be dropped, and publishes.
    fn settle(&self, table: &mut SlotTable) {
        loop {
            let moves = table.moves();
            if moves.is_empty() {
                break;
            }
            let carrying = table.carrying(&moves);
            if !carrying.is_empty() {
                self.close(table, &carrying);
                for slot in carrying.iter() {
                    if self.cell.gates.take_carried(slot) {
                        table.saw(slot);
                    }
                }
            }
            // What was answered in a configuration that is left says nothing about the next one.
            for to in &moves {
                let _stale = self.cell.gates.take_carried(to.slot);
            }
            table.make(moves);
        }
        let drops = table.take_drops();
        if !drops.is_empty() {
            self.store.drop_slots(&drops);
        }
        self.publish(table, &SlotSet::new());
    }

    /// Closes slots: no operation on them is answered any more, and those that were are over.
    fn close(&self, table: &mut SlotTable, slots: &SlotSet) {
        self.publish(table, slots);
        self.store.fence(slots);
    }

    /// Publishes what has changed of the gates, if anything has.
    fn publish(&self, table: &mut SlotTable, closed: &SlotSet) {
        if let Some(gates) = table.refresh(&self.cell.gates.load(), closed) {
            self.cell.gates.publish(gates);
            self.cell.changed.notify_waiters();
        }
    }

    /// Takes what peers replied. Returns what has to be copied from whom before it counts.
    fn take(&self, replies: &[(RingMember, Vec<Reply>)]) -> Copies {
        let mut table = lock(&self.table);
        self.join(&mut table, replies);
        for (peer, reply, stand) in stands(replies) {
            table.observe(peer, reply.slot, &stand);
            if reply.is_settled {
                table.hear_settled(reply.slot, &stand.configuration);
            }
        }
        self.settle(&mut table);
        self.follow(&mut table, replies);
        let copies = self.count_equal(&mut table, replies);
        self.settle(&mut table);
        drop(table);
        copies
    }

    /// Slots without a configuration take the highest that anybody granted; from a full node, if it can be.
    fn join(&self, table: &mut SlotTable, replies: &[(RingMember, Vec<Reply>)]) {
        let mut best: BTreeMap<Slot, &Reply> = BTreeMap::new();
        let rank = |reply: &Reply| {
            let grant = reply.grant.as_ref();
            grant.map(|grant| (grant.configuration.clone(), grant.is_full))
        };
        for reply in replies.iter().flat_map(|(_, replies)| replies) {
            if table.is_unknown(reply.slot) && rank(reply).is_some() {
                let held = best.entry(reply.slot).or_insert(reply);
                if rank(held) < rank(reply) {
                    *held = reply;
                }
            }
        }
        for (slot, reply) in best {
            if let Some(grant) = reply.grant.clone() {
                table.join(slot, grant);
            }
        }
    }

    /// Follows into higher roots. Nothing is answered while the data of the old one goes.
    fn follow(&self, table: &mut SlotTable, replies: &[(RingMember, Vec<Reply>)]) {
        let below: Vec<&Reply> = replies
            .iter()
            .flat_map(|(_, replies)| replies)
            .filter(|reply| {
                let grant = reply.grant.as_ref();
                grant.is_some_and(|grant| table.is_below(reply.slot, grant))
            })
            .collect();
        if below.is_empty() {
            return;
        }
        let slots: SlotSet = below.iter().map(|reply| reply.slot).collect();
        self.close(table, &slots);
        for reply in below {
            if let Some(grant) = reply.grant.clone() {
                table.follow(reply.slot, grant);
            }
        }
        self.forget_hints(&slots);
    }

    /// Records owed for slots that have another root now are void.
    fn forget_hints(&self, slots: &SlotSet) {
        let gates = self.cell.gates.load();
        self.hints.forget(|key| slots.contains(gates.slot(key)));
    }

    /// Answers to pulls whose data is equal to this node's count at once; full owners come first, because one is enough.
    fn count_equal(&self, table: &mut SlotTable, replies: &[(RingMember, Vec<Reply>)]) -> Copies {
        let mut answers: Vec<(RingMember, &Reply)> = replies
            .iter()
            .flat_map(|(peer, replies)| replies.iter().map(|reply| (*peer, reply)))
            .filter(|(_, reply)| reply.is_answered)
            .collect();
        let is_full = |reply: &Reply| reply.grant.as_ref().is_some_and(|grant| grant.is_full);
        answers.sort_by_key(|(_, reply)| !is_full(reply));
        let mut differing = Vec::new();
        for (peer, reply) in answers {
            if !table.is_wanting(reply.slot) {
                continue;
            }
            if reply.digest == self.store.slot_digest(reply.slot) {
                table.take_answer(peer, reply);
            } else {
                differing.push((peer, reply));
            }
        }
        let mut copies = Copies::new();
        let mut from_full: BTreeSet<Slot> = BTreeSet::new();
        for (peer, reply) in differing {
            let slot = reply.slot;
            let state = table.state(slot).filter(|_| table.is_wanting(slot));
            let (Some(state), Some(grant)) = (state, &reply.grant) else {
                continue;
            };
            if from_full.contains(&slot) || grant.configuration != *state.configuration() {
                continue;
            }
            // What it holds of lower configurations has been copied, and will not change.
            let is_copied = state.answers().iter().any(|answer| answer.by == peer);
            if is_copied && !grant.is_full {
                continue;
            }
            if grant.is_full {
                from_full.insert(slot);
            }
            let configuration = grant.configuration.clone();
            copies.entry(peer).or_default().insert(slot, configuration);
        }
        copies
    }

    /// Counts answers whose data has been copied.
    fn count_copied(&self, peer: RingMember, replies: &[Reply]) {
        self.change(|table| {
            for reply in replies {
                table.take_answer(peer, reply);
            }
        });
    }

    /// Declares slots lost that nothing else can help.
    fn declare_losses(&self, now_millis: u64) {
        let mut table = lock(&self.table);
        let lost = table.lost();
        let may_declare = match self.on_loss {
            OnLoss::Auto => true,
            OnLoss::Manual => now_millis < self.losses_accepted_until.load(Ordering::Relaxed),
        };
        let waiting = if may_declare { 0 } else { lost.len() };
        if self.losses_waiting.swap(waiting, Ordering::Relaxed) < waiting {
            tracing::error!(
                slots = waiting,
                "slots have lost their data, and wait for `shard-cache cluster accept-losses`"
            );
        }
        if lost.is_empty() || !may_declare {
            return;
        }
        self.close(&mut table, &lost);
        for slot in lost.iter() {
            if table.declare_lost(slot) {
                self.metrics.slots_lost.inc();
                tracing::error!(%slot, "a slot was declared lost: too many of its owners have lost their memory");
            }
        }
        // Closed gates are not left behind, also if nothing was declared.
        self.settle(&mut table);
        drop(table);
        self.forget_hints(&lost);
    }
}

fn stands(
    replies: &[(RingMember, Vec<Reply>)],
) -> impl Iterator<Item = (RingMember, &Reply, Stand)> {
    let all = replies
        .iter()
        .flat_map(|(peer, replies)| replies.iter().map(|reply| (*peer, reply)));
    all.filter_map(|(peer, reply)| {
        let grant = reply.grant.as_ref()?;
        let stand = Stand {
            configuration: grant.configuration.clone(),
            is_full: grant.is_full,
        };
        Some((peer, reply, stand))
    })
}

/// Asks and copies for one node.
pub struct SlotHandoff {
    /// The node's slots.
    pub slots: Arc<Slots>,
    /// Where copied records go.
    pub replica: Arc<Replica>,
    /// How peers are reached.
    pub transport: Arc<dyn PeerTransport>,
    /// Who there is to ask.
    pub view: watch::Receiver<Arc<View>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl SlotHandoff {
    /// Works for as long as the node runs.
    pub async fn run(self) {
        let mut pause = ROUND_PAUSE_MIN;
        loop {
            let before = lock(&self.slots.table).changes();
            let failures = self.round().await;
            let changed = lock(&self.slots.table).changes() != before;
            pause = if changed && failures == 0 {
                ROUND_PAUSE_MIN
            } else {
                (pause * 2).min(ROUND_PAUSE_MAX)
            };
            // What failed will most likely fail again: news do not shorten that pause.
            let least = if failures > 0 { pause } else { ROUND_PAUSE_MIN };
            self.clock.sleep(least).await;
            tokio::select! {
                biased;
                () = self.slots.cell.doubts.noted.notified() => {}
                () = self.slots.stirred.notified() => {}
                () = self.clock.sleep(pause) => {}
            }
        }
    }

    /// Asks every present peer once what there is to ask, and goes by the replies. Returns how many copies failed.
    async fn round(&self) -> usize {
        let doubts = self.slots.cell.doubts.take();
        {
            let mut table = lock(&self.slots.table);
            doubts.iter().for_each(|slot| table.doubt(slot));
            if table.is_at_rest() {
                return 0;
            }
        }
        let peers = self.peers();
        let asked = join_all(peers.into_iter().map(|peer| self.ask(peer))).await;
        let replies: Vec<_> = asked
            .into_iter()
            .filter(|(_, replies)| !replies.is_empty())
            .collect();
        lock(&self.slots.table).trust(&doubts);
        if replies.is_empty() {
            return 0;
        }
        let mut failures = 0;
        for (source, slots) in self.slots.take(&replies) {
            if let Err(error) = self.copy(source, slots).await {
                let source = source.node_id;
                tracing::info!(%source, %error, "a source of a slot handoff is asked again");
                failures += 1;
            }
        }
        self.slots.declare_losses(self.clock.wall_millis());
        failures
    }

    fn peers(&self) -> Vec<RingMember> {
        let view = self.view.borrow();
        let others = view.present().filter(|member| member.node_id != view.own);
        others
            .map(|member| RingMember {
                node_id: member.node_id,
                boot_id: member.boot_id,
            })
            .collect()
    }

    /// Everything that there is to ask one peer.
    async fn ask(&self, peer: RingMember) -> (RingMember, Vec<Reply>) {
        let (mut from, mut replies) = (Slot(0), Vec::new());
        loop {
            let questions = lock(&self.slots.table).questions(peer, from);
            let (count, last) = (questions.len(), questions.last().map(|last| last.slot));
            let Some(last) = last else { break };
            match self.exchange(peer, questions).await {
                Ok(more) => replies.extend(more),
                Err(error) => {
                    tracing::debug!(peer = %peer.node_id, %error, "a peer did not say where it is");
                    break;
                }
            }
            match last.0.checked_add(1) {
                Some(next) if count == EXCHANGE_SLOTS_MAX => from = Slot(next),
                Some(_) | None => break,
            }
        }
        (peer, replies)
    }

    async fn exchange(
        &self,
        peer: RingMember,
        questions: Vec<Question>,
    ) -> Result<Vec<Reply>, CallError> {
        let from = lock(&self.slots.table).own();
        let exchange = SlotExchange {
            from,
            boot_id: peer.boot_id,
            questions,
        };
        tokio::select! {
            biased;
            replies = self.transport.exchange_slots(peer.node_id, exchange) => replies,
            () = self.clock.sleep(REPLY_TIMEOUT) => Err(CallError::Unreachable {
                reason: format!("no reply within {REPLY_TIMEOUT:?}"),
            }),
        }
    }

    /// Copies slots whose source has answered a pull, and asks once more: it counts for those in which the source has stayed
    /// in the configuration all the while.
    async fn copy(
        &self,
        source: RingMember,
        slots: BTreeMap<Slot, Configuration>,
    ) -> Result<(), CopyError> {
        let set: SlotSet = slots.keys().copied().collect();
        let mut cursor = 0;
        loop {
            let request = PageRequest {
                boot_id: source.boot_id,
                slots: set.clone(),
                cursor,
                bytes_max: PAGE_BYTES_MAX,
            };
            let page = self.transport.pull_slots(source.node_id, request).await?;
            let records = records::decode(&page.records)?;
            self.metrics.slot_pages.inc();
            self.metrics.slot_records.inc_by(records.len() as u64);
            let root_of = |slot: Slot| Some(slots.get(&slot)?.id().root);
            let merged = self.replica.merge(root_of, records, self.clock.now());
            if !merged.refused.is_empty() {
                let records = merged.refused.len() as u64;
                self.metrics.hlc_rejected.inc_by(records);
                return Err(CopyError::Drifted { records });
            }
            match page.next_cursor {
                Some(next) => cursor = next,
                None => break,
            }
        }
        let stayed = |slot: Slot, configuration: Option<&Configuration>| {
            configuration.is_some() && configuration == slots.get(&slot)
        };
        let questions: Vec<Question> = {
            let table = lock(&self.slots.table);
            let here = set.iter().filter(|slot| {
                let state = table.state(*slot);
                stayed(*slot, state.map(SlotState::configuration))
            });
            here.filter_map(|slot| table.pull(slot)).collect()
        };
        for questions in questions.chunks(EXCHANGE_SLOTS_MAX) {
            let mut replies = self.exchange(source, questions.to_vec()).await?;
            replies.retain(|reply| {
                let grant = reply.grant.as_ref();
                stayed(reply.slot, grant.map(|grant| &grant.configuration))
            });
            self.slots.count_copied(source, &replies);
        }
        Ok(())
    }
}

/// Why a copy was not completed. It begins anew in a later round.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Unreadable(#[from] NotRecords),
    #[error("{records} records are stamped too far ahead of the local clock")]
    Drifted { records: u64 },
}
