//! Says a verdict: to people in words, to programs as JSON. Both have the seed, each violated promise with the few
//! operations that matter in the order of time, and the command line that makes the same history again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use serde::{Deserialize, Serialize};

use crate::{
    check::{Counts, Excuse, Shortfall, Verdict, Violation},
    history::{Answer, Guarantee, History, Invariant, Operation, Outcome, Request},
};

/// Violations of one invariant that are said in words; JSON has all that the verdict has.
const SAID_MAX: usize = 3;

/// A verdict with what is needed to understand it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// In one word.
    pub verdict: Summary,
    /// The seed, if the history came of one.
    pub seed: Option<u64>,
    /// The command line that makes the same history again.
    pub replay: Option<String>,
    /// What was violated, how often.
    pub violated: BTreeMap<Invariant, u64>,
    /// The violations.
    pub violations: Vec<ViolationReport>,
    /// Why the history proves too little.
    pub vacuous: Vec<Shortfall>,
    /// How much it shows.
    pub counts: Counts,
}

/// A verdict in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Summary {
    /// No promise was broken, and enough happened.
    Kept,
    /// A promise was broken.
    Violated,
    /// No promise was broken, but too little happened to prove anything.
    Vacuous,
}

/// A violation and the operations that matter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ViolationReport {
    /// The violation.
    #[serde(flatten)]
    pub violation: Violation,
    /// The operations, in the order of time.
    pub involved: Vec<Involved>,
}

/// An operation in a report.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Involved {
    /// Its id.
    pub id: u64,
    /// Who asked.
    pub client: u32,
    /// The node that was asked.
    pub node: String,
    /// What was asked.
    pub request: String,
    /// When it was sent.
    pub invoked_ns: u64,
    /// When it was answered or given up.
    pub completed_ns: u64,
    /// What became of it.
    pub outcome: String,
}

impl Report {
    /// The report of a verdict on a history.
    #[must_use]
    pub fn new(history: &History, verdict: &Verdict) -> Self {
        let wanted: BTreeSet<u64> = verdict
            .violations
            .iter()
            .flat_map(|violation| violation.operations.iter().copied())
            .collect();
        let involved: HashMap<u64, &Operation> = history
            .operations
            .iter()
            .filter(|operation| wanted.contains(&operation.id))
            .map(|operation| (operation.id, operation))
            .collect();
        let nodes = &history.header.cluster.nodes;
        Self {
            verdict: match (verdict.is_violated(), verdict.is_vacuous()) {
                (true, _) => Summary::Violated,
                (false, true) => Summary::Vacuous,
                (false, false) => Summary::Kept,
            },
            seed: history.header.seed,
            replay: history.header.replay.clone(),
            violated: verdict.counts.violations.clone(),
            violations: verdict
                .violations
                .iter()
                .map(|violation| ViolationReport::new(violation, &involved, nodes))
                .collect(),
            vacuous: verdict.vacuous.clone(),
            counts: verdict.counts.clone(),
        }
    }

    /// The report for programs.
    ///
    /// # Errors
    /// Never in practice: a report has nothing that JSON lacks.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

impl ViolationReport {
    fn new(violation: &Violation, operations: &HashMap<u64, &Operation>, nodes: &[String]) -> Self {
        let mut involved: Vec<Involved> = violation
            .operations
            .iter()
            .filter_map(|id| operations.get(id))
            .map(|operation| Involved::new(operation, nodes))
            .collect();
        involved.sort_by_key(|operation| (operation.invoked_ns, operation.id));
        Self {
            violation: violation.clone(),
            involved,
        }
    }
}

impl Involved {
    fn new(operation: &Operation, nodes: &[String]) -> Self {
        let node = usize::try_from(operation.node).ok();
        let level = format!("{:?}", operation.consistency).to_uppercase();
        let request = match operation.request {
            Request::Set { value, life } => format!("set {value} ({level}, life {life:?})"),
            Request::Get => format!("get ({level})"),
            Request::Delete => format!("delete ({level})"),
        };
        Self {
            id: operation.id,
            client: operation.client,
            node: node
                .and_then(|place| nodes.get(place))
                .cloned()
                .unwrap_or_else(|| operation.node.to_string()),
            request,
            invoked_ns: operation.invoked_ns,
            completed_ns: operation.completed_ns,
            outcome: outcome(operation),
        }
    }
}

fn outcome(operation: &Operation) -> String {
    let answered = match &operation.outcome {
        Outcome::Ok(answered) => answered,
        Outcome::Failed(why) => return format!("FAILED {}", why.reason),
        Outcome::Unknown(why) => return format!("UNKNOWN {}", why.reason),
    };
    let degraded = if answered.degraded { ", degraded" } else { "" };
    let by = match answered.took_part {
        Some(count) => format!(" by {count}"),
        None => String::new(),
    };
    match answered.answer {
        Answer::Written { version, .. } => format!("OK{by}, version {version}{degraded}"),
        Answer::Hit { value, version, .. } => {
            format!("OK{by}, found {value}, version {version}{degraded}")
        }
        Answer::Miss { version } => {
            let version = version.map_or_else(|| "none".to_owned(), |version| version.to_string());
            format!("OK{by}, found nothing, version {version}{degraded}")
        }
    }
}

/// The report in words.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.verdict {
            Summary::Kept => writeln!(f, "KEPT: no promise was broken")?,
            Summary::Violated => writeln!(f, "VIOLATED: {}", self.promises())?,
            Summary::Vacuous => writeln!(f, "VACUOUS: too little happened to prove anything")?,
        }
        if let Some(seed) = self.seed {
            writeln!(f, "seed:   {seed}")?;
        }
        if let Some(replay) = &self.replay {
            writeln!(f, "replay: {replay}")?;
        }
        self.fmt_violations(f)?;
        for Shortfall { what, have, need } in &self.vacuous {
            writeln!(f, "too few {what}: {have}, and {need} are needed")?;
        }
        self.fmt_counts(f)
    }
}

impl Report {
    fn promises(&self) -> String {
        let broken = self
            .violated
            .keys()
            .map(|invariant| match invariant.guarantee() {
                Guarantee::Basic => invariant.name().to_owned(),
                promise => format!("{promise} {invariant}"),
            });
        broken.collect::<Vec<_>>().join(", ")
    }

    fn fmt_violations(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (invariant, count) in &self.violated {
            let of_it = || {
                let all = self.violations.iter();
                all.filter(|report| report.violation.invariant == *invariant)
            };
            for report in of_it().take(SAID_MAX) {
                write!(f, "{report}")?;
            }
            let rest = usize::try_from(*count).map_or(usize::MAX, |count| {
                count.saturating_sub(of_it().count().min(SAID_MAX))
            });
            if rest > 0 {
                writeln!(f, "\n{invariant}: {rest} more")?;
            }
        }
        Ok(())
    }

    fn fmt_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        writeln!(
            f,
            "\n{} operations on {} keys: {} ok, {} failed, {} unknown; {} writes acknowledged, {} hits, {} misses",
            counts.operations,
            counts.keys,
            counts.ok,
            counts.failed,
            counts.unknown,
            counts.acknowledged,
            counts.hits,
            counts.misses
        )?;
        writeln!(
            f,
            "{} faults; {} operations and {} acknowledged writes during them",
            counts.faults, counts.during_faults, counts.acknowledged_during_faults
        )?;
        write!(
            f,
            "{} reads judged, {} keys compared after a heal; excused:",
            counts.judged_reads, counts.compared_keys
        )?;
        if counts.excused.is_empty() {
            write!(f, " none")?;
        }
        for (excuse, count) in &counts.excused {
            let reason = match excuse {
                Excuse::Deleted => "deleted",
                Excuse::Expired => "expired",
                Excuse::Evicted => "evicted",
                Excuse::Lost => "lost with too many owners",
                Excuse::OwnersChanged => "owners changed",
            };
            write!(f, " {reason} {count};")?;
        }
        writeln!(f)
    }
}

impl fmt::Display for ViolationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let violation = &self.violation;
        write!(f, "\n{} ({})", violation.invariant, violation.promise)?;
        if let Some(key) = &violation.key {
            write!(f, ", key {key:?}")?;
        }
        writeln!(f, ": {}", violation.explanation)?;
        for operation in &self.involved {
            writeln!(
                f,
                "  {:>15} .. {:>15} ns  #{} client {} at {}: {} -> {}",
                operation.invoked_ns,
                operation.completed_ns,
                operation.id,
                operation.client,
                operation.node,
                operation.request,
                operation.outcome
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
