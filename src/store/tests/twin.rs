//! The naive twin: one shard's worth of rules over plain maps, with recency as a list.

use proptest::prelude::*;

use super::{
    super::{
        digest,
        entry::{Position, entry_cost, tombstone_cost},
    },
    *,
};

struct Twin {
    limits: Limits,
    values: BTreeMap<usize, Record>,
    /// The keys of the values, coldest first.
    recency: Vec<usize>,
    tombstones: BTreeMap<usize, Version>,
    floors: BTreeMap<Slot, Version>,
    /// Oldest first.
    ghosts: Vec<(usize, Version)>,
    /// Those of values that were given up here.
    own_ghosts: Vec<(usize, Version)>,
    /// All of them, and those that went or came again.
    ghost_order: Vec<(usize, Version)>,
    marks: BTreeMap<Slot, Version>,
    stats: Stats,
}

#[derive(Clone, Copy, PartialEq)]
enum By {
    Client,
    Background,
}

impl Twin {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            values: BTreeMap::new(),
            recency: Vec::new(),
            tombstones: BTreeMap::new(),
            floors: BTreeMap::new(),
            ghosts: Vec::new(),
            own_ghosts: Vec::new(),
            ghost_order: Vec::new(),
            marks: BTreeMap::new(),
            stats: Stats::default(),
        }
    }

    fn floor(&self, id: usize) -> Option<Version> {
        self.floors.get(&numbered(id).slot(SLOTS)).copied()
    }

    fn cost(id: usize, record: &Record) -> usize {
        match &record.body {
            Body::Value(value) => {
                let key_bytes = numbered(id).bytes().len();
                entry_cost(key_bytes, value.bytes.len(), record.expires_at.is_some())
            }
            Body::Tombstone => 0,
        }
    }

    fn memory(&self) -> usize {
        self.values
            .iter()
            .map(|(id, record)| Self::cost(*id, record))
            .sum()
    }

    fn tombstone_bytes(&self) -> usize {
        self.tombstones
            .keys()
            .map(|id| tombstone_cost(numbered(*id).bytes().len()))
            .sum()
    }

    fn stats(&self) -> Stats {
        Stats {
            entries: self.values.len(),
            memory_bytes: self.memory(),
            tombstones: self.tombstones.len(),
            tombstone_bytes: self.tombstone_bytes(),
            ..self.stats
        }
    }

    fn ghost(&self, id: usize) -> Option<Version> {
        let of_key = self.ghosts.iter().find(|(ghost, _)| *ghost == id);
        of_key.map(|(_, version)| *version)
    }

    fn mark(&self, id: usize) -> Option<Version> {
        self.marks.get(&numbered(id).slot(SLOTS)).copied()
    }

    fn lay(&mut self, id: usize) {
        self.ghosts.retain(|(ghost, _)| *ghost != id);
    }

    /// A newer record has come: a ghost that is heard of later was not given up here.
    fn disown(&mut self, id: usize) {
        self.own_ghosts.retain(|(ghost, _)| *ghost != id);
    }

    fn leave_ghost(&mut self, id: usize, version: Version) {
        if self.floor(id) < Some(version) && self.ghost(id) <= Some(version) {
            self.own_ghosts.push((id, version));
        }
        self.hear_of_ghost(id, version);
    }

    fn hear_of_ghost(&mut self, id: usize, version: Version) {
        if self.floor(id) >= Some(version) || self.ghost(id) >= Some(version) {
            return;
        }
        self.lay(id);
        self.ghosts.push((id, version));
        self.ghost_order.push((id, version));
        self.bound_ghosts();
    }

    /// A step of expiry forgets ghosts in the end only.
    fn leave_unbounded(&mut self, id: usize, version: Version) {
        let most = std::mem::replace(&mut self.limits.ghosts, usize::MAX / 2);
        self.leave_ghost(id, version);
        self.limits.ghosts = most;
    }

    fn bound_ghosts(&mut self) {
        let most = self.limits.ghosts;
        while self.ghosts.len() > most || self.ghost_order.len() > 2 * most {
            let (id, version) = self.ghost_order.remove(0);
            if self.ghost(id) == Some(version) {
                self.lay(id);
                self.disown(id);
                let mark = self.marks.entry(numbered(id).slot(SLOTS));
                let mark = mark.or_insert(version);
                *mark = version.max(*mark);
                self.stats.ghosts_forgotten += 1;
            }
        }
    }

    fn peek(&self, id: usize, now: u64) -> Lookup {
        let floor = self.floor(id);
        match self.values.get(&id) {
            Some(record) if Some(record.version) <= floor => {
                Lookup::Miss(floor.map_or(Absence::Untraced, Absence::Gone))
            }
            Some(record) if record.is_expired(now) => Lookup::Miss(Absence::Gone(record.version)),
            Some(record) => Lookup::Hit(record.clone()),
            None => Lookup::Miss(self.absence(id)),
        }
    }

    fn absence(&self, id: usize) -> Absence {
        if let Some(version) = self.tombstones.get(&id) {
            return Absence::Gone(*version);
        }
        let (floor, ghost, mark) = (self.floor(id), self.ghost(id), self.mark(id));
        match (floor, ghost, mark) {
            (_, Some(ghost), _) if Some(ghost) > floor => Absence::Ghost(ghost),
            (_, _, Some(mark)) if Some(mark) > floor => Absence::Unsure(mark),
            (Some(floor), _, _) => Absence::Gone(floor),
            (None, _, _) => Absence::Untraced,
        }
    }

    fn read(&mut self, id: usize, now: u64) -> Lookup {
        let lookup = self.peek(id, now);
        if self.values.contains_key(&id) {
            match lookup {
                Lookup::Hit(_) => self.touch(id),
                Lookup::Miss(_) => self.cool(id),
            }
        }
        lookup
    }

    fn touch(&mut self, id: usize) {
        self.recency.retain(|other| *other != id);
        self.recency.push(id);
    }

    fn cool(&mut self, id: usize) {
        self.recency.retain(|other| *other != id);
        self.recency.insert(0, id);
    }

    fn remove(&mut self, id: usize) -> bool {
        self.recency.retain(|other| *other != id);
        self.values.remove(&id).is_some()
    }

    fn apply(&mut self, id: usize, record: &Record, now: u64, by: By) -> Applied {
        let version = record.version;
        let held = self.values.get(&id).map(|held| held.version);
        let held = held.or_else(|| self.tombstones.get(&id).copied());
        if Some(version) <= self.floor(id) {
            return match (by, held.max(self.floor(id))) {
                (By::Client, Some(version)) => Applied::Newer { version },
                (By::Client | By::Background, _) => Applied::Refused,
            };
        }
        match held {
            Some(held) if held > version => return Applied::Newer { version: held },
            Some(held) if held == version => {
                if by == By::Client && self.values.contains_key(&id) {
                    self.touch(id);
                }
                return Applied::Same;
            }
            Some(_) => {}
            None => match (self.ghost(id), self.mark(id), by) {
                (Some(ghost), _, _) if version < ghost => {
                    return Applied::Newer { version: ghost };
                }
                (Some(ghost), _, By::Background)
                    if version == ghost && self.own_ghosts.contains(&(id, ghost)) =>
                {
                    return Applied::Refused;
                }
                (None, Some(mark), By::Client) if version <= mark => {
                    return Applied::Newer { version: mark };
                }
                (None, Some(mark), By::Background) if version <= mark => return Applied::Refused,
                _ => {}
            },
        }
        let replaced = matches!(self.peek(id, now), Lookup::Hit(_));
        let is_past = match &record.body {
            Body::Value(_) => record.is_expired(now),
            Body::Tombstone => version.stamp.millis() + LIFE_MILLIS <= now,
        };
        if is_past {
            self.remove(id);
            self.tombstones.remove(&id);
            self.hear_of_ghost(id, version);
            return Applied::Stored { replaced };
        }
        match &record.body {
            Body::Value(_) => {
                if !self.make_room(id, record, by) {
                    let evicted = self.remove(id);
                    self.stats.evictions_memory += u64::from(evicted);
                    self.tombstones.remove(&id);
                    self.leave_ghost(id, version);
                    return Applied::Full;
                }
                self.lay(id);
                self.disown(id);
                self.tombstones.remove(&id);
                let is_new = self.values.insert(id, record.clone()).is_none();
                match by {
                    By::Client => self.touch(id),
                    By::Background if is_new => self.cool(id),
                    By::Background => {}
                }
            }
            Body::Tombstone => {
                self.remove(id);
                self.lay(id);
                self.disown(id);
                self.tombstones.insert(id, version);
                self.trim();
            }
        }
        Applied::Stored { replaced }
    }

    fn make_room(&mut self, id: usize, record: &Record, by: By) -> bool {
        let cost = Self::cost(id, record);
        if cost > self.limits.memory_bytes {
            return false;
        }
        let is_new = !self.values.contains_key(&id);
        loop {
            let before = self.values.get(&id).map_or(0, |held| Self::cost(id, held));
            let lacks_entries =
                self.values.len() + usize::from(is_new) > self.limits.capacity_entries;
            let lacks_bytes =
                self.memory() - before + cost > self.limits.memory_bytes && cost > before;
            if !lacks_entries && !lacks_bytes {
                return true;
            }
            if by == By::Background && (is_new || self.recency.first() == Some(&id)) {
                return false;
            }
            if by == By::Client && !is_new {
                self.touch(id);
            }
            let coldest = self.recency[0];
            let version = self.values[&coldest].version;
            self.remove(coldest);
            self.leave_ghost(coldest, version);
            if lacks_entries {
                self.stats.evictions_capacity += 1;
            } else {
                self.stats.evictions_memory += 1;
            }
        }
    }

    fn trim(&mut self) {
        while self.tombstone_bytes() > self.limits.tombstone_bytes {
            let oldest = self.tombstones.iter().min_by_key(|(_, version)| **version);
            let Some((id, version)) = oldest.map(|(id, version)| (*id, *version)) else {
                return;
            };
            self.tombstones.remove(&id);
            let floor = self
                .floors
                .entry(numbered(id).slot(SLOTS))
                .or_insert(version);
            *floor = version.max(*floor);
            self.stats.floors_raised += 1;
        }
    }

    fn expire(&mut self, now: u64) -> usize {
        let held = self.values.len() + self.tombstones.len();
        let mut expired: Vec<(u64, usize)> = self
            .values
            .iter()
            .filter(|(_, record)| record.is_expired(now))
            .filter_map(|(id, record)| Some((record.expires_at?, *id)))
            .collect();
        expired.sort_by_key(|(at, id)| (*at, Position::of(&numbered(*id), SLOTS)));
        for (_, id) in expired {
            let version = self.values[&id].version;
            self.remove(id);
            self.leave_unbounded(id, version);
            self.stats.expired += 1;
        }
        let mut past: Vec<(Version, usize)> = self
            .tombstones
            .iter()
            .filter(|(_, version)| version.stamp.millis() + LIFE_MILLIS <= now)
            .map(|(id, version)| (*version, *id))
            .collect();
        past.sort_by_key(|(version, id)| (*version, Position::of(&numbered(*id), SLOTS)));
        for (version, id) in past {
            self.tombstones.remove(&id);
            self.leave_unbounded(id, version);
        }
        for id in self.values.keys().copied().collect::<Vec<_>>() {
            if Some(self.values[&id].version) <= self.floor(id) {
                self.remove(id);
            }
        }
        self.bound_ghosts();
        held - self.values.len() - self.tombstones.len()
    }

    fn allow(&mut self, bytes: usize) -> usize {
        self.limits.memory_bytes = bytes;
        let held = self.values.len();
        while self.memory() > bytes {
            let coldest = self.recency[0];
            let version = self.values[&coldest].version;
            self.remove(coldest);
            self.leave_unbounded(coldest, version);
            self.stats.evictions_memory += 1;
        }
        self.bound_ghosts();
        held - self.values.len()
    }

    fn clear(&mut self) {
        *self = Self {
            stats: self.stats,
            ..Self::new(self.limits)
        };
    }

    fn digest(&self, slot: Slot) -> u64 {
        let values = self.values.iter().map(|(id, record)| (*id, record.version));
        let tombstones = self.tombstones.iter().map(|(id, version)| (*id, *version));
        let terms = values
            .chain(tombstones)
            .filter(|(id, _)| numbered(*id).slot(SLOTS) == slot);
        terms.fold(0, |digest, (id, version)| {
            digest ^ digest::term(Position::of(&numbered(id), SLOTS), version)
        })
    }

    fn scan(&self, now: u64) -> BTreeMap<Vec<u8>, Record> {
        let name = |id: usize| numbered(id).bytes().to_vec();
        let live = self
            .values
            .keys()
            .filter_map(|id| match self.peek(*id, now) {
                Lookup::Hit(record) => Some((name(*id), record)),
                Lookup::Miss(_) => None,
            });
        let alive = |version: &Version| version.stamp.millis() + LIFE_MILLIS > now;
        let dead = self.tombstones.iter().filter(|(_, version)| alive(version));
        let dead = dead.map(|(id, version)| {
            (
                name(*id),
                Record {
                    version: *version,
                    expires_at: None,
                    body: Body::Tombstone,
                },
            )
        });
        live.chain(dead).collect()
    }
}

#[derive(Clone, Debug)]
enum Op {
    Read(usize),
    Write(usize, Version),
    Merge(usize, Version),
    Expire,
    Advance(u64),
    Allow(usize),
    Clear,
}

const KEYS: usize = 12;

fn ops() -> impl Strategy<Value = Vec<Op>> {
    // Two keys never have one version. Few of a key differ, so that resends occur.
    let mutation = (0..KEYS, 20u64..50, 0u16..2).prop_map(|(id, steps, counter)| {
        (id, Version::new(Stamp::new(50 * steps, counter), id as u64))
    });
    let op = prop_oneof![
        4 => (0..KEYS).prop_map(Op::Read),
        8 => mutation.clone().prop_map(|(id, version)| Op::Write(id, version)),
        4 => mutation.prop_map(|(id, version)| Op::Merge(id, version)),
        1 => Just(Op::Expire),
        2 => (0u64..200).prop_map(Op::Advance),
        1 => (0usize..3000).prop_map(Op::Allow),
    ];
    prop::collection::vec(prop_oneof![60 => op, 1 => Just(Op::Clear)], 1..120)
}

fn limits() -> impl Strategy<Value = Limits> {
    (1usize..10, 400usize..3000, 0usize..1200, 0usize..14).prop_map(
        |(entries, memory, tombstones, ghosts)| Limits {
            capacity_entries: entries,
            memory_bytes: memory,
            tombstone_bytes: tombstones,
            ghosts,
            ..AMPLE
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_store_does_what_its_naive_twin_does(limits in limits(), ops in ops()) {
        let (store, mut twin, mut now) = (Store::new(limits), Twin::new(limits), 1000);
        for op in ops {
            match op {
                Op::Read(id) => prop_assert_eq!(store.read(&numbered(id), now), twin.read(id, now)),
                Op::Write(id, version) => {
                    let record = drawn(&numbered(id), version);
                    let expected = twin.apply(id, &record, now, By::Client);
                    prop_assert_eq!(store.write(&numbered(id), record, now), expected);
                }
                Op::Merge(id, version) => {
                    let record = drawn(&numbered(id), version);
                    let expected = twin.apply(id, &record, now, By::Background);
                    prop_assert_eq!(store.merge(&numbered(id), record, now), expected);
                }
                Op::Expire => prop_assert_eq!(store.expire(now, usize::MAX), twin.expire(now)),
                Op::Advance(millis) => now += millis,
                Op::Allow(bytes) => {
                    store.allow_bytes(bytes);
                    let bytes = bytes.min(limits.memory_bytes);
                    prop_assert_eq!(store.shrink(usize::MAX), twin.allow(bytes));
                }
                Op::Clear => {
                    store.clear();
                    twin.clear();
                }
            }
            prop_assert_eq!(store.stats(), twin.stats());
            for id in 0..KEYS {
                prop_assert_eq!(store.peek(&numbered(id), now), twin.peek(id, now));
            }
            for slot in (0..SLOTS).map(Slot) {
                prop_assert_eq!(store.slot_digest(slot), twin.digest(slot));
            }
            store.audit();
        }
        prop_assert_eq!(by_name(store.scan_all(&SlotSet::all(SLOTS), 200, now)), twin.scan(now));
    }
}
