//! Configs: who owns the slot, under which number, in which line of descent.

use std::fmt;

use crate::rules::Rules;

/// Owners of a slot at most.
pub const OWNERS_MAX: usize = 3;

/// A node, whatever its boot: A is 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u8);

impl NodeId {
    /// Its place in a list of all nodes.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", char::from(b'A' + self.0))
    }
}

/// A line of descent of data; a higher one wins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Root {
    /// How often the slot was declared lost on the way.
    pub generation: u8,
    /// Tells roots of the same generation apart.
    pub id: u16,
}

/// One life of a node's memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// How often it had lost its memory.
    pub boot: u8,
}

impl fmt::Display for Member {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.node)?;
        if self.boot > 0 {
            write!(formatter, "{}", self.boot)?;
        }
        Ok(())
    }
}

/// Owners with their boots, under a number, in a root. The derived order is the order of the rule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Config {
    /// Its line of descent.
    pub root: Root,
    /// Its number in it.
    pub number: u8,
    count: u8,
    owners: [Member; OWNERS_MAX],
}

impl Config {
    /// At most [`OWNERS_MAX`] owners, the first of them first.
    ///
    /// # Panics
    ///
    /// If there are more.
    #[must_use]
    pub fn new(root: Root, number: u8, owners: &[Member]) -> Self {
        assert!(owners.len() <= OWNERS_MAX, "at most {OWNERS_MAX} owners");
        let mut all = [Member {
            node: NodeId(0),
            boot: 0,
        }; OWNERS_MAX];
        all[..owners.len()].copy_from_slice(owners);
        Self {
            root,
            number,
            count: owners.len() as u8,
            owners: all,
        }
    }

    /// Its owners, in order.
    #[must_use]
    pub fn owners(&self) -> &[Member] {
        &self.owners[..usize::from(self.count)]
    }

    /// How many owners a write, or a read, needs: a majority.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.owners().len() / 2 + 1
    }

    /// The fewest owners that meet every write quorum.
    #[must_use]
    pub fn meets_writes(&self) -> usize {
        self.owners().len() - self.quorum() + 1
    }

    /// The fewest owners that meet every write quorum and one another.
    #[must_use]
    pub fn cover(&self, rules: &Rules) -> usize {
        if rules.covers_meet {
            self.meets_writes().max(self.owners().len() / 2 + 1)
        } else {
            self.meets_writes()
        }
    }

    /// Whether it names this life of a node.
    #[must_use]
    pub fn names(&self, member: Member) -> bool {
        self.owners().contains(&member)
    }

    /// Whether it names a node, whatever its boot.
    #[must_use]
    pub fn names_node(&self, node: NodeId) -> bool {
        self.owners().iter().any(|owner| owner.node == node)
    }

    /// The same owners under the same number in another root.
    #[must_use]
    pub fn in_root(self, root: Root) -> Self {
        Self { root, ..self }
    }
}

/// `2 ABD`, with boots other than 0 as `2 AB1D`, and roots after the first as `2 ABD root 1`.
impl fmt::Display for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ", self.number)?;
        for owner in self.owners() {
            write!(formatter, "{owner}")?;
        }
        if self.root.generation > 0 {
            write!(formatter, " root {}", self.root.generation)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Adds to a set that is a sorted list.
pub(crate) fn add(set: &mut Vec<Config>, config: Config) {
    if let Err(at) = set.binary_search(&config) {
        set.insert(at, config);
    }
}
