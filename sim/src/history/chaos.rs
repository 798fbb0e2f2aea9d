//! Reads what the chaos tool records.
//!
//! Its lines say less than ours, and what they leave out is known of the tool: requests carry no options, so they are
//! made at QUORUM and refuse degraded service; one loss at a time, the next after the nodes have settled, so a loss of
//! memory excuses nothing. What is not known stays unknown: owners, tombstone life, the offset of the clock.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    History,
    error::ReadError,
    header::{Clocks, Cluster, Header},
    mark::{Event, Mark},
    operation::{
        Answer, Answered, Consistency, Degrade, Life, Operation, Outcome, Request, Unanswered,
    },
    read::parse,
    version::{ValueId, Version},
};

/// The version of the tool's format that is understood.
const CHAOS_FORMAT: u32 = 1;
/// Its times are cut off to microseconds.
const UNCERTAINTY_NS: u64 = 1_000;

#[derive(Deserialize)]
struct Tag {
    record: RecordName,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RecordName {
    Run,
    Operation,
    Fault,
    Evictions,
    View,
}

#[derive(Deserialize)]
struct Run {
    format: u32,
    run: String,
    nodes: Vec<String>,
}

#[derive(Deserialize)]
struct ChaosOperation {
    key: String,
    action: Action,
    value: Option<String>,
    #[serde(default)]
    ttl_ms: Option<u64>,
    found: Option<String>,
    node: u32,
    begun_us: u64,
    ended_us: u64,
    outcome: OutcomeName,
    version: Option<Version>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Set,
    Delete,
    Get,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum OutcomeName {
    Ok,
    Failed,
    Unknown,
}

#[derive(Deserialize)]
struct Fault {
    fault: String,
    state: FaultState,
    at_us: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum FaultState {
    Begun,
    On,
    Off,
    Settled,
    Unsettled,
    Skipped,
    Failed,
}

#[derive(Deserialize)]
struct Evictions {
    at_us: u64,
    node: String,
    boot_id: u64,
    total: u64,
}

/// Whether a history of the chaos tool begins with this line.
pub(super) fn is_first_line(text: &str) -> bool {
    serde_json::from_str::<Tag>(text).is_ok_and(|tag| matches!(tag.record, RecordName::Run))
}

/// Turns the tool's lines into a history.
pub(super) struct ChaosReader {
    history: History,
    /// Evictions name nodes by their own names, operations by place.
    named: BTreeMap<String, u32>,
}

impl ChaosReader {
    /// Begins with the first line.
    pub(super) fn begin(text: &str) -> Result<Self, ReadError> {
        let run: Run = parse(text, 1)?;
        if run.format != CHAOS_FORMAT {
            return Err(ReadError::Format {
                found: run.format,
                expected: CHAOS_FORMAT,
            });
        }
        let header = Header {
            replay: Some(format!("chaos run {}", run.run)),
            cluster: Cluster {
                nodes: run.nodes,
                ..Cluster::default()
            },
            clocks: Clocks {
                uncertainty_ns: UNCERTAINTY_NS,
                ..Clocks::default()
            },
            // Set by the first record of one.
            evictions_recorded: false,
            ..Header::default()
        };
        Ok(Self {
            history: History {
                header,
                ..History::default()
            },
            named: BTreeMap::new(),
        })
    }

    /// Takes another line.
    pub(super) fn push(&mut self, text: &str, line: usize) -> Result<(), ReadError> {
        let tag: Tag = parse(text, line)?;
        match tag.record {
            RecordName::Run => {
                return Err(ReadError::Inconsistent {
                    line,
                    field: "record",
                    problem: "a second run",
                });
            }
            RecordName::Operation => self.operation(parse(text, line)?, line)?,
            RecordName::Fault => self.fault(parse(text, line)?),
            RecordName::Evictions => self.evictions(parse(text, line)?),
            // What nodes believe of each other is no promise of theirs.
            RecordName::View => {}
        }
        Ok(())
    }

    /// The history.
    pub(super) fn finish(self) -> History {
        self.history
    }

    fn operation(&mut self, record: ChaosOperation, line: usize) -> Result<(), ReadError> {
        let missing = |field, of| ReadError::Missing { line, field, of };
        let request = match record.action {
            Action::Set => Request::Set {
                value: ValueId::of(
                    record
                        .value
                        .ok_or_else(|| missing("value", "set"))?
                        .as_bytes(),
                ),
                life: record.ttl_ms.map_or(Life::Never, |ttl| {
                    Life::AfterNs(ttl.saturating_mul(1_000_000))
                }),
            },
            Action::Delete => Request::Delete,
            Action::Get => Request::Get,
        };
        let needed = |of| record.version.ok_or_else(|| missing("version", of));
        let answer = || match (request.is_write(), record.found.as_deref()) {
            (true, _) => Ok::<Answer, ReadError>(Answer::Written {
                version: needed("write that is ok")?,
                replaced: None,
            }),
            (false, Some(found)) => Ok(Answer::Hit {
                value: ValueId::of(found.as_bytes()),
                version: needed("get that found something")?,
                expires_in_ns: None,
            }),
            (false, None) => Ok(Answer::Miss {
                version: record.version,
            }),
        };
        let reason = || Unanswered {
            reason: record.error.clone().unwrap_or_default(),
        };
        let outcome = match record.outcome {
            OutcomeName::Ok => Outcome::Ok(Answered {
                answer: answer()?,
                degraded: false,
                took_part: None,
                owners: None,
            }),
            OutcomeName::Failed => Outcome::Failed(reason()),
            OutcomeName::Unknown => Outcome::Unknown(reason()),
        };
        self.history.operations.push(Operation {
            id: u64::try_from(line).unwrap_or(u64::MAX),
            client: 0,
            node: record.node,
            key: record.key,
            request,
            consistency: Consistency::Quorum,
            degrade: Degrade::Refuse,
            invoked_ns: nanos(record.begun_us),
            completed_ns: nanos(record.ended_us),
            outcome,
        });
        Ok(())
    }

    fn fault(&mut self, record: Fault) {
        let fault = record.fault;
        let event = match record.state {
            FaultState::On => Event::FaultBegin {
                fault,
                nodes: Vec::new(),
            },
            FaultState::Off => Event::FaultEnd { fault },
            FaultState::Settled => Event::Settled,
            FaultState::Unsettled => Event::Unsettled { fault },
            // The command's progress, not the fault's.
            FaultState::Begun | FaultState::Skipped | FaultState::Failed => return,
        };
        self.history.marks.push(Mark {
            at_ns: nanos(record.at_us),
            event,
        });
    }

    fn evictions(&mut self, record: Evictions) {
        self.history.header.evictions_recorded = true;
        let next = u32::try_from(self.named.len()).unwrap_or(u32::MAX);
        let node = *self.named.entry(record.node).or_insert(next);
        self.history.marks.push(Mark {
            at_ns: nanos(record.at_us),
            event: Event::Evictions {
                node,
                boot_id: record.boot_id,
                total: record.total,
            },
        });
    }
}

const fn nanos(micros: u64) -> u64 {
    micros.saturating_mul(1_000)
}
