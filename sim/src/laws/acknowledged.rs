//! What has been acknowledged of each key, by the time at which it was.

use std::collections::BTreeMap;

use shard_cache::{
    key::{Key, Slot},
    version::Version as Held,
};

use crate::{
    history::{Answer, Consistency, Life, Operation, Outcome, Request, Version},
    options::Options,
    recorder::Recorder,
    workload,
    world::{Nanos, clock::EPOCH_MILLIS},
};

/// What lives shorter may be gone by itself at any time: clocks are never off by as much.
const LASTING_NANOS: u64 = 30 * 60 * 1_000_000_000;
/// A write of unknown outcome is stamped no later after its end, by no clock: pauses and wrong clocks are shorter.
const STAMPED_WITHIN_MILLIS: u64 = 180_000;

/// An acknowledged write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acknowledged {
    pub(super) invoked_ns: Nanos,
    pub(super) completed_ns: Nanos,
    pub(super) version: Version,
    /// Neither expires nor is forgotten.
    is_lasting: bool,
}

/// One key.
pub(super) struct Written {
    pub(super) key: Key,
    pub(super) name: String,
    /// Those above everything that was acknowledged before, in the order of time.
    acknowledged: Vec<Acknowledged>,
    /// No write that may be gone by itself has a higher version.
    fleeting: Version,
}

impl Written {
    /// What is known to be the highest version by a time, if it lasts and nothing may have replaced it that does not.
    pub(super) fn highest(&self, by_ns: Nanos) -> Option<Acknowledged> {
        let past = self
            .acknowledged
            .partition_point(|write| write.completed_ns <= by_ns);
        let highest = self.acknowledged[..past].last().copied()?;
        (highest.is_lasting && self.is_above_fleeting(highest.version)).then_some(highest)
    }

    /// Whether nothing that may be gone by itself can have replaced a version, by all that is known now.
    pub(super) fn is_above_fleeting(&self, version: Version) -> bool {
        version > self.fleeting
    }
}

/// All keys.
pub(super) struct AllWritten {
    keys: Vec<Written>,
    by_name: BTreeMap<String, usize>,
    by_slot: BTreeMap<Slot, Vec<usize>>,
    taken: usize,
    tombstones_last: bool,
}

impl AllWritten {
    pub(super) fn new(options: &Options) -> Self {
        let mut all = Self {
            keys: Vec::new(),
            by_name: BTreeMap::new(),
            by_slot: BTreeMap::new(),
            taken: 0,
            tombstones_last: options.tombstone_life.as_nanos() > u128::from(LASTING_NANOS),
        };
        for place in 0..options.keys {
            let name = workload::key_name(place);
            let key = Key::new(name.clone().into());
            let index = all.keys.len();
            let slot = key.slot(options.slots);
            all.by_slot.entry(slot).or_default().push(index);
            all.by_name.insert(name.clone(), index);
            all.keys.push(Written {
                key,
                name,
                acknowledged: Vec::new(),
                fleeting: Version::default(),
            });
        }
        all
    }

    /// Takes what has been noted since.
    pub(super) fn take(&mut self, recorder: &Recorder) {
        let Self {
            keys,
            by_name,
            tombstones_last,
            ..
        } = self;
        self.taken = recorder.operations_after(self.taken, |operation| {
            if let Some(index) = by_name.get(&operation.key) {
                keys[*index].note(operation, *tombstones_last);
            }
        });
    }

    /// The keys of a slot.
    pub(super) fn of(&self, slot: Slot) -> impl Iterator<Item = (usize, &Written)> {
        let places = self.by_slot.get(&slot).into_iter().flatten();
        places.map(|index| (*index, &self.keys[*index]))
    }

    pub(super) fn key(&self, index: usize) -> &Written {
        &self.keys[index]
    }
}

impl Written {
    fn note(&mut self, operation: &Operation, tombstones_last: bool) {
        let is_lasting = match operation.request {
            Request::Get => return,
            Request::Delete => tombstones_last,
            Request::Set { life, .. } => match life {
                Life::Never => true,
                Life::AfterNs(life) => life > LASTING_NANOS,
                Life::Unrecorded => false,
            },
        };
        let (version, is_degraded) = match &operation.outcome {
            Outcome::Failed(_) => return,
            Outcome::Unknown(_) => {
                if !is_lasting {
                    let completed_millis = operation.completed_ns / 1_000_000;
                    self.fleeting = self.fleeting.max(Version {
                        millis: EPOCH_MILLIS + completed_millis + STAMPED_WITHIN_MILLIS,
                        ..Version::MAX
                    });
                }
                return;
            }
            Outcome::Ok(answered) => match answered.answer {
                Answer::Written { version, .. } => (version, answered.degraded),
                Answer::Hit { .. } | Answer::Miss { .. } => return,
            },
        };
        if !is_lasting {
            self.fleeting = self.fleeting.max(version);
        }
        let is_covered = operation.consistency != Consistency::One && !is_degraded;
        let is_highest = self
            .acknowledged
            .last()
            .is_none_or(|last| last.version < version);
        if is_covered && is_highest {
            self.acknowledged.push(Acknowledged {
                invoked_ns: operation.invoked_ns,
                completed_ns: operation.completed_ns,
                version,
                is_lasting,
            });
        }
    }
}

/// A version as histories have it.
pub(super) fn version_of(held: Held) -> Version {
    workload::version_of(held)
}
