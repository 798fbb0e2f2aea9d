//! What is wrong with a scenario file.

use std::{error::Error, fmt};

/// A line that says nothing that can be played.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// Its number, from 1 on.
    pub line: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Something else has to stand here.
    Unexpected {
        /// What stands here; nothing, if the line ends.
        word: Option<String>,
        /// What may.
        accepted: &'static str,
    },
    /// A node that is not among the nodes of the file.
    NoSuchNode {
        /// Its letter.
        letter: char,
        /// How many nodes there are, from A on.
        nodes: usize,
    },
    /// A node stands twice where each may stand once.
    NodeTwice {
        /// Its letter.
        letter: char,
    },
    /// A node that asks itself.
    OwnAnswer {
        /// Its letter.
        letter: char,
    },
    /// A boot that the node has not reached yet.
    NoSuchBoot {
        /// Its letter.
        letter: char,
        /// The boot that is named.
        boot: u8,
        /// The boot that it has.
        now: u8,
    },
    /// A name that is used before something bears it.
    NoSuchName {
        /// The name.
        name: String,
    },
    /// A name that something bears already.
    NameTwice {
        /// The name.
        name: String,
    },
    /// Something is said of the last operation, and there is none.
    NoOperation,
    /// No planted bug has this name.
    NoSuchBug {
        /// The name.
        name: String,
    },
    /// The nodes have to be named first, and once.
    NodesFirst,
}

impl fmt::Display for ParseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: {}", self.line, self.fault)
    }
}

impl Error for ParseError {}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected { word, accepted } => match word {
                Some(word) => write!(formatter, "\"{word}\" where {accepted} is accepted"),
                None => write!(formatter, "the line ends where {accepted} is accepted"),
            },
            Self::NoSuchNode { letter, nodes } => {
                let last = char::from(b'A' + nodes.saturating_sub(1) as u8);
                write!(formatter, "no node {letter}, only A to {last}")
            }
            Self::NodeTwice { letter } => write!(formatter, "node {letter} stands there twice"),
            Self::OwnAnswer { letter } => write!(formatter, "node {letter} cannot ask itself"),
            Self::NoSuchBoot { letter, boot, now } => {
                write!(formatter, "node {letter} has boot {now}, not yet {boot}")
            }
            Self::NoSuchName { name } => write!(formatter, "nothing before is called {name}"),
            Self::NameTwice { name } => write!(formatter, "something before is called {name}"),
            Self::NoOperation => formatter.write_str("no operation before this line"),
            Self::NoSuchBug { name } => write!(formatter, "no planted bug is called {name}"),
            Self::NodesFirst => {
                formatter.write_str("the first line, and no other, names the nodes")
            }
        }
    }
}
