//! Which members own a slot: the highest scores, spread over as many zones as there are.

use std::collections::BTreeMap;

use crate::{
    key::Slot,
    ring::{
        score::SlotMix,
        zone::{ZoneId, ZonedMember},
    },
};

/// For every slot the indices of its `count` owners, in falling score; `count` is at most the number of members, which
/// are sorted by node id.
///
/// Picked in falling score are first the members whose zone has not been picked from yet, and when there is no such
/// zone any more, the best of the rest.
pub(super) fn place_slots(slots: u16, members: &[ZonedMember], count: usize) -> Vec<u16> {
    let zones = Zones::of(members);
    let mut owners = Vec::with_capacity(usize::from(slots) * count);
    let mut best = Best::with_room(count);
    let mut spread = Best::with_room(count);
    for slot in (0..slots).map(Slot) {
        let mix = SlotMix::of(slot);
        best.0.clear();
        spread.0.clear();
        for (index, member) in (0..=u16::MAX).zip(members) {
            let contender = Contender {
                score: mix.score(member.member.node_id),
                index,
            };
            best.take(contender, count);
            if zones.are_shared {
                spread.take_one_per_zone(contender, count, &zones);
            }
        }
        if zones.are_shared {
            spread.fill_up_from(&best, count);
            owners.extend(spread.indices());
        } else {
            owners.extend(best.indices());
        }
    }
    owners
}

/// Each member's zone as a small number. A member without one has a number of its own.
struct Zones {
    of_member: Box<[u16]>,
    /// Whether any two members are in one zone. If not, zones decide nothing.
    are_shared: bool,
}

impl Zones {
    fn of(members: &[ZonedMember]) -> Self {
        let mut known: BTreeMap<ZoneId, u16> = BTreeMap::new();
        let mut next = 0..=u16::MAX;
        let mut are_shared = false;
        let mut new = || next.next().unwrap_or(u16::MAX);
        let numbers = members.iter().map(|member| {
            let Some(zone) = member.zone else {
                return new();
            };
            if let Some(number) = known.get(&zone) {
                are_shared = true;
                return *number;
            }
            let number = new();
            known.insert(zone, number);
            number
        });
        let of_member = numbers.collect();
        Self {
            of_member,
            are_shared,
        }
    }

    fn same(&self, one: u16, other: u16) -> bool {
        self.of_member[usize::from(one)] == self.of_member[usize::from(other)]
    }
}

#[derive(Clone, Copy)]
struct Contender {
    score: u64,
    index: u16,
}

/// The best few contenders so far, in falling score. Keeps them per slot instead of sorting all members: a new one is
/// nearly always below the last of them.
struct Best(Vec<Contender>);

impl Best {
    fn with_room(count: usize) -> Self {
        Self(Vec::with_capacity(count + 1))
    }

    fn indices(&self) -> impl Iterator<Item = u16> {
        self.0.iter().map(|held| held.index)
    }

    fn is_below_all(&self, contender: Contender, count: usize) -> bool {
        let last = self.0.last();
        self.0.len() == count && last.is_none_or(|last| contender.score <= last.score)
    }

    fn insert(&mut self, contender: Contender) {
        // Members come in rising node id, so that among equals the lower one stays ahead.
        let place = self
            .0
            .partition_point(|better| better.score >= contender.score);
        self.0.insert(place, contender);
    }

    fn take(&mut self, contender: Contender, count: usize) {
        if !self.is_below_all(contender, count) {
            self.insert(contender);
            self.0.truncate(count);
        }
    }

    /// Takes it instead of a worse one of its zone. What falls out at the end never has to come back: the zones of those
    /// that stay only rise.
    fn take_one_per_zone(&mut self, contender: Contender, count: usize, zones: &Zones) {
        if self.is_below_all(contender, count) {
            return;
        }
        let rival = self
            .0
            .iter()
            .position(|held| zones.same(held.index, contender.index));
        if let Some(rival) = rival {
            if self.0[rival].score >= contender.score {
                return;
            }
            self.0.remove(rival);
        }
        self.insert(contender);
        self.0.truncate(count);
    }

    /// Adds the best that it has not. As many as it lacks are always among the `count` best of all.
    fn fill_up_from(&mut self, best: &Self, count: usize) {
        for contender in &best.0 {
            if self.0.len() >= count {
                return;
            }
            if self.0.iter().all(|held| held.index != contender.index) {
                self.insert(*contender);
            }
        }
    }
}
