//! Nodes of production code that leave in order, heard and unheard.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{collections::BTreeMap, fs, path::Path};

use shard_cache_sim::{
    check::Invariant,
    cli::run::{Finding, judge},
    history::Event,
    run,
    scenario::read_file,
};

/// How a node left: after how many seconds its process had ended, and whether it said that all was handed over.
type Left = (f64, bool);

/// Runs faults on five nodes that own everything. How each node left in order that did, after a run in which every promise
/// was kept.
fn left(name: &str, load: &str, faults: &str) -> BTreeMap<u32, Left> {
    let text = format!(
        "seconds: 120\ntopology: {{nodes: 5, replication_factor: 5}}\nload: {load}\nfloors: {{}}\nfaults:\n{faults}"
    );
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("leaving-{name}.yaml"));
    fs::write(&path, text).unwrap();
    let outcome = run::run(&read_file(&path).unwrap().options(String::new()), false);
    let report = judge(&outcome);
    let is_kept = report.violations.is_empty() && outcome.failures.is_empty();
    assert!(is_kept, "{}", Finding::of(&outcome, &report));
    let agreement = &outcome.history.header.promises.as_ref().unwrap().invariants;
    assert!(agreement.contains(&Invariant::MembershipAgreement));
    let (mut begun, mut left) = (BTreeMap::new(), BTreeMap::new());
    for mark in &outcome.history.marks {
        match mark.event {
            Event::Leave { node } => {
                begun.insert(node, mark.at_ns);
            }
            Event::Drained { node, is_clean } => {
                let took = (mark.at_ns - begun[&node]) as f64 / 1e9;
                println!("{name}: node-{node} ended after {took:.3} s, clean: {is_clean}");
                left.insert(node, (took, is_clean));
            }
            _ => {}
        }
    }
    left
}

const LOAD: &str = "{rate: 20, keys: 20}";
/// Nothing is ever owed.
const READS: &str = "{rate: 20, keys: 20, set: 0, delete: 0}";

#[test]
fn a_node_that_is_heard_leaves_clean_and_soon() {
    let left = left("heard", LOAD, "  - {at: 10s, kind: leave, nodes: [4]}\n");
    let (took, is_clean) = left[&4];
    assert!(is_clean && took < 4.0, "{took}");
}

#[test]
fn a_node_that_is_cut_off_waits_to_be_heard() {
    let faults = "  - {at: 10s, kind: isolate, nodes: [4], for: 30s}\n  - {at: 15s, kind: leave, nodes: [4]}\n";
    let (took, is_clean) = left("waits", LOAD, faults)[&4];
    // The cut ends 25 s after the beginning.
    assert!(is_clean && took > 25.0 && took < 40.0, "{took}");
}

#[test]
fn a_node_that_nobody_hears_is_not_clean() {
    let faults = "  - {at: 10s, kind: isolate, nodes: [4], for: 100s}\n  - {at: 15s, kind: leave, nodes: [4]}\n";
    let (took, is_clean) = left("unheard", LOAD, faults)[&4];
    assert!(!is_clean && took > 55.0 && took < 60.0, "{took}");
}

#[test]
fn one_link_that_is_cut_costs_a_few_seconds() {
    // The others tell the one behind the cut.
    let faults = "  - {at: 10s, kind: cut, nodes: [3, 4], for: 60s}\n  - {at: 15s, kind: leave, nodes: [4]}\n";
    let (took, is_clean) = left("link", READS, faults)[&4];
    // A question to the one behind the cut ends after two seconds; only then another one says that all have taken over.
    assert!(is_clean && took > 6.0 && took < 14.0, "{took}");
}

#[test]
fn a_node_of_the_smaller_half_waits_until_its_slots_can_be_taken_over() {
    let faults = "  - {at: 10s, kind: split, nodes: [3, 4], for: 40s}\n  - {at: 20s, kind: leave, nodes: [4]}\n";
    let (took, is_clean) = left("split", LOAD, faults)[&4];
    // The split ends 30 s after the beginning.
    assert!(is_clean && took > 30.0 && took < 45.0, "{took}");
}

#[test]
fn who_leaves_one_after_the_other_is_gone_for_all() {
    let faults = "  - {at: 10s, kind: leave, nodes: [4]}\n  - {at: 11s, kind: leave, nodes: [3]}\n  - {at: 30s, kind: leave, nodes: [2]}\n";
    let left = left("several", LOAD, faults);
    assert_eq!(left.len(), 3);
    assert!(
        left.values()
            .all(|(took, is_clean)| *is_clean && *took < 6.0)
    );
}
