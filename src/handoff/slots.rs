//! The slots of one node: the table of slot reconfiguration behind a lock, and everything that has to happen when it
//! changes: slots move, data is dropped, and the gates that operations go by are published. The rules are in `ring::slot`
//! and `ring::table`; whom to ask and what to copy when is in [`rounds`](super::rounds).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

use super::{OwedHints, RingCell};
#[cfg(feature = "planted-bugs")]
use crate::planted;
use crate::{
    key::Slot,
    ring::{
        Ring, RingMember,
        orders::Orders,
        slot::Grant,
        table::{Question, Reply, SlotCounts, SlotTable, Stand},
    },
    slot_set::SlotSet,
    store::Store,
    sync::{Mutex, MutexGuard, lock},
    telemetry::Metrics,
};

/// What has to be copied from whom, and the configuration in which the source answered before.
pub(super) type Copies = BTreeMap<RingMember, BTreeMap<Slot, Stand>>;

/// The slots of one node.
pub struct Slots {
    table: Mutex<SlotTable>,
    pub(super) cell: RingCell,
    store: Arc<Store>,
    hints: Arc<OwedHints>,
    metrics: Arc<Metrics>,
    /// Notified when there may be something to ask.
    pub(super) stirred: Notify,
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
        let replies = replies.into_iter().map(|reply| self.summed_up(reply));
        (own, replies.collect())
    }

    /// With the summary of the slot, taken after the reply: all that was acknowledged below is in it.
    fn summed_up(&self, reply: Reply) -> Reply {
        Reply {
            summary: if reply.is_answered {
                self.store.slot_summary(reply.slot)
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

    /// The table, for as long as the guard lives: not across anything that waits.
    pub(super) fn table(&self) -> MutexGuard<'_, SlotTable> {
        lock(&self.table)
    }

    /// Takes what peers replied. Returns what has to be copied from whom before it counts.
    pub(super) fn take(&self, replies: &[(RingMember, Vec<Reply>)]) -> Copies {
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
            // Ghosts, floors and marks as well: without them something older would be taken from another owner.
            let is_equal = reply.summary == self.store.slot_summary(reply.slot);
            #[cfg(feature = "planted-bugs")]
            let is_equal = is_equal || planted::Bug::EmptyIsFull.is_planted();
            if is_equal {
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
            copies.entry(peer).or_default().insert(slot, stand(grant));
        }
        copies
    }

    /// Counts answers whose data has been copied.
    pub(super) fn count_copied(&self, peer: RingMember, replies: &[Reply]) {
        self.change(|table| {
            for reply in replies {
                table.take_answer(peer, reply);
            }
        });
    }

    /// Declares slots lost that nothing else can help.
    pub(super) fn declare_losses(&self, now_millis: u64) {
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
        Some((peer, reply, stand(grant)))
    })
}

/// Where whoever granted this is in the slot.
pub(super) fn stand(grant: &Grant) -> Stand {
    Stand {
        configuration: grant.configuration.clone(),
        is_full: grant.is_full,
    }
}
