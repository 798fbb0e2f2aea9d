//! Every metric with its type, labels, unit and meaning, as it is registered: the content of
//! `docs/metrics.md`, which a test compares, and of `shard-cache metrics`.

use std::{collections::BTreeMap, fmt::Write as _};

use shard_cache_membership::identity::NodeId;

use super::{
    Metrics,
    exposition::{Sample, comment, types},
    machine::{AllocatorFigures, RuntimeFigures},
    snapshot::{PeerHints, Snapshot},
};

/// One metric.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Family {
    /// Its name, as Prometheus stores it.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Its labels; without values, those that a label can take are named in [`OPEN_LABELS`].
    pub labels: Vec<(String, Vec<String>)>,
    /// What it counts in; empty for numbers without a unit.
    pub unit: &'static str,
    /// What it means.
    pub meaning: String,
}

/// Labels whose values depend on the cluster, and what they are. All are bounded by it.
pub const OPEN_LABELS: &[(&str, &str)] = &[
    (
        "peer",
        "name of a member of the cluster, as `cluster members` shows it",
    ),
    (
        "runtime",
        "`main`, and `lane-0`, `lane-1` and so on for the threads that serve connections",
    ),
    ("version", "version of the program"),
];

/// Endings of names, and the unit that they tell.
const UNITS: &[(&str, &str)] = &[
    ("_timestamp_seconds", "seconds since the Unix epoch"),
    ("process_start_time_seconds", "seconds since the Unix epoch"),
    ("_seconds", "seconds"),
    ("_bytes", "bytes"),
    ("_ratio", "0 to 1"),
];

/// What Cassandra and ScyllaDB call something, and the metrics here.
const COUNTERPARTS: &[(&str, &str, &str, &[&str])] = &[
    (
        "Latency of operations at the coordinator",
        "`ClientRequest.{Read,Write}.Latency`",
        "`scylla_storage_proxy_coordinator_{read,write}_latency`",
        &["coordinator_duration_seconds"],
    ),
    (
        "Timeouts",
        "`ClientRequest.{Read,Write}.Timeouts`",
        "`scylla_storage_proxy_coordinator_{read,write}_timeouts`",
        &["coordinator_operations_total{outcome=\"timeout\"}"],
    ),
    (
        "Too few replicas",
        "`ClientRequest.{Read,Write}.Unavailables`",
        "`scylla_storage_proxy_coordinator_{read,write}_unavailable`",
        &["coordinator_operations_total{outcome=\"unavailable\"}"],
    ),
    (
        "Replicas that fail",
        "`ClientRequest.{Read,Write}.Failures`",
        "-",
        &["replica_requests_total"],
    ),
    (
        "Speculative retries",
        "`Table.SpeculativeRetries`",
        "`scylla_storage_proxy_coordinator_speculative_{data,digest}_reads`",
        &["hedges_total{outcome=\"sent\"}"],
    ),
    (
        "Read repair before the answer",
        "`ReadRepair.RepairedBlocking`",
        "`scylla_storage_proxy_coordinator_foreground_read_repairs`",
        &["read_repairs_total{mode=\"blocking\"}"],
    ),
    (
        "Hints",
        "`HintsService.*`, `Storage.TotalHints`",
        "`scylla_hints_manager_*`",
        &[
            "hints_written_total",
            "hints_replayed_total",
            "hints_dropped_total",
            "hints_pending",
        ],
    ),
    (
        "Dropped and refused requests",
        "`DroppedMessage.*`",
        "`scylla_transport_requests_shed`",
        &[
            "requests_shed_total",
            "replica_requests_total{outcome=\"shed\"}",
        ],
    ),
    (
        "Work that waits",
        "`ThreadPools.*.PendingTasks`",
        "`scylla_scheduler_queue_length`, `scylla_reactor_utilization`",
        &["runtime_queue_depth", "runtime_busy_seconds_total"],
    ),
    (
        "Hits and misses",
        "`Cache.*.{Hits,Misses}`",
        "`scylla_cache_row_{hits,misses}`",
        &["lookups_total"],
    ),
    (
        "Evictions",
        "-",
        "`scylla_cache_row_evictions`",
        &["evictions_total"],
    ),
    (
        "Members up and down",
        "`nodetool status`",
        "`scylla_gossip_live`, `scylla_gossip_unreachable`",
        &["members", "member_transitions_total"],
    ),
    (
        "Repair",
        "`nodetool repair`, `RepairMetrics`",
        "`scylla_repair_*`",
        &["repair_slots_compared_total", "repair_records_total"],
    ),
    (
        "Streaming",
        "`Streaming.*`",
        "`scylla_streaming_*`",
        &["slot_handoff_bytes_total", "pulled_bytes_total"],
    ),
];

const HEAD: &str = "\
# Metrics

Written by `shard-cache metrics`; a test compares. The HTTP port serves all of them at `/metrics`: as classic Prometheus
text, as OpenMetrics when `Accept` asks for it, and as JSON with `?format=json`. Names and labels below are those of
Prometheus. Series exist from the start, those of a peer from when it is known, so that `rate()` works from the first
scrape. Nothing that a client sends ever becomes a label, but for the hashes of at most ten keys that are asked for most.

With OpenMetrics, buckets of `shardcache_request_duration_seconds` have the latest sampled request in them as an
exemplar, with its `trace_id`: see [traces](tracing.md). Prometheus keeps exemplars with
`--enable-feature=exemplar-storage`.

Alerts are in [`deploy/prometheus/rules.yml`](../deploy/prometheus/rules.yml), each with a page in
[runbooks](runbooks/README.md); dashboards for Grafana in
[`deploy/grafana/dashboards`](../deploy/grafana/dashboards).

";

const COUNTERPARTS_HEAD: &str = "
## Coming from Cassandra or ScyllaDB

| question | Cassandra | ScyllaDB | here, after `shardcache_` |
|---|---|---|---|
";

const TAIL: &str = "
What has no counterpart here: digests of reads (owners answer with versions, and the newest wins), conflicts to be
resolved (a write that meets a newer one is stamped above it: `restamps_total`), compaction and disks, and moves of
token ranges (slots change their owners one by one: `slots_unsettled`, `slot_handoff_records_total`).
";

/// Every metric, sorted by name.
#[must_use]
pub fn families() -> Vec<Family> {
    let metrics = Metrics::new();
    let snapshot = sample();
    let peer = metrics.peers.of(NodeId(1));
    let exposition = metrics.exposition(&snapshot);
    drop(peer);
    let types = types(&exposition);
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut present = String::new();
    for line in exposition.lines() {
        match comment(line) {
            Some(("HELP", name, meaning)) => {
                let kind = types.get(name).copied().unwrap_or_default();
                let total = if kind == "counter" { "_total" } else { "" };
                present = format!("{name}{total}");
                let family = Family {
                    name: present.clone(),
                    kind: kind.to_owned(),
                    labels: Vec::new(),
                    unit: unit_of(name),
                    meaning: meaning.trim_end_matches('.').to_owned(),
                };
                families.insert(present.clone(), family);
            }
            Some(_) => {}
            None => {
                if let (Some(sample), Some(family)) =
                    (Sample::parse(line), families.get_mut(&present))
                {
                    family.add_labels(sample.labels);
                }
            }
        }
    }
    families.into_values().collect()
}

/// The content of `docs/metrics.md`.
#[must_use]
pub fn document() -> String {
    let mut text = HEAD.to_owned();
    text.push_str("| metric | type | labels | unit | meaning |\n|---|---|---|---|---|\n");
    for family in families() {
        let labels = family.labels.iter().map(|(label, values)| {
            if values.is_empty() {
                format!("`{label}`")
            } else {
                format!("`{label}`: {}", values.join(", "))
            }
        });
        let labels: Vec<_> = labels.collect();
        let Family {
            name,
            kind,
            unit,
            meaning,
            ..
        } = &family;
        row(
            &mut text,
            &[
                &format!("`{name}`"),
                kind,
                &labels.join("; "),
                unit,
                meaning,
            ],
        );
    }
    text.push_str("\nValues of labels that depend on the cluster:\n\n");
    for (label, meaning) in OPEN_LABELS {
        // Writing to a String does not fail.
        let _ = writeln!(text, "- `{label}`: {meaning}");
    }
    text.push_str(COUNTERPARTS_HEAD);
    for (question, cassandra, scylla, ours) in COUNTERPARTS {
        let ours: Vec<_> = ours.iter().map(|name| format!("`{name}`")).collect();
        row(&mut text, &[question, cassandra, scylla, &ours.join(", ")]);
    }
    text.push_str(TAIL);
    text
}

fn row(text: &mut String, cells: &[&str]) {
    let cells = cells
        .iter()
        .map(|cell| if cell.is_empty() { "-" } else { cell });
    let cells: Vec<_> = cells.collect();
    // Writing to a String does not fail.
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn unit_of(name: &str) -> &'static str {
    let found = UNITS.iter().find(|(ending, _)| name.ends_with(ending));
    found.map_or("", |(_, unit)| unit)
}

/// A scrape in which every family has a series.
fn sample() -> Snapshot {
    let peer = || "node1".to_owned();
    Snapshot {
        version: env!("CARGO_PKG_VERSION"),
        peers: vec![(NodeId(1), peer())],
        hints: vec![PeerHints {
            peer: peer(),
            ..PeerHints::default()
        }],
        clock_skews: vec![(peer(), 0.0)],
        runtimes: vec![RuntimeFigures {
            name: "main".to_owned(),
            ..RuntimeFigures::default()
        }],
        allocator: Some(AllocatorFigures::default()),
        ..Snapshot::default()
    }
}

impl Family {
    fn add_labels(&mut self, labels: Vec<(&str, String)>) {
        for (label, value) in labels.into_iter().filter(|(label, _)| *label != "le") {
            let known = self.labels.iter().position(|(known, _)| known == label);
            let place = known.unwrap_or_else(|| {
                self.labels.push((label.to_owned(), Vec::new()));
                self.labels.len() - 1
            });
            let values = &mut self.labels[place].1;
            let is_open = OPEN_LABELS.iter().any(|(open, _)| *open == label);
            if !is_open && !values.contains(&value) {
                values.push(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_document_is_up_to_date() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        let written = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            written == document(),
            "{} is out of date: write it with `shard-cache metrics`",
            file.display()
        );
    }

    #[test]
    fn every_metric_has_a_type_a_meaning_and_known_labels() {
        let families = families();
        assert!(families.len() > 80, "{}", families.len());
        for family in &families {
            let kinds = ["counter", "gauge", "histogram"];
            assert!(kinds.contains(&family.kind.as_str()), "{family:?}");
            assert!(!family.meaning.is_empty(), "{family:?}");
            assert_eq!(family.kind == "counter", family.name.ends_with("_total"));
        }
        let requests = families
            .iter()
            .find(|family| family.name == "shardcache_replica_requests_total")
            .unwrap();
        let labels: Vec<_> = requests.labels.iter().map(|(label, _)| label).collect();
        assert_eq!(labels, ["peer", "op", "outcome"]);
        assert_eq!(requests.labels[1].1, ["read", "write"]);
    }

    #[test]
    fn counterparts_exist() {
        let families = families();
        for name in COUNTERPARTS.iter().flat_map(|(.., ours)| *ours) {
            let name = name.split('{').next().unwrap_or_default();
            let name = format!("shardcache_{name}");
            assert!(families.iter().any(|family| family.name == name), "{name}");
        }
    }
}
