//! Everything about one key, sorted once, so that each question is a binary search.

use std::collections::{BTreeSet, HashMap};

use super::{
    Case,
    floors::{Known, RunningMax},
    standing::{Sight, Standing, judge},
    verdict::Counts,
};
use crate::history::{
    Answer, Event, Held, History, Operation, Outcome, OwnerCopy, Request, ValueId, Version,
};

/// What a history has about one key, in the order of invocation.
#[derive(Default)]
pub(super) struct KeyEvents<'a> {
    pub(super) key: &'a str,
    pub(super) operations: Vec<&'a Operation>,
    pub(super) copies: Vec<&'a OwnerCopy>,
    /// Every node that ever was an owner; empty where this is not known.
    pub(super) owners: BTreeSet<u32>,
}

/// All keys of a history, in the order of their names.
pub(super) struct Keys<'a>(Vec<KeyEvents<'a>>);

impl<'a> Keys<'a> {
    pub(super) fn of(history: &'a History) -> Self {
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut keys: Vec<KeyEvents<'a>> = Vec::new();
        let mut place_of = |key: &'a str, keys: &mut Vec<KeyEvents<'a>>| {
            *places.entry(key).or_insert_with(|| {
                keys.push(KeyEvents {
                    key,
                    ..KeyEvents::default()
                });
                keys.len() - 1
            })
        };
        for operation in &history.operations {
            let place = place_of(&operation.key, &mut keys);
            keys[place].operations.push(operation);
        }
        for copy in &history.copies {
            let place = place_of(&copy.key, &mut keys);
            keys[place].copies.push(copy);
        }
        for mark in &history.marks {
            if let Event::Owners { key, nodes } = &mark.event {
                let place = place_of(key, &mut keys);
                keys[place].owners.extend(nodes);
            }
        }
        keys.sort_unstable_by_key(|events| events.key);
        for events in &mut keys {
            events
                .operations
                .sort_unstable_by_key(|operation| (operation.invoked_ns, operation.id));
            events
                .copies
                .sort_unstable_by_key(|copy| (copy.node, copy.at_ns));
        }
        Self(keys)
    }

    /// Each key, its parts borrowed for as long as the log of it lives.
    pub(super) fn iter(self) -> impl Iterator<Item = KeyEvents<'a>> {
        self.0.into_iter()
    }
}

/// Whether a value that was seen may have been there.
pub(super) enum Origin<'a> {
    /// It may.
    Written,
    /// Nobody ever wrote it.
    Nobody,
    /// Only writes that surely failed did.
    OnlyFailed(&'a Operation),
    /// Its writes began after it was seen.
    OnlyLater(&'a Operation),
    /// Its write was acknowledged under a lower version.
    Acknowledged(&'a Operation),
}

/// One key's operations and what follows from them.
pub(super) struct KeyLog<'a, 'c> {
    pub(super) events: &'c KeyEvents<'a>,
    /// Sets by value, then by time.
    sets: Vec<(ValueId, &'a Operation)>,
    /// Versions under which writes were acknowledged, sorted.
    acknowledged_versions: Vec<(Version, &'a Operation)>,
    /// What covered writes and reads vouch for.
    pub(super) covered: RunningMax<'a>,
    /// What covered writes vouch for.
    pub(super) acknowledged: RunningMax<'a>,
    /// What covered deletes vouch for.
    pub(super) deleted: RunningMax<'a>,
    /// The highest version that a delete may have, from its invocation on.
    pub(super) deletes: RunningMax<'a>,
    /// The same, from when on its tombstone may be forgotten.
    pub(super) forgotten: RunningMax<'a>,
    /// The highest version that a value may have that may have expired.
    pub(super) expirable: RunningMax<'a>,
    /// The first delete that surely failed.
    pub(super) failed_delete: Option<&'a Operation>,
    /// Every covered read, and what it comes to.
    pub(super) standings: Vec<(&'a Operation, Standing<'a>)>,
    /// What the owners' copies together come to in the end, and when they had been looked at; none if too few were.
    pub(super) final_standing: Option<(u64, Standing<'a>)>,
}

impl<'a, 'c> KeyLog<'a, 'c> {
    pub(super) fn new(events: &'c KeyEvents<'a>, case: &Case<'a>) -> Self {
        let mut log = Self {
            events,
            sets: Vec::new(),
            acknowledged_versions: Vec::new(),
            covered: RunningMax::default(),
            acknowledged: RunningMax::default(),
            deleted: RunningMax::default(),
            deletes: RunningMax::default(),
            forgotten: RunningMax::default(),
            expirable: RunningMax::default(),
            failed_delete: None,
            standings: Vec::new(),
            final_standing: None,
        };
        log.index_writes(case);
        log.index_covered(case);
        let reads = events.operations.iter().filter(|o| o.is_covered());
        log.standings = reads
            .filter_map(|read| Some((*read, judge(&log, case, &Sight::of(read, case)?))))
            .collect();
        log.final_standing = log.judge_copies(case);
        log
    }

    /// Where a value comes from that was seen under a version by a time.
    pub(super) fn origin(&self, value: ValueId, version: Version, by_ns: u64) -> Origin<'a> {
        let mut origin = Origin::Nobody;
        for set in self.writers(value) {
            let found = if set.surely_had_no_effect() {
                Origin::OnlyFailed(set)
            } else if set.invoked_ns > by_ns {
                Origin::OnlyLater(set)
            } else if set.written_version().is_some_and(|own| own < version) {
                Origin::Acknowledged(set)
            } else {
                return Origin::Written;
            };
            // A later reason is closer to a legal one; of several sets of one value the last to say so is named.
            origin = found;
        }
        origin
    }

    /// The sets of a value, in the order of time.
    pub(super) fn writers(&self, value: ValueId) -> impl Iterator<Item = &'a Operation> {
        let from = self.sets.partition_point(|(other, _)| *other < value);
        let rest = self.sets[from..].iter();
        rest.take_while(move |(other, _)| *other == value)
            .map(|(_, set)| *set)
    }

    /// Whether a value may have expired by a time.
    pub(super) fn may_have_expired(&self, value: ValueId, by_ns: u64, case: &Case<'_>) -> bool {
        let mut sets = self
            .writers(value)
            .filter(|set| !set.surely_had_no_effect());
        sets.any(|set| {
            let earliest_ns = case.circumstances.expires_earliest_ns(set);
            earliest_ns.is_some_and(|earliest_ns| earliest_ns <= by_ns)
        })
    }

    /// The write that was acknowledged under a version.
    pub(super) fn acknowledged_as(&self, version: Version) -> Option<&'a Operation> {
        let versions = &self.acknowledged_versions;
        let place = versions.partition_point(|(own, _)| *own < version);
        let (own, write) = versions.get(place)?;
        (*own == version).then_some(write)
    }

    /// Acknowledged writes by version.
    pub(super) fn by_version(&self) -> &[(Version, &'a Operation)] {
        &self.acknowledged_versions
    }

    /// Adds this key to what a history shows.
    pub(super) fn count(&self, counts: &mut Counts) {
        let operations = &self.events.operations;
        counts.keys += u64::from(!operations.is_empty());
        for operation in operations {
            counts.operations += 1;
            match &operation.outcome {
                Outcome::Failed(_) => counts.failed += 1,
                Outcome::Unknown(_) => counts.unknown += 1,
                Outcome::Ok(answered) => {
                    counts.ok += 1;
                    match answered.answer {
                        Answer::Written { .. } => {
                            counts.acknowledged += 1;
                            counts.covered_writes += u64::from(operation.is_covered());
                        }
                        Answer::Hit { .. } => counts.hits += 1,
                        Answer::Miss { .. } => counts.misses += 1,
                    }
                }
            }
        }
        for (_, standing) in &self.standings {
            match standing {
                Standing::Unjudged | Standing::NotWritten => {}
                Standing::Excused(excuse) => *counts.excused.entry(*excuse).or_default() += 1,
                Standing::Fine
                | Standing::Resurrected { .. }
                | Standing::Stale { .. }
                | Standing::Lost { .. }
                | Standing::WentBack { .. }
                | Standing::DeletedByFailure { .. } => counts.judged_reads += 1,
            }
        }
    }

    fn index_writes(&mut self, case: &Case<'_>) {
        let circumstances = &case.circumstances;
        let (mut deletes, mut forgotten, mut expirable) = (Vec::new(), Vec::new(), Vec::new());
        for operation in &self.events.operations {
            let known = Known {
                version: circumstances.version_bound(operation),
                by: operation,
                value: operation.request.value(),
            };
            if let Some(version) = operation.written_version() {
                self.acknowledged_versions.push((version, operation));
            }
            match operation.request {
                Request::Get => {}
                Request::Set { value, .. } => {
                    self.sets.push((value, operation));
                    if !operation.surely_had_no_effect()
                        && let Some(from) = circumstances.expires_earliest_ns(operation)
                    {
                        expirable.push((from, known));
                    }
                }
                Request::Delete if operation.surely_had_no_effect() => {
                    self.failed_delete.get_or_insert(operation);
                }
                Request::Delete => {
                    deletes.push((
                        operation.invoked_ns.saturating_sub(circumstances.apart_ns),
                        known,
                    ));
                    forgotten.push((circumstances.forgotten_ns(case.history, operation), known));
                }
            }
        }
        self.sets
            .sort_unstable_by_key(|(value, set)| (*value, set.invoked_ns, set.id));
        self.acknowledged_versions
            .sort_unstable_by_key(|(version, write)| (*version, write.invoked_ns, write.id));
        self.deletes = RunningMax::new(deletes);
        self.forgotten = RunningMax::new(forgotten);
        self.expirable = RunningMax::new(expirable);
    }

    fn index_covered(&mut self, case: &Case<'_>) {
        let (mut covered, mut acknowledged, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
        for operation in self.events.operations.iter().filter(|o| o.is_covered()) {
            let Some((version, value)) = self.vouches_for(operation, case) else {
                continue;
            };
            let entry = (
                case.circumstances.over_ns(operation),
                Known {
                    version,
                    by: operation,
                    value,
                },
            );
            covered.push(entry);
            match operation.request {
                Request::Set { .. } => acknowledged.push(entry),
                Request::Delete => {
                    acknowledged.push(entry);
                    deleted.push(entry);
                }
                Request::Get => {}
            }
        }
        self.covered = RunningMax::new(covered);
        self.acknowledged = RunningMax::new(acknowledged);
        self.deleted = RunningMax::new(deleted);
    }

    /// Judges the newest copy as if it had been read, if there are so many that one of them was in every write quorum.
    fn judge_copies(&self, case: &Case<'_>) -> Option<(u64, Standing<'a>)> {
        let copies = &self.events.copies;
        let cluster = &case.history.header.cluster;
        let owners = cluster.owners_in(cluster.nodes.len());
        let needed = (owners + 1).saturating_sub(cluster.write_quorum_of(owners));
        if copies.len() < usize::from(needed) {
            return None;
        }
        let newest = copies.iter().max_by_key(|copy| copy.held.version())?;
        let last_ns = copies.iter().map(|copy| copy.at_ns).max()?;
        let sight = Sight {
            value: match newest.held {
                Held::Value { value, .. } => Some(value),
                Held::Gone { .. } | Held::Nothing => None,
            },
            version: newest.held.version(),
            from_ns: copies.iter().map(|copy| copy.at_ns).min()?,
            to_ns: last_ns.saturating_add(case.circumstances.apart_ns),
        };
        let standing = match judge(self, case, &sight) {
            // That an older value is there does not say why the newer one is not.
            Standing::Stale { .. } => judge(
                self,
                case,
                &Sight {
                    value: None,
                    ..sight
                },
            ),
            other => other,
        };
        Some((last_ns, standing))
    }

    /// What an answered operation proves to be there. A value that cannot have been written proves nothing, so that
    /// one wrong read is one violation. Neither does a miss whose version may be a floor that rose over other keys.
    fn vouches_for(
        &self,
        operation: &Operation,
        case: &Case<'_>,
    ) -> Option<(Version, Option<ValueId>)> {
        let over_ns = case.circumstances.over_ns(operation);
        match operation.answered()?.answer {
            Answer::Written { version, .. } => Some((version, operation.request.value())),
            Answer::Hit { value, version, .. } => {
                let origin = self.origin(value, version, over_ns);
                matches!(origin, Origin::Written).then_some((version, Some(value)))
            }
            Answer::Miss { version } => {
                let version = version?;
                let is_of_this_key = self.acknowledged_as(version).is_some();
                (is_of_this_key || !case.circumstances.may_be_evicted(over_ns))
                    .then_some((version, None))
            }
        }
    }
}
