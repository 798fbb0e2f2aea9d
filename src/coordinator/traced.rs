//! Spans of a sampled request: one for the request to the owners as a whole, and one for each owner that is asked. What
//! they tell is noted by `course`; they are handed over when the exchange is settled, so that an owner's late answer still
//! gets its time, and silence ends with the exchange. Nothing here is touched by a request that is not sampled.

use std::sync::Arc;

use super::{
    Attempt, Coordinator,
    course::{Course, Event, Positions, ReplicaRequests},
    explanation::{Choice, OwnerAnswer, Purpose},
};
use crate::{
    key::Key,
    telemetry::traces::{Finished, KeyValue, Scope, Span, SpanEvent, SpanKind},
    trace::TraceParent,
};

/// What the spans of one exchange's requests to owners have in common.
pub(super) struct ReplicaSpans {
    links: Links,
    name: &'static str,
    attributes: Vec<KeyValue>,
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
}

/// Ends a span with how its work went and what became of it: whether the answer is degraded, or why there is none.
pub(super) fn end(span: Option<Box<Span>>, course: &Course, outcome: Result<bool, &'static str>) {
    let Some(mut span) = span else { return };
    if let Some((attempts, events)) = course.told() {
        let has = |wanted: Event| events.iter().any(|(event, _)| *event == wanted);
        let restamped = events
            .iter()
            .filter(|(event, _)| *event == Event::Restamped);
        span.note([
            KeyValue::new("shard_cache.attempts", i64::from(attempts)),
            KeyValue::new("shard_cache.hedged", has(Event::HedgeSent)),
            KeyValue::new("shard_cache.wrote_back", has(Event::WriteBack)),
            // Few: they are bounded.
            KeyValue::new("shard_cache.restamps", restamped.count() as i64),
        ]);
        span.happened(events.iter().map(|(event, at)| SpanEvent {
            name: event.as_str(),
            at: *at,
        }));
    }
    match outcome {
        Ok(is_degraded) => {
            span.note([KeyValue::new("shard_cache.degraded", is_degraded)]);
            span.succeed();
        }
        Err(reason) => span.fail(reason),
    }
}

/// The hash instead of the key: keys may be personal data and never leave in a trace.
fn key_hash(key: &Key) -> KeyValue {
    KeyValue::new("shard_cache.key_hash", format!("{:016x}", key.hash()))
}

impl ReplicaSpans {
    /// The span of the request as a whole.
    pub(super) fn parent(&self) -> TraceParent {
        self.links.scope.parent()
    }

    /// The spans of an attempt's requests, if it is sampled.
    pub(super) fn of(attempt: Attempt<'_>, purpose: Purpose) -> Option<Self> {
        let scope = attempt.trace?;
        let (name, verb) = match purpose {
            Purpose::Read | Purpose::Fetch => ("replica.read", "read"),
            Purpose::Write | Purpose::WriteBack => ("replica.write", "write"),
        };
        Some(Self {
            links: Links {
                scope: Arc::clone(scope),
                family: scope.family(),
            },
            name,
            attributes: vec![
                KeyValue::new("db.system.name", "shard-cache"),
                KeyValue::new("db.operation.name", verb),
                KeyValue::new("shard_cache.replica.purpose", purpose.as_str()),
                KeyValue::new("shard_cache.attempt", i64::from(attempt.number)),
                key_hash(attempt.key),
                KeyValue::new("shard_cache.slot", i64::from(attempt.plan.slot.0)),
            ],
        })
    }

    pub(super) fn links(&self) -> Links {
        self.links.clone()
    }
}

impl ReplicaRequests {
    /// Hands the spans over, if the request is sampled: the exchange is settled, and hints are kept for the owners in
    /// `kept`.
    pub(super) fn report(&self, answer: impl Fn(u8) -> OwnerAnswer, kept: Positions) {
        let Some(spans) = &self.spans else { return };
        let settled = self.now();
        for (position, owner) in (0u8..).zip(&self.owners) {
            let Some(begun) = owner.asked else { continue };
            let answer = answer(position);
            let mut attributes = spans.attributes.clone();
            attributes.extend([
                KeyValue::new("shard_cache.peer.name", owner.name.clone()),
                KeyValue::new("shard_cache.replica.outcome", answer.as_str()),
                KeyValue::new(
                    "shard_cache.replica.later_choice",
                    owner.choice != Choice::First,
                ),
                KeyValue::new("shard_cache.replica.hedge", owner.choice == Choice::Hedge),
            ]);
            let hint_kept = kept.contains(position).then_some(SpanEvent {
                name: "hint_kept",
                at: settled,
            });
            spans.links.scope.report(Finished {
                span_id: spans.links.to_owner(position).span_id,
                name: spans.name,
                kind: SpanKind::Client,
                begun,
                ended: owner.answered.unwrap_or(settled),
                attributes,
                events: hint_kept.into_iter().collect(),
                failure: is_failure(answer).then(|| answer.as_str()),
            });
        }
    }
}

/// Whether an owner's answer is none. Holding something newer is one.
const fn is_failure(answer: OwnerAnswer) -> bool {
    match answer {
        OwnerAnswer::Ok | OwnerAnswer::Newer | OwnerAnswer::Miss | OwnerAnswer::NotAsked => false,
        OwnerAnswer::WrongConfig
        | OwnerAnswer::Drift
        | OwnerAnswer::Shed
        | OwnerAnswer::Expired
        | OwnerAnswer::Unreachable
        | OwnerAnswer::Pending => true,
    }
}
