//! What foca asks for: datagrams, timers, notices; and what its errors count as.

use std::{net::SocketAddr, time::Duration};

use foca::{Member, OwnedNotification};

use super::{
    Agent, BUMP_AHEAD_SOFT_MILLIS, Now, OUTBOX_DATAGRAMS_MAX, OutgoingDatagram, RECORD_INTERVAL,
    timer_key,
};
use crate::{
    codec::Refusal,
    envelope::{self, EnvelopeError},
    identity::NodeIdentity,
};

impl Agent {
    /// Carries out the effects of a call into foca, until none is left.
    pub(super) fn settle(&mut self, now: Now, outcome: Result<(), foca::Error>) {
        if let Err(error) = outcome {
            self.count_error(now.monotonic, &error);
        }
        loop {
            while let Some((to, payload)) = self.effects.to_send() {
                self.send(to.addr, &payload);
            }
            while let Some((after, timer)) = self.effects.to_schedule() {
                let key = timer_key(&timer);
                self.timers.submit(now.monotonic + after, timer, key);
            }
            let Some(notification) = self.effects.to_notify() else {
                break;
            };
            self.react(now, notification);
        }
        let incarnation = self.context.incarnation();
        if incarnation > self.incarnation {
            self.counters.refutations.add(1);
            self.raise_health(now.monotonic);
        }
        self.incarnation = incarnation;
    }

    pub(super) fn send(&mut self, to: SocketAddr, payload: &[u8]) {
        // foca keeps our own former identities as members that are down, and announces to them.
        if to == self.swim.identity().addr {
            return;
        }
        if self.outbox.len() >= OUTBOX_DATAGRAMS_MAX {
            self.counters.sends_dropped.add(1);
            return;
        }
        let bytes = envelope::wrap(self.cluster, payload);
        self.counters.datagrams_sent.add(1);
        self.counters.bytes_sent.add(bytes.len() as u64);
        self.outbox.push_back(OutgoingDatagram { to, bytes });
    }

    pub(super) fn react(&mut self, now: Now, notification: OwnedNotification<NodeIdentity>) {
        let at = now.monotonic;
        match notification {
            OwnedNotification::MemberUp(member) => self.note_member_up(at, &member),
            OwnedNotification::MemberDown(_) => self.publication.touch(at),
            OwnedNotification::Rename(_, member) => {
                self.seeds.observe(member.addr, member.node_id, at);
                self.publication.touch(at);
            }
            OwnedNotification::Active => {}
            OwnedNotification::Idle => self.alone = true,
            OwnedNotification::Defunct => self.publication.touch(at),
            OwnedNotification::Rejoin(_) => {
                self.counters.rejoins.add(1);
                self.raise_health(at);
                self.restrain_bump(now);
                self.reconnect(now);
                self.follow_identity(at);
            }
        }
    }

    pub(super) fn note_member_up(&mut self, at: Duration, member: &NodeIdentity) {
        let own = self.swim.identity();
        if member.node_id == own.node_id && member.addr != own.addr {
            self.counters.name_conflicts.add(1);
        }
        self.seeds.observe(member.addr, member.node_id, at);
        self.publication.touch(at);
        if std::mem::replace(&mut self.alone, false) {
            self.request_push_pull(member.peer_addr());
            self.push_pull.follow_up(at, &mut self.rng);
        }
        let due = self.record_sent.map_or(at, |sent| sent + RECORD_INTERVAL);
        self.record_due.get_or_insert(due.max(at));
    }

    /// Takes another identity of our own; whoever knows the former one learns that it is gone.
    pub(super) fn assume(&mut self, now: Now, identity: NodeIdentity) {
        let outcome = self.swim.change_identity(identity, &mut self.effects);
        self.reconnect(now);
        self.settle(now, outcome);
        self.publication.touch(now.monotonic);
    }

    /// foca stops all timers when the identity changes and starts them with the next datagram to
    /// the new one, which may never come. Applying nothing makes it look at its active members at
    /// once.
    pub(super) fn reconnect(&mut self, now: Now) {
        let nothing = std::iter::empty::<Member<NodeIdentity>>();
        let outcome = self.swim.apply_many(nothing, false, &mut self.effects);
        if let Err(error) = outcome {
            self.count_error(now.monotonic, &error);
        }
        self.context.restart_incarnation();
        self.incarnation = 0;
    }

    /// Ends the doubling once the bump is far ahead of the clock.
    pub(super) fn restrain_bump(&mut self, now: Now) {
        let own = *self.swim.identity();
        let ahead = own.bump.saturating_sub(now.wall_millis);
        if ahead > BUMP_AHEAD_SOFT_MILLIS && own.renews > 1 {
            let restrained = NodeIdentity {
                bump: own.bump.saturating_add(1),
                renews: 0,
                ..own
            };
            if let Err(error) = self.swim.change_identity(restrained, &mut self.effects) {
                self.count_error(now.monotonic, &error);
            }
        }
    }
}

impl Agent {
    pub(super) fn count_envelope_error(&self, error: EnvelopeError) {
        let counter = match error {
            EnvelopeError::Oversize => &self.counters.rejected_oversize,
            EnvelopeError::Junk => &self.counters.rejected_junk,
            EnvelopeError::UnknownVersion => &self.counters.rejected_protocol,
            EnvelopeError::ForeignCluster => &self.counters.rejected_foreign_cluster,
        };
        counter.add(1);
    }

    pub(super) fn count_refusal(&self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::Junk => &self.counters.rejected_junk,
            Refusal::Protocol => &self.counters.rejected_protocol,
            Refusal::FutureBump => &self.counters.rejected_bump,
        };
        counter.add(1);
    }

    pub(super) fn count_error(&mut self, at: Duration, error: &foca::Error) {
        use foca::Error;
        let counter = match error {
            Error::MalformedPacket | Error::Decode(_) | Error::CustomBroadcast(_) => {
                &self.counters.rejected_junk
            }
            Error::DataTooBig => &self.counters.rejected_oversize,
            Error::DataFromOurselves => &self.counters.data_from_ourselves,
            Error::IndirectForOurselves => &self.counters.misdirected,
            Error::IncompleteProbeCycle => &self.counters.probes_incomplete,
            Error::NotUndead
            | Error::SameIdentity
            | Error::NotConnected
            | Error::Encode(_)
            | Error::InvalidConfig => &self.counters.internal_errors,
        };
        counter.add(1);
        if *error == Error::IncompleteProbeCycle {
            self.raise_health(at);
        }
    }
}
