//! What must hold between the values of a scenario.

use std::{ops::RangeInclusive, time::Duration};

use super::Scenario;
use crate::{plan::Fault, span::Span};

/// How long after the run its last fault may end.
const ENDS_WITHIN: Duration = Duration::from_secs(300);
/// How far a clock may be set: a day.
const OFFSET_MILLIS_MAX: u64 = 86_400_000;
/// How far clocks may be apart.
const DRIFT_MAX: Duration = Duration::from_millis(shard_cache::version::DRIFT_MAX_MILLIS);
/// Least bytes queued for one peer, and least time for an answer.
const QUEUE_BYTES_MIN: u64 = 1024;
const STALL_TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// Something that makes no sense.
pub(super) struct Wrong {
    /// The section of the value.
    pub(super) section: &'static str,
    /// Which of a list.
    pub(super) place: Option<usize>,
    /// The value.
    pub(super) key: &'static str,
    /// What is wrong with it, and what is accepted.
    pub(super) message: String,
}

impl Wrong {
    /// The path of the value.
    pub(super) fn path(&self) -> String {
        match self.place {
            Some(place) => format!("{}[{place}].{}", self.section, self.key),
            None if self.section.is_empty() => self.key.to_owned(),
            None => format!("{}.{}", self.section, self.key),
        }
    }
}

#[derive(Default)]
struct Found {
    wrong: Vec<Wrong>,
}

impl Found {
    fn unless(&mut self, is_right: bool, at: (&'static str, &'static str), message: String) {
        if !is_right {
            self.wrong.push(Wrong {
                section: at.0,
                place: None,
                key: at.1,
                message,
            });
        }
    }

    fn within(&mut self, value: u64, range: RangeInclusive<u64>, at: (&'static str, &'static str)) {
        let (least, most) = (range.start(), range.end());
        let message = format!("{value} is not from {least} to {most}");
        self.unless(range.contains(&value), at, message);
    }
}

/// Everything that makes no sense.
pub(super) fn all(scenario: &Scenario) -> Vec<Wrong> {
    let mut found = Found::default();
    topology(scenario, &mut found);
    network_and_load(scenario, &mut found);
    let both = scenario.minutes.is_some() && scenario.seconds.is_some();
    found.unless(
        !both,
        ("", "seconds"),
        "`minutes` is there, too: one of them is enough".to_owned(),
    );
    found.within(scenario.seconds(), 1..=86_400, ("", "seconds"));
    for (place, fault) in scenario.faults.iter().enumerate() {
        one_fault(scenario, place, fault, &mut found);
    }
    found.wrong
}

fn topology(scenario: &Scenario, found: &mut Found) {
    let topology = &scenario.topology;
    let nodes = u64::from(topology.nodes);
    found.within(nodes, 2..=64, ("topology", "nodes"));
    let n = u64::from(topology.replication_factor);
    found.within(n, 1..=nodes.min(16), ("topology", "replication_factor"));
    let (r, w) = scenario.quorums();
    let (r, w) = (u64::from(r), u64::from(w));
    let majority = n / 2 + 1;
    found.within(r, 1..=n.max(1), ("topology", "read_quorum"));
    found.within(w, 1..=n.max(1), ("topology", "write_quorum"));
    found.unless(
        r + w > n,
        ("topology", "read_quorum"),
        format!("read_quorum {r} + write_quorum {w} must be more than replication_factor {n}; {majority} and {majority} would do"),
    );
    found.unless(
        r + majority > n || r + w <= n,
        ("topology", "read_quorum"),
        format!("read_quorum {r} must meet every majority of replication_factor {n}, by which owners change; {} would do", n + 1 - majority),
    );
    found.unless(
        2 * w > n,
        ("topology", "write_quorum"),
        format!(
            "2 x write_quorum {w} must be more than replication_factor {n}; {majority} would do"
        ),
    );
    let first = u64::from(scenario.first_nodes());
    found.within(first, 1..=nodes, ("topology", "first_nodes"));
    let least = u64::from(scenario.min_members());
    found.within(least, 1..=first.max(1), ("topology", "min_members"));
    let seeds = scenario.seeds();
    let message = format!("seeds are 1 to {nodes} nodes, by their numbers from 0 on");
    let are_nodes = seeds.iter().all(|seed| *seed < topology.nodes);
    let is_right = !seeds.is_empty() && are_nodes;
    found.unless(is_right, ("topology", "seeds"), message);
    let (window, life) = (topology.hint_window, topology.tombstone_life);
    let message = format!(
        "{life} is not longer than hint_window {window} and {} of drift",
        Span(DRIFT_MAX)
    );
    let is_right = life.0 > window.0.saturating_add(DRIFT_MAX);
    found.unless(is_right, ("topology", "tombstone_life"), message);
    let slots = u64::from(topology.slots);
    let message = format!("{slots} is not a power of two from 16 to 32768");
    let is_right = slots.is_power_of_two() && slots >= 16;
    found.unless(is_right, ("topology", "slots"), message);
    let share = topology.hedge_share;
    let message = format!("{share} is not from 0 to 1");
    found.unless(
        (0.0..=1.0).contains(&share),
        ("topology", "hedge_share"),
        message,
    );
    let queue = topology.queue_bytes as u64;
    let queues = QUEUE_BYTES_MIN..=1 << 40;
    found.within(queue, queues, ("topology", "queue_bytes"));
    let stall = topology.stall_timeout;
    let message = format!("{stall} is less than {}", Span(STALL_TIMEOUT_MIN));
    let is_right = stall.0 >= STALL_TIMEOUT_MIN;
    found.unless(is_right, ("topology", "stall_timeout"), message);
    let capacity = topology.capacity_entries as u64;
    found.within(capacity, 1..=10_000_000, ("topology", "capacity_entries"));
}

fn network_and_load(scenario: &Scenario, found: &mut Found) {
    let network = &scenario.network;
    let loss = network.loss_percent;
    let message = format!("{loss} is not from 0 to 99");
    let is_right = (0.0..=99.0).contains(&loss);
    found.unless(is_right, ("network", "loss_percent"), message);
    for (value, most, key) in [
        (network.clock_skew_ms, 10_000, "clock_skew_ms"),
        (network.clock_drift_ppm, 1_000, "clock_drift_ppm"),
    ] {
        let message = format!("{value} is not from 0 to {most}");
        found.unless((0..=most).contains(&value), ("network", key), message);
    }
    let load = &scenario.load;
    found.within(u64::from(load.rate), 1..=100_000, ("load", "rate"));
    found.within(u64::from(load.clients), 1..=1_000, ("load", "clients"));
    found.within(u64::from(load.keys), 1..=1_000_000, ("load", "keys"));
    found.within(
        load.value_bytes as u64,
        8..=1 << 20,
        ("load", "value_bytes"),
    );
    let deadline = u64::try_from(load.deadline.0.as_millis()).unwrap_or(u64::MAX);
    let message = format!("{} is not from 10ms to 1m", load.deadline);
    found.unless(
        (10..=60_000).contains(&deadline),
        ("load", "deadline"),
        message,
    );
    for (share, key) in [
        (load.set, "set"),
        (load.set.saturating_add(load.delete), "delete"),
        (load.ttl, "ttl"),
        (load.one, "one"),
        (load.one.saturating_add(load.all), "all"),
        (load.degrade, "degrade"),
    ] {
        let message = format!("shares are percent: {share} together is more than 100");
        found.unless(share <= 100, ("load", key), message);
    }
}

fn one_fault(scenario: &Scenario, place: usize, fault: &Fault, found: &mut Found) {
    let nodes = scenario.topology.nodes;
    let mut wrong = |key, message| {
        found.wrong.push(Wrong {
            section: "faults",
            place: Some(place),
            key,
            message,
        });
    };
    let kind = fault.kind.name();
    let count = u16::try_from(fault.nodes.len()).unwrap_or(u16::MAX);
    let allowed = Fault::nodes_of(fault.kind, nodes);
    if !allowed.contains(&count) {
        let (least, most) = (allowed.start(), allowed.end());
        let accepted = if least == most {
            format!("{least}")
        } else {
            format!("{least} to {most}")
        };
        wrong(
            "nodes",
            format!("{kind} concerns {accepted} nodes, here are {count}"),
        );
    }
    let mut seen = std::collections::BTreeSet::new();
    for node in &fault.nodes {
        if *node >= nodes {
            let last = nodes.saturating_sub(1);
            wrong(
                "nodes",
                format!("there is no node {node}, only 0 to {last}"),
            );
        } else if !seen.insert(node) {
            wrong("nodes", format!("node {node} is here twice"));
        }
    }
    if let Some(percent) = fault.percent
        && !(0.0..=100.0).contains(&percent)
    {
        wrong("percent", format!("{percent} is not from 0 to 100"));
    }
    if let Some(offset) = fault.offset_ms
        && offset.unsigned_abs() > OFFSET_MILLIS_MAX
    {
        let message = format!("{offset} is not from -{OFFSET_MILLIS_MAX} to {OFFSET_MILLIS_MAX}");
        wrong("offset_ms", message);
    }
    let again = fault.again.iter().map(|it| it.after.0 + it.lasts.0);
    let ends = fault.at.0 + fault.lasts.0 + again.sum::<Duration>();
    let latest = Duration::from_secs(scenario.seconds()) + ENDS_WITHIN;
    if ends > latest {
        let message = format!(
            "it ends at {}, more than {} after the run",
            Span(ends),
            Span(ENDS_WITHIN)
        );
        wrong("for", message);
    }
    if fault.at.0.as_secs() >= scenario.seconds() {
        let seconds = scenario.seconds();
        wrong(
            "at",
            format!("{} is after the run, which takes {seconds}s", fault.at),
        );
    }
}
