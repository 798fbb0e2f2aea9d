//! Plays a scenario on a subject, and judges.

use std::{error::Error, fmt};

use super::{
    Action, Expectation, Held, Kind, NamedConfig, NodeExpectation, NodeState, OperationExpectation,
    OperationName, OperationState, Progress, Reply, Scenario, Step, Subject,
};
use crate::world::Request;

/// The first line that went otherwise than the scenario says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Its number.
    pub line: usize,
    /// As it was written.
    pub text: String,
    /// What was otherwise.
    pub unmet: Unmet,
}

/// What was otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unmet {
    /// The step had to take effect, and did not.
    NoEffect,
    /// A rule forbids the step, and it took effect.
    Effect,
    /// Something else was found than expected.
    Found {
        /// What was found.
        instead: String,
    },
    /// A promise was broken.
    Promise {
        /// Which, and how.
        broken: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "line {}, {}: {}",
            self.line, self.text, self.unmet
        )
    }
}

impl Error for Failure {}

impl fmt::Display for Unmet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEffect => formatter.write_str("had no effect"),
            Self::Effect => formatter.write_str("took effect, and must not"),
            Self::Found { instead } => write!(formatter, "instead: {instead}"),
            Self::Promise { broken } => write!(formatter, "broken promise: {broken}"),
        }
    }
}

/// Plays a scenario to its end.
///
/// Reads are judged whether or not something is expected of them: what was acknowledged or returned before a read began must
/// not be missing (unless the slot was declared lost), nor may something come back that it superseded (G1, G3, G4).
///
/// # Errors
///
/// The first line that went otherwise than it says, or that broke a promise.
pub fn play(scenario: &Scenario, subject: &mut impl Subject) -> Result<(), Failure> {
    let mut player = Player {
        subject,
        operations: vec![None; scenario.operations],
        rings_formed: 0,
    };
    for (now, step) in scenario.steps.iter().enumerate() {
        player.step(now, step).map_err(|unmet| Failure {
            line: step.line,
            text: step.text.clone(),
            unmet,
        })?;
    }
    Ok(())
}

struct Player<'a, S> {
    subject: &'a mut S,
    /// Operations by name, once they have begun.
    operations: Vec<Option<Begun>>,
    rings_formed: usize,
}

/// An operation that has begun.
#[derive(Clone, Copy)]
struct Begun {
    request: Request,
    key: u8,
    /// In which step.
    at: usize,
    /// In which step it was acknowledged, or returned.
    done_at: Option<usize>,
    /// In which step what it writes became known for good: acknowledged, or returned by a read.
    known_at: Option<usize>,
}

impl<S: Subject> Player<'_, S> {
    fn step(&mut self, now: usize, step: &Step) -> Result<(), Unmet> {
        match &step.kind {
            Kind::Do(action) => {
                if !self.act(now, action)? {
                    return Err(Unmet::NoEffect);
                }
            }
            Kind::Try(action) => {
                self.act(now, action)?;
            }
            Kind::Cannot(action) => {
                if self.act(now, action)? {
                    return Err(Unmet::Effect);
                }
            }
            Kind::Expect(expectation) => self.expect(expectation)?,
        }
        Ok(())
    }

    /// Does a step, and judges what it has completed.
    fn act(&mut self, now: usize, action: &Action) -> Result<bool, Unmet> {
        if let Action::Send { name, .. } | Action::Again { name, .. } = action
            && self.operations[name.0].is_none()
        {
            return Ok(false);
        }
        let took_effect = self.subject.act(action);
        if !took_effect {
            return Ok(false);
        }
        if let Action::First { .. } = action {
            self.rings_formed += 1;
        }
        if let Action::Operate {
            name, key, request, ..
        } = action
        {
            self.operations[name.0] = Some(Begun {
                request: *request,
                key: *key,
                at: now,
                done_at: None,
                known_at: None,
            });
        }
        self.note_done(now)?;
        match self.subject.violation() {
            Some(broken) => Err(Unmet::Promise { broken }),
            None => Ok(true),
        }
    }

    /// Notes which operations are done since the last step.
    fn note_done(&mut self, now: usize) -> Result<(), Unmet> {
        for place in 0..self.operations.len() {
            let Some(begun) = self.operations[place].filter(|begun| begun.done_at.is_none()) else {
                continue;
            };
            let known = match self.subject.operation(OperationName(place)).progress {
                Progress::Open | Progress::Unknown => continue,
                Progress::Acknowledged => Some(OperationName(place)),
                Progress::Returned(held) => {
                    self.judge(begun, held)?;
                    held.map(|held| held.by)
                }
            };
            self.operations[place] = Some(Begun {
                done_at: Some(now),
                ..begun
            });
            if let Some(write) = known.and_then(|known| self.operations[known.0].as_mut()) {
                write.known_at.get_or_insert(now);
            }
        }
        Ok(())
    }

    /// Whether a read may return this.
    fn judge(&self, read: Begun, held: Option<Held>) -> Result<(), Unmet> {
        let may_be_lost = self.subject.losses() > 0 || self.rings_formed > 1;
        let found = held.and_then(|held| self.operations[held.by.0]);
        let known_before = |write: &Begun| write.known_at.is_some_and(|known| known < read.at);
        for (name, write) in self.writes(read.key) {
            if !known_before(&write) {
                continue;
            }
            let broken = match (held, found) {
                (None, _) if may_be_lost => continue,
                (None, _) => format!("nothing was found of {}", self.describe(name)),
                (Some(held), Some(found)) if found.done_at.is_some_and(|done| done < write.at) => {
                    let (old, new) = (self.describe(held.by), self.describe(name));
                    format!("{old} came back, after {new}")
                }
                (Some(_), _) => continue,
            };
            return Err(Unmet::Promise { broken });
        }
        Ok(())
    }

    /// Writes and deletes of a key that have begun.
    fn writes(&self, key: u8) -> impl Iterator<Item = (OperationName, Begun)> {
        let begun = self.operations.iter().enumerate();
        begun
            .filter_map(|(place, begun)| begun.map(|begun| (OperationName(place), begun)))
            .filter(move |(_, begun)| begun.key == key && begun.request != Request::Read)
    }

    fn describe(&self, name: OperationName) -> String {
        let what = match self.operations[name.0].map(|begun| begun.request) {
            Some(Request::Read) => "read",
            Some(Request::Write) => "write",
            Some(Request::Delete) => "delete",
            None => "operation",
        };
        format!("{what} {}", name.0 + 1)
    }

    fn expect(&self, expectation: &Expectation) -> Result<(), Unmet> {
        match expectation {
            Expectation::Node { node, is } => self.expect_of_node(&self.subject.node(*node), is),
            Expectation::Operation { name, is } => {
                if self.operations[name.0].is_none() {
                    return met(false, || "it never began".to_owned());
                }
                self.expect_of_operation(*name, is)
            }
            Expectation::Lost { times } => {
                let losses = self.subject.losses();
                met(losses == *times, || format!("lost {losses}"))
            }
        }
    }

    fn expect_of_node(&self, node: &NodeState, is: &NodeExpectation) -> Result<(), Unmet> {
        match is {
            NodeExpectation::In(config) => {
                met(node.config == *config, || one(node.config.as_ref()))
            }
            NodeExpectation::Full(full) => met(node.full == *full, || yes(node.full)),
            NodeExpectation::Carry(carry) => met(node.carry == *carry, || one(node.carry.as_ref())),
            NodeExpectation::Preds(preds) => met(are(&node.preds, preds), || list(&node.preds)),
            NodeExpectation::Covered(covered) => {
                met(are(&node.covered, covered), || list(&node.covered))
            }
            NodeExpectation::Top(top) => met(node.top == *top, || one(node.top.as_ref())),
            NodeExpectation::Seen(seen) => met(node.seen == *seen, || yes(node.seen)),
            NodeExpectation::Generation(generation) => met(node.generation == *generation, || {
                node.generation.to_string()
            }),
            NodeExpectation::Empty => met(node.data.iter().all(Option::is_none), || {
                self.held(&node.data)
            }),
            NodeExpectation::Holds(name) => {
                let holds = node.data.iter().flatten().any(|held| held.by == *name);
                met(holds, || self.held(&node.data))
            }
        }
    }

    fn expect_of_operation(
        &self,
        name: OperationName,
        is: &OperationExpectation,
    ) -> Result<(), Unmet> {
        let state = self.subject.operation(name);
        let progress = state.progress;
        let so = match is {
            OperationExpectation::Acknowledged => progress == Progress::Acknowledged,
            OperationExpectation::Unanswered => progress == Progress::Open,
            OperationExpectation::Unknown => progress == Progress::Unknown,
            OperationExpectation::Found(written) => {
                let wanted = written.or_else(|| self.newest(name));
                matches!(progress, Progress::Returned(Some(held))
                    if !held.tombstone && Some(held.by) == wanted)
            }
            OperationExpectation::Missing => match progress {
                Progress::Returned(held) => held.is_none_or(|held| held.tombstone),
                Progress::Open | Progress::Acknowledged | Progress::Unknown => false,
            },
            OperationExpectation::Replied { at, reply } => at
                .iter()
                .all(|node| state.replies.contains(&(*node, *reply))),
        };
        met(so, || self.told(&state))
    }

    /// What was acknowledged last, of the key of an operation.
    fn newest(&self, name: OperationName) -> Option<OperationName> {
        let key = self.operations[name.0]?.key;
        let acknowledged = self
            .writes(key)
            .filter(|(_, write)| write.done_at.is_some());
        let newest = acknowledged.max_by_key(|(_, write)| write.done_at);
        newest.map(|(name, _)| name)
    }

    fn told(&self, state: &OperationState) -> String {
        let progress = match state.progress {
            Progress::Open => "unanswered".to_owned(),
            Progress::Acknowledged => "acknowledged".to_owned(),
            Progress::Returned(held) => format!("found {}", self.held(&[held])),
            Progress::Unknown => "unknown".to_owned(),
        };
        let replies = state.replies.iter().map(|(node, reply)| match reply {
            Reply::Ok => format!(", {node} agreed"),
            Reply::Newer => format!(", newer at {node}"),
            Reply::WrongConfig => format!(", refused at {node}"),
        });
        progress + &replies.collect::<String>()
    }

    fn held(&self, data: &[Option<Held>]) -> String {
        let held: Vec<_> = data
            .iter()
            .flatten()
            .map(|held| self.describe(held.by))
            .collect();
        if held.is_empty() {
            "nothing".to_owned()
        } else {
            held.join(", ")
        }
    }
}

fn met(so: bool, instead: impl FnOnce() -> String) -> Result<(), Unmet> {
    if so {
        Ok(())
    } else {
        Err(Unmet::Found { instead: instead() })
    }
}

fn are(found: &[NamedConfig], wanted: &[NamedConfig]) -> bool {
    let mut found = found.to_vec();
    found.sort();
    found == wanted
}

fn yes(is_so: bool) -> String {
    if is_so { "it is" } else { "it is not" }.to_owned()
}

fn one(config: Option<&NamedConfig>) -> String {
    config.map_or("none".to_owned(), NamedConfig::to_string)
}

fn list(configs: &[NamedConfig]) -> String {
    if configs.is_empty() {
        return "none".to_owned();
    }
    let configs: Vec<_> = configs.iter().map(NamedConfig::to_string).collect();
    configs.join(", ")
}
