//! Spans of a sampled request: one for the request to the owners as a whole, and one for each owner that is asked. They
//! are kept beside the tallies and handed over when the exchange is settled, so that an owner's late answer still gets
//! its time, and silence ends with the exchange. Nothing here is touched by a request that is not sampled.

use std::{fmt, sync::Arc};

use super::{Attempt, Coordinator, quorum::OWNERS_MAX, request::OwnerAnswer};
use crate::{
    clock::Monotonic,
    key::Key,
    telemetry::{
        ReplicaOp,
        traces::{Finished, KeyValue, Scope, Span, SpanKind},
    },
    trace::TraceParent,
};

/// The spans of one exchange's requests to owners.
pub(super) struct ReplicaSpans {
    links: Links,
    name: &'static str,
    /// What all of them have in common.
    attributes: Vec<KeyValue>,
    /// By position: the owner's name, and when it was asked and answered.
    owners: Vec<Owner>,
}

struct Owner {
    name: String,
    asked: Option<Monotonic>,
    answered: Option<Monotonic>,
    is_later_choice: bool,
}

/// What the operations of an exchange carry, so that owners hang their spans below ours.
#[derive(Clone)]
pub(super) struct Links {
    scope: Arc<Scope>,
    family: u64,
}

impl Links {
    /// For the operation sent to the owner at `position`.
    pub(super) fn to_owner(&self, position: u8) -> Box<TraceParent> {
        Box::new(self.scope.member(self.family, position))
    }
}

impl Coordinator {
    /// Begins the span of a request to the owners, if it is sampled.
    pub(super) fn begin_span(
        &self,
        name: &'static str,
        trace: Option<&Arc<Scope>>,
        key: &Key,
    ) -> Option<Box<Span>> {
        let mut span = trace?.child(name, SpanKind::Internal);
        span.note([key_hash(key)]);
        if let Some(ring) = &*self.ring.ring.load() {
            span.note([KeyValue::new(
                "shard_cache.slot",
                i64::from(ring.slot(key).0),
            )]);
        }
        Some(span)
    }

    /// The spans of an attempt's requests to `first` and to whoever is turned to later, if it is sampled.
    pub(super) fn replica_spans(
        &self,
        attempt: Attempt<'_>,
        operation: ReplicaOp,
        first: impl IntoIterator<Item = u8>,
    ) -> Option<Box<ReplicaSpans>> {
        let scope = attempt.trace?;
        let (name, verb) = match operation {
            ReplicaOp::Read => ("replica.read", "read"),
            ReplicaOp::Write => ("replica.write", "write"),
        };
        let slot = attempt.plan.slot;
        let owners = attempt.plan.configuration.owners();
        let mut spans = Box::new(ReplicaSpans {
            links: Links {
                scope: Arc::clone(scope),
                family: scope.family(),
            },
            name,
            attributes: vec![
                KeyValue::new("db.system.name", "shard-cache"),
                KeyValue::new("db.operation.name", verb),
                key_hash(attempt.key),
                KeyValue::new("shard_cache.slot", i64::from(slot.0)),
            ],
            owners: owners
                .iter()
                .map(|owner| Owner {
                    name: self.name_of(owner.node_id),
                    asked: None,
                    answered: None,
                    is_later_choice: false,
                })
                .collect(),
        });
        for position in first {
            spans.asked(position);
        }
        Some(spans)
    }
}

/// Ends a span with what became of its work.
pub(super) fn end(span: Option<Box<Span>>, failure: Option<&'static str>) {
    let Some(mut span) = span else { return };
    match failure {
        None => span.succeed(),
        Some(reason) => span.fail(reason),
    }
}

/// The hash instead of the key: keys may be personal data and never leave in a trace.
fn key_hash(key: &Key) -> KeyValue {
    KeyValue::new("shard_cache.key_hash", format!("{:016x}", key.hash()))
}

impl ReplicaSpans {
    pub(super) fn links(&self) -> Links {
        self.links.clone()
    }

    /// The owner at `position` is asked now.
    fn asked(&mut self, position: u8) {
        let now = self.links.scope.now();
        if let Some(owner) = self.owners.get_mut(usize::from(position)) {
            owner.asked = Some(now);
        }
    }

    /// Owners are asked now because others failed or are late.
    pub(super) fn asked_later(&mut self, positions: &[u8]) {
        for &position in positions {
            self.asked(position);
            if let Some(owner) = self.owners.get_mut(usize::from(position)) {
                owner.is_later_choice = true;
            }
        }
    }

    /// The owner at `position` has answered, or surely will not.
    pub(super) fn answered(&mut self, position: u8) {
        let now = self.links.scope.now();
        if let Some(owner) = self.owners.get_mut(usize::from(position)) {
            owner.answered.get_or_insert(now);
        }
    }

    /// Hands the spans over: the exchange is settled.
    pub(super) fn report(&self, answer: impl Fn(u8) -> OwnerAnswer) {
        debug_assert!(self.owners.len() <= OWNERS_MAX);
        let settled = self.links.scope.now();
        for (position, owner) in (0u8..).zip(&self.owners) {
            let Some(begun) = owner.asked else { continue };
            let answer = answer(position);
            let mut attributes = self.attributes.clone();
            attributes.extend([
                KeyValue::new("shard_cache.peer.name", owner.name.clone()),
                KeyValue::new("shard_cache.replica.outcome", answer.as_str()),
                KeyValue::new("shard_cache.replica.later_choice", owner.is_later_choice),
            ]);
            self.links.scope.report(Finished {
                span_id: self.links.to_owner(position).span_id,
                name: self.name,
                kind: SpanKind::Client,
                begun,
                ended: owner.answered.unwrap_or(settled),
                attributes,
                failure: is_failure(answer).then(|| answer.as_str()),
            });
        }
    }
}

impl fmt::Debug for ReplicaSpans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplicaSpans({} of {})", self.name, self.owners.len())
    }
}

/// Whether an owner's answer is none. Holding something newer is one.
const fn is_failure(answer: OwnerAnswer) -> bool {
    match answer {
        OwnerAnswer::Ok | OwnerAnswer::Newer | OwnerAnswer::NotAsked => false,
        OwnerAnswer::WrongConfig
        | OwnerAnswer::Drift
        | OwnerAnswer::Shed
        | OwnerAnswer::Expired
        | OwnerAnswer::Unreachable
        | OwnerAnswer::Pending => true,
    }
}
