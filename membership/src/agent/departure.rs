//! Leaving in order: the word that we leave, who has shown that it knows, and going.
//!
//! Who goes without being heard has only vanished for the others: they keep it as an owner that is down, for as long as
//! the ring waits for it. Gossip is not answered. So from the moment when our record says that we leave, members are
//! asked for a push-pull until their own states show that record, and we go when every member that is present and stays
//! has shown it, or at the latest when the caller has no more time.

use std::{collections::BTreeMap, time::Duration};

use super::{Agent, Now};
use crate::{
    identity::{BootId, NodeId},
    record::Phase,
    state::State as FullState,
    view::{Member, View},
};

/// Gossip rounds between the leaving record and the departure, at least.
const LEAVE_ROUNDS: u32 = 2;
/// Gossip rounds after the departure that repeat it.
const FAREWELLS_MAX: u32 = 10;
/// How long after the word has gone out those that know are enough: the others, who cannot be reached and are not down
/// yet, hear it from them.
const HEARSAY_AFTER: Duration = Duration::from_secs(5);

/// How far we are with leaving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Departure {
    Staying,
    /// The leaving record spreads; when it is known, or at the deadline, we go.
    Announced {
        /// Not before this time.
        depart_from: Duration,
        /// The deadline.
        give_up: Duration,
        /// When to look at it again, if nothing happens before.
        look_at: Duration,
    },
    /// Gone; repeats it so often and until then is otherwise silent.
    Gone {
        parting: Parting,
        farewells_left: u32,
        next: Duration,
    },
}

/// Whether the others know that we have left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parting {
    /// Somebody who passes it on does, or there is nobody who would have to.
    Heard,
    /// Nobody has shown it.
    Unheard {
        /// Members that would have to know, present or down.
        members: usize,
    },
}

/// The word that we leave, once our record says it.
#[derive(Debug)]
pub(super) struct Word {
    since: Duration,
    /// Members that have shown it, each in this life of its memory.
    heard: BTreeMap<NodeId, BootId>,
}

/// How many others there are of each kind.
#[derive(Default)]
struct Audience {
    /// Know, and are present or have left in order.
    heard: usize,
    /// Are present and stay, and have not shown that they know.
    awaited: usize,
    /// The others that have not left in order.
    others: usize,
}

impl Word {
    const fn new(since: Duration) -> Self {
        Self {
            since,
            heard: BTreeMap::new(),
        }
    }

    fn is_known_to(&self, member: &Member) -> bool {
        self.heard.get(&member.node_id) == Some(&member.boot_id)
    }

    fn audience(&self, view: &View) -> Audience {
        let mut audience = Audience::default();
        for member in view.members.iter().filter(|it| it.node_id != view.own) {
            let (is_present, leaves) = (member.liveness.is_present(), leaves(member));
            match (self.is_known_to(member), is_present, leaves) {
                (true, true, _) | (true, _, true) => audience.heard += 1,
                (false, true, false) => audience.awaited += 1,
                (false, false, true) => {}
                (false, true, true) | (_, false, false) => audience.others += 1,
            }
        }
        audience
    }

    /// What our going at this time would be; `None` as long as it is better to wait.
    fn parting(&self, view: &View, at: Duration, give_up: Duration) -> Option<Parting> {
        let Audience {
            heard,
            awaited,
            others,
        } = self.audience(view);
        let is_over = at >= give_up;
        let is_enough = awaited == 0 || is_over || at >= self.since + HEARSAY_AFTER;
        match (heard, awaited + others) {
            (0, 0) => Some(Parting::Heard),
            (0, members) => is_over.then_some(Parting::Unheard { members }),
            _ => is_enough.then_some(Parting::Heard),
        }
    }
}

fn leaves(member: &Member) -> bool {
    let record = member.record.as_ref();
    record.is_some_and(|record| record.phase == Phase::Leaving)
}

impl Agent {
    /// How we left; `None` before we did.
    #[must_use]
    pub const fn parting(&self) -> Option<Parting> {
        match self.departure {
            Departure::Gone { parting, .. } => Some(parting),
            Departure::Staying | Departure::Announced { .. } => None,
        }
    }

    /// Our record says where we stand: begins to ask who knows that we leave, or no longer has to.
    pub(super) fn note_phase(&mut self, at: Duration, phase: Phase) {
        match phase {
            Phase::Leaving if self.word.is_none() => {
                self.word = Some(Word::new(at));
                self.ask_who_has_not_heard();
            }
            Phase::Leaving => {}
            Phase::Joining | Phase::Active => self.word = None,
        }
    }

    /// Another life of our memory: what was said of the former one does not count.
    pub(super) fn forget_who_heard(&mut self) {
        if let Some(word) = &mut self.word {
            word.heard.clear();
        }
    }

    /// Notes whether the state of a peer shows that it knows that we leave.
    pub(super) fn note_hearer(&mut self, state: &FullState) {
        let Some(hearer) = state.exporter() else {
            return;
        };
        let own = *self.swim.identity();
        let shows_it = state.records.iter().any(|record| {
            record.node_id == own.node_id
                && record.boot_id == own.boot_id
                && record.phase == Phase::Leaving
        });
        // A stranger is asked again once it is in the view, which bounds the table.
        let is_known = self.publication.current().member(hearer.node_id).is_some();
        if let Some(word) = &mut self.word
            && shows_it
            && is_known
        {
            word.heard.insert(hearer.node_id, hearer.boot_id);
        }
    }

    /// Asks every present member that has not shown that it knows.
    pub(super) fn ask_who_has_not_heard(&mut self) {
        let Some(word) = &self.word else { return };
        let view = self.publication.current();
        let unheard = view
            .present()
            .filter(|member| member.node_id != view.own && !word.is_known_to(member));
        let targets: Vec<_> = unheard.map(|member| member.peer_addr).collect();
        for target in targets {
            self.request_push_pull(target);
        }
    }

    /// Says that we are leaving, unless our record says so already. We go when that is known, and not before it has been
    /// gossiped for a few rounds; at the latest after `within`.
    pub(super) fn announce_departure(&mut self, at: Duration, within: Duration) {
        if self.departure != Departure::Staying {
            return;
        }
        if self.word.is_none() {
            self.change_record(at, |record| record.phase = Phase::Leaving);
            self.note_phase(at, Phase::Leaving);
        }
        let since = self.word.as_ref().map_or(at, |word| word.since);
        let depart_from = since + self.config.gossip.every * LEAVE_ROUNDS;
        self.departure = Departure::Announced {
            depart_from,
            give_up: at.saturating_add(within).max(depart_from),
            look_at: depart_from.max(at),
        };
    }

    /// Goes, if it is time.
    pub(super) fn depart_if_heard(&mut self, now: Now, depart_from: Duration, give_up: Duration) {
        let at = now.monotonic;
        let Some(word) = self.word.as_ref().filter(|_| at >= depart_from) else {
            return;
        };
        if let Some(parting) = word.parting(self.publication.current(), at, give_up) {
            return self.depart(now, parting);
        }
        // What changes the view or tells who has heard is looked at when it comes.
        let times = [word.since + HEARSAY_AFTER, give_up];
        let next = times.into_iter().filter(|time| *time > at).min();
        self.departure = Departure::Announced {
            depart_from,
            give_up,
            look_at: next.unwrap_or(give_up),
        };
    }

    /// Goes for good: foca declares us down and stays silent.
    fn depart(&mut self, now: Now, parting: Parting) {
        let outcome = self.swim.leave_cluster(&mut self.effects);
        self.departure = Departure::Gone {
            parting,
            farewells_left: FAREWELLS_MAX,
            next: now.monotonic,
        };
        self.settle(now, outcome);
        self.say_farewell(now, FAREWELLS_MAX);
        self.publication.touch(now.monotonic);
    }

    /// One lost datagram must not cost the others a whole suspicion time.
    pub(super) fn say_farewell(&mut self, now: Now, farewells_left: u32) {
        let next = now.monotonic + self.config.gossip.every;
        if let Departure::Gone { parting, .. } = self.departure {
            self.departure = Departure::Gone {
                parting,
                farewells_left,
                next,
            };
        }
        let outcome = self.swim.gossip(&mut self.effects);
        self.settle(now, outcome);
    }
}
