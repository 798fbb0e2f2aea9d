//! A node with a ring: how the members follow the views.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use shard_cache_membership::{
    identity::{BootId, NodeId},
    record::Phase,
    view::{Member, View},
};

use super::{RosterConfig, RosterState, current_record, state::StateMember, zoned};
use crate::{
    clock::Monotonic,
    ring::{
        Bootstrap, MEMBERS_MAX, Ring, RingMember, Shape,
        zone::{ZoneId, ZonedMember},
    },
};

/// A node with a ring.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) bootstrap: Bootstrap,
    /// No member has come or gone since the ring was formed.
    pub(super) is_first: bool,
    /// The members of the ring, and those that were in it once and are away.
    entries: BTreeMap<NodeId, Entry>,
    pub(super) ring: Arc<Ring>,
}

#[derive(Debug)]
struct Entry {
    boot_id: BootId,
    zone: Option<ZoneId>,
    /// Nanoseconds on our monotonic clock; below zero when the absence was adopted and is older
    /// than the clock.
    absent_since: Option<i64>,
    /// Some ring did without it while it was away. It comes back once it is active again; until then it is in a ring
    /// only where nobody else makes up the number.
    is_dismissed: bool,
}

impl Following {
    /// With these members, each present.
    pub(super) fn form(
        config: &RosterConfig,
        bootstrap: Bootstrap,
        members: impl Iterator<Item = ZonedMember>,
    ) -> Self {
        let entries = members
            .take(MEMBERS_MAX)
            .map(|zoned| (zoned.member.node_id, Entry::present(zoned)))
            .collect();
        Self::start(config, bootstrap, true, entries, 0)
    }

    /// With what another node has told `now`.
    pub(super) fn adopt(config: &RosterConfig, state: &RosterState, now: Monotonic) -> Self {
        let entries = state
            .members
            .iter()
            .map(|told| (told.zoned.member.node_id, Entry::told(told, now)))
            .collect();
        Self::start(config, state.bootstrap, state.is_first, entries, nanos(now))
    }

    fn start(
        config: &RosterConfig,
        bootstrap: Bootstrap,
        is_first: bool,
        entries: BTreeMap<NodeId, Entry>,
        now_nanos: i64,
    ) -> Self {
        let chosen = choose(config, &entries, now_nanos);
        let ring = build(config.shape, bootstrap, &entries, &chosen);
        Self {
            bootstrap,
            is_first,
            entries,
            ring,
        }
    }

    pub(super) fn update(
        &mut self,
        config: &RosterConfig,
        own: RingMember,
        forgotten: &BTreeSet<RingMember>,
        view: &View,
        now: Monotonic,
    ) {
        // Who joins comes first, so that the last old member can leave when a new one is there.
        let is_forgotten = |member: &&Member| {
            forgotten.contains(&RingMember {
                node_id: member.node_id,
                boot_id: member.boot_id,
            })
        };
        for member in view.present().filter(|member| !is_forgotten(member)) {
            self.admit(member);
        }
        for member in forgotten {
            self.remove_forgotten(*member);
        }
        for member in &view.members {
            self.release(member);
        }
        self.note_absences(own, view, now);
        let chosen = choose(config, &self.entries, nanos(now));
        self.dismiss(config, &chosen, now);
        let members = self
            .entries
            .iter()
            .filter(|(node_id, _)| chosen.contains(node_id))
            .map(|(&node_id, entry)| entry.zoned(node_id));
        if !members.eq(self.ring.zoned_members()) {
            self.is_first = false;
            self.ring = build(config.shape, self.bootstrap, &self.entries, &chosen);
        }
    }

    /// Takes over what another node with our bootstrap knows of members that are away for us, too: who they are, and
    /// whom a ring did without. Nodes that see the same members and have told each other choose the same ring.
    pub(super) fn reconcile(
        &mut self,
        config: &RosterConfig,
        forgotten: &BTreeSet<RingMember>,
        view: &View,
        state: &RosterState,
        now: Monotonic,
    ) {
        let grace = nanos(config.ring_down_grace);
        let is_overdue = |entry: &Entry| entry.is_overdue(grace, nanos(now));
        for told in &state.members {
            let theirs = Entry::told(told, now);
            let member = told.zoned.member;
            let comes_or_leaves = view.member(member.node_id).is_some_and(|seen| {
                seen.liveness.is_present()
                    || current_record(seen).is_some_and(|it| it.phase == Phase::Leaving)
            });
            if !is_overdue(&theirs) || comes_or_leaves || forgotten.contains(&member) {
                continue;
            }
            let has_room = self.entries.len() < MEMBERS_MAX;
            match self.entries.get_mut(&member.node_id) {
                None if has_room => {
                    self.entries.insert(member.node_id, theirs);
                }
                Some(ours) if is_overdue(ours) && ours.boot_id == member.boot_id => {
                    ours.is_dismissed |= theirs.is_dismissed;
                }
                // Which life came last nobody can tell who saw one only; all take the same.
                Some(ours) if is_overdue(ours) && ours.boot_id < member.boot_id => *ours = theirs,
                Some(_) | None => {}
            }
        }
    }

    /// Whether some members of the ring are away and others could stand in their place.
    pub(super) fn has_chosen(&self) -> bool {
        let (chosen, others) = (self.ring.members().len(), self.entries.len());
        let present = |entry: &&Entry| entry.absent_since.is_none();
        chosen > self.entries.values().filter(present).count() && others > chosen
    }

    /// What another node is told of the members.
    pub(super) fn told(&self, now: Monotonic) -> Vec<StateMember> {
        let told = |(&node_id, entry): (&NodeId, &Entry)| StateMember {
            zoned: entry.zoned(node_id),
            absent_for: entry
                .absent_since
                .map(|since| duration(nanos(now).saturating_sub(since))),
            is_dismissed: entry.is_dismissed,
        };
        self.entries.iter().map(told).collect()
    }

    /// Adds an active member, or replaces the boot id under which it was in the ring. Only when it
    /// announces our bootstrap: another one's data descends from another ring, and it is about to
    /// discard it or we ours.
    fn admit(&mut self, member: &Member) {
        let admissible = current_record(member).is_some_and(|record| {
            record.phase == Phase::Active
                && Bootstrap::from_bytes(&record.attachment) == Some(self.bootstrap)
        });
        let Some(zoned) = zoned(member).filter(|_| admissible) else {
            return;
        };
        let known = self.entries.get(&member.node_id);
        if known.is_some_and(|entry| entry.boot_id == member.boot_id && !entry.is_dismissed) {
            return;
        }
        if known.is_none() && self.entries.len() >= MEMBERS_MAX && !self.make_room() {
            return;
        }
        self.entries.insert(member.node_id, Entry::present(zoned));
    }

    /// Drops the dismissed member that is away longest. False if there is none.
    fn make_room(&mut self) -> bool {
        let dismissed = self.entries.iter().filter(|(_, entry)| entry.is_dismissed);
        let longest = dismissed
            .min_by_key(|(_, entry)| entry.absent_since)
            .map(|(&node_id, _)| node_id);
        longest.is_some_and(|node_id| self.entries.remove(&node_id).is_some())
    }

    /// Removes a member that leaves in order, unless it is the last.
    fn release(&mut self, member: &Member) {
        let leaves = current_record(member).is_some_and(|record| record.phase == Phase::Leaving);
        if leaves {
            self.remove(member.node_id);
        }
    }

    /// Removes a life of a member that is gone for good, unless it is the last.
    fn remove_forgotten(&mut self, member: RingMember) {
        let is_entry = |entry: &Entry| entry.boot_id == member.boot_id;
        if self.entries.get(&member.node_id).is_some_and(is_entry) {
            self.remove(member.node_id);
        }
    }

    fn remove(&mut self, node_id: NodeId) {
        let kept = |entry: &&Entry| !entry.is_dismissed;
        let is_last = self
            .entries
            .get(&node_id)
            .is_some_and(|it| !it.is_dismissed)
            && self.entries.values().filter(kept).count() == 1;
        if !is_last {
            self.entries.remove(&node_id);
        }
    }

    /// An owner is absent while the view does not show it present under its boot id. We ourselves
    /// never are, and who was dismissed stays so until it is active.
    fn note_absences(&mut self, own: RingMember, view: &View, now: Monotonic) {
        for (&node_id, entry) in &mut self.entries {
            let own_entry = RingMember {
                node_id,
                boot_id: entry.boot_id,
            } == own;
            let present = own_entry
                || view.member(node_id).is_some_and(|member| {
                    member.liveness.is_present() && member.boot_id == entry.boot_id
                });
            if present && !entry.is_dismissed {
                entry.absent_since = None;
            } else {
                entry.absent_since.get_or_insert(nanos(now));
            }
        }
    }

    /// Dismisses members that have been absent for the grace and that the ring does without.
    fn dismiss(&mut self, config: &RosterConfig, chosen: &BTreeSet<NodeId>, now: Monotonic) {
        let grace = nanos(config.ring_down_grace);
        for (node_id, entry) in &mut self.entries {
            let is_spare = entry.is_overdue(grace, nanos(now)) && !chosen.contains(node_id);
            entry.is_dismissed |= is_spare;
        }
    }

    pub(super) fn next_deadline(&self, config: &RosterConfig) -> Option<Monotonic> {
        let kept = || self.entries.values().filter(|entry| !entry.is_dismissed);
        if kept().count() <= owners_max(config) {
            return None;
        }
        let oldest = kept().filter_map(|entry| entry.absent_since).min()?;
        Some(duration(
            oldest.saturating_add(nanos(config.ring_down_grace)),
        ))
    }
}

impl Entry {
    const fn present(zoned: ZonedMember) -> Self {
        Self {
            boot_id: zoned.member.boot_id,
            zone: zoned.zone,
            absent_since: None,
            is_dismissed: false,
        }
    }

    fn told(told: &StateMember, now: Monotonic) -> Self {
        let since = told
            .absent_for
            .map(|age| nanos(now).saturating_sub(nanos(age)));
        Self {
            absent_since: since,
            is_dismissed: told.is_dismissed,
            ..Self::present(told.zoned)
        }
    }

    /// Whether it has been away for the grace.
    const fn is_overdue(&self, grace_nanos: i64, now_nanos: i64) -> bool {
        match self.absent_since {
            Some(since) => now_nanos.saturating_sub(since) >= grace_nanos,
            None => false,
        }
    }

    const fn zoned(&self, node_id: NodeId) -> ZonedMember {
        ZonedMember {
            member: RingMember {
                node_id,
                boot_id: self.boot_id,
            },
            zone: self.zone,
        }
    }
}

/// Who is in the ring: whoever is there or has been away for less than the grace. Where they are fewer than a slot has
/// owners, the others make up the number: those first that no ring did without, the lower node id first, so that all
/// nodes that know of the same members choose the same.
fn choose(
    config: &RosterConfig,
    entries: &BTreeMap<NodeId, Entry>,
    now_nanos: i64,
) -> BTreeSet<NodeId> {
    let grace = nanos(config.ring_down_grace);
    let is_away = |entry: &Entry| entry.is_dismissed || entry.is_overdue(grace, now_nanos);
    let (away, there): (Vec<_>, Vec<_>) = entries.iter().partition(|(_, entry)| is_away(entry));
    let missing = owners_max(config).saturating_sub(there.len());
    let (dismissed, kept): (Vec<_>, Vec<_>) =
        away.into_iter().partition(|(_, entry)| entry.is_dismissed);
    let others = kept.into_iter().chain(dismissed).take(missing);
    there
        .into_iter()
        .chain(others)
        .map(|(&node_id, _)| node_id)
        .collect()
}

fn build(
    shape: Shape,
    bootstrap: Bootstrap,
    entries: &BTreeMap<NodeId, Entry>,
    chosen: &BTreeSet<NodeId>,
) -> Arc<Ring> {
    let members = entries
        .iter()
        .filter(|(node_id, _)| chosen.contains(node_id))
        .map(|(&node_id, entry)| entry.zoned(node_id))
        .collect();
    Arc::new(Ring::build(shape, bootstrap, members))
}

fn owners_max(config: &RosterConfig) -> usize {
    usize::from(config.shape.replication_factor)
}

/// Signed, so that an absence can be older than the clock.
pub(super) fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn duration(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}
