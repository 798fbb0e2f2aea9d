//! Resources are bounded: memory, entries, tombstones, hints, exchanges, queues, tasks, gossip.
//!
//! **Violation**: a sample is above its limit. Of something without a limit (tasks): it grows without end, that is, the
//! life of a node has at least 20 samples of it, the lowest of each quarter of them is above the lowest of the quarter
//! before, and that of the last one is more than twice that of the first and 64.
//!
//! **Not concluded**: between samples. Margins (what the allocator adds) belong into the limit that is recorded. One
//! violation is reported per node and resource.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Case,
    findings::{Finding, Findings},
};
use crate::history::{Event, Invariant, Mark, Resource};

/// Samples below which nothing is said about growth.
const SAMPLES_MIN: usize = 20;
/// What a level may grow by, beside doubling, before this counts as growth without end.
const GROWTH_MIN: u64 = 64;

pub(super) fn check(case: &Case<'_>, findings: &mut Findings<'_>) {
    let mut marks: Vec<&Mark> = case.history.marks.iter().collect();
    marks.sort_by_key(|mark| mark.at_ns);
    let mut unlimited: BTreeMap<(u32, Resource), Vec<(u64, u64)>> = BTreeMap::new();
    let mut reported = BTreeSet::new();
    for mark in marks {
        if let Event::Boot { node, .. } = mark.event {
            let (of_node, others) = unlimited
                .into_iter()
                .partition::<BTreeMap<_, _>, _>(|((other, _), _)| *other == node);
            unlimited = others;
            for ((_, resource), samples) in of_node {
                check_growth(case, node, resource, &samples, findings);
            }
        }
        let Event::Usage {
            node,
            resource,
            used,
            limit,
        } = mark.event
        else {
            continue;
        };
        match limit {
            None => unlimited
                .entry((node, resource))
                .or_default()
                .push((mark.at_ns, used)),
            Some(limit) if used > limit && reported.insert((node, resource)) => {
                findings.add(finding(mark.at_ns), || {
                    let (node, name) = (case.node(node), resource.name());
                    format!("{node} uses {used} {name}, and {limit} is the limit")
                });
            }
            Some(_) => {}
        }
    }
    for ((node, resource), samples) in unlimited {
        check_growth(case, node, resource, &samples, findings);
    }
}

fn check_growth(
    case: &Case<'_>,
    node: u32,
    resource: Resource,
    samples: &[(u64, u64)],
    findings: &mut Findings<'_>,
) {
    if samples.len() < SAMPLES_MIN {
        return;
    }
    let quarters = samples.chunks(samples.len().div_ceil(4));
    let lowest: Vec<u64> = quarters
        .filter_map(|quarter| quarter.iter().map(|(_, used)| *used).min())
        .collect();
    let (Some(first), Some(last), Some((at_ns, _))) =
        (lowest.first(), lowest.last(), samples.last())
    else {
        return;
    };
    let is_endless = lowest.is_sorted_by(|a, b| a < b)
        && *last > first.saturating_mul(2).saturating_add(GROWTH_MIN);
    if is_endless {
        findings.add(finding(*at_ns), || {
            let (node, name) = (case.node(node), resource.name());
            format!("{node} uses more and more {name}: at least {first} at first, at least {last} in the end")
        });
    }
}

const fn finding(at_ns: u64) -> Finding<'static> {
    Finding {
        invariant: Invariant::BoundedResources,
        at_ns,
        key: None,
        operations: Vec::new(),
    }
}
