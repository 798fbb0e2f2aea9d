//! Losses of memory and changes of owners, between one settled moment and the next.
//!
//! An acknowledged write is lost only if, for some configuration, fewer than a cover of its owners keep their memory
//! before a later one is settled. So losses count within a *period*: from one [`Event::Settled`] to the next. With three
//! owners the first loss in a period is harmless, and the second, of another node, is not. A node that is lost twice in
//! a period is one loss: the other owners still are a cover of every configuration since. Where owners of a key are not
//! recorded, every node may be one.
//!
//! Two rings that formed apart become one: the younger gives way, and its nodes discard what they hold ([`Event::Evictions`]
//! shows another life without a start). What only the younger ring had acknowledged is gone, and the older one still has
//! what it had.

use std::collections::{BTreeMap, BTreeSet};

use super::{Promises, circumstances::Excuse};
use crate::history::{Cluster, Event, Mark};

/// All periods in which something happened.
pub(super) struct Upheavals {
    cluster: Cluster,
    owners_change_safely: bool,
    periods: Vec<Period>,
    /// The ring's size from a time on, in the order of times.
    members: Vec<(u64, usize)>,
    discards: Vec<Discard>,
}

/// A node discarded what it held for an older ring.
struct Discard {
    node: u32,
    /// When the life began in which it held it.
    begun_ns: u64,
    /// Between which times.
    since_ns: u64,
    until_ns: u64,
}

#[derive(Default)]
struct Period {
    until_ns: u64,
    losses: Vec<(u64, u32)>,
    members_min: usize,
    joins: usize,
    owners_changed_ns: Option<u64>,
}

/// An upheaval that concerns a write.
#[derive(Clone, Copy)]
pub(super) struct Upheaval {
    pub(super) excuse: Excuse,
    /// From when on it works.
    pub(super) from_ns: u64,
}

impl Upheavals {
    /// Reads them from marks in the order of times.
    pub(super) fn of(cluster: &Cluster, promises: &Promises, marks: &[&Mark]) -> Self {
        let mut members = cluster.nodes.len().saturating_sub(newcomers(marks));
        let mut sizes = vec![(0, members)];
        let factor = usize::from(cluster.replication_factor);
        let mut down = BTreeSet::new();
        let mut booted = BTreeSet::new();
        let mut periods = Vec::new();
        let mut period = Period::new(members);
        let mut is_disturbed = false;
        for mark in marks {
            is_disturbed |= matches!(mark.event, Event::Crash { .. } | Event::FaultBegin { .. });
            match mark.event {
                Event::Crash { node } => {
                    down.insert(node);
                    period.lose(mark.at_ns, node, members > factor);
                }
                Event::Boot { node, .. } => {
                    let is_first = booted.insert(node);
                    if !down.remove(&node) && !is_first {
                        period.lose(mark.at_ns, node, members > factor);
                    }
                }
                Event::Join { .. } => {
                    members += 1;
                    period.joins += 1;
                    if members > factor || period.joins > 1 {
                        period.change_owners(mark.at_ns);
                    }
                }
                Event::Leave { .. } => {
                    if members > factor {
                        period.change_owners(mark.at_ns);
                    }
                    // A ring of more than N nodes may have shrunk to N by failures before.
                    let fewest = if is_disturbed {
                        members.min(factor)
                    } else {
                        members
                    };
                    sizes.push((mark.at_ns, fewest.saturating_sub(1)));
                    members = members.saturating_sub(1);
                    period.members_min = period.members_min.min(fewest.saturating_sub(1));
                }
                Event::Settled => {
                    period.until_ns = mark.at_ns;
                    periods.push(std::mem::replace(&mut period, Period::new(members)));
                }
                Event::FaultBegin { .. }
                | Event::FaultEnd { .. }
                | Event::Drained { .. }
                | Event::Clock { .. }
                | Event::Owners { .. }
                | Event::Unsettled { .. }
                | Event::Healed { .. }
                | Event::Evictions { .. }
                | Event::Membership { .. }
                | Event::Usage { .. }
                | Event::Broken { .. } => {}
            }
            if sizes.last().is_none_or(|(_, size)| *size != members) {
                sizes.push((mark.at_ns, members));
            }
        }
        periods.push(period);
        periods.retain(|period| !period.losses.is_empty() || period.owners_changed_ns.is_some());
        Self {
            cluster: cluster.clone(),
            owners_change_safely: promises.owners_change_safely,
            periods,
            members: sizes,
            discards: discards(marks),
        }
    }

    /// Whether a younger ring may have given way to an older one between two times.
    pub(super) fn may_have_given_way(&self, from_ns: u64, to_ns: u64) -> bool {
        let mut discards = self.discards.iter();
        discards.any(|discard| discard.since_ns <= to_ns && from_ns <= discard.until_ns)
    }

    /// Whether a node may have been in a ring at a time that gave way to an older one later in that life of it.
    pub(super) fn may_give_way(&self, node: u32, at_ns: u64) -> bool {
        let mut of_node = self.discards.iter().filter(|discard| discard.node == node);
        of_node.any(|discard| discard.begun_ns <= at_ns && at_ns <= discard.until_ns)
    }

    /// Whether a write that began at one time may have been lost by another: in a period that had not ended when it
    /// began, and whose fatal moment had come. `owners` is empty where they are not known.
    pub(super) fn between(
        &self,
        owners: &BTreeSet<u32>,
        invoked_ns: u64,
        by_ns: u64,
    ) -> Option<Upheaval> {
        let concerned = self.periods.iter().filter(|p| invoked_ns < p.until_ns);
        concerned
            .filter_map(|period| self.fatal(period, owners))
            .find(|upheaval| upheaval.from_ns <= by_ns)
    }

    /// The fewest owners that a key may have had up to a time.
    pub(super) fn owners_min(&self, by_ns: u64) -> u8 {
        let past = self.members.iter().take_while(|(from, _)| *from <= by_ns);
        let fewest = past.map(|(_, size)| *size).min().unwrap_or_default();
        self.cluster.owners_in(fewest)
    }

    fn fatal(&self, period: &Period, owners: &BTreeSet<u32>) -> Option<Upheaval> {
        let count = if owners.is_empty() {
            self.cluster.owners_in(period.members_min)
        } else {
            self.cluster.owners_in(owners.len())
        };
        let tolerated = usize::from(self.cluster.losses_tolerated(count));
        let mut lost = BTreeSet::new();
        let fatal = period.losses.iter().find(|(_, node)| {
            if owners.is_empty() || owners.contains(node) {
                lost.insert(*node);
            }
            lost.len() > tolerated
        });
        let loss = fatal.map(|(from_ns, _)| Upheaval {
            excuse: Excuse::Lost,
            from_ns: *from_ns,
        });
        let changed = period
            .owners_changed_ns
            .filter(|_| !self.owners_change_safely);
        let change = changed.map(|from_ns| Upheaval {
            excuse: Excuse::OwnersChanged,
            from_ns,
        });
        [change, loss]
            .into_iter()
            .flatten()
            .min_by_key(|upheaval| upheaval.from_ns)
    }
}

impl Period {
    fn new(members: usize) -> Self {
        Self {
            until_ns: u64::MAX,
            members_min: members,
            ..Self::default()
        }
    }

    fn lose(&mut self, at_ns: u64, node: u32, changes_owners: bool) {
        self.losses.push((at_ns, node));
        // A ring of no more than N nodes keeps an absent owner's place; a larger one gives it away.
        if changes_owners {
            self.change_owners(at_ns);
        }
    }

    fn change_owners(&mut self, at_ns: u64) {
        self.owners_changed_ns.get_or_insert(at_ns);
    }
}

/// Between which two looks at a node its memory began another life although it did not start anew.
fn discards(marks: &[&Mark]) -> Vec<Discard> {
    // Of each node its life, when it began and when it was last seen.
    let mut seen: BTreeMap<u32, (u64, u64, u64)> = BTreeMap::new();
    let mut discards = Vec::new();
    for mark in marks {
        let (node, boot_id, is_start) = match mark.event {
            Event::Boot { node, boot_id } => (node, boot_id, true),
            Event::Evictions { node, boot_id, .. } => (node, boot_id, false),
            Event::FaultBegin { .. }
            | Event::FaultEnd { .. }
            | Event::Crash { .. }
            | Event::Join { .. }
            | Event::Leave { .. }
            | Event::Drained { .. }
            | Event::Clock { .. }
            | Event::Owners { .. }
            | Event::Settled
            | Event::Unsettled { .. }
            | Event::Healed { .. }
            | Event::Membership { .. }
            | Event::Usage { .. }
            | Event::Broken { .. } => continue,
        };
        let before = seen.get(&node).copied();
        let begun_ns = match before {
            Some((life, begun_ns, _)) if life == boot_id => begun_ns,
            Some(_) | None => mark.at_ns,
        };
        seen.insert(node, (boot_id, begun_ns, mark.at_ns));
        if let Some((life, begun_ns, since_ns)) = before
            && life != boot_id
            && !is_start
        {
            discards.push(Discard {
                node,
                begun_ns,
                since_ns,
                until_ns: mark.at_ns,
            });
        }
    }
    discards
}

/// How many nodes joined before they ever left, and so were no members at first.
fn newcomers(marks: &[&Mark]) -> usize {
    let mut moved = BTreeSet::new();
    let joins_first = |mark: &&&Mark| match mark.event {
        Event::Join { node } => moved.insert(node),
        Event::Leave { node } => {
            moved.insert(node);
            false
        }
        Event::FaultBegin { .. }
        | Event::FaultEnd { .. }
        | Event::Crash { .. }
        | Event::Boot { .. }
        | Event::Drained { .. }
        | Event::Clock { .. }
        | Event::Owners { .. }
        | Event::Settled
        | Event::Unsettled { .. }
        | Event::Healed { .. }
        | Event::Evictions { .. }
        | Event::Membership { .. }
        | Event::Usage { .. }
        | Event::Broken { .. } => false,
    };
    marks.iter().filter(joins_first).count()
}
