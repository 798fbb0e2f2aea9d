use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;
use shard_cache_membership::counters::CountersSnapshot;

use super::*;
use crate::telemetry::latencies::LATENCY_BUCKETS;

fn snapshot() -> Snapshot {
    Snapshot {
        version: "1.2.3",
        entries: 7,
        members_alive: 3,
        membership_view_hash: u64::MAX,
        gossip: CountersSnapshot {
            datagrams_sent: 5,
            datagrams_received: 8,
            rejected_junk: 2,
            ..CountersSnapshot::default()
        },
        own: Some(NodeId(1)),
        peers: vec![
            (NodeId(1), "own".to_owned()),
            (NodeId(2), "other".to_owned()),
            (NodeId(3), "never linked".to_owned()),
        ],
        hints: vec![PeerHints {
            peer: "a \"quoted\" \\ name # with\nbreak".to_owned(),
            pending: 4,
            pending_bytes: 4096,
            oldest_age_seconds: 1.5,
            marked_slots: 3,
        }],
        ..Snapshot::default()
    }
}

fn rendered(format: Format) -> String {
    let metrics = Metrics::new();
    metrics
        .requests
        .get((Api::Grpc, Op::Get, Code::Ok))
        .inc_by(3);
    for seconds in [0.000_05, 0.001, 0.004, 3.0] {
        metrics
            .request_duration
            .get((Api::Grpc, Op::Get))
            .observe(Duration::from_secs_f64(seconds));
    }
    let exemplars = metrics.request_exemplars.get((Api::Grpc, Op::Get));
    exemplars.note(Exemplar {
        trace_id: 0xabc,
        taken: Duration::from_secs(3),
        at_millis: 1000,
    });
    let ended = (ReplicaOp::Read, ReplicaOutcome::Ok);
    metrics.peers.of(NodeId(1)).ended.get(ended).inc_by(2);
    let other = metrics.peers.of(NodeId(2));
    other.ended.get(ended).inc_by(3);
    other.duration.observe(Duration::from_millis(1));
    metrics.render(&snapshot(), format)
}

/// Family name to its type and samples.
type Families = BTreeMap<String, (String, Vec<(String, f64)>)>;

/// A strict reader of classic text: what `promtool check metrics` insists on.
fn read_classic(text: &str) -> Families {
    let mut families: Families = BTreeMap::new();
    let mut current = String::new();
    let mut helped = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("help text");
            assert!(!help.is_empty() && !families.contains_key(name), "{line}");
            name.clone_into(&mut helped);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("type");
            assert_eq!(name, helped, "TYPE follows the HELP of its family");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            families.insert(name.to_owned(), (kind.to_owned(), Vec::new()));
            name.clone_into(&mut current);
        } else {
            assert!(!line.starts_with('#') && !line.is_empty(), "{line:?}");
            let (series, value) = line.rsplit_once(' ').expect("value");
            let value = match value {
                "+Inf" => f64::INFINITY,
                number => number.parse().expect("number"),
            };
            let name = &series[..series.find('{').unwrap_or(series.len())];
            assert!(series.ends_with('}') || name == series, "{line}");
            let (kind, samples) = families.get_mut(&current).expect("a TYPE came before");
            let suffix = name
                .strip_prefix(current.as_str())
                .expect("samples follow their family");
            let allowed = if kind == "histogram" {
                &["_bucket", "_sum", "_count"][..]
            } else {
                &[""]
            };
            assert!(allowed.contains(&suffix), "{line}");
            samples.push((series.to_owned(), value));
        }
    }
    families
}

fn value(families: &Families, series: &str) -> f64 {
    let mut samples = families.values().flat_map(|(_, samples)| samples);
    samples
        .find(|(name, _)| name == series)
        .unwrap_or_else(|| panic!("no {series}"))
        .1
}

#[test]
fn classic_text_is_strictly_well_formed() {
    let families = read_classic(&rendered(Format::Classic));
    for (name, (_, samples)) in &families {
        assert!(
            name.starts_with("shardcache_") || name.starts_with("process_"),
            "{name}"
        );
        let distinct: BTreeSet<_> = samples.iter().map(|(series, _)| series).collect();
        assert_eq!(distinct.len(), samples.len(), "{name} has a series twice");
    }
    let get = "{api=\"grpc\",op=\"get\",code=\"OK\"}";
    assert_eq!(
        value(&families, &format!("shardcache_requests_total{get}")),
        3.0
    );
    assert_eq!(value(&families, "shardcache_entries"), 7.0);
    assert_eq!(
        value(&families, "shardcache_build_info{version=\"1.2.3\"}"),
        1.0
    );
    assert_eq!(
        value(&families, "shardcache_membership_view_hash"),
        281_474_976_710_655.0
    );
    let escaped = "{peer=\"a \\\"quoted\\\" \\\\ name # with\\nbreak\"}";
    assert_eq!(
        value(&families, &format!("shardcache_hints_pending{escaped}")),
        4.0
    );
}

#[test]
fn latency_targets_are_exact_bucket_bounds() {
    let families = read_classic(&rendered(Format::Classic));
    let (_, samples) = &families["shardcache_request_duration_seconds"];
    let mut bounds = BTreeMap::new();
    for (series, count) in samples {
        if let Some(labels) = series.strip_prefix("shardcache_request_duration_seconds_bucket{")
            && labels.contains("api=\"grpc\",op=\"get\"")
        {
            let bound = labels.split('"').nth(1).expect("le comes first");
            bounds.insert(
                bound
                    .replace("+Inf", "inf")
                    .parse::<f64>()
                    .expect("bound")
                    .to_bits(),
                *count,
            );
        }
    }
    assert_eq!(bounds.len(), LATENCY_BUCKETS.len() + 1);
    for (bound, count) in [
        (0.000_05, 1.0),
        (0.001, 2.0),
        (0.005, 3.0),
        (0.01, 3.0),
        (2.5, 3.0),
    ] {
        assert_eq!(bounds[&f64::to_bits(bound)], count, "{bound}");
    }
    assert_eq!(bounds[&f64::INFINITY.to_bits()], 4.0);
}

#[test]
fn every_series_exists_at_zero_from_the_start() {
    let text = Metrics::new().render(&Snapshot::default(), Format::Classic);
    let families = read_classic(&text);
    let (_, requests) = &families["shardcache_requests_total"];
    assert_eq!(requests.len(), <(Api, Op, Code)>::all().len());
    let counted = |name: &String| name.starts_with("shardcache_") && name.ends_with("_total");
    for (name, (_, samples)) in families.iter().filter(|(name, _)| counted(name)) {
        // Of peers and runtimes that are named in the snapshot.
        let dynamic = [
            "shardcache_replica_requests_total",
            "shardcache_runtime_parks_total",
            "shardcache_runtime_busy_seconds_total",
        ];
        assert!(
            !samples.is_empty() || dynamic.contains(&name.as_str()),
            "{name}"
        );
        assert!(samples.iter().all(|(_, value)| *value == 0.0), "{name}");
    }
}

#[test]
fn peers_that_were_talked_to_have_series_by_name() {
    let families = read_classic(&rendered(Format::Classic));
    let read = |peer| {
        let labels = format!("{{peer=\"{peer}\",op=\"read\",outcome=\"ok\"}}");
        value(
            &families,
            &format!("shardcache_replica_requests_total{labels}"),
        )
    };
    assert_eq!((read("own"), read("other")), (2.0, 3.0));
    let (_, durations) = &families["shardcache_replica_request_duration_seconds"];
    let of = |peer: &str| {
        let label = format!("peer=\"{peer}\"");
        durations
            .iter()
            .filter(|(name, _)| name.contains(&label))
            .count()
    };
    assert_eq!(of("own") + of("never linked"), 0);
    assert_eq!(of("other"), LATENCY_BUCKETS.len() + 3);
}

#[test]
fn exemplars_stand_behind_their_buckets_in_openmetrics_alone() {
    let with = " # {trace_id=\"00000000000000000000000000000abc\"} 3 1.000";
    let openmetrics = rendered(Format::OpenMetrics);
    let lines: Vec<_> = openmetrics
        .lines()
        .filter(|line| line.contains(" # {"))
        .collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].ends_with(with), "{lines:?}");
    assert!(
        lines[0].starts_with("shardcache_request_duration_seconds_bucket{le=\"+Inf\""),
        "{lines:?}"
    );
    for format in [Format::Classic, Format::Json] {
        assert!(!rendered(format).contains("trace_id"));
    }
}

#[test]
fn openmetrics_names_families_without_total_and_ends_with_its_mark() {
    let text = rendered(Format::OpenMetrics);
    assert!(text.ends_with("\n# EOF\n"));
    assert!(text.contains("# TYPE shardcache_requests counter\n"));
    assert!(text.contains("shardcache_requests_total{api=\"grpc\",op=\"get\",code=\"OK\"} 3\n"));
}

#[test]
fn json_holds_the_same_figures() {
    let json: Value = serde_json::from_str(&rendered(Format::Json)).expect("JSON");
    let find = |name: &str, label: &str, value: &str| -> Value {
        let series = json[name].as_array().unwrap_or_else(|| panic!("no {name}"));
        let found = series
            .iter()
            .find(|series| series["labels"][label] == value);
        found
            .unwrap_or_else(|| panic!("no {name} with {label}={value}"))
            .clone()
    };
    assert_eq!(json["shardcache_entries"][0]["value"], 7);
    assert_eq!(find("shardcache_members", "state", "alive")["value"], 3);
    assert_eq!(
        find("shardcache_gossip_messages_total", "direction", "received")["value"],
        6
    );
    let peer = "a \"quoted\" \\ name # with\nbreak";
    assert_eq!(
        find("shardcache_hints_oldest_age_seconds", "peer", peer)["value"],
        1.5
    );
    let series = json["shardcache_request_duration_seconds"]
        .as_array()
        .expect("histogram");
    assert_eq!(series.len(), 6);
    let histogram = &series[0];
    assert_eq!(
        histogram["labels"],
        serde_json::json!({ "api": "grpc", "op": "get" })
    );
    assert_eq!(histogram["count"], 4);
    let buckets = histogram["buckets"].as_array().expect("buckets");
    assert_eq!(buckets[4], serde_json::json!({ "le": 0.001, "count": 2 }));
    assert_eq!(buckets[15], serde_json::json!({ "le": "+Inf", "count": 4 }));
    // A family without series is still there.
    let empty =
        serde_json::from_str::<Value>(&Metrics::new().render(&Snapshot::default(), Format::Json));
    assert_eq!(
        empty.expect("JSON")["shardcache_hints_pending"],
        serde_json::json!([])
    );
}

#[test]
fn the_format_is_what_was_asked_for() {
    let prometheus =
        "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5";
    for (accept, parameter, format) in [
        (None, None, Format::Classic),
        (Some("*/*"), None, Format::Classic),
        (Some(prometheus), None, Format::OpenMetrics),
        (Some("application/json"), None, Format::Json),
        (Some("text/html"), None, Format::Classic),
        (
            Some("application/json;q=0.1, text/plain"),
            None,
            Format::Classic,
        ),
        (Some(prometheus), Some("json"), Format::Json),
        (Some("application/json"), Some("nonsense"), Format::Json),
    ] {
        assert_eq!(
            Format::negotiate(accept, parameter),
            format,
            "{accept:?} {parameter:?}"
        );
    }
}
