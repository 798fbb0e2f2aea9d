//! What is under way between nodes.

use std::fmt;

use super::{Data, Entry, OpId, Said, Version};
use crate::config::{Config, Member, NodeId};

/// What an operation does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Request {
    /// Reads the newest value.
    Read,
    /// Writes a value.
    Write,
    /// Writes a tombstone.
    Delete,
}

/// How far an operation is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// It stores what it writes.
    Write,
    /// It asks for what there is.
    Read,
    /// It stores what it read.
    WriteBack(Entry),
    /// It was acknowledged, or has returned.
    Done,
    /// It will never be.
    Dead,
}

/// Who pulls, in which stay in which config. Its answer counts only in that stay.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Pulling {
    /// Who pulls.
    pub by: Member,
    /// The number of its stay.
    pub stay: u16,
    /// The config of the stay.
    pub config: Config,
}

/// What an owner that stands behind an answer says of itself and of the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Vote {
    /// Who answers.
    pub node: NodeId,
    /// It is full in the config of the operation.
    pub full: bool,
    /// What it carries.
    pub carry: Option<Config>,
    /// Reads only: what it holds.
    pub held: Option<Entry>,
}

/// What a replica answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Answer {
    /// It has done it, and counts.
    Ok(Vote),
    /// It holds something newer.
    Newer(Version),
    /// It is in another config.
    WrongConfig,
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok(vote) => match (vote.full, vote.carry) {
                (true, _) => formatter.write_str("agrees, full"),
                (false, Some(carry)) => write!(formatter, "agrees, carrying {carry}"),
                (false, None) => formatter.write_str("agrees, neither full nor carrying"),
            },
            Self::Newer(version) => write!(formatter, "holds {version}, which is newer"),
            Self::WrongConfig => formatter.write_str("refuses, it is in another config"),
        }
    }
}

/// One message.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Message {
    /// Asks for all that a node holds.
    Pull {
        /// Who asks.
        pulling: Pulling,
        /// Who is asked.
        from: NodeId,
    },
    /// The answer to it.
    Pulled {
        /// Who asked.
        pulling: Pulling,
        /// What the answerer says of itself.
        said: Said,
        /// All that it holds.
        data: Data,
        /// It is full in the config of the pull.
        full: bool,
    },
    /// The answer to a node without a config.
    Joined {
        /// Who asked.
        joiner: Member,
        /// The answerer's config.
        config: Config,
        /// What the data in it may not cover, as far as the answerer knows.
        preds: Vec<Config>,
        /// The answerer is full.
        full: bool,
    },
    /// Asks an owner to store something.
    Store {
        /// For which operation.
        operation: OpId,
        /// In which of its attempts.
        attempt: u8,
        /// Under which config.
        config: Config,
        /// Under which key.
        key: u8,
        /// What to store.
        entry: Entry,
        /// Who is asked.
        at: NodeId,
        /// A read stores what it found, which a newer version satisfies.
        back: bool,
    },
    /// Asks an owner for what it holds.
    Fetch {
        /// For which operation.
        operation: OpId,
        /// In which of its attempts.
        attempt: u8,
        /// Under which config.
        config: Config,
        /// Under which key.
        key: u8,
        /// Who is asked.
        at: NodeId,
    },
    /// The answer of an owner to its coordinator.
    Answered {
        /// For which operation.
        operation: OpId,
        /// To which of its attempts.
        attempt: u8,
        /// The answer.
        answer: Answer,
    },
}
