//! Scenarios: schedules as files, which the model and production both play.
//!
//! ```text
//! file ─► Scenario::parse (lines ─► steps, names and boots resolved) ─► play ─► Subject (the model, or production)
//!                                                                       └─ expectations, promises ─► Failure
//! ```
//!
//! The format is in this package's README. A step is atomic; what it means is a matter of the [`Subject`], whether it had to
//! take effect and whether what followed was right is a matter of [`play()`].

mod fault;
mod parse;
mod play;
mod subject;
mod words;

pub use fault::{Fault, ParseError};
pub use play::{Failure, Unmet, play};
pub use subject::{Held, NodeState, OperationState, Progress, Reply, Subject};

use std::fmt;

use crate::{
    config::{Member, NodeId},
    rules::Bug,
    world::Request,
};

/// A schedule with what is expected of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scenario {
    /// How many nodes there are.
    pub nodes: usize,
    /// How many operations are begun in it.
    pub operations: usize,
    /// The planted bugs with which it must fail.
    pub catches: Vec<Bug>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// One line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Its number, from 1 on.
    pub line: usize,
    /// As it was written.
    pub text: String,
    /// What it says.
    pub kind: Kind,
}

/// What a line says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Something happens, and takes effect.
    Do(Action),
    /// Something is tried, and may be forbidden.
    Try(Action),
    /// Something is tried that a rule forbids: nothing changes.
    Cannot(Action),
    /// Something is so.
    Expect(Expectation),
}

/// A config within the root that its node is in.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NamedConfig {
    /// Its number.
    pub number: u8,
    /// Its owners, in order, with their boots.
    pub owners: Vec<Member>,
}

impl fmt::Display for NamedConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ", self.number)?;
        self.owners
            .iter()
            .try_for_each(|owner| write!(formatter, "{owner}"))
    }
}

/// An operation of a scenario, by its place in the file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OperationName(pub usize);

/// An answer that is under way, by its place in the file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LateName(pub usize);

/// What becomes of the answer to a pull or to a joiner.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reach {
    /// It arrives at once.
    AtOnce,
    /// It is made at once, and arrives when it is delivered.
    Late(LateName),
    /// It is made, and never arrives.
    Never,
}

/// The owners that a request reaches, one after the other.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reached {
    /// Which owners, each once.
    pub at: Vec<NodeId>,
    /// Whether their answers return, each before the next owner is reached.
    pub answers_return: bool,
}

/// One atomic step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Rule 14: a first ring forms.
    First {
        /// The owners of its config 1.
        owners: Vec<NodeId>,
    },
    /// Rules 1 and 2: a node moves to a config of its own making.
    Adopt {
        /// The node.
        node: NodeId,
        /// The config.
        config: NamedConfig,
    },
    /// The same, to the config that another node is in.
    AdoptFrom {
        /// The node.
        node: NodeId,
        /// The other.
        from: NodeId,
    },
    /// Rule 13: a node without a config takes that of another.
    Join {
        /// The node.
        node: NodeId,
        /// The other.
        from: NodeId,
        /// What becomes of the answer.
        answer: Reach,
    },
    /// Rules 9 to 12: a node pulls from another.
    Pull {
        /// The node.
        node: NodeId,
        /// The other.
        from: NodeId,
        /// What becomes of the answer.
        answer: Reach,
    },
    /// A late answer arrives.
    Deliver {
        /// Which.
        late: LateName,
    },
    /// A node restarts and has lost its memory.
    Crash {
        /// The node.
        node: NodeId,
    },
    /// Rule 15: a node has heard all owners of a config that are full in it.
    Settle {
        /// The node.
        node: NodeId,
        /// The config.
        config: NamedConfig,
    },
    /// Rule 16: a node declares the slot lost.
    Declare {
        /// The node.
        node: NodeId,
        /// How many members of the ring, itself included, must have answered it.
        present: usize,
    },
    /// Rule 17: a node enters the higher root of another.
    Follow {
        /// The node.
        node: NodeId,
        /// The other.
        from: NodeId,
    },
    /// Rules 4 to 8: a node begins an operation under its own config.
    Operate {
        /// The name of the operation.
        name: OperationName,
        /// The coordinator.
        coordinator: NodeId,
        /// The key, from 0 on.
        key: u8,
        /// What it does.
        request: Request,
        /// The owners that its requests reach.
        reached: Reached,
    },
    /// The requests of the present attempt reach more owners.
    Send {
        /// The operation.
        name: OperationName,
        /// Those owners.
        reached: Reached,
    },
    /// Rule 8: the coordinator tries again under its present config, with the same stamp.
    Again {
        /// The operation.
        name: OperationName,
        /// The owners that its requests reach.
        reached: Reached,
    },
}

/// What must be so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expectation {
    /// Of a node.
    Node {
        /// The node.
        node: NodeId,
        /// What of it.
        is: NodeExpectation,
    },
    /// Of an operation.
    Operation {
        /// Which.
        name: OperationName,
        /// What of it.
        is: OperationExpectation,
    },
    /// So many losses have been declared.
    Lost {
        /// How many.
        times: usize,
    },
}

/// What must be so of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeExpectation {
    /// It is in this config; in none.
    In(Option<NamedConfig>),
    /// It is full, or not.
    Full(bool),
    /// It carries this config; none.
    Carry(Option<NamedConfig>),
    /// Its preds are these, lowest first.
    Preds(Vec<NamedConfig>),
    /// The preds that it covered are these, lowest first.
    Covered(Vec<NamedConfig>),
    /// The highest config in which its memory was full is this one; there is none.
    Top(Option<NamedConfig>),
    /// It did something here that counts for others, or not.
    Seen(bool),
    /// Its root was declared so often.
    Generation(u8),
    /// It holds nothing.
    Empty,
    /// It holds what an operation wrote.
    Holds(OperationName),
}

/// What must be so of an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OperationExpectation {
    /// A write was acknowledged.
    Acknowledged,
    /// It has no quorum yet.
    Unanswered,
    /// It has ended, and nobody knows whether it took effect.
    Unknown,
    /// A read returned what an operation wrote; what was acknowledged last, if none is named.
    Found(Option<OperationName>),
    /// A read found nothing, or a tombstone.
    Missing,
    /// These owners answered the last requests so.
    Replied {
        /// Which.
        at: Vec<NodeId>,
        /// How.
        reply: Reply,
    },
}
