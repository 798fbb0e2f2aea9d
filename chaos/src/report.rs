//! The verdict for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    history::{FaultState, History, Operation, Outcome},
    judge::{Kind, Verdict},
    timings,
};

/// Violations that are shown one by one.
const SHOWN: usize = 10;

/// What happened between two moments.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Phase {
    /// Its name.
    pub(crate) name: String,
    /// How long it was.
    pub(crate) seconds: f64,
    /// Writes that were acknowledged.
    pub(crate) acked: usize,
    /// Writes that were surely not applied.
    pub(crate) failed: usize,
    /// Writes of unknown outcome.
    pub(crate) unknown: usize,
    /// Reads that were answered.
    pub(crate) reads: usize,
    /// Reads that were not.
    pub(crate) unread: usize,
    /// Longest time to an acknowledgement.
    pub(crate) slowest_ack_ms: f64,
    /// Longest time without an acknowledgement: how long writing was not possible, at any node.
    pub(crate) longest_gap_ms: f64,
}

/// The phases of the load, in their order: an operation belongs to the one in which it ended.
#[must_use]
pub(crate) fn phases(history: &History) -> Vec<Phase> {
    let load = |operation: &&Operation| operation.purpose == crate::history::Purpose::Load;
    let Some(end) = history
        .operations
        .iter()
        .filter(load)
        .map(|o| o.ended_us)
        .max()
    else {
        return Vec::new();
    };
    let begin = history
        .operations
        .iter()
        .filter(load)
        .map(|o| o.begun_us)
        .min();
    let mut cuts = vec![(begin.unwrap_or_default(), "before".to_owned())];
    let mut marks: Vec<_> = history.marks.iter().collect();
    marks.sort_by_key(|mark| mark.at_us);
    for mark in marks {
        let name = match mark.state {
            // From the command's start: it may work before it says so.
            FaultState::Begun => mark.fault.clone(),
            FaultState::Off => format!("{}, settling", mark.fault),
            FaultState::Settled | FaultState::Skipped | FaultState::Failed => {
                format!("after {}", mark.fault)
            }
            FaultState::On | FaultState::Unsettled => continue,
        };
        cuts.push((mark.at_us, name));
    }
    let ends = cuts.iter().skip(1).map(|(at, _)| *at).chain([end + 1]);
    let ends: Vec<u64> = ends.collect();
    cuts.into_iter()
        .zip(ends)
        .map(|((from, name), to)| phase(history, name, from, to))
        .collect()
}

fn phase(history: &History, name: String, from: u64, to: u64) -> Phase {
    let mut phase = Phase {
        name,
        seconds: to.saturating_sub(from) as f64 / 1e6,
        acked: 0,
        failed: 0,
        unknown: 0,
        reads: 0,
        unread: 0,
        slowest_ack_ms: 0.0,
        longest_gap_ms: 0.0,
    };
    let mut acks = vec![from];
    let inside = |operation: &&Operation| {
        operation.purpose == crate::history::Purpose::Load
            && (from..to).contains(&operation.ended_us)
    };
    for operation in history.operations.iter().filter(inside) {
        let Operation {
            begun_us, ended_us, ..
        } = operation;
        match (operation.action.is_write(), operation.outcome) {
            (true, Outcome::Ok) => {
                phase.acked += 1;
                acks.push(*ended_us);
                let took = (ended_us - begun_us) as f64 / 1e3;
                phase.slowest_ack_ms = phase.slowest_ack_ms.max(took);
            }
            (true, Outcome::Failed) => phase.failed += 1,
            (true, Outcome::Unknown) => phase.unknown += 1,
            (false, Outcome::Ok) => phase.reads += 1,
            (false, Outcome::Failed | Outcome::Unknown) => phase.unread += 1,
        }
    }
    acks.push(to);
    acks.sort_unstable();
    let gap = acks.windows(2).map(|pair| pair[1] - pair[0]).max();
    phase.longest_gap_ms = gap.unwrap_or_default() as f64 / 1e3;
    phase
}

/// The table and the verdict in words.
#[must_use]
pub(crate) fn render(history: &History, verdict: &Verdict) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    write_phases(&mut text, &phases(history)).ok();
    write_read_back(&mut text, history, verdict).ok();
    write_verdict(&mut text, history, verdict).ok();
    text
}

fn write_phases(text: &mut String, phases: &[Phase]) -> std::fmt::Result {
    let name_width = phases.iter().map(|phase| phase.name.len()).max();
    let width = name_width.unwrap_or_default().max("PHASE".len());
    writeln!(
        text,
        "{:width$}  SECONDS  ACKED  FAILED  UNKNOWN  READS  UNREAD  SLOWEST ACK  LONGEST GAP",
        "PHASE"
    )?;
    for phase in phases {
        let Phase {
            name,
            seconds,
            acked,
            failed,
            unknown,
            reads,
            unread,
            ..
        } = phase;
        writeln!(
            text,
            "{name:width$}  {seconds:7.1}  {acked:5}  {failed:6}  {unknown:7}  {reads:5}  {unread:6}  {:8.0} ms  {:8.0} ms",
            phase.slowest_ack_ms, phase.longest_gap_ms
        )?;
    }
    writeln!(text)
}

fn write_read_back(text: &mut String, history: &History, verdict: &Verdict) -> std::fmt::Result {
    let nodes = &history.run.nodes;
    let width = nodes
        .iter()
        .map(String::len)
        .max()
        .unwrap_or_default()
        .max(9);
    writeln!(
        text,
        "{:width$}   KEYS  PRESENT  ABSENT  ILLEGAL  UNREAD",
        "READ BACK"
    )?;
    for (place, (node, back)) in nodes.iter().zip(&verdict.read_back).enumerate() {
        if !history.run.stays(place) {
            continue;
        }
        writeln!(
            text,
            "{node:width$}  {:5}  {:7}  {:6}  {:7}  {:6}",
            verdict.keys, back.present, back.absent, back.illegal, back.unread
        )?;
    }
    writeln!(text)
}

fn write_verdict(text: &mut String, history: &History, verdict: &Verdict) -> std::fmt::Result {
    for violation in verdict.violations.iter().take(SHOWN) {
        let node = history
            .run
            .nodes
            .get(violation.node)
            .map_or("?", String::as_str);
        writeln!(
            text,
            "{}: {} read at {node} after {:.3} s: {:?}",
            violation.kind.name(),
            violation.key,
            violation.begun_us as f64 / 1e6,
            violation.found
        )?;
    }
    if verdict.violations.len() > SHOWN {
        writeln!(
            text,
            "... {} illegal reads in all",
            verdict.violations.len()
        )?;
    }
    for fault in &verdict.unsettled {
        writeln!(
            text,
            "{fault}: the nodes did not come to agree, or went on owing hints"
        )?;
    }
    for limit in &verdict.broken {
        writeln!(text, "{limit}")?;
    }
    for mark in history
        .marks
        .iter()
        .filter(|mark| mark.state == FaultState::Skipped)
    {
        writeln!(
            text,
            "{}: SKIPPED, a tool or a privilege is missing",
            mark.fault
        )?;
    }
    writeln!(
        text,
        "{} writes acknowledged ({:.1} % within faults), {} failed, {} unknown; {} keys",
        verdict.acked,
        verdict.during_share() * 100.0,
        verdict.failed,
        verdict.unknown,
        verdict.keys
    )?;
    let counts = Kind::ALL.map(|kind| format!("{} {}", verdict.count(kind), kind.name()));
    writeln!(text, "{}", counts.join(", "))?;
    if verdict.is_violated() {
        writeln!(text, "VIOLATED")
    } else if verdict.vacuous.is_empty() {
        writeln!(text, "PASSED: nothing acknowledged was lost")
    } else {
        writeln!(text, "PROVES NOTHING: {}", verdict.vacuous.join("; "))
    }
}

/// The same for programs.
#[must_use]
pub(crate) fn document(history: &History, verdict: &Verdict) -> Value {
    json!({
        "run": history.run,
        "phases": phases(history),
        "seconds": timings::seconds(history),
        "views": history.views,
        "timings": timings::timings(history),
        "faults": history.marks,
        "verdict": verdict,
        "during_share": verdict.during_share(),
        "passed": !verdict.is_violated() && verdict.vacuous.is_empty(),
    })
}
