//! The words of one line.

use std::str::SplitWhitespace;

use super::{Fault, NamedConfig};
use crate::config::{Member, NodeId, OWNERS_MAX};

/// The boots that nodes have at a line.
pub(super) type Boots = [u8];

/// What is left of a line.
pub(super) struct Words<'a> {
    rest: SplitWhitespace<'a>,
}

impl<'a> Words<'a> {
    pub(super) fn of(line: &'a str) -> Self {
        Self {
            rest: line.split_whitespace(),
        }
    }

    /// The next word, which has to be there.
    pub(super) fn next(&mut self, accepted: &'static str) -> Result<&'a str, Fault> {
        self.rest.next().ok_or(Fault::Unexpected {
            word: None,
            accepted,
        })
    }

    /// The next word, if there is one.
    pub(super) fn maybe(&mut self) -> Option<&'a str> {
        self.rest.next()
    }

    /// Whether the next word is this one.
    pub(super) fn is_next(&self, word: &str) -> bool {
        self.rest.clone().next() == Some(word)
    }

    /// Takes the next word if it is this one.
    pub(super) fn take(&mut self, word: &str) -> bool {
        let is_next = self.is_next(word);
        if is_next {
            self.rest.next();
        }
        is_next
    }

    /// The next word has to be this one.
    pub(super) fn keyword(&mut self, word: &'static str) -> Result<(), Fault> {
        let next = self.next(word)?;
        if next == word {
            Ok(())
        } else {
            Err(unexpected(next, word))
        }
    }

    /// The line has to end here.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        match self.rest.next() {
            Some(word) => Err(unexpected(word, "the end of the line")),
            None => Ok(()),
        }
    }

    pub(super) fn number(&mut self) -> Result<u8, Fault> {
        let accepted = "a number up to 255";
        let word = self.next(accepted)?;
        word.parse().map_err(|_| unexpected(word, accepted))
    }

    /// One letter.
    pub(super) fn node(&mut self, boots: &Boots) -> Result<NodeId, Fault> {
        let accepted = "the letter of a node";
        let word = self.next(accepted)?;
        let mut letters = word.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), None) => node(letter, boots),
            _ => Err(unexpected(word, accepted)),
        }
    }

    /// Letters, each once.
    pub(super) fn nodes(&mut self, boots: &Boots) -> Result<Vec<NodeId>, Fault> {
        let word = self.next("letters of nodes")?;
        let mut nodes = vec![];
        for letter in word.chars() {
            let node = node(letter, boots)?;
            if nodes.contains(&node) {
                return Err(Fault::NodeTwice { letter });
            }
            nodes.push(node);
        }
        Ok(nodes)
    }

    /// `from` and another node.
    pub(super) fn from(&mut self, asking: NodeId, boots: &Boots) -> Result<NodeId, Fault> {
        self.keyword("from")?;
        let from = self.node(boots)?;
        if from == asking {
            return Err(Fault::OwnAnswer {
                letter: char::from(b'A' + from.0),
            });
        }
        Ok(from)
    }

    /// A number and owners.
    pub(super) fn config(&mut self, boots: &Boots) -> Result<NamedConfig, Fault> {
        let number = self.number()?;
        let word = self.next(OWNERS)?;
        Ok(NamedConfig {
            number,
            owners: owners(word, boots)?,
        })
    }

    /// A config, or `none`.
    pub(super) fn config_or_none(&mut self, boots: &Boots) -> Result<Option<NamedConfig>, Fault> {
        if self.take("none") {
            return Ok(None);
        }
        self.config(boots).map(Some)
    }

    /// Configs in any order, or `none`.
    pub(super) fn configs(&mut self, boots: &Boots) -> Result<Vec<NamedConfig>, Fault> {
        let mut configs = vec![];
        let first = self.config_or_none(boots)?;
        let is_none = first.is_none();
        configs.extend(first);
        while !is_none && self.rest.clone().next().is_some() {
            configs.push(self.config(boots)?);
        }
        configs.sort();
        Ok(configs)
    }

    /// The first ring's owners.
    pub(super) fn first_owners(&mut self, boots: &Boots) -> Result<Vec<NodeId>, Fault> {
        let owners = self.nodes(boots)?;
        if owners.len() > OWNERS_MAX {
            let word = owners.iter().map(NodeId::to_string).collect();
            return Err(Fault::Unexpected {
                word: Some(word),
                accepted: OWNERS,
            });
        }
        Ok(owners)
    }
}

const OWNERS: &str = "one to three owners";

pub(super) fn unexpected(word: &str, accepted: &'static str) -> Fault {
    Fault::Unexpected {
        word: Some(word.to_owned()),
        accepted,
    }
}

fn node(letter: char, boots: &Boots) -> Result<NodeId, Fault> {
    let nodes = boots.len();
    let index = u32::from(letter).wrapping_sub(u32::from('A'));
    match u8::try_from(index) {
        Ok(index) if usize::from(index) < nodes => Ok(NodeId(index)),
        _ => Err(Fault::NoSuchNode { letter, nodes }),
    }
}

/// Letters, each with the boot that it has now, or with one that it has had.
fn owners(word: &str, boots: &Boots) -> Result<Vec<Member>, Fault> {
    let mut owners: Vec<Member> = vec![];
    let mut letters = word.chars().peekable();
    while let Some(letter) = letters.next() {
        let node = node(letter, boots)?;
        if owners.iter().any(|owner| owner.node == node) {
            return Err(Fault::NodeTwice { letter });
        }
        let now = boots[node.index()];
        let digit = letters.next_if(char::is_ascii_digit);
        let boot = digit
            .and_then(|digit| digit.to_digit(10))
            .map(|boot| boot as u8);
        let boot = boot.unwrap_or(now);
        if boot > now {
            return Err(Fault::NoSuchBoot { letter, boot, now });
        }
        owners.push(Member { node, boot });
    }
    if owners.len() > OWNERS_MAX {
        return Err(unexpected(word, OWNERS));
    }
    Ok(owners)
}
