//! Spans of sampled requests: when those of owners end, and how.

use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::trace::SpanData;
use prometheus_client::metrics::counter::Counter;

use super::*;
use crate::telemetry::traces::{Sampler, Span, SpanQueue};

/// A world whose requests are recorded.
struct Recorded {
    world: World,
    tracer: Tracer,
    queue: Arc<SpanQueue>,
}

impl Recorded {
    fn new() -> Self {
        let clock = Arc::new(SystemClock::new());
        let queue = Arc::new(SpanQueue::new(64, 64, Counter::default()));
        let seam = Arc::clone(&clock) as Arc<dyn Clock>;
        let tracer = Tracer::new(Sampler::ratio(1.0), 1, seam, Arc::clone(&queue));
        Self {
            world: World::traced(clock, tracer.clone()),
            tracer,
            queue,
        }
    }

    fn root(&self) -> Box<Span> {
        let begun = self.tracer.begin_request("root", || None, || None);
        begun.expect("all are recorded")
    }

    async fn set(&self) -> Result<Written, WriteError> {
        let mut root = self.root();
        let request = SetRequest {
            key: key(),
            value: text("one"),
            ttl: Ttl::Never,
            terms: self.world.terms(50),
            trace: Some(Arc::clone(root.scope())),
        };
        let written = self.world.run(self.world.coordinator.set(request)).await;
        root.succeed();
        written
    }

    async fn get(&self) -> Result<Read, ReadError> {
        let mut root = self.root();
        let request = KeyRequest {
            key: key(),
            terms: self.world.terms(50),
            trace: Some(Arc::clone(root.scope())),
        };
        let read = self.world.run(self.world.coordinator.get(request)).await;
        root.succeed();
        read
    }

    async fn settled(&self) {
        let settled = async {
            while self.world.ledger.under_way() > 0 {
                self.world.clock.sleep(Duration::from_millis(1)).await;
            }
        };
        self.world.run(settled).await;
    }

    fn spans(&self) -> Vec<SpanData> {
        self.queue.take_batch()
    }
}

fn of<'a>(spans: &'a [SpanData], name: &str, kind: SpanKind) -> Vec<&'a SpanData> {
    let matching = spans
        .iter()
        .filter(|span| span.name == name && span.span_kind == kind);
    matching.collect()
}

fn events(span: &SpanData) -> Vec<&str> {
    span.events
        .iter()
        .map(|event| event.name.as_ref())
        .collect()
}

fn attribute(span: &SpanData, name: &str) -> Option<opentelemetry::Value> {
    let mut attributes = span.attributes.iter();
    let found = attributes.find(|attribute| attribute.key.as_str() == name)?;
    Some(found.value.clone())
}

fn failures<'a>(spans: &[&'a SpanData]) -> Vec<&'a str> {
    let reason = |span: &&'a SpanData| match &span.status {
        Status::Error { description } => Some(description.as_ref()),
        Status::Unset | Status::Ok => None,
    };
    spans.iter().filter_map(reason).collect()
}

#[tokio::test]
async fn an_owner_that_keeps_silent_gets_a_failed_span_that_ends_with_the_exchange() {
    let recorded = Recorded::new();
    recorded.world.let_be(1, Behaviour::Silent);
    recorded.set().await.unwrap();
    recorded.settled().await;
    let spans = recorded.spans();
    let asked = of(&spans, "replica.write", SpanKind::Client);
    assert_eq!(asked.len(), 3);
    assert_eq!(failures(&asked), ["pending"]);
    let longest = asked
        .iter()
        .map(|span| span.end_time.duration_since(span.start_time).unwrap())
        .max()
        .unwrap();
    assert!(longest >= Duration::from_millis(49), "{longest:?}");
    assert_eq!(of(&spans, "replica.write", SpanKind::Server).len(), 2);
    assert_eq!(
        failures(&of(&spans, "quorum.write", SpanKind::Internal)),
        [""; 0]
    );
}

#[tokio::test]
async fn a_late_answer_ends_its_span_when_it_comes() {
    let recorded = Recorded::new();
    recorded.world.let_be(2, Behaviour::Late);
    recorded.set().await.unwrap();
    let early = recorded.spans();
    assert!(of(&early, "replica.write", SpanKind::Client).is_empty());
    let quorum = of(&early, "quorum.write", SpanKind::Internal)[0];
    let late = std::mem::take(&mut *crate::sync::lock(&recorded.world.loopback.late));
    for (token, answer) in late {
        recorded.world.ledger.complete(token, answer);
    }
    let spans = recorded.spans();
    let asked = of(&spans, "replica.write", SpanKind::Client);
    assert_eq!(asked.len(), 3);
    assert_eq!(failures(&asked), [""; 0]);
    for span in &asked {
        assert_eq!(span.parent_span_id, quorum.span_context.span_id());
    }
    let after = asked.iter().filter(|span| span.end_time > quorum.end_time);
    assert_eq!(after.count(), 1);
}

#[tokio::test]
async fn an_owner_that_a_read_turns_to_later_is_marked_and_the_failed_one_says_why() {
    let recorded = Recorded::new();
    recorded.set().await.unwrap();
    recorded.settled().await;
    recorded.spans();
    // Only one of the two is asked at first.
    let mut spans = Vec::new();
    for broken in [1, 2] {
        recorded.world.let_be(broken, Behaviour::Breaks);
        recorded.get().await.unwrap();
        recorded.world.let_be(broken, Behaviour::Answers);
        spans.extend(recorded.spans());
    }
    let asked = of(&spans, "replica.read", SpanKind::Client);
    assert_eq!(failures(&asked), ["unreachable"]);
    let is_later = |span: &&&SpanData| {
        span.attributes.iter().any(|attribute| {
            attribute.key.as_str() == "shard_cache.replica.later_choice"
                && attribute.value == true.into()
        })
    };
    assert_eq!(asked.iter().filter(is_later).count(), 1);
    let turned: Vec<_> = of(&spans, "quorum.read", SpanKind::Internal)
        .iter()
        .flat_map(|span| events(span))
        .collect();
    assert_eq!(turned, ["owner_replaced"]);
}

#[tokio::test]
async fn hedges_restamps_write_backs_and_hints_are_events_where_they_happen() {
    let recorded = Recorded::new();
    let world = &recorded.world;
    let ahead = record(&world.clock, 300, "ahead");
    world.put(1, ahead.clone());
    world.put(2, ahead);
    world.let_be(0, Behaviour::Unreachable);
    recorded.set().await.unwrap();
    recorded.settled().await;
    let spans = recorded.spans();
    let quorum = of(&spans, "quorum.write", SpanKind::Internal)[0];
    assert_eq!(events(quorum), ["restamped"]);
    assert_eq!(attribute(quorum, "shard_cache.attempts"), Some(2.into()));
    assert_eq!(attribute(quorum, "shard_cache.restamps"), Some(1.into()));
    let owed = of(&spans, "replica.write", SpanKind::Client);
    let owed: Vec<_> = owed
        .iter()
        .filter(|span| events(span) == ["hint_kept"])
        .collect();
    assert_eq!(owed.len(), 1, "of two attempts only the last is owed");
    assert_eq!(attribute(owed[0], "shard_cache.attempt"), Some(2.into()));

    world.let_be(0, Behaviour::Answers);
    world.put(0, record(&world.clock, 450, "newest"));
    recorded.get().await.unwrap();
    let spans = recorded.spans();
    let quorum = of(&spans, "quorum.read", SpanKind::Internal)[0];
    assert_eq!(events(quorum), ["write_back"]);
    assert_eq!(
        attribute(quorum, "shard_cache.wrote_back"),
        Some(true.into())
    );

    let mut hedged = Vec::new();
    for silent in [1, 2] {
        world.let_be(silent, Behaviour::Silent);
        recorded.get().await.unwrap();
        world.let_be(silent, Behaviour::Answers);
        let spans = recorded.spans();
        let quorum = of(&spans, "quorum.read", SpanKind::Internal)[0];
        if events(quorum).contains(&"hedge_sent") {
            assert_eq!(attribute(quorum, "shard_cache.hedged"), Some(true.into()));
            let asked = of(&spans, "replica.read", SpanKind::Client);
            let is_hedge = |span: &&&SpanData| {
                attribute(span, "shard_cache.replica.hedge") == Some(true.into())
            };
            assert_eq!(asked.iter().filter(is_hedge).count(), 1);
            hedged.push(silent);
        }
    }
    assert_eq!(hedged.len(), 1, "only one of the two is asked at first");
}

#[tokio::test]
async fn a_request_without_a_quorum_fails_its_span_with_the_reason() {
    let recorded = Recorded::new();
    recorded.world.let_be(1, Behaviour::Unreachable);
    recorded.world.let_be(2, Behaviour::Unreachable);
    assert!(recorded.set().await.is_err());
    let spans = recorded.spans();
    let quorum = of(&spans, "quorum.write", SpanKind::Internal);
    assert_eq!(failures(&quorum), ["no_quorum"]);
}

#[tokio::test]
async fn a_request_that_is_not_sampled_leaves_no_span() {
    let recorded = Recorded::new();
    recorded.world.set("one").await.unwrap();
    recorded.world.get().await.unwrap();
    recorded.settled().await;
    assert!(recorded.spans().is_empty());
}
