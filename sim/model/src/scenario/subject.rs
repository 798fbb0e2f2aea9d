//! What plays a scenario.

use super::{Action, NamedConfig, OperationName};
use crate::config::NodeId;

/// Something that does steps and can be looked at: the model, or production's state machine.
pub trait Subject {
    /// Does a step. False if a rule forbids it; nothing may have changed then.
    fn act(&mut self, action: &Action) -> bool;

    /// What a node is like.
    fn node(&self, node: NodeId) -> NodeState;

    /// How far an operation is that was begun.
    fn operation(&self, name: OperationName) -> OperationState;

    /// How often the slot was declared lost.
    fn losses(&self) -> usize;

    /// A promise that the subject itself has found broken.
    fn violation(&self) -> Option<String>;
}

/// What a node is like. Configs are of the root that it is in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeState {
    /// The config that it is in.
    pub config: Option<NamedConfig>,
    /// How often the slot was declared lost on the way to its root.
    pub generation: u8,
    /// It is full.
    pub full: bool,
    /// What it carries.
    pub carry: Option<NamedConfig>,
    /// Its preds, in any order.
    pub preds: Vec<NamedConfig>,
    /// The preds that it covered, in any order.
    pub covered: Vec<NamedConfig>,
    /// The highest config in which its memory was full.
    pub top: Option<NamedConfig>,
    /// It did something here that counts for others.
    pub seen: bool,
    /// What it holds, by key.
    pub data: Vec<Option<Held>>,
}

/// A value or a tombstone, by the operation that wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// Who wrote it.
    pub by: OperationName,
    /// Whether it is a tombstone.
    pub tombstone: bool,
}

/// How an operation is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OperationState {
    /// How far it is.
    pub progress: Progress,
    /// What owners answered in its last step, in that order.
    pub replies: Vec<(NodeId, Reply)>,
}

/// How far an operation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// It has no quorum yet.
    Open,
    /// A write has a quorum.
    Acknowledged,
    /// A read has a quorum, and returned this.
    Returned(Option<Held>),
    /// It has ended without an answer, or its coordinator has.
    Unknown,
}

/// How an owner answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// It did what it was asked, and counts.
    Ok,
    /// It holds something newer.
    Newer,
    /// It is in another config.
    WrongConfig,
}
