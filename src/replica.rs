//! What a node does with a request for data that it holds: it judges the configuration, the deadline and the sender's
//! clock, and applies the rest to its store. Synchronous, so that a link can answer a whole batch at once.

use std::sync::Arc;

use crate::{
    clock::Now,
    key::{Key, Slot},
    operation::{Answer, Failure, Held, Kind, Operation, ReadAnswer, Want, WriteAnswer},
    ring::{gates::GateCell, slot::Vote},
    store::{Applied, Fingerprint, Inventory, Lookup, Record, ScanPage, SlotSet, Store, Traces},
    telemetry::traces::{KeyValue, Tracer},
    trace::TraceParent,
    version::{DRIFT_MAX_MILLIS, HybridClock, Version},
};

/// One node's replica: its store behind the rules.
pub struct Replica {
    store: Arc<Store>,
    clock: Arc<HybridClock>,
    gates: Arc<GateCell>,
    tracer: Tracer,
}

impl Replica {
    /// The replica over a node's store, hybrid clock and slots.
    #[must_use]
    pub fn new(store: Arc<Store>, clock: Arc<HybridClock>, gates: Arc<GateCell>) -> Self {
        Self {
            store,
            clock,
            gates,
            tracer: Tracer::off(),
        }
    }

    /// The same with spans for operations of sampled requests.
    #[must_use]
    pub fn traced(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Prepares for [`handle`](Self::handle) of many operations one after the other, which is faster with it. Changes
    /// nothing.
    pub fn look_ahead<'a>(&self, operations: impl Iterator<Item = &'a Operation> + Clone) {
        self.gates
            .look_ahead(operations.clone().map(|operation| operation.slot));
        self.store
            .look_ahead(operations.map(|operation| operation.kind.key()));
    }

    /// Carries out one operation, at `now` by the local clocks.
    pub fn handle(&self, operation: &Operation, now: Now) -> Answer {
        match &operation.trace {
            None => self.carry_out(operation, now),
            Some(parent) => self.carry_out_traced(operation, parent, now),
        }
    }

    fn carry_out_traced(&self, operation: &Operation, parent: &TraceParent, now: Now) -> Answer {
        let (name, verb, key) = match &operation.kind {
            Kind::Write { key, .. } => ("replica.write", "write", key),
            Kind::Read { key, .. } => ("replica.read", "read", key),
        };
        let span = self.tracer.begin_operation(name, parent);
        let answer = self.carry_out(operation, now);
        if let Some(mut span) = span {
            let outcome = outcome(&answer);
            span.note([
                KeyValue::new("db.system.name", "shard-cache"),
                KeyValue::new("db.operation.name", verb),
                KeyValue::new("shard_cache.key_hash", format!("{:016x}", key.hash())),
                KeyValue::new("shard_cache.slot", i64::from(operation.slot.0)),
                KeyValue::new(
                    "shard_cache.replica.outcome",
                    outcome.unwrap_or_else(|failure| failure),
                ),
            ]);
            match outcome {
                Ok(_) => span.succeed(),
                Err(failure) => span.fail(failure),
            }
        }
        answer
    }

    fn carry_out(&self, operation: &Operation, now: Now) -> Answer {
        let wall_millis = now.wall_millis;
        if operation.deadline <= now.monotonic {
            return Answer::Failed(Failure::Expired);
        }
        let asked = operation.configuration;
        let vote = self.gates.vote(operation.slot, asked);
        let answer = match &operation.kind {
            Kind::Write {
                key,
                record,
                is_write_back,
            } => {
                if let Err(failure) = self.admit(record, wall_millis) {
                    return Answer::Failed(failure);
                }
                let now_millis = self.clock.now(wall_millis).millis();
                let Some(vote) = vote else {
                    // Stored without counting when the data descends from the same root; never otherwise.
                    if self.gates.root(operation.slot) == Some(asked.root) {
                        self.store.merge(key, record.clone(), now_millis);
                        self.keep_in_root(operation, key, record);
                    }
                    return Answer::Failed(Failure::WrongConfig);
                };
                let applied = if *is_write_back {
                    self.store.write_back(key, record.clone(), now_millis)
                } else {
                    self.store.write(key, record.clone(), now_millis)
                };
                write_answer(applied, vote)
            }
            Kind::Read {
                key,
                want,
                is_explained,
            } => {
                let Some(vote) = vote else {
                    return Answer::Failed(Failure::WrongConfig);
                };
                let now_millis = self.clock.now(wall_millis).millis();
                let mut answer = self.read(key, *want, now_millis, vote);
                if let (ReadAnswer::Miss { cause, .. }, true) = (&mut answer, *is_explained) {
                    *cause = self.store.miss_cause(key, now_millis);
                }
                Answer::Read(answer)
            }
        };
        if self.gates.is_still(operation.slot, asked) {
            return answer;
        }
        // The slot has moved meanwhile. Whoever copied it may have come before or after this: it must not count.
        if let Kind::Write { key, record, .. } = &operation.kind {
            self.keep_in_root(operation, key, record);
        }
        Answer::Failed(Failure::WrongConfig)
    }

    /// Takes a record out again if its slot has another root by now: data never crosses roots.
    fn keep_in_root(&self, operation: &Operation, key: &Key, record: &Record) {
        if self.gates.root(operation.slot) != Some(operation.configuration.root) {
            self.store.discard(key, record.version);
        }
    }

    /// Hybrid time at `now`, in milliseconds.
    #[must_use]
    pub fn now_millis(&self, now: Now) -> u64 {
        self.clock.now(now.wall_millis).millis()
    }

    /// Merges records that are owed to this node, or that it pulls: by version, for any configuration of the root that
    /// they were written in. Records whose slot has another root by now, or none yet, are left out.
    pub fn merge(
        &self,
        root_of: impl Fn(Slot) -> Option<u64>,
        records: Vec<(Key, Record)>,
        now: Now,
    ) -> Merged {
        self.merge_with(Store::merge, root_of, records, now)
    }

    /// The same with records of a slot that is handed over; see [`Store::take_over`].
    pub fn take_over(
        &self,
        root_of: impl Fn(Slot) -> Option<u64>,
        records: Vec<(Key, Record)>,
        now: Now,
    ) -> Merged {
        self.merge_with(Store::take_over, root_of, records, now)
    }

    fn merge_with(
        &self,
        apply: impl Fn(&Store, &Key, Record, u64) -> Applied,
        root_of: impl Fn(Slot) -> Option<u64>,
        records: Vec<(Key, Record)>,
        now: Now,
    ) -> Merged {
        let gates = self.gates.load();
        let mut merged = Merged::default();
        for (place, (key, record)) in records.into_iter().enumerate() {
            let slot = gates.slot(&key);
            let root = root_of(slot);
            if root.is_none() || gates.root(slot) != root {
                merged.foreign.push(place);
                continue;
            }
            if self.admit(&record, now.wall_millis).is_err() {
                merged.refused.push(Refused { place, key, record });
                continue;
            }
            let version = record.version;
            // Past what was admitted: a ghost of it is one at once.
            let now_millis = self.clock.now(now.wall_millis).millis();
            let applied = apply(&self.store, &key, record, now_millis);
            if self.gates.root(slot) == root {
                merged.taken += 1;
                merged.stored += u64::from(matches!(applied, Applied::Stored { .. }));
            } else {
                self.store.discard(&key, version);
                merged.foreign.push(place);
            }
        }
        merged
    }

    /// Takes over what another node knows of values that are not there, of slots whose root is the same here. Returns how
    /// much was left out because it is stamped too far ahead of the local clock.
    pub fn take_traces(
        &self,
        root_of: impl Fn(Slot) -> Option<u64>,
        traces: &Traces,
        now: Now,
    ) -> usize {
        let latest = now.wall_millis.saturating_add(DRIFT_MAX_MILLIS);
        let is_ahead = |version: Version| version.stamp.millis() > latest;
        let gates = self.gates.load();
        self.store.take_traces(traces, |slot, version| {
            let root = root_of(slot);
            root.is_some() && gates.root(slot) == root && !is_ahead(version)
        });
        traces.versions().filter(|it| is_ahead(*it)).count()
    }

    /// A page of the records of some slots; see [`Store::scan`].
    pub fn scan(
        &self,
        slots: &SlotSet,
        cursor: u64,
        bytes_max: usize,
        held: &Inventory,
        now: Now,
    ) -> ScanPage {
        let now_millis = self.clock.now(now.wall_millis).millis();
        self.store.scan(slots, cursor, bytes_max, held, now_millis)
    }

    /// What there is in a slot of this root in which this node is a full owner.
    #[must_use]
    pub fn fingerprint_of(&self, slot: Slot, root: u64) -> Option<Fingerprint> {
        let gates = self.gates.load();
        let is_comparable = gates.is_full(slot) && gates.root(slot) == Some(root);
        is_comparable.then(|| self.store.fingerprint(slot))
    }

    /// What this node holds of some slots; see [`Store::held`].
    pub fn held(&self, slots: &SlotSet, records_max: usize) -> Option<Inventory> {
        self.store.held(slots, records_max)
    }

    fn read(&self, key: &Key, want: Want, now_millis: u64, vote: Vote) -> ReadAnswer {
        match self.store.read(key, now_millis) {
            Lookup::Hit(record) => {
                let held = match want {
                    Want::Record => Held::Whole(record),
                    Want::Version => Held::Version(record.version),
                };
                ReadAnswer::Holds { held, vote }
            }
            Lookup::Miss(absence) => ReadAnswer::Miss {
                absence,
                vote,
                cause: None,
            },
        }
    }

    /// A record stamped too far ahead is refused, so that one bad clock cannot poison the order of writes.
    fn admit(&self, record: &Record, wall_millis: u64) -> Result<(), Failure> {
        self.clock
            .observe(record.version.stamp, wall_millis)
            .map_err(|_drift| Failure::Drift)
    }
}

/// What became of merged records.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Merged {
    /// Records taken over, or held in a newer version already.
    pub taken: u64,
    /// Of these, records that were new.
    pub stored: u64,
    /// Records refused because their stamp is too far ahead of the local clock, in their order.
    pub refused: Vec<Refused>,
    /// The places of records whose slot has another root at this node, or none yet.
    pub foreign: Vec<usize>,
}

impl Merged {
    /// The places of all records that were not merged.
    pub fn refused_places(&self) -> impl Iterator<Item = usize> + '_ {
        let drifted = self.refused.iter().map(|refused| refused.place);
        drifted.chain(self.foreign.iter().copied())
    }
}

/// A record that was not merged. It may be once the local clock has come far enough.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Its place among the records that were to be merged.
    pub place: usize,
    /// Its key.
    pub key: Key,
    /// The record.
    pub record: Record,
}

/// An answer in one word, and whether it is one.
const fn outcome(answer: &Answer) -> Result<&'static str, &'static str> {
    match answer {
        Answer::Write(WriteAnswer::Stored { .. }) | Answer::Read(ReadAnswer::Holds { .. }) => {
            Ok("ok")
        }
        Answer::Read(ReadAnswer::Miss { .. }) => Ok("miss"),
        Answer::Write(WriteAnswer::Newer { .. }) => Ok("newer"),
        Answer::Write(WriteAnswer::Failed(failure))
        | Answer::Read(ReadAnswer::Failed(failure))
        | Answer::Failed(failure) => Err(failure.as_str()),
    }
}

const fn write_answer(applied: Applied, vote: Vote) -> Answer {
    match applied {
        Applied::Stored { replaced } => Answer::Write(WriteAnswer::Stored { replaced, vote }),
        Applied::Same => Answer::Write(WriteAnswer::Stored {
            replaced: false,
            vote,
        }),
        Applied::Newer { version } => Answer::Write(WriteAnswer::Newer { version, vote }),
        // No room even after eviction, or (which only happens to merges) below a floor: it is not stored.
        Applied::Full | Applied::Refused => Answer::Failed(Failure::Shed),
    }
}
