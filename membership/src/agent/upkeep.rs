//! Our own record, local health and view.

use std::{net::SocketAddr, time::Duration};

use super::{Agent, Departure, foca_config, liveness_of};
use crate::{
    codec,
    publication::members_of,
    record::NodeRecord,
    view::{Liveness, Member},
};

impl Agent {
    pub(super) fn change_record(&mut self, at: Duration, change: impl FnOnce(&mut NodeRecord)) {
        self.context.records().change_own(change);
        self.broadcast_record(at);
        // A change is worth a round of its own.
        if let Err(error) = self.swim.gossip(&mut self.effects) {
            self.count_error(at, &error);
        }
        self.publication.touch(at);
    }

    /// Our record must win over the one of our former identity wherever our identity does.
    pub(super) fn follow_identity(&mut self, at: Duration) {
        let bump = self.swim.identity().bump;
        self.context
            .records()
            .change_own(|record| record.bump = record.bump.max(bump));
        self.record_due.get_or_insert(at);
        self.publication.touch(at);
    }

    /// Somebody still holds a record of a former life of ours that wins over the present one.
    pub(super) fn outbid_former_record(&mut self, at: Duration) {
        let Some(bump) = self.context.records().take_outbid() else {
            return;
        };
        let bump = bump.saturating_add(1);
        if self.context.check_bump(bump).is_ok() {
            self.change_record(at, |record| record.bump = record.bump.max(bump));
        }
    }

    pub(super) fn broadcast_record(&mut self, at: Duration) {
        self.record_due = None;
        self.record_sent = Some(at);
        let bytes = codec::encode_record(self.context.records().own());
        if let Err(error) = self.swim.add_broadcast(&bytes) {
            self.count_error(at, &error);
        }
    }

    pub(super) fn request_push_pull(&mut self, target: SocketAddr) {
        if !self.push_pull.request(target) {
            self.counters.push_pulls_dropped.add(1);
        }
    }

    pub(super) fn raise_health(&mut self, at: Duration) {
        self.health.raise(at);
        self.apply_health();
    }

    pub(super) fn apply_health(&mut self) {
        let score = self.health.score();
        self.counters.health_score.set(u64::from(score));
        if score == self.applied_score {
            return;
        }
        match self.swim.set_config(foca_config(&self.config, score)) {
            Ok(()) => self.applied_score = score,
            Err(_) => self.counters.internal_errors.add(1),
        }
    }

    pub(super) fn publish(&mut self, at: Duration) {
        let own = (*self.swim.identity(), self.own_liveness());
        let others = (self.swim.iter_membership_state())
            .map(|known| (*known.id(), liveness_of(known.state())));
        let members = members_of(own, others, &self.context.records());
        self.count_changes(&members);
        self.publication.publish(at, members);
    }

    /// Counts what a new view says differently of other members than the present one does.
    fn count_changes(&self, members: &[Member]) {
        let known = self.publication.current();
        for member in members.iter().filter(|member| member.node_id != known.own) {
            let before = known.member(member.node_id).map(|member| member.liveness);
            if before != Some(member.liveness) {
                let counter = match member.liveness {
                    Liveness::Alive => &self.counters.members_alive,
                    Liveness::Suspect => &self.counters.members_suspect,
                    Liveness::Down => &self.counters.members_down,
                };
                counter.add(1);
            }
        }
    }

    pub(super) const fn own_liveness(&self) -> Liveness {
        match self.departure {
            Departure::Staying | Departure::Announced { .. } => Liveness::Alive,
            Departure::Gone { .. } => Liveness::Down,
        }
    }
}
