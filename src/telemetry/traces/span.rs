//! Spans under way, and where children hang.

use std::{borrow::Cow, str::FromStr as _, sync::Arc};

use opentelemetry::{
    Context, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{Event, Link, SpanContext, SpanKind, Status, TraceContextExt as _, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::{Recorder, sampling};
use crate::{clock::Monotonic, trace::TraceParent};

/// Why a span that was dropped before its work ended counts as failed.
const CANCELLED: &str = "cancelled";

/// A span as a parent: what its children and its log lines need of it.
pub struct Scope {
    recorder: Arc<Recorder>,
    own: TraceParent,
}

/// A span that has ended, with times that its maker kept.
pub struct Finished {
    /// Its id, from [`Scope::member`].
    pub span_id: u64,
    /// What it is called.
    pub name: &'static str,
    /// What it is to its parent.
    pub kind: SpanKind,
    /// When it began.
    pub begun: Monotonic,
    /// When it ended.
    pub ended: Monotonic,
    /// What is known about it.
    pub attributes: Vec<KeyValue>,
    /// What happened meanwhile.
    pub events: Vec<SpanEvent>,
    /// The word for its failure, if it failed.
    pub failure: Option<&'static str>,
}

/// Something that happened in the time of a span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpanEvent {
    /// What it is called.
    pub name: &'static str,
    /// When it happened.
    pub at: Monotonic,
}

/// A span under way. Dropping it ends it, as cancelled unless its outcome was set.
pub struct Span {
    scope: Arc<Scope>,
    parent_id: u64,
    is_parent_remote: bool,
    kind: SpanKind,
    name: &'static str,
    begun: Monotonic,
    attributes: Vec<KeyValue>,
    links: Vec<SpanContext>,
    events: Vec<SpanEvent>,
    outcome: Option<Result<(), &'static str>>,
}

impl Scope {
    pub(super) const fn new(recorder: Arc<Recorder>, own: TraceParent) -> Self {
        Self { recorder, own }
    }

    /// Begins a span below this one, in the same node.
    #[must_use]
    pub fn child(&self, name: &'static str, kind: SpanKind) -> Box<Span> {
        let own = TraceParent {
            span_id: self.recorder.ids.next(),
            ..self.own.clone()
        };
        let scope = Self::new(Arc::clone(&self.recorder), own);
        let begun = self.now();
        let mut span = Span::begin(Arc::new(scope), self.own.span_id, kind, name, begun);
        span.is_parent_remote = false;
        Box::new(span)
    }

    /// One number that stands for the ids of a family of spans; see [`Self::member`].
    #[must_use]
    pub fn family(&self) -> u64 {
        self.recorder.ids.next()
    }

    /// The `nth` span of a family, below this one: as its own children see it.
    #[must_use]
    pub fn member(&self, family: u64, nth: u8) -> TraceParent {
        TraceParent {
            span_id: sampling::nth(family, nth),
            ..self.own.clone()
        }
    }

    /// The trace that the span belongs to.
    #[must_use]
    pub const fn trace_id(&self) -> u128 {
        self.own.trace_id
    }

    /// The time by which spans begin and end.
    #[must_use]
    pub fn now(&self) -> Monotonic {
        self.recorder.clock.monotonic()
    }

    /// Hands a span below this one over that has ended.
    pub fn report(&self, finished: Finished) {
        self.recorder
            .queue
            .push(self.data(self.own.span_id, false, finished));
    }

    /// This span, as others link to it.
    #[must_use]
    pub fn parent(&self) -> TraceParent {
        self.own.clone()
    }

    /// The context under which log lines carry this span's ids.
    #[must_use]
    pub fn context(&self) -> Context {
        Context::new().with_remote_span_context(self.span_context(self.own.span_id))
    }

    fn span_context(&self, span_id: u64) -> SpanContext {
        span_context(&self.own, span_id)
    }

    fn data(&self, parent_id: u64, parent_span_is_remote: bool, finished: Finished) -> SpanData {
        let Finished {
            span_id,
            name,
            kind,
            begun,
            ended,
            mut attributes,
            events,
            failure,
        } = finished;
        let mut happened = SpanEvents::default();
        let events = events.into_iter();
        happened.events.extend(
            events.map(|SpanEvent { name, at }| {
                Event::new(name, self.recorder.wall(at), Vec::new(), 0)
            }),
        );
        let status = match failure {
            None => Status::Unset,
            Some(reason) => {
                attributes.push(KeyValue::new("error.type", reason));
                Status::error(reason)
            }
        };
        SpanData {
            span_context: self.span_context(span_id),
            parent_span_id: SpanId::from_bytes(parent_id.to_be_bytes()),
            parent_span_is_remote,
            span_kind: kind,
            name: Cow::Borrowed(name),
            start_time: self.recorder.wall(begun),
            end_time: self.recorder.wall(ended),
            attributes,
            dropped_attributes_count: 0,
            events: happened,
            links: SpanLinks::default(),
            status,
            instrumentation_scope: self.recorder.library.clone(),
        }
    }
}

fn span_context(of: &TraceParent, span_id: u64) -> SpanContext {
    let state = of.state.as_deref();
    let state = state.and_then(|state| TraceState::from_str(state).ok());
    SpanContext::new(
        TraceId::from_bytes(of.trace_id.to_be_bytes()),
        SpanId::from_bytes(span_id.to_be_bytes()),
        TraceFlags::SAMPLED,
        false,
        state.unwrap_or_default(),
    )
}

impl std::fmt::Debug for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scope({})", self.own.traceparent())
    }
}

impl Span {
    pub(super) fn begin(
        scope: Arc<Scope>,
        parent_id: u64,
        kind: SpanKind,
        name: &'static str,
        begun: Monotonic,
    ) -> Self {
        Self {
            scope,
            parent_id,
            is_parent_remote: parent_id != 0,
            kind,
            name,
            begun,
            attributes: Vec::new(),
            links: Vec::new(),
            events: Vec::new(),
            outcome: None,
        }
    }

    /// This span as a parent.
    #[must_use]
    pub const fn scope(&self) -> &Arc<Scope> {
        &self.scope
    }

    /// Notes something about it.
    pub fn note(&mut self, attributes: impl IntoIterator<Item = KeyValue>) {
        self.attributes.extend(attributes);
    }

    /// It has to do with these spans, of other traces.
    pub(super) fn link(&mut self, to: &[TraceParent]) {
        let contexts = to.iter().map(|it| span_context(it, it.span_id));
        self.links.extend(contexts);
    }

    /// Notes what happened meanwhile.
    pub fn happened(&mut self, events: impl IntoIterator<Item = SpanEvent>) {
        self.events.extend(events);
    }

    /// It did what it was for.
    pub const fn succeed(&mut self) {
        self.outcome = Some(Ok(()));
    }

    /// It failed, for the reason that this word gives.
    pub const fn fail(&mut self, reason: &'static str) {
        self.outcome = Some(Err(reason));
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let finished = Finished {
            span_id: self.scope.own.span_id,
            name: self.name,
            kind: self.kind.clone(),
            begun: self.begun,
            ended: self.scope.now(),
            attributes: std::mem::take(&mut self.attributes),
            events: std::mem::take(&mut self.events),
            failure: self.outcome.unwrap_or(Err(CANCELLED)).err(),
        };
        let mut data = self
            .scope
            .data(self.parent_id, self.is_parent_remote, finished);
        let links = std::mem::take(&mut self.links).into_iter();
        let link = |context| Link::new(context, Vec::new(), 0);
        data.links.links = links.map(link).collect();
        self.scope.recorder.queue.push(data);
    }
}
