//! Applying a record: judge its version, make room, put it in place.

use super::{
    Applied, Store,
    entry::{Entry, Keyed as _, Probe},
    record::{Body, Record},
    shard::{Ghost, Met, Passing, Shard, Standing, Warmth, is_past},
    totals::{Amount, Lack},
};
#[cfg(feature = "planted-bugs")]
use crate::planted;
use crate::{sync::lock, version::Version};

/// Who applies a record, which decides about recency and eviction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A client's mutation: an access, for which others make room.
    Client,
    /// What a read stores before it is answered: an access, and certified by a quorum, so that a lost trace here counts for
    /// nothing.
    WriteBack,
    /// A hint or a repair: no access, and it displaces only what is colder.
    Background,
    /// A handoff: the same, but whoever is asked has to know of everything newer, so that a lost trace here counts for
    /// nothing.
    Handoff,
}

impl Source {
    const fn warmth(self) -> Warmth {
        match self {
            Self::Client | Self::WriteBack => Warmth::Hot,
            Self::Background | Self::Handoff => Warmth::Cold,
        }
    }
}

impl Store {
    pub(super) fn apply(
        &self,
        probe: &Probe<'_>,
        record: &Record,
        now_millis: u64,
        source: Source,
    ) -> Applied {
        match &record.body {
            Body::Value(_) if record.is_expired(now_millis) => {
                let passing = if record.is_ghost() {
                    Passing::Elsewhere
                } else {
                    Passing::Expired
                };
                self.lay_to_rest(probe, record.version, passing, now_millis, source)
            }
            Body::Value(value) => {
                let entry = Entry::copy(value, record.version, record.expires_at);
                self.place(probe, entry, now_millis, source)
            }
            Body::Tombstone => {
                if is_past(record.version, self.purged(now_millis)) {
                    let version = record.version;
                    return self.lay_to_rest(probe, version, Passing::Deleted, now_millis, source);
                }
                #[cfg(feature = "planted-bugs")]
                if planted::Bug::DeletesForgotten.is_planted() {
                    return self.remove_without_trace(probe, record.version, now_millis, source);
                }
                self.bury(probe, record.version, now_millis, source)
            }
        }
    }

    /// Takes note of a record that has no use any more: what is older is out of date.
    fn lay_to_rest(
        &self,
        probe: &Probe<'_>,
        version: Version,
        passing: Passing,
        now_millis: u64,
        source: Source,
    ) -> Applied {
        let mut shard = lock(self.shard(probe.position().slot()));
        let met = shard.meet(probe, version, now_millis);
        if let Some(answer) = rejection(met.standing, &mut shard, probe, source) {
            return answer;
        }
        let replaced = met.is_live;
        let (value, tombstone) = shard.give_up(probe, Ghost::heard_of(version, passing));
        self.totals.values.sub(value);
        self.totals.tombstones.sub(tombstone);
        self.bound_ghosts(&mut shard);
        drop(shard);
        Applied::Stored { replaced }
    }

    /// Forgets the oldest ghosts of a shard that has more than its share.
    pub(super) fn bound_ghosts(&self, shard: &mut Shard) {
        let most = self.limits.ghosts.div_ceil(self.shards.len());
        while shard.forget_oldest_ghost(most) {
            self.totals.ghost_forgotten();
        }
    }

    /// Puts a value in place, in rounds: each takes the shard's lock and either ends or, when the
    /// shard itself has nothing to evict, lets go and evicts one value of another shard. The room
    /// that this frees stays taken, so every round needs less and the last one comes soon.
    fn place(&self, probe: &Probe<'_>, entry: Entry, now_millis: u64, source: Source) -> Applied {
        let home = self.home(probe.position().slot());
        let (version, after) = (
            entry.version(),
            Amount::one(entry.cost(probe.bytes().len())),
        );
        let is_possible = after.fits(self.capacity());
        let mut room = Amount::default();
        loop {
            let mut shard = lock(&self.shards[home]);
            let Met {
                standing,
                held: before,
                is_live: replaced,
            } = shard.meet(probe, version, now_millis);
            if let Some(answer) = rejection(standing, &mut shard, probe, source) {
                drop(shard);
                self.totals.values.sub(room);
                return answer;
            }
            let need = after.without(before);
            let lack = if is_possible {
                self.make_room(&mut shard, probe, need, &mut room, source)
            } else {
                Some(Lack::Bytes)
            };
            let Some(lack) = lack else {
                let unburied = shard.put(probe, entry, source.warmth());
                room += before;
                // Before the lock is released, so that no other thread evicts for room that is
                // free.
                self.totals.values.sub(room.without(after));
                self.totals.tombstones.sub(unburied);
                self.shrink_for(&mut shard, probe, after.bytes);
                drop(shard);
                return Applied::Stored { replaced };
            };
            drop(shard);
            let may_displace = is_possible && source.warmth() == Warmth::Hot;
            match may_displace
                .then(|| self.evict_elsewhere(home, lack))
                .flatten()
            {
                Some(freed) => room += freed,
                None => return self.give_up(probe, version, room, lack, source),
            }
        }
    }

    /// Takes the room needed, from the totals or else from colder values of the shard; returns what
    /// is still lacking when there are none.
    fn make_room(
        &self,
        shard: &mut Shard,
        probe: &Probe<'_>,
        need: Amount,
        room: &mut Amount,
        source: Source,
    ) -> Option<Lack> {
        let mut lack = self.totals.values.top_up(room, need, self.capacity())?;
        let may_evict = match source {
            Source::Client | Source::WriteBack => {
                // The key's own value is about to be replaced, so it must not be the one to go.
                shard.touch(probe);
                true
            }
            // What enters at the cold end has nothing colder; what is there already may have.
            Source::Background | Source::Handoff => shard.value_held(probe).entries > 0,
        };
        while may_evict && let Some(freed) = shard.evict_coldest(Some(probe)) {
            self.totals.evicted(lack);
            self.bound_ghosts(shard);
            *room += freed;
            lack = self.totals.values.top_up(room, need, self.capacity())?;
        }
        Some(lack)
    }

    /// Evicts the coldest value of the next shard that has one.
    fn evict_elsewhere(&self, home: usize, lack: Lack) -> Option<Amount> {
        let others = (1..self.shards.len()).map(|offset| (home + offset) % self.shards.len());
        for index in others {
            let mut shard = lock(&self.shards[index]);
            let freed = shard.evict_coldest(None);
            if freed.is_some() {
                self.totals.evicted(lack);
                self.bound_ghosts(&mut shard);
                return freed;
            }
        }
        None
    }

    /// Ends without room: gives it back and removes what the record superseded; of the record itself a ghost is left.
    fn give_up(
        &self,
        probe: &Probe<'_>,
        version: Version,
        mut room: Amount,
        lack: Lack,
        source: Source,
    ) -> Applied {
        let mut shard = lock(self.shard(probe.position().slot()));
        let standing = shard.standing(probe, version);
        let answer = rejection(standing, &mut shard, probe, source);
        if answer.is_none() {
            let (superseded, tombstone) =
                shard.give_up(probe, Ghost::own(version, Passing::Evicted));
            if superseded.entries > 0 {
                self.totals.evicted(lack);
            }
            room += superseded;
            self.totals.tombstones.sub(tombstone);
            self.bound_ghosts(&mut shard);
        }
        self.totals.values.sub(room);
        drop(shard);
        answer.unwrap_or(Applied::Full)
    }

    fn bury(
        &self,
        probe: &Probe<'_>,
        version: Version,
        now_millis: u64,
        source: Source,
    ) -> Applied {
        let home = self.home(probe.position().slot());
        let mut shard = lock(&self.shards[home]);
        let met = shard.meet(probe, version, now_millis);
        if let Some(answer) = rejection(met.standing, &mut shard, probe, source) {
            return answer;
        }
        let replaced = met.is_live;
        let buried = shard.bury(probe, version);
        // Before the lock is released, so that nobody takes away what is not yet counted.
        self.totals.tombstones.add(buried.added);
        self.totals.tombstones.sub(buried.tombstone);
        self.totals.values.sub(buried.value);
        drop(shard);
        self.trim_tombstones(home);
        Applied::Stored { replaced }
    }

    /// A planted bug: a delete of which nothing is left.
    #[cfg(feature = "planted-bugs")]
    fn remove_without_trace(
        &self,
        probe: &Probe<'_>,
        version: Version,
        now_millis: u64,
        source: Source,
    ) -> Applied {
        let mut shard = lock(self.shard(probe.position().slot()));
        let met = shard.meet(probe, version, now_millis);
        if let Some(answer) = rejection(met.standing, &mut shard, probe, source) {
            return answer;
        }
        let replaced = met.is_live;
        let (value, tombstone) = shard.drop_key(probe);
        self.totals.values.sub(value);
        self.totals.tombstones.sub(tombstone);
        Applied::Stored { replaced }
    }

    /// Forgets the oldest tombstones of the shard that grew until all fit under the cap. Its last
    /// one stays as long as another shard has any, because it is the newest and would raise its
    /// slot's floor to the present.
    fn trim_tombstones(&self, home: usize) {
        let shards = self.shards.len();
        let others = (1..shards).map(|offset| ((home + offset) % shards, 0));
        for (index, spared) in [(home, 1)].into_iter().chain(others).chain([(home, 0)]) {
            if self.totals.tombstones.get().bytes <= self.limits.tombstone_bytes {
                return;
            }
            let mut shard = lock(&self.shards[index]);
            while self.totals.tombstones.get().bytes > self.limits.tombstone_bytes
                && let Some(freed) = shard.forget_oldest_tombstone(spared)
            {
                self.totals.tombstones.sub(freed);
                self.totals.floor_raised();
            }
        }
    }

    fn capacity(&self) -> Amount {
        Amount {
            entries: self.limits.capacity_entries,
            bytes: self.allowed_bytes(),
        }
    }
}

/// The answer to a record whose version is not above what is held; a client's resend still counts
/// as an access.
fn rejection(
    standing: Standing,
    shard: &mut Shard,
    probe: &Probe<'_>,
    source: Source,
) -> Option<Applied> {
    match (standing, source) {
        (Standing::Higher, _) => None,
        #[cfg(feature = "planted-bugs")]
        (Standing::Lower(_), _) if planted::Bug::StaleWins.is_planted() => None,
        (Standing::Same, Source::Client | Source::WriteBack) => {
            shard.touch(probe);
            Some(Applied::Same)
        }
        (Standing::Same, Source::Background | Source::Handoff) => Some(Applied::Same),
        (Standing::Lower(held), _) => Some(Applied::Newer { version: held }),
        (Standing::Untraced(_), Source::WriteBack) => None,
        (Standing::Sunk(known), Source::Client | Source::WriteBack)
        | (Standing::Untraced(known), Source::Client) => Some(Applied::Newer { version: known }),
        // A client that asks for what was given up is a reason to have it again; repair is none.
        (Standing::GivenUp, Source::Client | Source::WriteBack) => None,
        (Standing::Untraced(_), Source::Handoff) => None,
        (
            Standing::Sunk(_) | Standing::Untraced(_) | Standing::GivenUp,
            Source::Background | Source::Handoff,
        ) => Some(Applied::Refused),
    }
}
