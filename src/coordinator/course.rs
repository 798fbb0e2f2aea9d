//! How a request goes, noted while it does: when its stages end, whom it asks and when they answer. It is noted for requests
//! that are sampled, which become spans (`traced`), and for those that are to be explained. Nothing here is touched by
//! others: to them a [`Course`] is an empty word.

use std::{fmt, sync::Arc};

use shard_cache_membership::identity::NodeId;

use super::{
    Attempt, Coordinator, Plan,
    explanation::{
        Choice, ExplainedOwner, Explanation, Hint, OwnerAnswer, OwnerReply, Purpose,
        ReplicaRequest, Stage,
    },
    ledger::HeldExchange,
    quorum::{Need, OWNERS_MAX},
    request::Terms,
    traced::ReplicaSpans,
};
use crate::{
    clock::{Clock, Monotonic},
    ring::Ring,
    telemetry::traces::Scope,
    transport::Reach,
};

/// Requests to owners that an explanation has at most: beyond, the oldest go.
const REQUESTS_MAX: usize = 64;
/// Stages that are told apart at most: beyond, time goes to the last one.
const STAGES_MAX: usize = 128;
/// Events of a span at most: beyond, they are not noted.
const EVENTS_MAX: usize = 32;

/// How one request goes.
#[derive(Debug)]
pub(super) struct Course(Option<Box<Notes>>);

struct Notes {
    clock: Arc<dyn Clock>,
    since: Monotonic,
    is_explained: bool,
    /// Those that have ended, and when, after `since`.
    stages: Vec<(Stage, Monotonic)>,
    present: Stage,
    requests: Vec<ReplicaRequest>,
    events: Vec<(Event, Monotonic)>,
    attempts: u32,
    /// That of the last attempt, and how many owners it needs; only to explain.
    planned: Option<(Plan, u8)>,
}

/// Something that happens to a request on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// Another owner is asked because those asked before are late.
    HedgeSent,
    /// It would be, but for the hedging budget.
    HedgeRefused,
    /// Another owner is asked because one has failed, or its link stands still.
    OwnerReplaced,
    /// An owner holds something newer: the write is stamped anew.
    Restamped,
    /// What was read is stored on a write quorum before it is answered.
    WriteBack,
    /// The slot is in another configuration: the request waits for this node to follow.
    Reconfigured,
}

impl Event {
    /// As it is called in a span.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::HedgeSent => "hedge_sent",
            Self::HedgeRefused => "hedge_refused",
            Self::OwnerReplaced => "owner_replaced",
            Self::Restamped => "restamped",
            Self::WriteBack => "write_back",
            Self::Reconfigured => "reconfigured",
        }
    }
}

impl Course {
    /// Begins with the first stage behind it, if there is anybody to note it for.
    pub(super) fn begin(terms: Terms, trace: Option<&Arc<Scope>>, clock: &Arc<dyn Clock>) -> Self {
        if trace.is_none() && !terms.detail.is_explained() {
            return Self(None);
        }
        let (now, since) = (clock.monotonic(), terms.arrived);
        Self(Some(Box::new(Notes {
            clock: Arc::clone(clock),
            since,
            is_explained: terms.detail.is_explained(),
            stages: vec![(Stage::Admission, now.saturating_sub(since))],
            present: Stage::Plan,
            requests: Vec::new(),
            events: Vec::new(),
            attempts: 0,
            planned: None,
        })))
    }

    /// Another attempt begins, with its plan.
    pub(super) fn attempt(&mut self) {
        if let Some(notes) = &mut self.0 {
            notes.attempts = notes.attempts.saturating_add(1);
            notes.enter(Stage::Plan);
        }
    }

    /// The attempt has a plan.
    pub(super) fn planned(&mut self, plan: &Plan, need: Need) {
        if let Some(notes) = self.0.as_mut().filter(|notes| notes.is_explained) {
            notes.planned = Some((plan.clone(), need.required));
        }
    }

    /// The present stage ends and another one begins.
    pub(super) fn enter(&mut self, stage: Stage) {
        if let Some(notes) = &mut self.0 {
            notes.enter(stage);
        }
    }

    /// Something happens now.
    pub(super) fn note(&mut self, event: Event) {
        if let Some(notes) = &mut self.0
            && notes.events.len() < EVENTS_MAX
        {
            let now = notes.clock.monotonic();
            notes.events.push((event, now));
        }
    }

    /// Lets go of an exchange that is decided, and notes whom it asked.
    pub(super) fn take(&mut self, held: HeldExchange<'_>) {
        let Some(notes) = self.0.as_mut().filter(|notes| notes.is_explained) else {
            return;
        };
        let mut requests = held.requests(notes.since);
        // Whether hints are kept is known only now, and only if nothing more is waited for.
        if let Some(kept) = held.let_go() {
            for request in &mut requests {
                request.hint = if kept.contains(request.position) {
                    Hint::Kept
                } else {
                    Hint::None
                };
            }
        }
        let excess = (notes.requests.len() + requests.len()).saturating_sub(REQUESTS_MAX);
        notes.requests.drain(..excess.min(notes.requests.len()));
        notes.requests.append(&mut requests);
    }

    /// Attempts, and what happened.
    pub(super) fn told(&self) -> Option<(u32, &[(Event, Monotonic)])> {
        let notes = self.0.as_deref()?;
        Some((notes.attempts, &notes.events))
    }
}

impl Notes {
    fn enter(&mut self, stage: Stage) {
        let ended = self.clock.monotonic().saturating_sub(self.since);
        let is_full = self.stages.len() >= STAGES_MAX;
        match self.stages.last_mut() {
            Some(last) if last.0 == self.present || is_full => last.1 = ended,
            Some(_) | None => self.stages.push((self.present, ended)),
        }
        self.present = stage;
    }
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Notes({} attempts)", self.attempts)
    }
}

/// Owners of a configuration by their positions.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Positions(u8);

impl Positions {
    pub(super) fn insert(&mut self, position: u8) {
        self.0 |= 1_u8.checked_shl(position.into()).unwrap_or(0);
    }

    pub(super) fn contains(self, position: u8) -> bool {
        self.0 & 1_u8.checked_shl(position.into()).unwrap_or(0) != 0
    }
}

/// Whom one exchange asks, and when they answer. Kept beside its tally.
pub(super) struct ReplicaRequests {
    clock: Arc<dyn Clock>,
    own: NodeId,
    purpose: Purpose,
    attempt: u32,
    /// By position.
    pub(super) owners: Vec<AskedOwner>,
    /// What they become when the request is sampled.
    pub(super) spans: Option<ReplicaSpans>,
}

/// One owner of an exchange.
pub(super) struct AskedOwner {
    node_id: NodeId,
    pub(super) name: String,
    pub(super) asked: Option<Monotonic>,
    pub(super) answered: Option<Monotonic>,
    pub(super) choice: Choice,
}

impl ReplicaRequests {
    /// The owner at `position` is asked now.
    fn asked(&mut self, position: u8, choice: Choice) {
        let now = self.clock.monotonic();
        if let Some(owner) = self.owners.get_mut(usize::from(position)) {
            owner.asked = Some(now);
            owner.choice = choice;
        }
    }

    /// Owners are asked now because others failed or are late.
    pub(super) fn asked_later(&mut self, positions: &[u8], choice: Choice) {
        for &position in positions {
            self.asked(position, choice);
        }
    }

    /// The owner at `position` has answered, or surely will not.
    pub(super) fn answered(&mut self, position: u8) {
        let now = self.clock.monotonic();
        if let Some(owner) = self.owners.get_mut(usize::from(position)) {
            owner.answered.get_or_insert(now);
        }
    }

    /// The time by which they are asked and answer.
    pub(super) fn now(&self) -> Monotonic {
        self.clock.monotonic()
    }

    /// Those that were asked, in that order, with what they answered; times count from `since`.
    pub(super) fn explained(
        &self,
        since: Monotonic,
        reply: impl Fn(u8) -> OwnerReply,
        hint: impl Fn(u8) -> Hint,
    ) -> Vec<ReplicaRequest> {
        let asked = (0u8..).zip(&self.owners).filter_map(|(position, owner)| {
            let reply = reply(position);
            let is_open = reply.answer == OwnerAnswer::Pending;
            let after = |at: Monotonic| at.saturating_sub(since);
            Some(ReplicaRequest {
                position,
                node_id: owner.node_id,
                name: owner.name.clone(),
                is_local: owner.node_id == self.own,
                purpose: self.purpose,
                attempt: self.attempt,
                choice: owner.choice,
                sent: after(owner.asked?),
                answered: owner.answered.filter(|_| !is_open).map(after),
                reply,
                hint: hint(position),
            })
        });
        let mut requests: Vec<_> = asked.collect();
        requests.sort_by_key(|request| request.sent);
        requests
    }
}

impl fmt::Debug for ReplicaRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ReplicaRequests({} to {})",
            self.purpose.as_str(),
            self.owners.len()
        )
    }
}

impl Coordinator {
    /// What an attempt's requests to `first`, and to whoever is turned to later, are noted in; only if they are.
    pub(super) fn replica_requests(
        &self,
        attempt: Attempt<'_>,
        purpose: Purpose,
        first: impl IntoIterator<Item = u8>,
    ) -> Option<Box<ReplicaRequests>> {
        if attempt.trace.is_none() && !attempt.terms.detail.is_explained() {
            return None;
        }
        let owners = attempt.plan.configuration.owners();
        debug_assert!(owners.len() <= OWNERS_MAX);
        let view = Arc::clone(&self.view.borrow());
        let owners = owners.iter().map(|owner| AskedOwner {
            node_id: owner.node_id,
            name: view.name_of(owner.node_id),
            asked: None,
            answered: None,
            choice: Choice::First,
        });
        let mut requests = Box::new(ReplicaRequests {
            clock: Arc::clone(&self.clock),
            own: self.own,
            purpose,
            attempt: attempt.number,
            owners: owners.collect(),
            spans: ReplicaSpans::of(attempt, purpose),
        });
        for position in first {
            requests.asked(position, Choice::First);
        }
        Some(requests)
    }

    /// Ends the last stage but the answer, and builds the explanation if the terms ask for one. There is none of a request
    /// that came to no plan.
    pub(super) fn explain(&self, course: &mut Course) -> Option<Box<Explanation>> {
        let notes = course.0.as_mut().filter(|notes| notes.is_explained)?;
        notes.enter(Stage::Answer);
        let (plan, needed) = notes.planned.take()?;
        let events = notes.events.iter();
        let restamped = events.filter(|(event, _)| *event == Event::Restamped);
        let owners = plan.configuration.owners().iter();
        let owners = owners.map(|owner| {
            let asked = |request: &&ReplicaRequest| request.node_id == owner.node_id;
            let asked = || notes.requests.iter().rev().filter(asked);
            let is_first = |purpose| matches!(purpose, Purpose::Read | Purpose::Write);
            let last = asked().find(|request| is_first(request.purpose));
            let last = last.or_else(|| asked().next());
            let last = last.filter(|request| request.attempt == notes.attempts);
            let answer = last.map_or(OwnerAnswer::NotAsked, |request| request.reply.answer);
            let is_full = asked().find_map(|request| request.reply.is_full);
            self.explained_owner(&plan, owner.node_id, answer, is_full)
        });
        Some(Box::new(Explanation {
            slot: plan.slot,
            configuration: plan.configuration.id(),
            ring_hash: self.ring.ring.load().as_deref().map(Ring::hash),
            owners: owners.collect(),
            needed,
            attempts: notes.attempts,
            restamps: u32::try_from(restamped.count()).unwrap_or(u32::MAX),
            requests: std::mem::take(&mut notes.requests),
            since: notes.since,
            stages: std::mem::take(&mut notes.stages),
        }))
    }

    fn explained_owner(
        &self,
        plan: &Plan,
        node_id: NodeId,
        answer: OwnerAnswer,
        is_full: Option<bool>,
    ) -> ExplainedOwner {
        let is_own = node_id == self.own;
        let view = Arc::clone(&self.view.borrow());
        let member = view.member(node_id);
        let record = member.and_then(|member| member.record.as_ref());
        let reach = (!is_own).then(|| self.transport.reach(node_id));
        let answer = match (answer, reach) {
            // Others were asked because it could not be.
            (OwnerAnswer::NotAsked, Some(Reach::Down)) => OwnerAnswer::Unreachable,
            (answer, _) => answer,
        };
        ExplainedOwner {
            name: view.name_of(node_id),
            answer,
            score: Ring::score(node_id, plan.slot),
            zone: record.map(|record| record.zone.clone()).unwrap_or_default(),
            liveness: member.map(|member| member.liveness),
            reach,
            is_full: is_full.or_else(|| is_own.then(|| self.ring.gates.load().is_full(plan.slot))),
        }
    }
}
