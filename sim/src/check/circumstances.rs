//! What happened to the cluster, as far as it excuses something: evictions, clocks out of bounds, losses of memory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Promises, upheavals::Upheavals};
use crate::history::{Clocks, Event, History, Life, Mark, Operation, Request, Version};

const NANOS_PER_MILLI: u64 = 1_000_000;
/// A stamp further ahead than this is refused by every node, so that one clock draws others along by no more.
const DRIFT_MAX_NS: u64 = 500 * NANOS_PER_MILLI;

/// A legal reason why a promise does not speak of a read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Excuse {
    /// A newer delete may explain it.
    Deleted,
    /// The value may have expired.
    Expired,
    /// Something may have been evicted by then.
    Evicted,
    /// More owners lost their memory than may, before the cluster had settled.
    Lost,
    /// Owners changed, and the promises in force exclude that.
    OwnersChanged,
}

/// What happened to the cluster.
pub(super) struct Circumstances {
    clocks: Clocks,
    /// By how much completing must come before being invoked.
    pub(super) apart_ns: u64,
    /// From when on something may have been evicted; none if nothing ever was.
    evicted_since_ns: Option<u64>,
    /// How far ahead the hybrid clock of a node within bounds may be, drawn along by others.
    ahead_ns: u64,
    /// How far two clocks may ever have been apart.
    apart_clocks_ns: u64,
    /// When a node's clock was out of bounds.
    astray: BTreeMap<u32, Vec<(u64, u64)>>,
    pub(super) upheavals: Upheavals,
}

impl Circumstances {
    pub(super) fn of(history: &History, promises: &Promises) -> Self {
        let mut marks: Vec<&Mark> = history.marks.iter().collect();
        marks.sort_by_key(|mark| mark.at_ns);
        let header = &history.header;
        let evicted_since_ns = if header.evictions_recorded {
            evicted_since(&marks)
        } else {
            Some(0)
        };
        Self {
            clocks: header.clocks,
            apart_ns: header.clocks.uncertainty_ns.saturating_mul(2),
            evicted_since_ns,
            ahead_ns: furthest_ahead(&marks)
                .min(DRIFT_MAX_NS)
                .max(header.clocks.bound_ns),
            apart_clocks_ns: furthest_ahead(&marks)
                .max(header.clocks.bound_ns)
                .saturating_add(furthest_behind(&marks).max(header.clocks.bound_ns)),
            astray: astray(&marks, header.clocks.bound_ns),
            upheavals: Upheavals::of(&header.cluster, promises, &marks),
        }
    }

    /// The time from which on an operation surely is over.
    pub(super) const fn over_ns(&self, operation: &Operation) -> u64 {
        operation.completed_ns.saturating_add(self.apart_ns)
    }

    /// Whether something may have been evicted by a time.
    pub(super) fn may_be_evicted(&self, by_ns: u64) -> bool {
        self.evicted_since_ns.is_some_and(|since| since <= by_ns)
    }

    /// The highest version that a write may have: its own if it was acknowledged, else what a clock within bounds may
    /// have stamped as long as somebody did.
    pub(super) fn version_bound(&self, write: &Operation) -> Version {
        if let Some(version) = write.written_version() {
            return version;
        }
        let (Some(epoch), Some(within_ns)) =
            (self.clocks.epoch_millis, self.clocks.stamps_within_ns)
        else {
            return Version::MAX;
        };
        if self.is_astray(write) {
            return Version::MAX;
        }
        let last_ns = self.over_ns(write).saturating_add(within_ns);
        let millis = last_ns.saturating_add(self.ahead_ns) / NANOS_PER_MILLI;
        Version {
            millis: epoch.saturating_add(millis).saturating_add(1),
            ..Version::MAX
        }
    }

    /// The first time at which the value of a set may be gone by expiry, by any clock within bounds; none if it never
    /// expires. A clock out of bounds may see it expire at once.
    pub(super) fn expires_earliest_ns(&self, set: &Operation) -> Option<u64> {
        let Request::Set { life, .. } = set.request else {
            return None;
        };
        let life_ns = match life {
            Life::Never => return None,
            Life::Unrecorded => 0,
            Life::AfterNs(life_ns) => life_ns,
        };
        // The stamp may be behind by the bound, the clock that judges ahead by it, and both are cut off to milliseconds.
        let early = self.apart_ns + self.clocks.bound_ns.saturating_mul(2) + NANOS_PER_MILLI;
        let within = set
            .invoked_ns
            .saturating_add(life_ns)
            .saturating_sub(early)
            .max(set.invoked_ns.saturating_sub(self.apart_ns));
        let first_astray = self.astray.values().flatten().map(|(from, _)| *from).min();
        Some(first_astray.map_or(within, |astray| within.min(astray.max(set.invoked_ns))))
    }

    /// The last time at which a value that a set wrote, and that was seen under `version`, may be served, apart from
    /// the margin that is promised; none if nothing can be concluded.
    pub(super) fn expires_latest_ns(&self, set: &Operation, version: Version) -> Option<u64> {
        let Request::Set { life, .. } = set.request else {
            return None;
        };
        let life_ns = match life {
            Life::Never | Life::Unrecorded => return None,
            Life::AfterNs(life_ns) => life_ns,
        };
        let by_stamp = self.clocks.epoch_millis.map(|epoch| {
            let since = version.millis.saturating_add(1).saturating_sub(epoch);
            since.saturating_mul(NANOS_PER_MILLI)
        });
        let by_answer = set.answered().map(|_| {
            self.over_ns(set)
                .saturating_add(self.ahead_ns)
                .saturating_add(NANOS_PER_MILLI)
        });
        let stamped = [by_stamp, by_answer].into_iter().flatten().min()?;
        Some(stamped.saturating_add(life_ns))
    }

    /// The first time at which the tombstone of a delete may be forgotten.
    pub(super) fn forgotten_ns(&self, history: &History, delete: &Operation) -> u64 {
        let life_ns = history.header.tombstone_life_ns.unwrap_or_default();
        // Whoever forgets it may be ahead of whoever stamped it, by as much as clocks ever were apart.
        let early = self.apart_ns + self.apart_clocks_ns + NANOS_PER_MILLI;
        let from = delete.invoked_ns.saturating_add(life_ns);
        from.saturating_sub(early)
            .max(delete.invoked_ns.saturating_sub(self.apart_ns))
    }

    /// Whether the clock of the node that coordinated it was out of bounds meanwhile.
    pub(super) fn is_astray(&self, operation: &Operation) -> bool {
        let windows = self.astray.get(&operation.node);
        windows.is_some_and(|windows| {
            windows
                .iter()
                .any(|(from, to)| *from <= self.over_ns(operation) && operation.invoked_ns <= *to)
        })
    }
}

/// The first time at which a node may have evicted something: the last sample without, or the begin of its life.
fn evicted_since(marks: &[&Mark]) -> Option<u64> {
    let mut lives: BTreeMap<(u32, u64), (u64, u64)> = BTreeMap::new();
    let mut booted: BTreeMap<(u32, u64), u64> = BTreeMap::new();
    let mut since: Option<u64> = None;
    for mark in marks {
        match &mark.event {
            Event::Boot { node, boot_id } => {
                booted.insert((*node, *boot_id), mark.at_ns);
            }
            Event::Evictions {
                node,
                boot_id,
                total,
            } => {
                let life = (*node, *boot_id);
                let begun = booted.get(&life).copied().unwrap_or_default();
                let (seen_at, seen) = lives.get(&life).copied().unwrap_or((begun, 0));
                if *total > seen {
                    since = Some(since.map_or(seen_at, |since| since.min(seen_at)));
                }
                lives.insert(life, (mark.at_ns, seen.max(*total)));
            }
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
            | Event::Broken { .. } => {}
        }
    }
    since
}

fn furthest_ahead(marks: &[&Mark]) -> u64 {
    let mut furthest = 0;
    for mark in marks {
        if let Event::Clock { offset_ns, .. } = mark.event {
            furthest = furthest.max(u64::try_from(offset_ns).unwrap_or_default());
        }
    }
    furthest
}

fn furthest_behind(marks: &[&Mark]) -> u64 {
    let offsets = marks.iter().filter_map(|mark| match mark.event {
        Event::Clock { offset_ns, .. } if offset_ns < 0 => Some(offset_ns.unsigned_abs()),
        _ => None,
    });
    offsets.max().unwrap_or_default()
}

/// When each node's clock was out of bounds. A hybrid clock that was ahead stays ahead until time has caught up.
fn astray(marks: &[&Mark], bound_ns: u64) -> BTreeMap<u32, Vec<(u64, u64)>> {
    let mut astray: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
    let mut offsets: BTreeMap<u32, i64> = BTreeMap::new();
    for mark in marks {
        let Event::Clock { node, offset_ns } = mark.event else {
            continue;
        };
        let before = offsets.insert(node, offset_ns).unwrap_or_default();
        let windows = astray.entry(node).or_default();
        if before.unsigned_abs() > bound_ns
            && let Some(open) = windows.last_mut()
        {
            let ahead = u64::try_from(before).unwrap_or_default();
            open.1 = mark.at_ns.saturating_add(ahead);
        }
        if offset_ns.unsigned_abs() > bound_ns {
            windows.push((mark.at_ns, u64::MAX));
        }
    }
    astray.retain(|_, windows| !windows.is_empty());
    astray
}
