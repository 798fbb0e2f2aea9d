//! What a node does with a request for data that it holds: it judges the configuration, the deadline and the sender's
//! clock, and applies the rest to its store. Synchronous, so that a link can answer a whole batch at once.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwapOption;
use shard_cache_membership::identity::{BootId, NodeId};

use crate::{
    clock::Now,
    key::{Key, Slot},
    operation::{Answer, Failure, Held, Kind, Operation, ReadAnswer, Want, WriteAnswer},
    ring::{Ring, RingMember},
    store::{Applied, Lookup, Record, ScanPage, SlotSet, Store},
    telemetry::traces::{KeyValue, Tracer},
    trace::TraceParent,
    version::HybridClock,
};

/// One node's replica: its store behind the rules.
pub struct Replica {
    own: NodeId,
    boot: Arc<AtomicU64>,
    store: Arc<Store>,
    clock: Arc<HybridClock>,
    ring: Arc<ArcSwapOption<Ring>>,
    tracer: Tracer,
}

impl Replica {
    /// The replica of the node `own`, whose present boot id is in `boot`, over its store, hybrid clock and ring.
    #[must_use]
    pub fn new(
        own: NodeId,
        boot: Arc<AtomicU64>,
        store: Arc<Store>,
        clock: Arc<HybridClock>,
        ring: Arc<ArcSwapOption<Ring>>,
    ) -> Self {
        Self {
            own,
            boot,
            store,
            clock,
            ring,
            tracer: Tracer::off(),
        }
    }

    /// The same with spans for operations of sampled requests.
    #[must_use]
    pub fn traced(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
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
        let ring = self.ring.load();
        let Some(ring) = ring.as_deref() else {
            return Answer::Failed(Failure::WrongConfig);
        };
        let present = ring.configuration(operation.slot);
        let counts = present == operation.configuration && self.is_owner(ring, operation.slot);
        let now_millis = self.clock.now(wall_millis).millis();
        match &operation.kind {
            Kind::Write { key, record } => {
                if let Err(failure) = self.admit(record, wall_millis) {
                    return Answer::Failed(failure);
                }
                if !counts {
                    // Stored without counting when the data descends from the same root; never otherwise.
                    if present.root == operation.configuration.root {
                        self.store.merge(key, record.clone(), now_millis);
                    }
                    return Answer::Failed(Failure::WrongConfig);
                }
                write_answer(self.store.write(key, record.clone(), now_millis))
            }
            Kind::Read { key, want } => {
                if !counts {
                    return Answer::Failed(Failure::WrongConfig);
                }
                Answer::Read(self.read(key, *want, now_millis))
            }
        }
    }

    /// Merges records that are owed to this node, or that it pulls: by version, for any configuration of one root.
    ///
    /// # Errors
    /// [`ForeignRoot`]: data never crosses roots; nothing was changed.
    pub fn merge(
        &self,
        root: u64,
        records: Vec<(Key, Record)>,
        now: Now,
    ) -> Result<Merged, ForeignRoot> {
        let ring = self.ring.load();
        let own = ring.as_deref().map(Ring::root);
        if own != Some(root) {
            return Err(ForeignRoot { own, theirs: root });
        }
        let now_millis = self.clock.now(now.wall_millis).millis();
        let mut merged = Merged::default();
        for (place, (key, record)) in records.into_iter().enumerate() {
            if self.admit(&record, now.wall_millis).is_err() {
                merged.refused.push(Refused { place, key, record });
                continue;
            }
            self.store.merge(&key, record, now_millis);
            merged.taken += 1;
        }
        Ok(merged)
    }

    /// A page of the records of some slots; see [`Store::scan`].
    pub fn scan(&self, slots: &SlotSet, cursor: u64, bytes_max: usize, now: Now) -> ScanPage {
        let now_millis = self.clock.now(now.wall_millis).millis();
        self.store.scan(slots, cursor, bytes_max, now_millis)
    }

    fn read(&self, key: &Key, want: Want, now_millis: u64) -> ReadAnswer {
        match self.store.read(key, now_millis) {
            Lookup::Hit(record) => {
                let held = match want {
                    Want::Record => Held::Whole(record),
                    Want::Version => Held::Version(record.version),
                };
                ReadAnswer::Holds { held, full: true }
            }
            Lookup::Miss { version } => ReadAnswer::Miss {
                version,
                full: true,
            },
        }
    }

    /// Whether the ring names this node, in its present life, as an owner. A restarted node meets configurations that
    /// name its old boot: it has lost what that one stored, and must not answer for it.
    fn is_owner(&self, ring: &Ring, slot: Slot) -> bool {
        let boot_id = BootId(self.boot.load(Ordering::Acquire));
        let own = RingMember {
            node_id: self.own,
            boot_id,
        };
        ring.owners(slot).iter().any(|owner| *owner == own)
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
    /// Records refused because their stamp is too far ahead of the local clock, in their order.
    pub refused: Vec<Refused>,
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

/// The records descend from another root, or this node has no ring yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the records belong to root {theirs:016x}, this node is in {own:016x?}")]
pub struct ForeignRoot {
    /// The root that this node is in.
    pub own: Option<u64>,
    /// The root of the records.
    pub theirs: u64,
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

/// Every owner of the present configuration counts as full: a member enters the ring only after it has copied its
/// slots from all their present owners.
const fn write_answer(applied: Applied) -> Answer {
    match applied {
        Applied::Stored { replaced } => Answer::Write(WriteAnswer::Stored {
            replaced,
            full: true,
        }),
        Applied::Same => Answer::Write(WriteAnswer::Stored {
            replaced: false,
            full: true,
        }),
        Applied::Newer { version } => Answer::Write(WriteAnswer::Newer {
            version,
            full: true,
        }),
        // No room even after eviction, or (which only happens to merges) below a floor: it is not stored.
        Applied::Full | Applied::Refused => Answer::Failed(Failure::Shed),
    }
}
