//! What a tracer hands to its queue.

use std::sync::Mutex;

use opentelemetry::trace::Status;
use opentelemetry_sdk::trace::SpanData;
use prometheus_client::metrics::counter::Counter;

use super::*;
use crate::clock::{BoxFuture, SystemClock};

/// A clock that stands where it was put.
struct StillClock(Mutex<Now>);

impl StillClock {
    fn put(&self, monotonic: Duration, wall_millis: u64) {
        *self.0.lock().unwrap() = Now {
            monotonic,
            wall_millis,
        };
    }
}

impl Clock for StillClock {
    fn monotonic(&self) -> Monotonic {
        self.0.lock().unwrap().monotonic
    }

    fn wall_millis(&self) -> u64 {
        self.0.lock().unwrap().wall_millis
    }

    fn sleep(&self, _duration: Duration) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }
}

struct Bench {
    tracer: Tracer,
    clock: Arc<StillClock>,
    queue: Arc<SpanQueue>,
    dropped: Counter,
}

impl Bench {
    fn new(sampler: Sampler, spans_max: usize) -> Self {
        let clock = Arc::new(StillClock(Mutex::new(Now {
            monotonic: Duration::from_secs(5),
            wall_millis: 1_000_000,
        })));
        let dropped = Counter::default();
        let queue = Arc::new(SpanQueue::new(spans_max, 512, dropped.clone()));
        let tracer = Tracer::new(
            sampler,
            1,
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::clone(&queue),
        );
        Self {
            tracer,
            clock,
            queue,
            dropped,
        }
    }

    fn root(&self) -> Option<Box<Span>> {
        self.tracer.begin_request("root", || None, || None)
    }

    fn spans(&self) -> Vec<SpanData> {
        self.queue.take_batch()
    }
}

#[test]
fn children_hang_below_their_parent_in_the_callers_trace() {
    let bench = Bench::new(Sampler::ratio(0.0).heeding_parent(), 8);
    let caller = TraceParent {
        trace_id: 0xabc,
        span_id: 0xdef,
        sampled: true,
        state: None,
    };
    let state = || TraceParent::legal_state("vendor=1");
    let mut root = bench
        .tracer
        .begin_request("root", || Some(caller.clone()), state)
        .expect("sampled");
    let mut child = root.scope().child("child", SpanKind::Internal);
    let link = child.scope().member(child.scope().family(), 2);
    let mut far = bench.tracer.begin_operation("far", &link).expect("sampled");
    far.fail("shed");
    drop(far);
    child.succeed();
    drop(child);
    root.succeed();
    drop(root);

    let spans = bench.spans();
    let [far, child, root] = &spans[..] else {
        panic!("{spans:?}")
    };
    assert_eq!(root.parent_span_id.to_string(), "0000000000000def");
    assert!(root.parent_span_is_remote);
    assert_eq!(child.parent_span_id, root.span_context.span_id());
    assert!(!child.parent_span_is_remote);
    assert_eq!(
        far.parent_span_id.to_string(),
        format!("{:016x}", link.span_id)
    );
    for span in &spans {
        assert_eq!(
            u128::from_be_bytes(span.span_context.trace_id().to_bytes()),
            0xabc
        );
        assert_eq!(span.span_context.trace_state().header(), "vendor=1");
    }
    assert_eq!(far.status, Status::error("shed"));
    assert_eq!(root.status, Status::Unset);
}

#[test]
fn unsampled_requests_make_no_span_and_do_not_read_their_state() {
    let bench = Bench::new(Sampler::ratio(0.0).heeding_parent(), 8);
    let begun = bench
        .tracer
        .begin_request("root", || None, || panic!("not sampled"));
    assert!(begun.is_none());
    assert!(
        Tracer::off()
            .begin_request("root", || panic!("off"), || None)
            .is_none()
    );
    assert!(bench.spans().is_empty());
}

#[test]
fn a_span_that_is_dropped_unfinished_counts_as_cancelled() {
    let bench = Bench::new(Sampler::ratio(1.0), 8);
    drop(bench.root());
    assert_eq!(bench.spans()[0].status, Status::error("cancelled"));
}

#[test]
fn a_full_queue_drops_and_counts() {
    let bench = Bench::new(Sampler::ratio(1.0), 2);
    (0..5).for_each(|_request| drop(bench.root()));
    assert_eq!(bench.dropped.get(), 3);
    bench.queue.abandon();
    assert_eq!(bench.dropped.get(), 5);
}

#[test]
fn times_are_the_wall_clocks_with_the_resolution_of_the_monotonic_one() {
    let bench = Bench::new(Sampler::ratio(1.0), 8);
    let span = bench.root();
    bench.clock.put(Duration::from_micros(5_000_300), 1_000_000);
    drop(span);
    let span = &bench.spans()[0];
    assert_eq!(span.start_time, UNIX_EPOCH + Duration::from_secs(1000));
    let taken = span.end_time.duration_since(span.start_time);
    assert_eq!(taken.expect("forward"), Duration::from_micros(300));
    // A wall clock that is set back takes the spans with it.
    bench.clock.put(Duration::from_secs(6), 500_000);
    drop(bench.root());
    let later = &bench.spans()[0];
    assert_eq!(later.start_time, UNIX_EPOCH + Duration::from_secs(500));
}

#[test]
fn log_lines_know_the_request_only_while_it_is_worked_on() {
    let bench = Bench::new(Sampler::ratio(1.0), 8);
    let span = bench.root().expect("sampled");
    assert!(current().is_none());
    let attached = span.scope().context().attach();
    let (trace_id, span_id) = current().expect("attached");
    drop(attached);
    assert!(current().is_none());
    drop(span);
    let ids = bench.spans()[0].span_context.clone();
    assert_eq!((ids.trace_id(), ids.span_id()), (trace_id, span_id));
}

/// Exports one span to `collector` and returns how many were dropped in the end.
async fn export_one_to(collector: std::net::SocketAddr) -> u64 {
    let clock = Arc::new(SystemClock::new()) as Arc<dyn Clock>;
    let dropped = Counter::default();
    let queue = Arc::new(SpanQueue::new(8, 8, dropped.clone()));
    let settings = ExporterSettings {
        endpoint: format!("http://{collector}"),
        flush_interval: Duration::from_secs(60),
        export_timeout: Duration::from_millis(100),
        resource: Vec::new(),
    };
    let exporter = Exporter::start(settings, Arc::clone(&queue), Arc::clone(&clock));
    let tracer = Tracer::new(Sampler::ratio(1.0), 1, Arc::clone(&clock), queue);
    drop(tracer.begin_request("root", || None, || None));
    exporter.expect("a thread").stop(&*clock).await;
    dropped.get()
}

#[tokio::test]
async fn what_cannot_be_exported_is_counted() {
    // Accepts into its backlog and never answers.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = mute.local_addr().expect("an address");
    assert_eq!(export_one_to(address).await, 1);
    drop(mute);
    assert_eq!(export_one_to(address).await, 1);
}
