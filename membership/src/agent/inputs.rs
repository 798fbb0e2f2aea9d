//! What the agent is told: datagrams, seeds, record changes, states of peers.

use std::{net::SocketAddr, time::Duration};

use foca::{Identity as _, Member};

use super::{Agent, Departure, MEMBERS_MAX, Now, foca_member, member_state};
use crate::{
    codec,
    config::SourceCheck,
    envelope,
    identity::{BootId, NodeIdentity, canonical_addr},
    record::{ATTACHMENT_BYTES_MAX, Phase, RecordError},
    state::{MemberState, State as FullState, StateError},
};

impl Agent {
    pub(super) fn receive(&mut self, now: Now, from: SocketAddr, datagram: &[u8]) {
        self.counters.datagrams_received.add(1);
        self.counters.bytes_received.add(datagram.len() as u64);
        if matches!(self.departure, Departure::Gone { .. }) {
            return;
        }
        let payload = match envelope::unwrap(self.cluster, datagram) {
            Ok(payload) => payload,
            Err(error) => return self.count_envelope_error(error),
        };
        let sender = match codec::check_sender(&self.context, payload) {
            Ok(sender) => sender,
            Err(refusal) => return self.count_refusal(refusal),
        };
        if !self.may_speak(now.monotonic, from, &sender) {
            return;
        }
        let outcome = self.swim.handle_data(payload, &mut self.effects);
        self.settle(now, outcome);
    }

    pub(super) fn may_speak(
        &mut self,
        at: Duration,
        from: SocketAddr,
        sender: &NodeIdentity,
    ) -> bool {
        let own = *self.swim.identity();
        if sender.addr == own.addr {
            self.counters.data_from_ourselves.add(1);
            if sender.boot_id != own.boot_id {
                self.counters.address_conflicts.add(1);
                self.note_address_claim(at, sender);
            }
            return false;
        }
        let from = canonical_addr(from);
        if self.config.source_check == SourceCheck::SameIp && from.ip() != sender.addr.ip() {
            self.counters.rejected_source.add(1);
            return false;
        }
        let mut members = self.swim.iter_membership_state();
        if members.len() >= MEMBERS_MAX && !members.any(|known| known.id().addr == sender.addr) {
            self.counters.members_rejected.add(1);
            return false;
        }
        true
    }

    pub(super) fn set_seeds(&mut self, at: Duration, seeds: Vec<SocketAddr>) {
        let seeds: Vec<_> = seeds.into_iter().map(canonical_addr).collect();
        let new = self.seeds.set_seeds(&seeds, self.swim.identity().addr);
        if new.is_empty() {
            return;
        }
        self.next_seed_round = at;
        for seed in new {
            self.request_push_pull(seed);
        }
    }

    pub(super) fn update_record(
        &mut self,
        at: Duration,
        phase: Phase,
        attachment: Vec<u8>,
    ) -> Result<(), RecordError> {
        let (bytes, bytes_max) = (attachment.len(), ATTACHMENT_BYTES_MAX);
        if bytes > bytes_max {
            return Err(RecordError::FieldTooLong {
                field: "attachment",
                bytes,
                bytes_max,
            });
        }
        let same = {
            let records = self.context.records();
            (records.own().phase, &records.own().attachment) == (phase, &attachment)
        };
        if !same {
            self.change_record(at, |record| {
                record.phase = phase;
                record.attachment = attachment;
            });
        }
        self.note_phase(at, phase);
        Ok(())
    }

    pub(super) fn change_boot(&mut self, now: Now, boot_id: BootId) {
        let own = *self.swim.identity();
        if own.boot_id == boot_id || self.departure != Departure::Staying {
            return;
        }
        self.assume(
            now,
            NodeIdentity {
                boot_id,
                bump: own.bump.saturating_add(1),
                ..own
            },
        );
        let bump = self.swim.identity().bump;
        self.change_record(now.monotonic, |record| {
            record.boot_id = boot_id;
            record.bump = record.bump.max(bump);
        });
        self.forget_who_heard();
    }

    pub(super) fn merge_state(&mut self, now: Now, bytes: &[u8]) -> Result<(), StateError> {
        if matches!(self.departure, Departure::Gone { .. }) {
            return Ok(());
        }
        let state = FullState::decode(self.cluster, bytes).inspect_err(|error| {
            self.counters.states_rejected.add(1);
            if *error == StateError::ForeignCluster {
                self.counters.rejected_foreign_cluster.add(1);
            }
        })?;
        self.counters.states_merged.add(1);
        self.note_hearer(&state);
        let news = self.news_of(now, &state.members);
        let outcome = self
            .swim
            .apply_many(news.into_iter(), false, &mut self.effects);
        self.settle(now, outcome);
        for record in &state.records {
            self.context.merge_record(record);
        }
        Ok(())
    }

    /// The members of a peer's state that we lack.
    pub(super) fn news_of(
        &mut self,
        now: Now,
        members: &[MemberState],
    ) -> Vec<Member<NodeIdentity>> {
        let known: Vec<_> = (self.swim.iter_membership_state())
            .map(member_state)
            .collect();
        let keyed = |(place, known): (usize, &MemberState)| (known.identity.addr(), place);
        let mut places: Vec<_> = known.iter().enumerate().map(keyed).collect();
        places.sort_unstable();
        let mut room = MEMBERS_MAX.saturating_sub(known.len());
        let mut news = Vec::new();
        for said in members {
            if let Err(refusal) = self.context.check_identity(&said.identity) {
                self.counters.members_rejected.add(1);
                self.count_refusal(refusal);
                continue;
            }
            let own = *self.swim.identity();
            if said.identity.addr == own.addr && said.identity != own {
                self.note_address_claim(now.monotonic, &said.identity);
                self.pass_former_self(now, &said.identity);
                continue;
            }
            let found = places.binary_search_by_key(&said.identity.addr(), |(addr, _)| *addr);
            let known = found.ok().map(|found| &known[places[found].1]);
            let is_new = if said.identity == own {
                true
            } else {
                said.is_news_to(known)
            };
            if is_new && (known.is_some() || room > 0) {
                room = room.saturating_sub(usize::from(known.is_none()));
                news.extend(foca_member(said));
            }
        }
        news
    }

    /// Others know our address under an identity that wins over ours, say from before our clock was
    /// set back: pass it at once instead of by many renewals.
    pub(super) fn pass_former_self(&mut self, now: Now, former: &NodeIdentity) {
        let own = *self.swim.identity();
        let bump = former.bump.saturating_add(1);
        if former.outranks(&own) && self.context.check_bump(bump).is_ok() {
            self.assume(now, NodeIdentity { bump, ..own });
            self.follow_identity(now.monotonic);
        }
    }
}
