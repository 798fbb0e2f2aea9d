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

use super::{RosterConfig, current_record, zoned};
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
    pub(super) entries: BTreeMap<NodeId, Entry>,
    pub(super) ring: Arc<Ring>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) boot_id: BootId,
    zone: Option<ZoneId>,
    /// Nanoseconds on our monotonic clock; below zero when the absence was adopted and is older
    /// than the clock.
    pub(super) absent_since: Option<i64>,
}

impl Following {
    /// From the members and since when each is absent.
    pub(super) fn start(
        shape: Shape,
        bootstrap: Bootstrap,
        is_first: bool,
        members: impl Iterator<Item = (ZonedMember, Option<i64>)>,
    ) -> Self {
        let entries: BTreeMap<_, _> = members
            .take(MEMBERS_MAX)
            .map(|(zoned, absent_since)| {
                let entry = Entry {
                    absent_since,
                    ..Entry::present(zoned)
                };
                (zoned.member.node_id, entry)
            })
            .collect();
        let ring = build(shape, bootstrap, &entries);
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
        self.remove_absent(config, now);
        let entries = self.entries.iter();
        let members = entries.map(|(&node_id, entry)| entry.zoned(node_id));
        if !members.eq(self.ring.zoned_members()) {
            self.is_first = false;
            self.ring = build(config.shape, self.bootstrap, &self.entries);
        }
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
        let full = known.is_none() && self.entries.len() >= MEMBERS_MAX;
        if !full && known.is_none_or(|entry| entry.boot_id != member.boot_id) {
            self.entries.insert(member.node_id, Entry::present(zoned));
        }
    }

    /// Removes a member that leaves in order, unless it is the last.
    fn release(&mut self, member: &Member) {
        let leaves = current_record(member).is_some_and(|record| record.phase == Phase::Leaving);
        if leaves && self.entries.len() > 1 {
            self.entries.remove(&member.node_id);
        }
    }

    /// Removes a life of a member that is gone for good, unless it is the last.
    fn remove_forgotten(&mut self, member: RingMember) {
        let is_entry = |entry: &Entry| entry.boot_id == member.boot_id;
        if self.entries.len() > 1 && self.entries.get(&member.node_id).is_some_and(is_entry) {
            self.entries.remove(&member.node_id);
        }
    }

    /// An owner is absent while the view does not show it present under its boot id. We ourselves
    /// never are.
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
            if present {
                entry.absent_since = None;
            } else {
                entry.absent_since.get_or_insert(nanos(now));
            }
        }
    }

    /// Removes members that have been absent for the grace, the longest absent first, while more
    /// members are left than a slot has owners.
    fn remove_absent(&mut self, config: &RosterConfig, now: Monotonic) {
        let spare = self.entries.len().saturating_sub(owners_max(config));
        if spare == 0 {
            return;
        }
        let grace = nanos(config.ring_down_grace);
        let mut overdue: Vec<(i64, NodeId)> = self
            .entries
            .iter()
            .filter_map(|(&node_id, entry)| Some((entry.absent_since?, node_id)))
            .filter(|&(since, _)| nanos(now).saturating_sub(since) >= grace)
            .collect();
        overdue.sort_unstable();
        for (_, node_id) in overdue.into_iter().take(spare) {
            self.entries.remove(&node_id);
        }
    }

    pub(super) fn next_deadline(&self, config: &RosterConfig) -> Option<Monotonic> {
        if self.entries.len() <= owners_max(config) {
            return None;
        }
        let oldest = self
            .entries
            .values()
            .filter_map(|entry| entry.absent_since)
            .min()?;
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
        }
    }

    pub(super) const fn zoned(&self, node_id: NodeId) -> ZonedMember {
        ZonedMember {
            member: RingMember {
                node_id,
                boot_id: self.boot_id,
            },
            zone: self.zone,
        }
    }
}

fn build(shape: Shape, bootstrap: Bootstrap, entries: &BTreeMap<NodeId, Entry>) -> Arc<Ring> {
    let members = entries
        .iter()
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
