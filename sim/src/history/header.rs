//! What a history is about.

use serde::{Deserialize, Serialize};

use super::promises::Promises;

/// Version of the format on disk.
pub const FORMAT: u32 = 1;

/// What a history is about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version of the format: [`FORMAT`].
    pub format: u32,
    /// Seed of the run that it records, if one had been drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Command line that makes the same history again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
    /// The cluster.
    pub cluster: Cluster,
    /// How far times can be trusted.
    #[serde(default)]
    pub clocks: Clocks,
    /// How long a tombstone lives; none if not known: then any delete may have been forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tombstone_life_ns: Option<u64>,
    /// Whether [`super::Event::Evictions`] are complete. If not, every miss may be an eviction.
    #[serde(default)]
    pub evictions_recorded: bool,
    /// Promises in force; none leaves the choice to whoever judges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promises: Option<Promises>,
}

/// A cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Names of all nodes that there ever were. Nodes are named by their place here. All are members from the start but
    /// those that have a [`super::Event::Join`] before any [`super::Event::Leave`].
    pub nodes: Vec<String>,
    /// N: owners per key, when there are enough nodes.
    pub replication_factor: u8,
    /// R, for N owners.
    pub read_quorum: u8,
    /// W, for N owners.
    pub write_quorum: u8,
}

/// How far times can be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clocks {
    /// How far a recorded time may be off. Zero under simulation.
    #[serde(default)]
    pub uncertainty_ns: u64,
    /// How far a node's clock may be off the history's, either way, unless [`super::Event::Clock`] says that it was
    /// set further off.
    #[serde(default)]
    pub bound_ns: u64,
    /// Unix milliseconds at the history's time zero: makes versions comparable with times. None if not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch_millis: Option<u64>,
    /// How long after an operation of unknown outcome completed its coordinator may still stamp it (which is not to say
    /// that it may not take effect later under an earlier stamp). Together with the epoch it bounds the version that such a
    /// write may have. None if not known: then it may have any version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamps_within_ns: Option<u64>,
}

impl Default for Header {
    fn default() -> Self {
        Self {
            format: FORMAT,
            seed: None,
            replay: None,
            cluster: Cluster::default(),
            clocks: Clocks::default(),
            tombstone_life_ns: None,
            evictions_recorded: true,
            promises: None,
        }
    }
}

/// Three nodes and the default quorums.
impl Default for Cluster {
    fn default() -> Self {
        Self {
            nodes: ["node1", "node2", "node3"].map(str::to_owned).into(),
            replication_factor: 3,
            read_quorum: 2,
            write_quorum: 2,
        }
    }
}

/// The quorum of `owners` when `configured` is meant for `replication_factor` of them: a majority where there are
/// fewer.
const fn quorum(configured: u8, owners: u8, replication_factor: u8) -> u8 {
    if owners < replication_factor {
        owners / 2 + 1
    } else {
        configured
    }
}

impl Cluster {
    /// Owners of a key in a ring of so many members.
    #[must_use]
    pub fn owners_in(&self, members: usize) -> u8 {
        u8::try_from(members).map_or(self.replication_factor, |members| {
            members.min(self.replication_factor)
        })
    }

    /// R for so many owners.
    #[must_use]
    pub const fn read_quorum_of(&self, owners: u8) -> u8 {
        quorum(self.read_quorum, owners, self.replication_factor)
    }

    /// W for so many owners.
    #[must_use]
    pub const fn write_quorum_of(&self, owners: u8) -> u8 {
        quorum(self.write_quorum, owners, self.replication_factor)
    }

    /// How many of so many owners may lose their memory at once without losing what was acknowledged: all that are not
    /// needed for a cover, which meets every write quorum and every other cover.
    #[must_use]
    pub fn losses_tolerated(&self, owners: u8) -> u8 {
        let cover = (owners + 1)
            .saturating_sub(self.write_quorum_of(owners))
            .max(owners / 2 + 1);
        owners.saturating_sub(cover)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_owners_tolerate_one_loss_and_fewer_tolerate_none() {
        let cluster = Cluster::default();
        let tolerated = [0, 1, 2, 3].map(|owners| cluster.losses_tolerated(owners));
        assert_eq!(tolerated, [0, 0, 0, 1]);
        assert_eq!(
            [1, 2, 3].map(|owners| cluster.write_quorum_of(owners)),
            [1, 2, 2]
        );
        assert_eq!(
            [1, 2, 3, 9].map(|members| cluster.owners_in(members)),
            [1, 2, 3, 3]
        );
    }
}
