//! A node without a ring: whom it adopts one from, or when it forms the first.

use shard_cache_membership::{identity::NodeId, record::Phase, view::View};

use super::{ADOPT_INTERVAL, RosterConfig, current_record, holders, zoned};
use crate::{
    clock::Monotonic,
    ring::{Bootstrap, RingMember, zone::ZonedMember},
};

/// A node without a ring.
#[derive(Debug, Default)]
pub(super) struct Seeking {
    /// Those who would be the first ring, and since when that has not changed.
    candidates: Option<(Vec<ZonedMember>, Monotonic)>,
    /// Push-pulls asked for so far.
    attempts: usize,
    /// No push-pull before this.
    not_before: Monotonic,
    /// When the next update is due.
    due: Option<Monotonic>,
}

/// What a node without a ring found.
pub(super) enum Sought {
    /// This member has a ring.
    Holder(NodeId),
    /// Nobody has one, and it falls to us to form one of these.
    Quiet(Vec<ZonedMember>),
}

impl Seeking {
    /// With an update due at this time.
    pub(super) fn due(at: Monotonic) -> Self {
        Self {
            due: Some(at),
            ..Self::default()
        }
    }

    pub(super) const fn next_deadline(&self) -> Option<Monotonic> {
        self.due
    }

    pub(super) fn update(
        &mut self,
        config: &RosterConfig,
        own: RingMember,
        view: &View,
        now: Monotonic,
    ) -> Option<Sought> {
        let holders = oldest_holders(view, own.node_id);
        if holders.is_empty() {
            return self.form(config, own, view, now).map(Sought::Quiet);
        }
        self.candidates = None;
        if now < self.not_before {
            self.due = Some(self.not_before);
            return None;
        }
        // Each in turn, so that one that cannot be reached does not keep us out.
        let from = holders[self.attempts % holders.len()];
        self.attempts += 1;
        self.not_before = now.saturating_add(ADOPT_INTERVAL);
        self.due = Some(self.not_before);
        Some(Sought::Holder(from))
    }

    fn form(
        &mut self,
        config: &RosterConfig,
        own: RingMember,
        view: &View,
        now: Monotonic,
    ) -> Option<Vec<ZonedMember>> {
        self.due = None;
        let Some(found) = candidates(view, own).filter(|found| found.len() >= config.min_members)
        else {
            self.candidates = None;
            return None;
        };
        let since = match &self.candidates {
            Some((known, since)) if *known == found => *since,
            Some(_) | None => now,
        };
        let ours = found.first().is_some_and(|first| first.member == own);
        let due = since.saturating_add(config.formation_wait);
        if ours && now >= due {
            return Some(found);
        }
        self.due = ours.then_some(due);
        self.candidates = Some((found, since));
        None
    }
}

/// Those of them with the oldest ring.
fn oldest_holders(view: &View, own: NodeId) -> Vec<NodeId> {
    let Some((oldest, _)) = holders(view, own).min() else {
        return Vec::new();
    };
    holders(view, own)
        .filter(|&(bootstrap, _)| bootstrap == oldest)
        .map(|(_, node_id)| node_id)
        .collect()
}

/// The members that a first ring would have: present and not leaving. `None` while we are not among
/// them, while somebody present has not described itself yet, because it may be the one that has a
/// ring, and while another one is joining a ring: it may not be void.
fn candidates(view: &View, own: RingMember) -> Option<Vec<ZonedMember>> {
    let mut found = Vec::new();
    for member in view.present() {
        let record = current_record(member)?;
        let knows_a_ring = Bootstrap::from_bytes(&record.attachment).is_some();
        if record.phase == Phase::Joining && knows_a_ring && member.node_id != own.node_id {
            return None;
        }
        match record.phase {
            Phase::Joining | Phase::Active => {
                found.push(zoned(member)?);
            }
            Phase::Leaving => {}
        }
    }
    let are_we_in = found.iter().any(|zoned| zoned.member == own);
    are_we_in.then_some(found)
}
