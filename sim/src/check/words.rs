//! The words of explanations.

use super::Case;
use crate::history::{Answer, Operation, Outcome, Request};

/// A time since the history began.
pub(super) fn time(ns: u64) -> String {
    let micros = ns / 1_000;
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..10_000_000 => format!("{}.{:03} ms", micros / 1_000, micros % 1_000),
        _ => format!("{}.{:03} s", micros / 1_000_000, micros / 1_000 % 1_000),
    }
}

impl Case<'_> {
    /// The name of a node.
    pub(super) fn node(&self, place: u32) -> &str {
        let nodes = &self.history.header.cluster.nodes;
        let known = usize::try_from(place).ok().and_then(|at| nodes.get(at));
        known.map_or("an unknown node", String::as_str)
    }

    /// An operation: what it was, where and when.
    pub(super) fn words(&self, operation: &Operation) -> String {
        let what = match operation.request {
            Request::Set { .. } => "set",
            Request::Get => "get",
            Request::Delete => "delete",
        };
        let (id, node) = (operation.id, self.node(operation.node));
        let times = format!(
            "{} to {}",
            time(operation.invoked_ns),
            time(operation.completed_ns)
        );
        let result = match &operation.outcome {
            Outcome::Ok(answered) => match answered.answer {
                Answer::Written { version, .. } => format!("version {version}"),
                Answer::Hit { value, version, .. } => format!("found {value}, version {version}"),
                Answer::Miss {
                    version: Some(version),
                } => format!("found nothing, version {version}"),
                Answer::Miss { version: None } => "found nothing".to_owned(),
            },
            Outcome::Failed(_) => "failed".to_owned(),
            Outcome::Unknown(_) => "outcome unknown".to_owned(),
        };
        format!("{what} {id} at {node} ({times}; {result})")
    }
}
