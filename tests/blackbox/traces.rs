//! Traces: one per request, across the nodes that take part; and a collector that fails takes nothing from requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::Value as Json;
use shard_cache_client::{CallOptions, Ttl, Value};
use shard_cache_proto::cache::{
    Consistency, GetRequest, SetRequest, cache_service_client::CacheServiceClient,
    set_request::Data,
};
use tonic::{Request, transport::Channel};

use crate::harness::{
    Cluster, Launch, NodeProcess, Options, PATIENCE, Room,
    collector::{Collector, Span},
    http, node, until,
};

const KEY: &str = "a-key-that-stays-at-home";
const VALUE: &str = "a-value-that-stays-at-home";
const CALLER: &str = "00f067aa0ba902b7";
const NODES: [&str; 3] = ["n1", "n2", "n3"];
/// What a failing collector may cost: generous, for a machine that does other things.
const P99_MAX: Duration = Duration::from_millis(400);
/// A node gives load balancers a second's notice and its last spans two; the rest is for a slow machine.
const STOP_MAX: Duration = Duration::from_secs(8);

fn traced(collector: &Collector) -> Options {
    Options::default()
        .setting("telemetry.traces.endpoint", collector.endpoint())
        .setting("telemetry.traces.flush_interval", "50ms")
        .setting("telemetry.log_format", "json")
        .setting("telemetry.log_level", "debug")
}

/// A trace id that tells requests apart.
fn trace_id(number: u32) -> String {
    format!("4bf92f3577b34da6a3ce929d{number:08x}")
}

/// A request in a trace of its caller's.
fn within<T>(message: T, trace_id: &str, flags: &str) -> Request<T> {
    let mut request = Request::new(message);
    let parent = format!("00-{trace_id}-{CALLER}-{flags}");
    let metadata = request.metadata_mut();
    metadata.insert("traceparent", parent.parse().expect("ascii"));
    metadata.insert("tracestate", "vendor=1".parse().expect("ascii"));
    request
}

fn set() -> SetRequest {
    SetRequest {
        key: KEY.to_owned(),
        data: Some(Data::Value(VALUE.to_owned())),
        ..SetRequest::default()
    }
}

fn get() -> GetRequest {
    GetRequest {
        key: KEY.to_owned(),
        ..GetRequest::default()
    }
}

async fn grpc(node: &NodeProcess) -> CacheServiceClient<Channel> {
    let endpoint = format!("http://{}", node.addresses().grpc);
    until("a connection", PATIENCE, async || {
        CacheServiceClient::connect(endpoint.clone())
            .await
            .map_err(|error| error.to_string())
    })
    .await
}

/// Waits until the trace has this many spans.
async fn trace_of(collector: &Collector, trace_id: &str, spans_min: usize) -> Vec<Span> {
    until("the trace is whole", PATIENCE, async || {
        let spans = collector.trace(trace_id);
        if spans.len() >= spans_min {
            Ok(spans)
        } else {
            Err(format!("{} of {spans_min} spans: {spans:?}", spans.len()))
        }
    })
    .await
}

/// The only span of this name and kind.
fn only<'a>(spans: &'a [Span], name: &str, kind: SpanKind) -> &'a Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.is(name, kind)).collect();
    assert_eq!(found.len(), 1, "{name}: {spans:?}");
    found[0]
}

/// Checks the tree of a request that n1 coordinated: the server span below the caller's, the quorum below that, and
/// below that a client span per owner asked, each with the owner's server span. Returns the owners that took part.
fn check_tree(spans: &[Span], server: &str, quorum: &str, replica: &str) -> BTreeSet<String> {
    let server = only(spans, server, SpanKind::Server);
    assert_eq!(
        (server.node.as_str(), server.parent().as_str()),
        ("n1", CALLER)
    );
    let quorum = only(spans, quorum, SpanKind::Internal);
    assert_eq!((quorum.node.as_str(), quorum.parent()), ("n1", server.id()));
    let asked = spans
        .iter()
        .filter(|span| span.is(replica, SpanKind::Client));
    let mut owners = BTreeSet::new();
    for asked in asked {
        assert_eq!((asked.node.as_str(), asked.parent()), ("n1", quorum.id()));
        let peer = asked
            .attribute("shard_cache.peer.name")
            .expect("a peer's name");
        let mut answers = spans.iter().filter(|span| span.parent() == asked.id());
        let answer = answers.next().expect("the owner's span");
        assert!(answers.next().is_none(), "one span per operation");
        assert!(answer.is(replica, SpanKind::Server), "{answer:?}");
        assert_eq!(answer.node, peer);
        assert!(owners.insert(peer), "an owner is asked once");
    }
    assert_eq!(spans.len(), 2 + 2 * owners.len(), "{spans:?}");
    for span in spans {
        assert_eq!(span.failure(), None, "{span:?}");
        assert_eq!(span.service, "shard-cache");
        assert_eq!(span.span.trace_state, "vendor=1");
        assert!(span.span.end_time_unix_nano >= span.span.start_time_unix_nano);
        let told = format!("{span:?}");
        assert!(!told.contains(KEY) && !told.contains(VALUE), "{told}");
    }
    owners
}

#[tokio::test]
async fn a_request_is_one_trace_across_the_nodes_that_take_part() {
    let collector = Collector::start().await;
    // On a slow machine a hedge would be one more owner, or one that is late.
    let options = traced(&collector)
        .setting("telemetry.traces.ratio", 0)
        .setting("client.hedging.enabled", false);
    let cluster = Cluster::start(3, options, Room::shared().await).await;
    let mut client = grpc(&cluster[0]).await;

    // Nobody asks for these to be recorded: the caller says no, says nothing, or makes no sense.
    let unsampled = within(set(), &trace_id(0), "00");
    client.set(unsampled).await.expect("stored");
    client.get(Request::new(get())).await.expect("read");
    let mut nonsense = Request::new(get());
    let junk = "00-what-is-this-01".parse().expect("ascii");
    nonsense.metadata_mut().insert("traceparent", junk);
    client.get(nonsense).await.expect("read");

    let written = trace_id(1);
    client
        .set(within(set(), &written, "01"))
        .await
        .expect("stored");
    let spans = trace_of(&collector, &written, 8).await;
    let owners = check_tree(
        &spans,
        "cache.CacheService/Set",
        "quorum.write",
        "replica.write",
    );
    assert!(owners.iter().eq(NODES), "{owners:?}");
    let server = only(&spans, "cache.CacheService/Set", SpanKind::Server);
    for (name, value) in [
        ("rpc.system.name", "grpc"),
        ("rpc.method", "cache.CacheService/Set"),
        ("rpc.response.status_code", "OK"),
        ("db.system.name", "shard-cache"),
        ("db.operation.name", "set"),
    ] {
        assert_eq!(server.attribute(name).as_deref(), Some(value), "{name}");
    }

    let quorum = only(&spans, "quorum.write", SpanKind::Internal);
    for (name, value) in [
        ("shard_cache.attempts", "1"),
        ("shard_cache.restamps", "0"),
        ("shard_cache.hedged", "false"),
        ("shard_cache.degraded", "false"),
    ] {
        assert_eq!(quorum.attribute(name).as_deref(), Some(value), "{name}");
    }

    let read = trace_id(2);
    client.get(within(get(), &read, "01")).await.expect("read");
    let spans = trace_of(&collector, &read, 6).await;
    let owners = check_tree(
        &spans,
        "cache.CacheService/Get",
        "quorum.read",
        "replica.read",
    );
    assert!(owners.len() >= 2, "{owners:?}");

    let over_http = trace_id(3);
    let parent = format!("00-{over_http}-{CALLER}-01");
    let headers = [("traceparent", parent.as_str()), ("tracestate", "vendor=1")];
    let path = format!("/v1/keys/{KEY}");
    let address = cluster[0].addresses().http;
    let answer = http::request(address, "PUT", &path, &headers, VALUE.as_bytes()).await;
    assert_eq!(answer.expect("an answer").status, 204);
    let spans = trace_of(&collector, &over_http, 8).await;
    check_tree(
        &spans,
        "PUT /v1/keys/{key}",
        "quorum.write",
        "replica.write",
    );
    let server = only(&spans, "PUT /v1/keys/{key}", SpanKind::Server);
    let status = server.attribute("http.response.status_code");
    assert_eq!(status.as_deref(), Some("204"));

    // What nobody asked for would have come before the last of these.
    let seen: BTreeSet<String> = collector.spans().iter().map(Span::trace_id).collect();
    assert_eq!(seen, BTreeSet::from([written.clone(), read, over_http]));

    until("a log line tells the trace", PATIENCE, async || {
        let log = cluster[0].log();
        assert!(!log.contains(KEY) && !log.contains(VALUE), "{log}");
        let mut lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let is_ours = |line: &Json| {
            line["message"] == "request finished"
                && line["trace_id"] == written.as_str()
                && line["op"] == "set"
                && line["code"] == "OK"
                && line["span_id"].is_string()
        };
        lines
            .find(is_ours)
            .map(drop)
            .ok_or_else(|| "no such line".to_owned())
    })
    .await;
}

#[tokio::test]
async fn an_owner_that_is_gone_is_a_failed_span_of_a_request_that_succeeded() {
    let collector = Collector::start().await;
    let options = traced(&collector).setting("telemetry.traces.ratio", 0);
    let mut cluster = Cluster::start(3, options, Room::shared().await).await;
    let mut client = grpc(&cluster[0]).await;
    cluster[1].freeze();
    check_failed(&collector, &mut client, 10, "n2").await;
    cluster[1].thaw();
    cluster.wait_until_ready().await;
    until("all owners store again", PATIENCE, async || {
        let everywhere = SetRequest {
            consistency: Consistency::All.into(),
            ..set()
        };
        let stored = client.clone().set(everywhere).await;
        stored.map(drop).map_err(|status| status.to_string())
    })
    .await;
    check_delivery(&collector, 10).await;
    cluster[2].kill9();
    check_failed(&collector, &mut client, 20, "n3").await;
}

/// The spans of the owners that a read asked, by name of the owner.
fn asked(spans: &[Span]) -> BTreeMap<String, &Span> {
    let asked = spans
        .iter()
        .filter(|span| span.is("replica.read", SpanKind::Client));
    asked
        .filter_map(|span| Some((span.attribute("shard_cache.peer.name")?, span)))
        .collect()
}

#[tokio::test]
async fn a_hedged_read_tells_who_was_late_and_who_was_asked_instead() {
    let collector = Collector::start().await;
    let options = traced(&collector)
        .setting("telemetry.traces.ratio", 0)
        .setting("client.hedging.ratio", 1);
    let cluster = Cluster::start(3, options, Room::shared().await).await;
    let client = grpc(&cluster[0]).await;
    client.clone().set(set()).await.expect("the nodes serve");
    let numbers = std::cell::Cell::new(100);
    let read = async || {
        let id = trace_id(numbers.get());
        numbers.set(numbers.get() + 1);
        let read = client.clone().get(within(get(), &id, "01")).await;
        read.map_err(|status| status.to_string())?;
        // The server's span is the last one that a read hands over, but for those of late owners.
        until("the read's spans", PATIENCE, async || {
            let spans = collector.trace(&id);
            let server = |span: &Span| span.is("cache.CacheService/Get", SpanKind::Server);
            if spans.iter().any(server) && asked(&spans).len() >= 2 {
                Ok(spans)
            } else {
                Err(format!("{spans:?}"))
            }
        })
        .await;
        Ok::<_, String>(collector.trace(&id))
    };
    until("a read hedges", PATIENCE, async || {
        let quiet = read().await?;
        let late = asked(&quiet).into_keys().find(|name| name != "n1");
        let late = late.ok_or("nobody else was asked")?;
        let index = if late == "n2" { 1 } else { 2 };
        cluster[index].freeze();
        let hedged = read().await;
        cluster[index].thaw();
        let hedged = hedged?;
        let quorum = only(&hedged, "quorum.read", SpanKind::Internal);
        let owners = asked(&hedged);
        let is_hedge =
            |span: &&&Span| span.attribute("shard_cache.replica.hedge").as_deref() == Some("true");
        let hedge = owners.values().find(is_hedge);
        match (hedge, owners.get(&late)) {
            (Some(hedge), Some(late)) if quorum.events().contains(&"hedge_sent") => {
                assert_eq!(
                    quorum.attribute("shard_cache.hedged").as_deref(),
                    Some("true")
                );
                assert_eq!((hedge.failure(), late.failure()), (None, Some("pending")));
                assert_eq!((hedge.parent(), late.parent()), (quorum.id(), quorum.id()));
                Ok(())
            }
            // It had become the slower one between the two reads.
            _ => Err(format!("{hedged:?}")),
        }
    })
    .await;
}

/// Waits for the delivery of the hint that a write has left, in a trace of its own that links to the write's.
async fn check_delivery(collector: &Collector, number: u32) {
    let delivery = until("the span of the delivery", PATIENCE, async || {
        let mut spans = collector.spans().into_iter();
        let found = spans.find(|span| span.is("hint.delivery", SpanKind::Internal));
        found.ok_or_else(|| "no delivery".to_owned())
    })
    .await;
    let write = collector.trace(&trace_id(number));
    let write = only(&write, "quorum.write", SpanKind::Internal);
    let links: Vec<_> = delivery
        .span
        .links
        .iter()
        .map(|link| (link.trace_id.clone(), link.span_id.clone()))
        .collect();
    let origin = (write.span.trace_id.clone(), write.span.span_id.clone());
    assert_eq!(links, [origin], "{delivery:?}");
    assert_eq!((delivery.parent().as_str(), delivery.failure()), ("", None));
    assert_ne!(delivery.trace_id(), write.trace_id());
}

/// Writes, and checks that the span of this owner tells its failure, and that all others are well.
async fn check_failed(
    collector: &Collector,
    client: &mut CacheServiceClient<Channel>,
    number: u32,
    owner: &str,
) {
    let trace_id = trace_id(number);
    client
        .set(within(set(), &trace_id, "01"))
        .await
        .expect("a quorum stored it");
    let spans = until("the failed owner's span", PATIENCE, async || {
        let spans = collector.trace(&trace_id);
        let failed = spans.iter().any(|span| span.failure().is_some());
        if failed && spans.len() >= 7 {
            Ok(spans)
        } else {
            Err(format!("{spans:?}"))
        }
    })
    .await;
    for span in &spans {
        let peer = span.attribute("shard_cache.peer.name");
        let expected = if peer.as_deref() == Some(owner) {
            assert!(span.is("replica.write", SpanKind::Client), "{span:?}");
            let reason = span.failure().expect("it failed");
            assert!(["unreachable", "pending"].contains(&reason), "{reason}");
            Some(reason.to_owned())
        } else {
            None
        };
        assert_eq!(span.failure().map(str::to_owned), expected, "{span:?}");
        assert_eq!(span.attribute("error.type"), expected, "{span:?}");
        // It is owed the write from then on, and nobody else is.
        let events: &[&str] = if expected.is_some() {
            &["hint_kept"]
        } else {
            &[]
        };
        assert_eq!(span.events(), events, "{span:?}");
    }
}

#[tokio::test]
async fn a_collector_that_hangs_or_dies_fails_no_request_and_drops_are_counted() {
    let collector = Collector::start().await;
    let options = traced(&collector)
        .setting("telemetry.log_level", "info")
        .setting("telemetry.traces.ratio", 1)
        .setting("telemetry.traces.queue_spans_max", 64)
        .setting("telemetry.traces.batch_spans_max", 64)
        .setting("telemetry.traces.export_timeout", "300ms");
    let mut cluster = Cluster::start(3, options, Room::alone().await).await;
    let well = load(&cluster).await;
    assert!(!collector.spans().is_empty());

    collector.hang();
    let before = dropped(&cluster[0]).await;
    let hanging = load_until_dropped(&cluster, before).await;

    // Stopping a node is not held up either: what is left has two seconds.
    let stopped = Instant::now();
    cluster[2].terminate();
    let status = cluster[2].ended(PATIENCE).await;
    assert!(status.success(), "{status}");
    assert!(stopped.elapsed() < STOP_MAX, "{:?}", stopped.elapsed());

    let address = collector.address();
    drop(collector);
    let before = dropped(&cluster[0]).await;
    let gone = load_until_dropped(&cluster, before).await;

    println!("p99: {well:?} with a collector, {hanging:?} while it hangs, {gone:?} without");
    assert!(hanging < P99_MAX && gone < P99_MAX);
    let warnings = cluster[0]
        .log()
        .matches("spans could not be exported")
        .count();
    assert!((1..=4).contains(&warnings), "{warnings} warnings");

    let collector = Collector::start_at(address).await;
    until("spans are exported again", PATIENCE, async || {
        load(&cluster).await;
        let told = cluster[0].log().contains("spans are exported again");
        if told && !collector.spans().is_empty() {
            Ok(())
        } else {
            Err("none came".to_owned())
        }
    })
    .await;
}

#[tokio::test]
async fn a_node_that_is_stopped_exports_what_it_has_first() {
    let collector = Collector::start().await;
    let options = traced(&collector).setting("telemetry.traces.flush_interval", "1h");
    let mut cluster = Cluster::start(1, options, Room::shared().await).await;
    let trace_id = trace_id(30);
    let mut client = grpc(&cluster[0]).await;
    client
        .set(within(set(), &trace_id, "01"))
        .await
        .expect("stored");
    assert!(collector.spans().is_empty());
    cluster[0].terminate();
    let status = cluster[0].ended(PATIENCE).await;
    assert!(status.success(), "{status}");
    assert_eq!(collector.trace(&trace_id).len(), 4);
}

#[tokio::test]
async fn the_variables_of_opentelemetry_are_enough() {
    let room = Room::shared().await;
    let collector = Collector::start().await;
    let node = Launch::new("n1", 1)
        .setting("cluster.bootstrap_wait", "100ms")
        .setting("node.zone", "z1")
        // The file, the node's own variables and its flags know nothing of traces.
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())
        .variable("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=cache")
        .variable("OTEL_SERVICE_NAME", "my-cache")
        .variable(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=a%20test",
        )
        .variable("OTEL_TRACES_SAMPLER", "always_on")
        .variable("OTEL_BSP_SCHEDULE_DELAY", "50");
    let cluster = Cluster::of(vec![node.start().await], room);
    cluster.wait_until_ready().await;
    let mut client = grpc(&cluster[0]).await;
    client.set(Request::new(set())).await.expect("stored");
    let spans = until("spans", PATIENCE, async || match &collector.spans()[..] {
        [] => Err("none".to_owned()),
        spans => Ok(spans.to_vec()),
    })
    .await;
    for (name, value) in [
        ("service.name", "my-cache"),
        ("service.instance.id", "n1"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("deployment.environment.name", "a test"),
        ("node.zone", "z1"),
    ] {
        assert_eq!(spans[0].resource(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(collector.header("x-tenant").as_deref(), Some("cache"));
}

async fn dropped(node: &NodeProcess) -> u64 {
    node.figure("shardcache_otel_spans_dropped_total", &[])
        .await
}

/// Requests until the first node has dropped more spans than `before`; returns their p99.
async fn load_until_dropped(cluster: &Cluster, before: u64) -> Duration {
    let mut slowest = Duration::ZERO;
    let end = Instant::now() + PATIENCE;
    loop {
        slowest = slowest.max(load(cluster).await);
        if dropped(&cluster[0]).await > before {
            return slowest;
        }
        assert!(Instant::now() < end, "nothing was dropped");
    }
}

/// Some requests, all of which succeed; returns their p99.
async fn load(cluster: &Cluster) -> Duration {
    let client = cluster.client(0).await;
    let call = CallOptions::default();
    let mut times = Vec::new();
    for number in 0..200 {
        let key = format!("key {number}");
        let begun = Instant::now();
        client
            .set(&key, Value::from("v"), Ttl::Default, &call)
            .await
            .expect("stored");
        let read = client.get(&key, &call).await.expect("read");
        times.push(begun.elapsed());
        assert!(read.hit.is_some(), "{key}");
    }
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

#[test]
fn a_wrong_variable_of_opentelemetry_is_an_error_of_the_configuration() {
    let output = node::binary()
        .args(["config", "check"])
        .env("OTEL_TRACES_SAMPLER", "sometimes")
        .output()
        .expect("the binary runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{told}");
    assert!(told.contains("OTEL_TRACES_SAMPLER"), "{told}");
    assert!(told.contains("parentbased_traceidratio"), "{told}");
}
