//! From the text of a scenario to its steps.

use super::{
    Action, Expectation, Fault, Kind, LateName, NodeExpectation, OperationExpectation,
    OperationName, ParseError, Reach, Reached, Reply, Scenario, Step,
    words::{Words, unexpected},
};
use crate::{config::NodeId, rules::Bug, world::KEYS, world::Request};

/// Nodes of a scenario at most: the model has no more.
const NODES_MAX: usize = 6;

const ACTIONS: &str = "nodes, catches, expect, try, cannot, first, adopt, join, pull, deliver, crash, \
    settle, declare, follow, write, delete, read, send or again";
const EXPECTATIONS: &str =
    "a node, acknowledged, unanswered, unknown, found, missing, refused, newer or lost";
const NODE_EXPECTATIONS: &str =
    "in, nowhere, full, not, carry, preds, covered, top, seen, root, empty or holds";

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    ///
    /// The first line that says nothing that can be played, and what would be accepted there.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut parser = Parser::default();
        for (index, line) in text.lines().enumerate() {
            let line_number = index + 1;
            let said = line.split('#').next().unwrap_or_default().trim();
            if !said.is_empty() {
                parser.line(line_number, said).map_err(|fault| ParseError {
                    line: line_number,
                    fault,
                })?;
            }
        }
        Ok(Self {
            nodes: parser.boots.len(),
            operations: parser.operations.len(),
            catches: parser.catches,
            steps: parser.steps,
        })
    }
}

/// What is known before a line.
#[derive(Default)]
struct Parser {
    /// The boots that nodes have here.
    boots: Vec<u8>,
    /// The names of operations, where they have one.
    operations: Vec<Option<String>>,
    /// The names of answers under way.
    late: Vec<String>,
    catches: Vec<Bug>,
    steps: Vec<Step>,
}

impl Parser {
    fn line(&mut self, line: usize, text: &str) -> Result<(), Fault> {
        let mut words = Words::of(text);
        let verb = words.next(ACTIONS)?;
        if (verb == "nodes") != self.boots.is_empty() {
            return Err(Fault::NodesFirst);
        }
        let kind = match verb {
            "nodes" => {
                self.name_nodes(&mut words)?;
                None
            }
            "catches" => {
                let name = words.next("the name of a planted bug")?;
                let bug = Bug::named(name).ok_or_else(|| Fault::NoSuchBug {
                    name: name.to_owned(),
                })?;
                self.catches.push(bug);
                None
            }
            "expect" => Some(Kind::Expect(self.expectation(&mut words)?)),
            "try" => Some(Kind::Try(self.next_action(&mut words)?)),
            "cannot" => Some(Kind::Cannot(self.next_action(&mut words)?)),
            verb => Some(Kind::Do(self.action(verb, &mut words)?)),
        };
        words.end()?;
        let text = text.to_owned();
        self.steps
            .extend(kind.map(|kind| Step { line, text, kind }));
        Ok(())
    }

    /// All nodes, from A on.
    fn name_nodes(&mut self, words: &mut Words<'_>) -> Result<(), Fault> {
        let accepted = "AB, ABC, ABCD, ABCDE or ABCDEF";
        let word = words.next(accepted)?;
        if word.len() < 2 || !"ABCDEF".starts_with(word) {
            return Err(unexpected(word, accepted));
        }
        self.boots = vec![0; word.len().min(NODES_MAX)];
        Ok(())
    }

    fn next_action(&mut self, words: &mut Words<'_>) -> Result<Action, Fault> {
        let verb = words.next(ACTIONS)?;
        self.action(verb, words)
    }

    fn action(&mut self, verb: &str, words: &mut Words<'_>) -> Result<Action, Fault> {
        match verb {
            "first" => Ok(Action::First {
                owners: words.first_owners(&self.boots)?,
            }),
            "adopt" => self.adopt(words),
            "join" => {
                let (node, from) = self.pair(words)?;
                let answer = self.reach(words)?;
                Ok(Action::Join { node, from, answer })
            }
            "pull" => {
                let (node, from) = self.pair(words)?;
                let answer = self.reach(words)?;
                Ok(Action::Pull { node, from, answer })
            }
            "deliver" => self.deliver(words),
            "crash" => {
                let node = words.node(&self.boots)?;
                self.boots[node.index()] += 1;
                Ok(Action::Crash { node })
            }
            "settle" => Ok(Action::Settle {
                node: words.node(&self.boots)?,
                config: words.config(&self.boots)?,
            }),
            "declare" => {
                let node = words.node(&self.boots)?;
                words.keyword("present")?;
                let present = usize::from(words.number()?);
                Ok(Action::Declare { node, present })
            }
            "follow" => {
                let (node, from) = self.pair(words)?;
                Ok(Action::Follow { node, from })
            }
            "write" => self.operate(Request::Write, words),
            "delete" => self.operate(Request::Delete, words),
            "read" => self.operate(Request::Read, words),
            "send" => Ok(Action::Send {
                name: self.operation_before("at", words)?,
                reached: self.reached(words)?,
            }),
            "again" => Ok(Action::Again {
                name: self.operation_before("at", words)?,
                reached: self.reached(words)?,
            }),
            other => Err(unexpected(other, ACTIONS)),
        }
    }

    /// `A from B`.
    fn pair(&self, words: &mut Words<'_>) -> Result<(NodeId, NodeId), Fault> {
        let node = words.node(&self.boots)?;
        let from = words.from(node, &self.boots)?;
        Ok((node, from))
    }

    fn adopt(&self, words: &mut Words<'_>) -> Result<Action, Fault> {
        let node = words.node(&self.boots)?;
        if words.take("from") {
            let from = words.node(&self.boots)?;
            return Ok(Action::AdoptFrom { node, from });
        }
        let config = words.config(&self.boots)?;
        Ok(Action::Adopt { node, config })
    }

    /// What becomes of an answer: nothing, `late NAME`, or `lost-answer`.
    fn reach(&mut self, words: &mut Words<'_>) -> Result<Reach, Fault> {
        if words.take("lost-answer") {
            return Ok(Reach::Never);
        }
        if !words.take("late") {
            return Ok(Reach::AtOnce);
        }
        let name = self.new_name(words)?;
        self.late.push(name);
        Ok(Reach::Late(LateName(self.late.len() - 1)))
    }

    fn new_name(&self, words: &mut Words<'_>) -> Result<String, Fault> {
        let name = words.next("a name")?.to_owned();
        let operations = self.operations.iter().flatten();
        if operations.chain(&self.late).any(|other| *other == name) {
            return Err(Fault::NameTwice { name });
        }
        Ok(name)
    }

    fn deliver(&self, words: &mut Words<'_>) -> Result<Action, Fault> {
        let name = words.next("the name of a late answer")?;
        let late = self.late.iter().position(|late| late == name);
        let late = late.map(LateName).ok_or_else(|| Fault::NoSuchName {
            name: name.to_owned(),
        })?;
        Ok(Action::Deliver { late })
    }

    /// `A k1 at AB`, perhaps with `lost-answer` and `as NAME`.
    fn operate(&mut self, request: Request, words: &mut Words<'_>) -> Result<Action, Fault> {
        let coordinator = words.node(&self.boots)?;
        let accepted = "k1 or k2";
        let word = words.next(accepted)?;
        let key = (0..KEYS).find(|key| word == format!("k{}", key + 1));
        let key = key.ok_or_else(|| unexpected(word, accepted))? as u8;
        let reached = self.reached(words)?;
        let name = if words.take("as") {
            Some(self.new_name(words)?)
        } else {
            None
        };
        self.operations.push(name);
        Ok(Action::Operate {
            name: OperationName(self.operations.len() - 1),
            coordinator,
            key,
            request,
            reached,
        })
    }

    /// `at AB`, perhaps with `lost-answer`.
    fn reached(&self, words: &mut Words<'_>) -> Result<Reached, Fault> {
        words.keyword("at")?;
        Ok(Reached {
            at: words.nodes(&self.boots)?,
            answers_return: !words.take("lost-answer"),
        })
    }

    /// The named operation; the last one if `next` comes instead of a name.
    fn operation_before(
        &self,
        next: &'static str,
        words: &mut Words<'_>,
    ) -> Result<OperationName, Fault> {
        if words.is_next(next) {
            return self.last_operation();
        }
        let name = words.next("the name of an operation")?;
        self.operation_named(name)
    }

    fn last_operation(&self) -> Result<OperationName, Fault> {
        let last = self.operations.len().checked_sub(1);
        last.map(OperationName).ok_or(Fault::NoOperation)
    }

    fn operation_named(&self, name: &str) -> Result<OperationName, Fault> {
        let mut operations = self.operations.iter();
        let place = operations.position(|operation| operation.as_deref() == Some(name));
        place.map(OperationName).ok_or_else(|| Fault::NoSuchName {
            name: name.to_owned(),
        })
    }

    fn operation_or_last(&self, words: &mut Words<'_>) -> Result<OperationName, Fault> {
        match words.maybe() {
            Some(name) => self.operation_named(name),
            None => self.last_operation(),
        }
    }

    fn expectation(&self, words: &mut Words<'_>) -> Result<Expectation, Fault> {
        let operation = |name, is| Expectation::Operation { name, is };
        let word = words.next(EXPECTATIONS)?;
        Ok(match word {
            "lost" => Expectation::Lost {
                times: usize::from(words.number()?),
            },
            "acknowledged" => operation(
                self.operation_or_last(words)?,
                OperationExpectation::Acknowledged,
            ),
            "unanswered" => operation(
                self.operation_or_last(words)?,
                OperationExpectation::Unanswered,
            ),
            "unknown" => operation(
                self.operation_or_last(words)?,
                OperationExpectation::Unknown,
            ),
            "found" => {
                let written = words.maybe().map(|name| self.operation_named(name));
                let is = OperationExpectation::Found(written.transpose()?);
                operation(self.last_operation()?, is)
            }
            "missing" => operation(self.last_operation()?, OperationExpectation::Missing),
            "refused" => operation(
                self.operation_before("at", words)?,
                self.replied(Reply::WrongConfig, words)?,
            ),
            "newer" => operation(
                self.operation_before("at", words)?,
                self.replied(Reply::Newer, words)?,
            ),
            letter if letter.len() == 1 => {
                let node = Words::of(letter).node(&self.boots)?;
                let is = self.node_expectation(words)?;
                Expectation::Node { node, is }
            }
            other => return Err(unexpected(other, EXPECTATIONS)),
        })
    }

    fn replied(&self, reply: Reply, words: &mut Words<'_>) -> Result<OperationExpectation, Fault> {
        words.keyword("at")?;
        let at = words.nodes(&self.boots)?;
        Ok(OperationExpectation::Replied { at, reply })
    }

    fn node_expectation(&self, words: &mut Words<'_>) -> Result<NodeExpectation, Fault> {
        let boots = &self.boots;
        let word = words.next(NODE_EXPECTATIONS)?;
        Ok(match word {
            "in" => NodeExpectation::In(Some(words.config(boots)?)),
            "nowhere" => NodeExpectation::In(None),
            "full" => NodeExpectation::Full(true),
            "seen" => NodeExpectation::Seen(true),
            "not" => match words.next("full or seen")? {
                "full" => NodeExpectation::Full(false),
                "seen" => NodeExpectation::Seen(false),
                other => return Err(unexpected(other, "full or seen")),
            },
            "carry" => NodeExpectation::Carry(words.config_or_none(boots)?),
            "preds" => NodeExpectation::Preds(words.configs(boots)?),
            "covered" => NodeExpectation::Covered(words.configs(boots)?),
            "top" => NodeExpectation::Top(words.config_or_none(boots)?),
            "root" => NodeExpectation::Generation(words.number()?),
            "empty" => NodeExpectation::Empty,
            "holds" => {
                let name = words.next("the name of an operation")?;
                NodeExpectation::Holds(self.operation_named(name)?)
            }
            other => return Err(unexpected(other, NODE_EXPECTATIONS)),
        })
    }
}
