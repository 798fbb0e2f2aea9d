//! At most one configuration of a slot and root can acknowledge writes, and then no other one can serve reads.
//!
//! **Violation**: at one moment a write quorum of the owners of one configuration would answer under it, and a read or write
//! quorum of those of another one as well, each with an owner that is full, or with a cover that carries the same
//! configuration.
//!
//! **Not concluded**: between two looks.

use std::collections::BTreeMap;

use shard_cache::{
    key::Slot,
    ring::slot::{Carry, Configuration, Vote},
};

use super::Glimpse;
use crate::{history, options::Options};

/// The quorums, by which it is judged.
pub(super) struct OneConfiguration {
    slots: u16,
    cluster: history::Cluster,
}

impl OneConfiguration {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            slots: options.slots,
            cluster: history::Cluster {
                nodes: Vec::new(),
                replication_factor: options.replication_factor,
                read_quorum: options.quorum,
                write_quorum: options.write_quorum,
            },
        }
    }

    pub(super) fn look(&self, glimpses: &[Glimpse]) -> Vec<String> {
        let slots = (0..self.slots).map(Slot);
        slots
            .filter_map(|slot| self.look_at(slot, glimpses))
            .collect()
    }

    fn look_at(&self, slot: Slot, glimpses: &[Glimpse]) -> Option<String> {
        let mut present = glimpses.iter().map(|it| it.gates.configuration(slot));
        let first = present.next()?;
        if present.all(|other| other == first) {
            return None;
        }
        let mut votes: BTreeMap<&Configuration, Vec<Vote>> = BTreeMap::new();
        for glimpse in glimpses {
            if let Some(configuration) = glimpse.gates.configuration(slot) {
                let vote = glimpse.gates.vote(slot, configuration.id());
                votes.entry(configuration).or_default().extend(vote);
            }
        }
        let quorums = |configuration: &Configuration| {
            let owners = u8::try_from(configuration.owners().len()).unwrap_or(u8::MAX);
            let (read, write) = (
                self.cluster.read_quorum_of(owners),
                self.cluster.write_quorum_of(owners),
            );
            (usize::from(read.min(write)), usize::from(write))
        };
        let able = |least: fn((usize, usize)) -> usize| {
            votes.iter().filter(move |(configuration, votes)| {
                votes.len() >= least(quorums(configuration)) && stand_for_all(votes)
            })
        };
        for (writing, _) in able(|(_, write)| write) {
            let mut others = able(|(any, _)| any)
                .filter(|(other, _)| other.root() == writing.root() && *other != writing);
            if let Some((other, _)) = others.next() {
                return Some(format!(
                    "{slot} can acknowledge writes in {writing:?}, and serve in {other:?} as well"
                ));
            }
        }
        None
    }
}

/// Whether votes stand for everything acknowledged below: one of them is full, or enough carry the same configuration.
fn stand_for_all(votes: &[Vote]) -> bool {
    let carries: Vec<Carry> = votes.iter().filter_map(|vote| vote.carry).collect();
    let is_enough = |carry: &Carry| {
        let same = carries.iter().filter(|other| *other == carry).count();
        same >= usize::from(carry.cover)
    };
    votes.iter().any(|vote| vote.is_full) || carries.iter().any(is_enough)
}
