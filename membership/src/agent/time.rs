//! What time brings: foca's timers, seed rounds, push-pulls, upkeep.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use foca::{State, Timer};
use rand::{RngExt, seq::IndexedRandom};

use super::{Agent, Departure, LATE, Now, PRUNE_INTERVAL, RECORD_INTERVAL, STALL, TICK, timer_key};
use crate::{identity::NodeIdentity, view::View};

impl Agent {
    /// Measures how late this turn is. After a stall pending timers move by it: while we stood
    /// still nobody could have answered or refuted, so firing them at once would declare healthy
    /// members down.
    pub(super) fn note_lateness(&mut self, at: Duration) {
        let Some(late) = self
            .next_deadline()
            .and_then(|deadline| at.checked_sub(deadline))
        else {
            return;
        };
        if late > STALL {
            self.counters.stalls.add(1);
            self.timers.postpone(late);
        }
        if late > LATE && at >= self.next_late_count {
            self.counters.late_turns.add(1);
            self.next_late_count = at + self.config.probe_period;
            self.raise_health(at);
        }
    }

    pub(super) fn advance(&mut self, now: Now) {
        let at = now.monotonic;
        while let Some(timer) = self.timers.pop_due(at, timer_key) {
            if matches!(timer, Timer::RemoveDown(_)) {
                self.publication.touch(at);
            }
            if self.is_refuted(&timer) {
                continue;
            }
            let outcome = self.swim.handle_timer(timer, &mut self.effects);
            self.settle(now, outcome);
        }
        match self.departure {
            Departure::Staying => self.advance_staying(now),
            Departure::Announced {
                depart_from,
                give_up,
                ..
            } => {
                self.advance_staying(now);
                self.depart_if_heard(now, depart_from, give_up);
            }
            Departure::Gone {
                farewells_left,
                next,
                ..
            } if farewells_left > 0 && at >= next => {
                self.say_farewell(now, farewells_left - 1);
            }
            Departure::Gone { .. } => {}
        }
        self.settle(now, Ok(()));
        if self.context.records().take_changed() {
            self.publication.touch(at);
        }
        if self.publication.is_due(at) {
            self.publish(at);
        }
    }

    /// Whether a timer would end a suspicion that is over. foca 2.0 rightly does not declare such a
    /// member down, but tells it that it is down all the same, so that each refuted suspicion would
    /// become a renewal.
    pub(super) fn is_refuted(&self, timer: &Timer<NodeIdentity>) -> bool {
        let Timer::ChangeSuspectToDown {
            member_id,
            incarnation,
            ..
        } = timer
        else {
            return false;
        };
        !self
            .swim
            .iter_membership_state()
            .any(|known| known.id() == member_id && known.incarnation() == *incarnation)
    }

    pub(super) fn advance_staying(&mut self, now: Now) {
        let at = now.monotonic;
        if at >= self.next_seed_round {
            self.run_seed_round(now);
        }
        if self.push_pull.take_periodic(at, &mut self.rng) {
            let target = {
                let present: Vec<_> = self.swim.iter_members().map(|known| *known.id()).collect();
                present.choose(&mut self.rng).map(NodeIdentity::peer_addr)
            };
            target
                .into_iter()
                .for_each(|target| self.request_push_pull(target));
        }
        if at >= self.next_tick {
            self.next_tick = at + TICK;
            self.tick(at);
        }
        if self.record_due.is_some_and(|due| at >= due) {
            self.broadcast_record(at);
        }
    }

    pub(super) fn staying_deadlines(&self, departure: Option<Duration>) -> [Option<Duration>; 5] {
        let push_pull = Some(self.push_pull.next_deadline());
        [
            Some(self.next_seed_round),
            push_pull,
            Some(self.next_tick),
            self.record_due,
            departure,
        ]
    }

    pub(super) fn run_seed_round(&mut self, now: Now) {
        let jitter = self.rng.random_range(0.9..1.1);
        self.next_seed_round = now.monotonic + self.config.seed_interval.mul_f64(jitter);
        let active: BTreeSet<_> = self
            .swim
            .iter_members()
            .map(|known| known.id().addr)
            .collect();
        for target in self.seeds.round(|addr| active.contains(&addr)) {
            let target = NodeIdentity::unknown_at(target);
            let outcome = self.swim.announce(target, &mut self.effects);
            self.settle(now, outcome);
        }
    }

    pub(super) fn tick(&mut self, at: Duration) {
        self.health.decay(at);
        self.apply_health();
        let waiting = self.swim.updates_backlog() + self.swim.custom_broadcast_backlog();
        self.counters.backlog.set(waiting as u64);
        self.outbid_former_record(at);
        let view = Arc::clone(self.publication.current());
        if at >= self.next_prune {
            self.next_prune = at + PRUNE_INTERVAL;
            self.prune(at, &view);
        }
        self.request_missing_record(at, &view);
        self.ask_who_has_not_heard();
        self.poll_suspicions(at);
        self.look_for_namesake(at);
    }

    /// Forgets records without a member, and no longer looks for members that left in order.
    pub(super) fn prune(&mut self, at: Duration, view: &View) {
        self.context
            .records()
            .prune(at, |node_id| view.member(node_id).is_some());
        for member in view.members.iter().filter(|member| member.has_left()) {
            self.seeds.forget(member.node_id);
        }
    }

    /// Suspicions come and go without notice from foca; this is how a view gets to show them, and
    /// how often at most.
    pub(super) fn poll_suspicions(&mut self, at: Duration) {
        let suspects: Vec<_> = (self.swim.iter_membership_state())
            .filter(|known| known.state() == State::Suspect)
            .map(|known| known.id().node_id)
            .collect();
        if suspects != self.suspects {
            self.suspects = suspects;
            self.publication.touch(at);
        }
    }

    /// A member whose record did not come with gossip is asked for it.
    pub(super) fn request_missing_record(&mut self, at: Duration, view: &View) {
        if at < self.next_record_request {
            return;
        }
        self.next_record_request = at + RECORD_INTERVAL;
        let missing: Vec<_> = view
            .present()
            .filter(|member| member.record.is_none())
            .collect();
        if let Some(target) = missing.choose(&mut self.rng).map(|member| member.peer_addr) {
            self.request_push_pull(target);
        }
    }
}
