//! What happened: every operation and every fault, in the order in which they ended. Recording knows nothing of right
//! and wrong; [`crate::judge`] decides from this alone.
//!
//! On disk one JSON object per line, each with a `record`:
//!
//! ```text
//! {"record":"run","format":1,"run":"1c2f","nodes":["127.0.0.1:8080",...]}
//! {"record":"operation","key":"1c2f-0-1","action":"set","value":"...","node":0,"begun_us":5,"ended_us":930,
//!  "outcome":"ok","version":"1795368091097.0.4833188332898973120","purpose":"load","attempt":1}
//! {"record":"operation","key":"1c2f-0-1","action":"get","found":"...",...}      a miss has "found":null
//! {"record":"operation","key":"1c2f-0-1","action":"delete",...}      with "purpose":"wipe" nobody asked for it: all nodes lost it
//! {"record":"fault","fault":"kill","state":"on","at_us":10000000}
//! {"record":"evictions","at_us":20000000,"node":"shardcache-node1","boot_id":7,"total":0}
//! {"record":"view","at_us":21000000,"node":0,"alive":3,"ring":"9c1e","status":"ok"}       alive is null: no answer
//! ```
//!
//! Times are microseconds since the run began, on one monotonic clock. An operation is one attempt: what was tried again
//! is another record.

use std::io::{self, BufRead};

use serde::{Deserialize, Serialize};

/// Version of the format, in the `run` record.
pub(crate) const FORMAT: u32 = 1;

/// One line of a history.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(crate) enum Record {
    /// The first line.
    Run(Run),
    /// A request and what became of it.
    Operation(Operation),
    /// A fault changed its state.
    Fault(FaultMark),
    /// How many entries a node has evicted since it was started.
    Evictions(Evictions),
    /// What a node says of the cluster has changed.
    View(View),
}

/// What a history is about.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    /// See [`FORMAT`].
    pub(crate) format: u32,
    /// Begins every key.
    pub(crate) run: String,
    /// Client addresses; operations name a node by its place here.
    pub(crate) nodes: Vec<String>,
    /// Places of the nodes that leave for good before everything is read back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) leave: Vec<usize>,
}

impl Run {
    /// Over nodes that are all there in the end.
    #[must_use]
    pub(crate) const fn new(run: String, nodes: Vec<String>) -> Self {
        Self {
            format: FORMAT,
            run,
            nodes,
            leave: Vec::new(),
        }
    }

    /// Whether a node is there in the end.
    #[must_use]
    pub(crate) fn stays(&self, place: usize) -> bool {
        !self.leave.contains(&place)
    }
}

/// One attempt at one request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Operation {
    /// The key.
    pub(crate) key: String,
    /// What was asked.
    #[serde(flatten)]
    pub(crate) action: Action,
    /// Place of the node that was asked.
    pub(crate) node: usize,
    /// When it was sent.
    pub(crate) begun_us: u64,
    /// When it was answered or given up.
    pub(crate) ended_us: u64,
    /// What is known of its effect.
    pub(crate) outcome: Outcome,
    /// Version that the node answered, as `millis.counter.writer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// Why it was not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// Why it was asked.
    pub(crate) purpose: Purpose,
    /// Which attempt this is, from 1. A write is tried again under a fresh key, a read under its own.
    pub(crate) attempt: u32,
}

/// What was asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub(crate) enum Action {
    /// Store a value. Values are unique within a run.
    Set {
        /// The value.
        value: String,
        /// After how many milliseconds it expires; never without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl_ms: Option<u64>,
    },
    /// Delete the key.
    Delete,
    /// Read the key.
    Get {
        /// What was found: nothing after a miss, and where the read was not answered.
        found: Option<String>,
    },
}

impl Action {
    /// Whether it changes the key.
    #[must_use]
    pub(crate) const fn is_write(&self) -> bool {
        match self {
            Self::Set { .. } | Self::Delete => true,
            Self::Get { .. } => false,
        }
    }
}

/// What is known of the effect of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Acknowledged, or read.
    Ok,
    /// Surely not applied.
    Failed,
    /// A write may have been applied, or may be later.
    Unknown,
}

/// Why an operation was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Purpose {
    /// Load while faults come and go.
    Load,
    /// Reading everything back at every node.
    Audit,
    /// A question about a single slot, or about what a node has just copied, amid faults.
    Probe,
    /// No request at all: a fault took the memory of every node, and so this key from all of them.
    Wipe,
}

/// A change of a fault's state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct FaultMark {
    /// Name of the fault, unique within a run.
    pub(crate) fault: String,
    /// Its new state.
    pub(crate) state: FaultState,
    /// When.
    pub(crate) at_us: u64,
}

/// States of a fault, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FaultState {
    /// The command was started.
    Begun,
    /// The fault works.
    On,
    /// The fault was undone.
    Off,
    /// The nodes agree again and owe nothing.
    Settled,
    /// They do not, after the longest time allowed.
    Unsettled,
    /// It needs a tool or a privilege that is missing here.
    Skipped,
    /// The command failed.
    Failed,
}

/// Evictions of one life of a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Evictions {
    /// When this was seen.
    pub(crate) at_us: u64,
    /// Name of the node.
    pub(crate) node: String,
    /// Its boot id.
    pub(crate) boot_id: u64,
    /// Entries evicted since its start.
    pub(crate) total: u64,
}

/// What a node says of the cluster, by `/health`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct View {
    /// When it was first seen to say this.
    pub(crate) at_us: u64,
    /// Place of the node.
    pub(crate) node: usize,
    /// Members that it sees alive, itself included; none while it does not answer.
    pub(crate) alive: Option<usize>,
    /// Hash of its ring.
    pub(crate) ring: String,
    /// How it is, in one word.
    pub(crate) status: String,
}

/// A whole history.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct History {
    /// What it is about.
    pub(crate) run: Run,
    /// All operations.
    pub(crate) operations: Vec<Operation>,
    /// All marks.
    pub(crate) marks: Vec<FaultMark>,
    /// All that was seen of evictions.
    pub(crate) evictions: Vec<Evictions>,
    /// How the nodes' views changed.
    pub(crate) views: Vec<View>,
}

impl History {
    /// Adds one line.
    pub(crate) fn push(&mut self, record: Record) {
        match record {
            Record::Run(run) => self.run = run,
            Record::Operation(operation) => self.operations.push(operation),
            Record::Fault(mark) => self.marks.push(mark),
            Record::Evictions(evictions) => self.evictions.push(evictions),
            Record::View(view) => self.views.push(view),
        }
    }

    /// Reads a history from its lines.
    ///
    /// # Errors
    /// A line that cannot be read or understood, by its number; a format that is not [`FORMAT`].
    pub(crate) fn read(lines: impl BufRead) -> io::Result<Self> {
        let mut history = Self::default();
        for (number, line) in lines.lines().enumerate() {
            let record = serde_json::from_str(&line?).map_err(|error| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("line {}: {error}", number + 1),
                )
            })?;
            history.push(record);
        }
        if history.run.format != FORMAT {
            let message = format!("format {}, expected {FORMAT}", history.run.format);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(history)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_history_is_read_as_it_was() {
        let operation = |action| {
            Record::Operation(Operation {
                key: "r-0-1".to_owned(),
                action,
                node: 1,
                begun_us: 5,
                ended_us: 9,
                outcome: Outcome::Ok,
                version: None,
                error: None,
                purpose: Purpose::Load,
                attempt: 1,
            })
        };
        let records = [
            Record::Run(Run {
                leave: vec![0],
                ..Run::new("r".to_owned(), vec!["127.0.0.1:8080".to_owned()])
            }),
            operation(Action::Set {
                value: "v".to_owned(),
                ttl_ms: Some(7),
            }),
            operation(Action::Get { found: None }),
            operation(Action::Delete),
            Record::Fault(FaultMark {
                fault: "kill".to_owned(),
                state: FaultState::On,
                at_us: 3,
            }),
            Record::Evictions(Evictions {
                at_us: 4,
                node: "n".to_owned(),
                boot_id: u64::MAX,
                total: 0,
            }),
            Record::View(View {
                at_us: 5,
                node: 0,
                alive: None,
                ring: String::new(),
                status: String::new(),
            }),
        ];
        let lines: Vec<String> = records
            .iter()
            .map(|record| serde_json::to_string(record).unwrap())
            .collect();
        let mut expected = History::default();
        records.into_iter().for_each(|record| expected.push(record));
        assert_eq!(
            History::read(lines.join("\n").as_bytes()).unwrap(),
            expected
        );
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let error =
            History::read(&b"{\"record\":\"run\",\"format\":1,\"run\":\"r\",\"nodes\":[]}\nno"[..]);
        assert!(error.unwrap_err().to_string().starts_with("line 2:"));
    }
}
