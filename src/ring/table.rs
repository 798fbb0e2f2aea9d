//! All slots of one node: what it is in, what the ring wants, and what it has to ask others. Pure; the shell around it
//! (`handoff::slots`) carries questions and replies, copies data, and publishes [`Gates`].
//!
//! A slot at rest costs nothing: it is neither asked about nor told of. A slot moves when the ring wants other owners, when
//! a peer shows a higher configuration with the owners that are wanted, or when it has not been settled yet.
//!
//! Invariants: a slot's configuration only goes up within a root, and a root only gives way to a higher one; a slot is at
//! rest only when all of its owners have said that they are full in its configuration.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    Ring, RingMember,
    gates::{Gate, Gates},
    slot::{
        Answered, Configuration, Grant, LossEvidence, OnSettled, Quorums, Root, SlotState,
        state::AfterLoss,
    },
};
use crate::{key::Slot, slot_set::SlotSet};

/// Most slots in one exchange with a peer; the rest follows in the next one.
pub const EXCHANGE_SLOTS_MAX: usize = 512;
/// A slot of which there is no news is asked about in every second round, then in every fourth, and so on: at least in one of
/// two to the power of this.
const QUIET_MAX: u8 = 3;

/// What a node is in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stand {
    /// The configuration.
    pub configuration: Configuration,
    /// Whether it is full in it.
    pub is_full: bool,
}

/// What one node asks another about a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// The slot.
    pub slot: Slot,
    /// What the asking node is in; `None` when it has no configuration yet.
    pub stand: Option<Stand>,
    /// Whether it asks for the data, too: a pull.
    pub is_pull: bool,
    /// Whether a request waits for the slot: who has to copy it does that first.
    pub is_awaited: bool,
}

/// What the other one replies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The slot.
    pub slot: Slot,
    /// What the replying node is in, and what a joiner may take; `None` when it has no configuration yet.
    pub grant: Option<Grant>,
    /// The highest configuration in which its memory was full.
    pub top: Option<Configuration>,
    /// Whether this answers a pull: it is in the configuration that was asked about, and stays in it or above.
    pub is_answered: bool,
    /// Whether it knows that all owners are full in its configuration.
    pub is_settled: bool,
    /// One word for everything that it has of the slot, taken after that.
    pub summary: u64,
}

/// A move that the table wants to make.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Move {
    /// The slot.
    pub slot: Slot,
    /// Where to.
    pub to: Configuration,
}

/// How many slots are how far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SlotCounts {
    /// Without a configuration yet.
    pub unknown: usize,
    /// Owned by this node, which is not full.
    pub wanting: usize,
    /// Not known to be settled, the wanting ones included.
    pub unsettled: usize,
}

/// The slots of one node.
pub struct SlotTable {
    own: RingMember,
    quorums: Quorums,
    ring: Option<Arc<Ring>>,
    cells: Vec<Cell>,
    /// Slots that may have to move.
    dirty: SlotSet,
    /// Slots that are not settled, as far as this node knows.
    unsettled: SlotSet,
    /// Slots that somebody should be asked about although they seem to be at rest.
    doubted: SlotSet,
    /// Slots that requests wait for, here or elsewhere, and that this node has to copy.
    awaited: SlotSet,
    /// How often that began.
    awaits: u64,
    /// Slots whose data is to be dropped. Their gates are closed.
    drops: SlotSet,
    /// Lives of members that are gone for good. As bounded as the orders that they come from.
    forgotten: BTreeSet<RingMember>,
    /// Slots whose gates are not as they were published.
    stale: SlotSet,
    /// Rounds of questions so far.
    round: u32,
    /// Slots that were declared lost.
    losses: u64,
    /// Rises with everything that operations or others go by.
    changes: u64,
}

#[derive(Clone, Default)]
struct Cell {
    state: Option<SlotState>,
    /// Owners that are known to be full in the present configuration.
    full: Vec<RingMember>,
    /// The highest number seen in this root.
    number: u32,
    /// A higher configuration that a peer showed.
    shown: Option<Configuration>,
    /// Rounds that asked about it since there was news of it, the present one included.
    quiet: u8,
}

impl SlotTable {
    /// A table without configurations.
    #[must_use]
    pub fn new(slots: u16, own: RingMember, quorums: Quorums) -> Self {
        Self {
            own,
            quorums,
            ring: None,
            cells: vec![Cell::default(); usize::from(slots)],
            dirty: SlotSet::new(),
            unsettled: SlotSet::all(slots),
            doubted: SlotSet::new(),
            awaited: SlotSet::new(),
            awaits: 0,
            drops: SlotSet::new(),
            forgotten: BTreeSet::new(),
            stale: SlotSet::all(slots),
            round: 0,
            losses: 0,
            changes: 0,
        }
    }

    /// The same node with an empty memory, in another life.
    pub fn start_over(&mut self, own: RingMember) {
        let slots = self.slots();
        *self = Self {
            forgotten: std::mem::take(&mut self.forgotten),
            losses: self.losses,
            changes: self.changes + 1,
            ..Self::new(slots, own, self.quorums)
        };
    }

    /// This node in its present life.
    #[must_use]
    pub const fn own(&self) -> RingMember {
        self.own
    }

    /// How often this node has declared a slot lost.
    #[must_use]
    pub const fn losses(&self) -> u64 {
        self.losses
    }

    /// Rises with everything that operations or others go by.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// Enters the configurations that the first ring of a cluster makes (rule 14), where there is none yet.
    pub fn form(&mut self, ring: &Ring) {
        let mut known: HashMap<u64, Configuration> = HashMap::new();
        for slot in self.all_slots() {
            if self.cells[slot.index()].state.is_some() {
                continue;
            }
            let configuration = known
                .entry(ring.configuration(slot).owners)
                .or_insert_with(|| Configuration::first(ring.bootstrap(), owners_of(ring, slot)));
            let state = SlotState::form(configuration.clone(), self.own);
            self.enter(slot, state);
        }
    }

    /// The ring that decides which owners are wanted.
    pub fn want(&mut self, ring: Arc<Ring>) {
        self.ring = Some(ring);
        self.dirty = SlotSet::all(self.slots());
    }

    /// These lives of members are gone for good: their memory is not waited for (rule 16).
    pub fn forget(&mut self, members: impl Iterator<Item = RingMember>) {
        self.forgotten.extend(members);
    }

    /// Asks about a slot although it seems to be at rest: a peer answered from another configuration.
    pub fn doubt(&mut self, slot: Slot) {
        if slot.index() < self.cells.len() {
            self.doubted.insert(slot);
            self.await_slot(slot);
        }
    }

    /// A request waits for a slot.
    fn await_slot(&mut self, slot: Slot) {
        if self.is_wanting(slot) && self.awaited.insert(slot) {
            self.awaits += 1;
            self.changes += 1;
        }
    }

    /// Whether a request waits for a slot that this node has to copy.
    #[must_use]
    pub fn is_awaited(&self, slot: Slot) -> bool {
        self.awaited.contains(slot)
    }

    /// How often a request began to wait for a slot that this node has to copy.
    #[must_use]
    pub const fn awaits(&self) -> u64 {
        self.awaits
    }

    /// Where slots have to move (rule 1).
    pub fn moves(&mut self) -> Vec<Move> {
        let Some(ring) = self.ring.clone() else {
            return Vec::new();
        };
        let mut known: HashMap<(u64, u32, Root), Configuration> = HashMap::new();
        let dirty = std::mem::take(&mut self.dirty);
        let mut moves = Vec::new();
        for slot in dirty.iter() {
            let cell = &mut self.cells[slot.index()];
            let shown = cell.shown.take();
            let Some(state) = &cell.state else { continue };
            let wanted = ring.configuration(slot).owners;
            let shown = shown
                .filter(|shown| shown.id().owners == wanted && state.may_adopt(shown, self.own));
            let to = match shown {
                Some(shown) => shown,
                None if state.configuration().id().owners == wanted => continue,
                None => {
                    let root = state.configuration().root();
                    let number = state.configuration().number().max(cell.number);
                    known
                        .entry((wanted, number, root))
                        .or_insert_with(|| state.propose(owners_of(&ring, slot), cell.number))
                        .clone()
                }
            };
            if state.may_adopt(&to, self.own) {
                moves.push(Move { slot, to });
            }
        }
        moves
    }

    /// Of these, the slots that may be answering operations as carrying owner right now.
    #[must_use]
    pub fn carrying(&self, moves: &[Move]) -> SlotSet {
        let slots = moves.iter().map(|to| to.slot);
        slots
            .filter(|slot| {
                let state = self.cells[slot.index()].state.as_ref();
                state.is_some_and(|state| state.carried().is_some())
            })
            .collect()
    }

    /// Notes that operations were answered as carrying owner.
    pub fn saw(&mut self, slot: Slot) {
        if let Some(state) = &mut self.cells[slot.index()].state {
            state.saw();
        }
    }

    /// Makes the moves (rule 2).
    pub fn make(&mut self, moves: Vec<Move>) {
        for Move { slot, to } in moves {
            let (own, quorums) = (self.own, self.quorums);
            let cell = &mut self.cells[slot.index()];
            let Some(state) = &mut cell.state else {
                continue;
            };
            let number = to.number();
            if state.adopt(to, own, quorums) {
                cell.number = cell.number.max(number);
                self.entered(slot);
            }
        }
    }

    /// Enters a slot's first configuration or another root.
    fn enter(&mut self, slot: Slot, state: SlotState) {
        let cell = &mut self.cells[slot.index()];
        *cell = Cell {
            number: state.configuration().number(),
            state: Some(state),
            ..Cell::default()
        };
        self.doubted.remove(slot);
        self.dirty.insert(slot);
        self.entered(slot);
    }

    /// After a slot's configuration has changed.
    fn entered(&mut self, slot: Slot) {
        self.changes += 1;
        let cell = &mut self.cells[slot.index()];
        cell.full.clear();
        cell.quiet = 0;
        self.awaited.remove(slot);
        self.unsettled.insert(slot);
        self.stale.insert(slot);
        self.hear_self(slot);
    }

    fn hear_self(&mut self, slot: Slot) {
        let state = self.cells[slot.index()].state.as_ref();
        if state.is_some_and(SlotState::is_full) {
            self.hear(slot, self.own);
        }
    }

    /// Somebody is full in the slot's present configuration; when all owners are, it is settled (rule 15).
    fn hear(&mut self, slot: Slot, member: RingMember) {
        let cell = &mut self.cells[slot.index()];
        let Some(state) = &mut cell.state else { return };
        let configuration = state.configuration().clone();
        if !configuration.names(member) || cell.full.contains(&member) {
            return;
        }
        cell.full.push(member);
        cell.quiet = 0;
        self.changes += 1;
        if cell.full.len() == configuration.owners().len() {
            self.hear_settled(slot, &configuration);
        }
    }

    /// Somebody knows that all owners are full in a configuration (rule 15).
    pub fn hear_settled(&mut self, slot: Slot, configuration: &Configuration) {
        if !self.unsettled.contains(slot) {
            return;
        }
        let own = self.own;
        let Some(cell) = self.cells.get_mut(slot.index()) else {
            return;
        };
        let is_there = |state: &&mut SlotState| {
            state.configuration() == configuration && !state.is_wanting(own)
        };
        let Some(state) = cell.state.as_mut().filter(is_there) else {
            return;
        };
        self.changes += 1;
        cell.full = Vec::new();
        self.unsettled.remove(slot);
        self.stale.insert(slot);
        match state.settle(configuration, own) {
            OnSettled::Keep => {}
            OnSettled::DropCopy => {
                self.drops.insert(slot);
            }
        }
    }

    /// Begins a round of questions. Slots of which there was no news in the last one are asked about more seldom.
    pub fn begin_round(&mut self) {
        for slot in self.unsettled.iter() {
            let cell = &mut self.cells[slot.index()];
            if is_due(self.round, slot, cell.quiet) {
                cell.quiet = (cell.quiet + 1).min(QUIET_MAX + 1);
            }
        }
        self.round = self.round.wrapping_add(1);
    }

    /// Has all slots asked about in the next round: others can be reached than before.
    pub fn rouse(&mut self) {
        self.cells.iter_mut().for_each(|cell| cell.quiet = 0);
    }

    /// The next slots to ask about in this round from `from` on, at most [`EXCHANGE_SLOTS_MAX`].
    #[must_use]
    pub fn open_slots(&self, from: Slot) -> SlotSet {
        let is_due = |slot: &Slot| is_due(self.round, *slot, self.cells[slot.index()].quiet);
        let doubted = self.doubted.iter_from(from).take(EXCHANGE_SLOTS_MAX);
        let mut open: SlotSet = doubted.collect();
        let unsettled = self.unsettled.iter_from(from).filter(is_due);
        open.extend(unsettled.take(EXCHANGE_SLOTS_MAX));
        if open.len() > EXCHANGE_SLOTS_MAX {
            open = open.iter().take(EXCHANGE_SLOTS_MAX).collect();
        }
        open
    }

    /// What to ask a peer about some slots.
    #[must_use]
    pub fn questions(&self, peer: RingMember, slots: &SlotSet) -> Vec<Question> {
        let questions = slots.iter().map(|slot| self.question(peer, slot));
        questions.flatten().collect()
    }

    fn question(&self, peer: RingMember, slot: Slot) -> Option<Question> {
        let is_doubted = self.doubted.contains(slot);
        let cell = self.cells.get(slot.index())?;
        let Some(state) = &cell.state else {
            return Some(Question {
                slot,
                stand: None,
                is_pull: false,
                is_awaited: is_doubted,
            });
        };
        let is_pull = state.is_wanting(self.own);
        let configuration = state.configuration();
        // Also one that was heard: it may know by now that all are full, when this node cannot reach all of them.
        (is_doubted || is_pull || configuration.names(peer)).then(|| Question {
            slot,
            stand: Some(stand(state)),
            is_pull,
            is_awaited: is_doubted,
        })
    }

    /// The question that pulls a slot, if this node wants it.
    #[must_use]
    pub fn pull(&self, slot: Slot) -> Option<Question> {
        let state = self
            .state(slot)
            .filter(|state| state.is_wanting(self.own))?;
        Some(Question {
            slot,
            stand: Some(stand(state)),
            is_pull: true,
            is_awaited: false,
        })
    }

    /// Takes note of what a peer shows of itself: before moves are made and it is replied to.
    pub fn observe(&mut self, peer: RingMember, slot: Slot, stand: &Stand) {
        let Some(cell) = self.cells.get_mut(slot.index()) else {
            return;
        };
        let Some(state) = &cell.state else { return };
        let (own, shown) = (state.configuration(), &stand.configuration);
        if shown.root() != own.root() {
            if shown.root() > own.root() && self.doubted.insert(slot) {
                self.changes += 1;
            }
            return;
        }
        cell.number = cell.number.max(shown.number());
        if shown == own {
            let is_new = || !state.answers().iter().any(|answer| answer.by == peer);
            if state.is_wanting(self.own) && is_new() {
                cell.quiet = 0;
            }
            if stand.is_full {
                self.hear(slot, peer);
            }
        } else if shown > own {
            if cell.shown.as_ref().is_none_or(|held| held < shown) {
                cell.shown = Some(shown.clone());
            }
            self.dirty.insert(slot);
        }
    }

    /// The reply to a question, without the summary. A pull is answered from within its configuration only (rule 9).
    pub fn reply(&mut self, question: &Question) -> Option<Reply> {
        let own = self.own;
        if question.is_awaited {
            self.await_slot(question.slot);
        }
        let cell = self.cells.get_mut(question.slot.index())?;
        let mut reply = Reply {
            slot: question.slot,
            grant: None,
            top: None,
            is_answered: false,
            is_settled: false,
            summary: 0,
        };
        let Some(state) = &mut cell.state else {
            return Some(reply);
        };
        if let (true, Some(stand)) = (question.is_pull, &question.stand) {
            let answered = state.answer_pull(stand.configuration.id(), own);
            reply.is_answered = answered.is_some();
        }
        reply.is_settled = !self.unsettled.contains(question.slot);
        let mut grant = state.grant();
        let stand = question.stand.as_ref().filter(|_| !question.is_pull);
        if stand.is_some_and(|stand| stand.configuration.root() == grant.configuration.root()) {
            // Who has a configuration of this root and pulls nothing has no use for the rest.
            grant.predecessors = Vec::new();
        } else {
            reply.top = state.top().cloned();
        }
        reply.grant = Some(grant);
        Some(reply)
    }

    /// Takes a slot's first configuration, the highest that was granted (rule 13).
    pub fn join(&mut self, slot: Slot, grant: Grant) -> bool {
        let Some(cell) = self.cells.get(slot.index()) else {
            return false;
        };
        if cell.state.is_some() {
            return false;
        }
        match SlotState::join(grant, self.own) {
            Some(state) => {
                self.enter(slot, state);
                true
            }
            None => false,
        }
    }

    /// Whether a slot has no configuration yet.
    #[must_use]
    pub fn is_unknown(&self, slot: Slot) -> bool {
        let cell = self.cells.get(slot.index());
        cell.is_some_and(|cell| cell.state.is_none())
    }

    /// Whether this node owns a slot and is not full in it.
    #[must_use]
    pub fn is_wanting(&self, slot: Slot) -> bool {
        self.state(slot)
            .is_some_and(|state| state.is_wanting(self.own))
    }

    /// The state of a slot.
    #[must_use]
    pub fn state(&self, slot: Slot) -> Option<&SlotState> {
        self.cells.get(slot.index())?.state.as_ref()
    }

    /// Whether a root that a peer granted is above the slot's.
    #[must_use]
    pub fn is_below(&self, slot: Slot, grant: &Grant) -> bool {
        self.state(slot)
            .is_some_and(|state| grant.configuration.root() > state.configuration().root())
    }

    /// Follows into a higher root (rule 17); the slot's data is to be dropped. Nothing may be answered meanwhile.
    pub fn follow(&mut self, slot: Slot, grant: Grant) {
        let own = self.own;
        let Some(state) = &mut self.cells[slot.index()].state else {
            return;
        };
        if state.follow(grant, own) {
            let state = state.clone();
            self.enter(slot, state);
            self.drops.insert(slot);
        }
    }

    /// Takes the answer to a pull under the slot's present configuration, once its data has been merged (rules 9 to 11).
    pub fn take_answer(&mut self, peer: RingMember, reply: &Reply) {
        let (own, quorums) = (self.own, self.quorums);
        let Some(cell) = self.cells.get_mut(reply.slot.index()) else {
            return;
        };
        let (Some(state), Some(grant)) = (&mut cell.state, &reply.grant) else {
            return;
        };
        let asked = state.configuration().id();
        if !reply.is_answered || grant.configuration.id() != asked || !state.is_wanting(own) {
            return;
        }
        let answer = Answered {
            by: peer,
            predecessors: if grant.is_full {
                Vec::new()
            } else {
                grant.predecessors.clone()
            },
            is_full: grant.is_full,
            top: reply.top.clone(),
        };
        if state.take_answer(asked, answer, own, quorums) {
            self.awaited.remove(reply.slot);
            self.stale.insert(reply.slot);
            self.hear_self(reply.slot);
        }
    }

    /// Forgets that a slot was doubted: it has been asked about.
    pub fn trust(&mut self, slots: &SlotSet) {
        for slot in slots.iter() {
            self.doubted.remove(slot);
        }
    }

    /// Wanting slots of which this node is the first owner and all members of the ring have answered, but which lack a
    /// cover that can never be had (rule 16).
    #[must_use]
    pub fn lost(&self) -> SlotSet {
        let is_lost = |slot: &Slot| {
            let state = self.state(*slot).filter(|state| state.is_wanting(self.own));
            state.is_some_and(|state| self.declaration(state).is_some())
        };
        self.unsettled.iter().filter(is_lost).collect()
    }

    /// What becomes of a slot that is declared lost; `None` if that is not for this node to do, or not yet.
    fn declaration(&self, state: &SlotState) -> Option<(SlotState, AfterLoss)> {
        let ring = self.ring.as_ref()?;
        let answers = state.answers();
        let answered = |member: &RingMember| {
            *member == self.own || answers.iter().any(|answer| answer.by == *member)
        };
        if !ring.members().iter().all(answered) {
            return None;
        }
        // Another life of the same node, which has answered, shows that a memory is gone; or an operator says so.
        let is_gone = |member: RingMember| {
            let other_life =
                |by: RingMember| by.node_id == member.node_id && by.boot_id != member.boot_id;
            self.forgotten.contains(&member)
                || other_life(self.own)
                || answers.iter().any(|answer| other_life(answer.by))
        };
        let evidence = LossEvidence {
            answers_needed: ring.members().len(),
            is_gone: &is_gone,
        };
        let mut declared = state.clone();
        let after = declared.declare_lost(self.own, self.quorums, &evidence)?;
        Some((declared, after))
    }

    /// Declares a slot lost if it is (rule 16); its data may have to be dropped. Nothing may be answered meanwhile.
    pub fn declare_lost(&mut self, slot: Slot) -> bool {
        let state = self.state(slot).filter(|state| state.is_wanting(self.own));
        let Some((declared, after)) = state.and_then(|state| self.declaration(state)) else {
            return false;
        };
        self.enter(slot, declared);
        match after {
            AfterLoss::KeepCopy => {}
            AfterLoss::DropCopy => {
                self.drops.insert(slot);
            }
        }
        self.losses += 1;
        true
    }

    /// Slots whose data is to be dropped, once.
    pub fn take_drops(&mut self) -> SlotSet {
        std::mem::take(&mut self.drops)
    }

    /// Whether there is anything to ask anybody.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.unsettled.is_empty() && self.doubted.is_empty()
    }

    /// How many slots are how far.
    #[must_use]
    pub fn counts(&self) -> SlotCounts {
        let mut counts = SlotCounts {
            unsettled: self.unsettled.len(),
            ..SlotCounts::default()
        };
        for slot in self.unsettled.iter() {
            counts.unknown += usize::from(self.is_unknown(slot));
            counts.wanting += usize::from(self.is_wanting(slot));
        }
        counts
    }

    /// What operations go by.
    #[must_use]
    pub fn gates(&self) -> Gates {
        Gates::new(self.slots(), |slot| self.gate(slot, &SlotSet::new()))
    }

    /// The published gates with what has changed since, and with some slots closed, which the next ones open again. `None`
    /// if that is nothing.
    pub fn refresh(&mut self, published: &Gates, closed: &SlotSet) -> Option<Gates> {
        let mut stale = std::mem::take(&mut self.stale);
        stale.extend(closed.iter());
        if stale.is_empty() {
            return None;
        }
        let gates = published.with(&stale, |slot| self.gate(slot, closed));
        self.stale.extend(closed.iter().chain(self.drops.iter()));
        Some(gates)
    }

    fn gate(&self, slot: Slot, closed: &SlotSet) -> Option<Gate> {
        let state = self.cells.get(slot.index())?.state.as_ref()?;
        Some(Gate {
            configuration: state.configuration().clone(),
            is_owner: state.configuration().names(self.own),
            is_full: state.is_full(),
            carry: state.carry(self.quorums),
            is_closed: closed.contains(slot) || self.drops.contains(slot),
        })
    }

    fn slots(&self) -> u16 {
        u16::try_from(self.cells.len()).unwrap_or(u16::MAX)
    }

    fn all_slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.slots()).map(Slot)
    }
}

/// Whether a slot is asked about in a round. Slots that are as quiet are spread over the rounds.
fn is_due(round: u32, slot: Slot, quiet: u8) -> bool {
    round
        .wrapping_add(u32::from(slot.0))
        .is_multiple_of(1 << quiet.saturating_sub(1))
}

fn stand(state: &SlotState) -> Stand {
    Stand {
        configuration: state.configuration().clone(),
        is_full: state.is_full(),
    }
}

fn owners_of(ring: &Ring, slot: Slot) -> Box<[RingMember]> {
    ring.owners(slot).iter().copied().collect()
}

#[cfg(test)]
#[path = "table_rounds_tests.rs"]
mod rounds_tests;
