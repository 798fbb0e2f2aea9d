//! Distributed traces: spans of sampled requests, exported as OTLP.
//!
//! Spans are made here by hand, from the node's own clock and entropy, and only for requests that were sampled; nothing
//! is derived from log events or from spans of libraries, so the exporter's own requests can never become spans. A
//! [`Tracer`] that is off makes none. Traces observe: nothing ever depends on one.
//!
//! - `sampling`: which requests are recorded, and ids.
//! - `span`: spans under way.
//! - `queue`: ended spans that wait for the exporter; bounded.
//! - `exporter`: sends them, on a thread of its own.

mod exporter;
mod queue;
mod sampling;
mod span;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry::{InstrumentationScope, SpanId, TraceId, trace::TraceContextExt as _};

use self::sampling::Ids;
pub use self::{
    exporter::{Exporter, ExporterError, ExporterSettings},
    queue::SpanQueue,
    sampling::Sampler,
    span::{Finished, Scope, Span, SpanEvent},
};
use crate::{
    clock::{Clock, Monotonic, Now},
    trace::TraceParent,
};

/// How far the wall clock may seem to lag behind before it counts as set back, in nanoseconds: its readings are cut to
/// milliseconds.
const WALL_LAG_MAX_NANOS: u64 = 2_000_000;

/// What a span is to the one that it hangs below.
pub use opentelemetry::trace::SpanKind;

/// An attribute of a span.
pub use opentelemetry::KeyValue;

/// Makes spans, or none when it is off. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Recorder>>);

/// What a tracer that is on works with.
struct Recorder {
    sampler: Sampler,
    ids: Ids,
    clock: Arc<dyn Clock>,
    /// Wall time at the monotonic clock's origin, in nanoseconds since the epoch.
    origin_nanos: AtomicU64,
    queue: Arc<SpanQueue>,
    library: InstrumentationScope,
}

impl Tracer {
    /// A tracer that records nothing.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// A tracer whose ended spans go to `queue`. Ids are drawn from `seed`.
    #[must_use]
    pub fn new(sampler: Sampler, seed: u64, clock: Arc<dyn Clock>, queue: Arc<SpanQueue>) -> Self {
        let library = InstrumentationScope::builder("shard-cache")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        Self(Some(Arc::new(Recorder {
            sampler,
            ids: Ids::new(seed),
            clock,
            origin_nanos: AtomicU64::new(0),
            queue,
            library,
        })))
    }

    /// Begins the server span of a client's request if it is to be recorded: the only place where that is decided.
    /// `state` is asked for only then.
    pub fn begin_request(
        &self,
        name: &'static str,
        parent: impl FnOnce() -> Option<TraceParent>,
        state: impl FnOnce() -> Option<Arc<str>>,
    ) -> Option<Box<Span>> {
        let recorder = self.0.as_ref()?;
        let parent = parent();
        let low = parent
            .as_ref()
            .map_or_else(|| recorder.ids.next(), |parent| parent.trace_id as u64);
        if !recorder.sampler.records(parent.as_ref(), low) {
            return None;
        }
        let parent = parent.map(|parent| TraceParent {
            state: state(),
            ..parent
        });
        Some(Box::new(Recorder::begin(
            recorder,
            name,
            SpanKind::Server,
            parent,
            low,
        )))
    }

    /// Begins the first span of a trace of work that nobody asks for, if it is to be recorded: as the sampler decides about
    /// traces that begin here, or because what it links to was.
    #[must_use]
    pub fn begin_root(&self, name: &'static str, links: &[TraceParent]) -> Option<Box<Span>> {
        let recorder = self.0.as_ref()?;
        let low = recorder.ids.next();
        if links.is_empty() && !recorder.sampler.records(None, low) {
            return None;
        }
        let mut span = Recorder::begin(recorder, name, SpanKind::Internal, None, low);
        span.link(links);
        Some(Box::new(span))
    }

    /// Begins the server span of an operation that a coordinator sent with its own span.
    #[must_use]
    pub fn begin_operation(&self, name: &'static str, parent: &TraceParent) -> Option<Box<Span>> {
        let recorder = self.0.as_ref()?;
        let low = parent.trace_id as u64;
        if !recorder.sampler.records(Some(parent), low) {
            return None;
        }
        let parent = Some(parent.clone());
        Some(Box::new(Recorder::begin(
            recorder,
            name,
            SpanKind::Server,
            parent,
            low,
        )))
    }
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() {
            "Tracer(on)"
        } else {
            "Tracer(off)"
        })
    }
}

impl Recorder {
    fn begin(
        recorder: &Arc<Self>,
        name: &'static str,
        kind: SpanKind,
        parent: Option<TraceParent>,
        low: u64,
    ) -> Span {
        let now = recorder.clock.now();
        recorder.set_origin(now);
        let (trace_id, parent_id, state) = match parent {
            Some(parent) => (parent.trace_id, parent.span_id, parent.state),
            None => {
                let high = u128::from(recorder.ids.next());
                ((high << 64) | u128::from(low), 0, None)
            }
        };
        let own = TraceParent {
            trace_id,
            span_id: recorder.ids.next(),
            sampled: true,
            state,
        };
        let scope = Scope::new(Arc::clone(recorder), own);
        Span::begin(Arc::new(scope), parent_id, kind, name, now.monotonic)
    }

    /// Learns what the wall clock says. Its readings are cut to milliseconds, so the greatest difference to the monotonic
    /// clock is the truest, unless the wall clock was set back.
    fn set_origin(&self, now: Now) {
        let wall = now.wall_millis.saturating_mul(1_000_000);
        let seen = wall.saturating_sub(nanos(now.monotonic));
        let known = self.origin_nanos.load(Ordering::Relaxed);
        if seen > known || known - seen > WALL_LAG_MAX_NANOS {
            self.origin_nanos.store(seen, Ordering::Relaxed);
        }
    }

    fn wall(&self, at: Monotonic) -> SystemTime {
        let origin = Duration::from_nanos(self.origin_nanos.load(Ordering::Relaxed));
        UNIX_EPOCH + origin + at
    }
}

/// A count as an attribute.
#[must_use]
pub fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Ends the span of background work, if it is recorded, with what was counted and the word for its failure, if it failed.
pub fn end<const N: usize>(
    span: &mut Option<Box<Span>>,
    counts: [(&'static str, usize); N],
    failure: Option<&'static str>,
) {
    let Some(mut span) = span.take() else { return };
    span.note(counts.map(|(name, count)| KeyValue::new(name, whole(count))));
    match failure {
        None => span.succeed(),
        Some(word) => span.fail(word),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The ids of the sampled request that the present thread works on, for log lines.
#[must_use]
pub fn current() -> Option<(TraceId, SpanId)> {
    opentelemetry::Context::map_current(|context| {
        context.has_active_span().then(|| {
            let span = context.span();
            let ids = span.span_context();
            (ids.trace_id(), ids.span_id())
        })
    })
}

#[cfg(test)]
mod tests;
