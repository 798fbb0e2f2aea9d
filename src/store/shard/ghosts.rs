//! Ghosts: the versions of values that were here and are not any more.
//!
//! A value that expires or is evicted leaves its version, so that an older copy elsewhere is known to be out of date. Of
//! more ghosts than there is room for the oldest is folded into a mark of its slot: the highest version that a key without
//! any trace may have had.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
};

use super::super::entry::Position;
use crate::version::Version;

/// The version of a value that was here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) struct Ghost {
    /// Of the value.
    pub(in crate::store) version: Version,
    /// The value was given up here; of one that is known by hearsay another owner's copy may still be taken over.
    pub(in crate::store) is_own: bool,
    /// How it went: for people, nothing is decided by it.
    pub(in crate::store) passing: Passing,
}

/// How a value went of which a ghost is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) enum Passing {
    /// It made room for others, or found none here.
    Evicted,
    /// It was past its expiry.
    Expired,
    /// It was deleted, and the tombstone has outlived its use.
    Deleted,
    /// Elsewhere, in one of these ways.
    Elsewhere,
}

impl Ghost {
    /// Of a value that was given up here.
    pub(in crate::store) const fn own(version: Version, passing: Passing) -> Self {
        Self {
            version,
            is_own: true,
            passing,
        }
    }

    /// Of one that was never held here, or went elsewhere.
    pub(in crate::store) const fn heard_of(version: Version, passing: Passing) -> Self {
        Self {
            version,
            is_own: false,
            passing,
        }
    }
}

/// The ghosts of one shard. Two keys of one position share one.
#[derive(Debug, Default)]
pub(super) struct Ghosts {
    held: BTreeMap<Position, Ghost>,
    /// In the order in which they came. Some of it is stale: a ghost that went, or came again.
    order: VecDeque<(Position, Version)>,
}

impl Ghosts {
    pub(super) fn get(&self, position: Position) -> Option<Ghost> {
        self.held.get(&position).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Enters a ghost, unless one of that version or a newer one is there. Returns the version that went for it, and the
    /// one that came.
    pub(super) fn enter(&mut self, position: Position, ghost: Ghost) -> [Option<Version>; 2] {
        match self.held.get_mut(&position) {
            Some(held) if held.version > ghost.version => [None, None],
            Some(held) if held.version == ghost.version => {
                if ghost.is_own && !held.is_own {
                    *held = ghost;
                }
                [None, None]
            }
            Some(_) | None => {
                let before = self.held.insert(position, ghost);
                self.order.push_back((position, ghost.version));
                [before.map(|before| before.version), Some(ghost.version)]
            }
        }
    }

    /// A newer record has come: the ghost goes.
    pub(super) fn lay(&mut self, position: Position) -> Option<Ghost> {
        self.held.remove(&position)
    }

    /// Forgets the oldest while there are more than `most`; returns where it was, and it.
    pub(super) fn forget_oldest(&mut self, most: usize) -> Option<(Position, Ghost)> {
        // What is stale takes room as well.
        while self.held.len() > most || self.order.len() > most.saturating_mul(2) {
            let (position, version) = self.order.pop_front()?;
            let held = self.held.get(&position);
            if let Some(ghost) = held.filter(|held| held.version == version).copied() {
                self.held.remove(&position);
                return Some((position, ghost));
            }
        }
        None
    }

    /// Those of some positions, in order.
    pub(super) fn range(
        &self,
        positions: Range<Position>,
    ) -> impl Iterator<Item = (Position, Ghost)> + '_ {
        let held = self.held.range(positions);
        held.map(|(position, ghost)| (*position, *ghost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Stamp;

    fn version(millis: u64) -> Version {
        Version::new(Stamp::new(millis, 0), 1)
    }

    #[test]
    fn the_newest_of_a_position_stays_and_the_oldest_of_all_goes() {
        let mut ghosts = Ghosts::default();
        for (position, millis) in [(1, 5), (2, 6), (1, 4), (1, 7)] {
            ghosts.enter(
                Position(position),
                Ghost::own(version(millis), Passing::Evicted),
            );
        }
        assert_eq!(ghosts.len(), 2);
        let first = ghosts.get(Position(1)).map(|ghost| ghost.version);
        assert_eq!(first, Some(version(7)));
        let own = |position, millis| {
            Some((
                Position(position),
                Ghost::own(version(millis), Passing::Evicted),
            ))
        };
        assert_eq!(ghosts.forget_oldest(1), own(2, 6));
        assert_eq!(ghosts.forget_oldest(1), None);
        assert_eq!(ghosts.forget_oldest(0), own(1, 7));
        assert_eq!(ghosts.forget_oldest(0), None);
    }

    #[test]
    fn an_order_of_ghosts_that_went_is_bounded() {
        let mut ghosts = Ghosts::default();
        for round in 0..1000 {
            ghosts.enter(Position(1), Ghost::own(version(round), Passing::Evicted));
            ghosts.lay(Position(1));
            assert_eq!(ghosts.forget_oldest(4), None);
            assert!(ghosts.order.len() <= 8);
        }
    }
}
