//! Up to when each other member is known to have taken everything that this node had.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use shard_cache_membership::identity::BootId;

use crate::sync::{Mutex, lock};

/// What other members have said of comparisons that they have completed with this node. A tombstone is of use until all of
/// them have it, however long one is away. Clones are equal. Bounded by the members that a roster remembers.
#[derive(Clone, Default)]
pub struct Agreements {
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    /// Lives of members, without this node, that may hold records.
    lives: BTreeSet<BootId>,
    /// Hybrid milliseconds at which the last complete comparison of each began.
    heard: BTreeMap<BootId, u64>,
}

impl Agreements {
    /// These lives of other members may hold records, and no others.
    pub fn follow(&self, lives: impl Iterator<Item = BootId>) {
        let mut held = lock(&self.held);
        held.lives = lives.collect();
        let Held { lives, heard } = &mut *held;
        heard.retain(|life, _| lives.contains(life));
    }

    /// A member has taken everything that this node had at that time, in hybrid milliseconds. Of a life that is not known
    /// here nothing is kept: it says so again.
    pub fn hear(&self, life: BootId, millis: u64) {
        let mut held = lock(&self.held);
        if held.lives.contains(&life) {
            let last = held.heard.entry(life).or_default();
            *last = millis.max(*last);
        }
    }

    /// Up to when all of them have, in hybrid milliseconds: 0 while one has never said so, `u64::MAX` without any.
    #[must_use]
    pub fn oldest_millis(&self) -> u64 {
        let held = lock(&self.held);
        let heard = |life| held.heard.get(life).copied().unwrap_or(0);
        held.lives.iter().map(heard).min().unwrap_or(u64::MAX)
    }
}

#[cfg(all(test, not(feature = "race")))]
mod tests {
    use super::*;

    #[test]
    fn the_member_that_is_furthest_behind_decides() {
        let agreements = Agreements::default();
        assert_eq!(agreements.oldest_millis(), u64::MAX, "nobody else");
        agreements.follow([BootId(1), BootId(2)].into_iter());
        agreements.hear(BootId(1), 700);
        assert_eq!(agreements.oldest_millis(), 0, "one has never said so");
        agreements.hear(BootId(2), 500);
        agreements.hear(BootId(2), 400);
        assert_eq!(agreements.oldest_millis(), 500);
        // It has restarted: what it had is gone, and what it has said as well.
        agreements.hear(BootId(3), 900);
        agreements.follow([BootId(1), BootId(3)].into_iter());
        assert_eq!(agreements.oldest_millis(), 0);
        agreements.hear(BootId(3), 900);
        assert_eq!(agreements.oldest_millis(), 700);
    }
}
