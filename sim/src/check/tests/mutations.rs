//! One wrong answer, planted in a legal history at random, is flagged by the invariant that names it.
//!
//! Not every place admits each mutation, and in some the wrong answer happens to be legal (another reader overlapped,
//! an unknown write explains it). So each mutation states how many of the histories it was planted in must be flagged.

use super::{
    legal::PLAN,
    twin::{Dice, Plan, legal_history},
};
use crate::{
    check::check,
    history::{
        Answer, Degrade, Event, History, Invariant, Life, Mark, Operation, Outcome, Promises,
        Request, Resource, ValueId, Version,
    },
};

const SEEDS: u64 = 100;

type Mutation = fn(&mut History, &mut Dice) -> Option<()>;

/// Name, histories, the invariant, the mutation, in how many histories it must be possible, and in how many percent of these
/// it must be flagged.
type Row<'a> = (&'a str, &'a [History], Invariant, Mutation, u64, u64);

/// Plants a mutation in histories; returns in how many it could be planted and in how many of them the invariant was
/// then violated.
fn flagged(histories: &[History], invariant: Invariant, mutate: Mutation) -> (u64, u64) {
    let (mut planted, mut flagged) = (0, 0);
    for (seed, history) in (0..).zip(histories) {
        let mut history = history.clone();
        if mutate(&mut history, &mut Dice::new(seed)).is_some() {
            planted += 1;
            let verdict = check(&history, &Promises::full());
            flagged += u64::from(verdict.count(invariant) > 0);
        }
    }
    (planted, flagged)
}

/// A random one of the operations that fit.
fn pick(history: &History, dice: &mut Dice, fits: impl Fn(&Operation) -> bool) -> Option<usize> {
    let places: Vec<usize> = (0..history.operations.len())
        .filter(|place| fits(&history.operations[*place]))
        .collect();
    let count = u64::try_from(places.len()).ok()?;
    let chosen = (count > 0).then(|| dice.below(count))?;
    places.get(usize::try_from(chosen).ok()?).copied()
}

fn answer(operation: &mut Operation) -> Option<&mut Answer> {
    match &mut operation.outcome {
        Outcome::Ok(answered) => Some(&mut answered.answer),
        Outcome::Failed(_) | Outcome::Unknown(_) => None,
    }
}

fn hit(operation: &Operation) -> Option<(ValueId, Version)> {
    match operation.answered()?.answer {
        Answer::Hit { value, version, .. } => Some((value, version)),
        Answer::Written { .. } | Answer::Miss { .. } => None,
    }
}

fn is_covered_read(operation: &Operation) -> bool {
    operation.is_covered() && operation.request == Request::Get
}

fn is_covered_set(operation: &Operation) -> bool {
    operation.is_covered() && operation.request.value().is_some()
}

fn serve(operation: &mut Operation, value: ValueId, version: Version) -> Option<()> {
    *answer(operation)? = Answer::Hit {
        value,
        version,
        expires_in_ns: None,
    };
    Some(())
}

/// Every read of an acknowledged set finds nothing instead.
fn drop_write(history: &mut History, dice: &mut Dice) -> Option<()> {
    let read_by = |set: &Operation, read: &Operation| {
        hit(read).is_some_and(|(value, _)| Some(value) == set.request.value())
            && read.invoked_ns > set.completed_ns
            && is_covered_read(read)
    };
    let place = pick(history, dice, |set| {
        is_covered_set(set) && history.operations.iter().any(|read| read_by(set, read))
    })?;
    let set = history.operations[place].clone();
    for read in &mut history.operations {
        if read_by(&set, read) {
            *answer(read)? = Answer::Miss { version: None };
        }
    }
    Some(())
}

/// A read returns an older value than the one before it, and no delete lies between.
fn revert(history: &mut History, dice: &mut Dice) -> Option<()> {
    let place = pick(history, dice, |read| {
        is_covered_read(read) && hit(read).is_some()
    })?;
    let (key, at) = {
        let read = &history.operations[place];
        (read.key.clone(), read.invoked_ns)
    };
    let before = |o: &&Operation| o.key == key && o.completed_ns < at && o.is_covered();
    let deleted = history.operations.iter().filter(before);
    let deleted = deleted
        .filter(|o| o.request == Request::Delete)
        .filter_map(Operation::written_version)
        .max();
    let sets = history.operations.iter().filter(before);
    let mut sets: Vec<(Version, ValueId)> = sets
        .filter_map(|o| Some((o.written_version()?, o.request.value()?)))
        .filter(|(version, _)| Some(*version) > deleted)
        .collect();
    sets.sort_unstable();
    let (version, value) = *sets.get(sets.len().checked_sub(2)?)?;
    serve(&mut history.operations[place], value, version)
}

/// A read after an acknowledged delete returns what was deleted.
fn resurrect(history: &mut History, dice: &mut Dice) -> Option<()> {
    let older = |history: &History, read: &Operation| {
        let before = |o: &&Operation| {
            o.key == read.key && o.completed_ns < read.invoked_ns && o.is_covered()
        };
        let deletes = history.operations.iter().filter(before);
        let delete = deletes
            .filter(|o| o.request == Request::Delete)
            .filter_map(Operation::written_version)
            .max()?;
        let sets = history.operations.iter().filter(before);
        sets.filter_map(|o| Some((o.written_version()?, o.request.value()?)))
            .filter(|(version, _)| *version < delete)
            .max()
    };
    let place = pick(history, dice, |read| {
        is_covered_read(read) && older(history, read).is_some()
    })?;
    let (version, value) = older(history, &history.operations[place])?;
    serve(&mut history.operations[place], value, version)
}

/// Two writes, one after the other, exchange their versions, and so do all reads of them.
fn swap_versions(history: &mut History, dice: &mut Dice) -> Option<()> {
    let place = pick(history, dice, is_covered_set)?;
    let first = history.operations[place].clone();
    let place = pick(history, dice, |later| {
        is_covered_set(later)
            && later.key == first.key
            && later.invoked_ns > first.completed_ns
            && later.written_version() > first.written_version()
    })?;
    let second = history.operations[place].clone();
    let (low, high) = (first.written_version()?, second.written_version()?);
    for operation in &mut history.operations {
        let Some(Answer::Written { version, .. } | Answer::Hit { version, .. }) = answer(operation)
        else {
            continue;
        };
        if *version == low {
            *version = high;
        } else if *version == high {
            *version = low;
        }
    }
    Some(())
}

/// A read long after a value's expiry returns it.
fn serve_expired(history: &mut History, dice: &mut Dice) -> Option<()> {
    let life_ns = |set: &Operation| match set.request {
        Request::Set {
            life: Life::AfterNs(life_ns),
            ..
        } => Some(life_ns),
        Request::Set { .. } | Request::Get | Request::Delete => None,
    };
    let place = pick(history, dice, |set| {
        set.written_version().is_some() && life_ns(set).is_some()
    })?;
    let set = history.operations[place].clone();
    let expired_ns = set.completed_ns + life_ns(&set)? + 700_000_000;
    let place = pick(history, dice, |read| {
        read.request == Request::Get
            && read.answered().is_some()
            && read.key == set.key
            && read.invoked_ns > expired_ns
    })?;
    let (value, version) = (set.request.value()?, set.written_version()?);
    serve(&mut history.operations[place], value, version)
}

/// A read returns what nobody wrote.
fn invent(history: &mut History, dice: &mut Dice) -> Option<()> {
    let place = pick(history, dice, |read| hit(read).is_some())?;
    let (_, version) = hit(&history.operations[place])?;
    serve(&mut history.operations[place], ValueId(u64::MAX), version)
}

/// A read returns the value of a set that failed.
fn apply_failed(history: &mut History, dice: &mut Dice) -> Option<()> {
    let place = pick(history, dice, |set| {
        set.surely_had_no_effect() && set.request.value().is_some()
    })?;
    let set = history.operations[place].clone();
    let place = pick(history, dice, |read| {
        hit(read).is_some() && read.key == set.key && read.invoked_ns > set.completed_ns
    })?;
    let (_, version) = hit(&history.operations[place])?;
    let version = Version::new(version.millis, version.counter + 1, 0);
    serve(
        &mut history.operations[place],
        set.request.value()?,
        version,
    )
}

/// An answer at QUORUM or ALL came from one owner.
fn degrade_silently(history: &mut History, dice: &mut Dice) -> Option<()> {
    let place = pick(history, dice, Operation::is_covered)?;
    match &mut history.operations[place].outcome {
        Outcome::Ok(answered) => answered.took_part = Some(1),
        Outcome::Failed(_) | Outcome::Unknown(_) => return None,
    }
    Some(())
}

/// A degraded answer that nobody had accepted.
fn degrade_unasked(history: &mut History, dice: &mut Dice) -> Option<()> {
    let place = pick(history, dice, |o| o.answered().is_some_and(|a| a.degraded))?;
    history.operations[place].degrade = Degrade::Refuse;
    Some(())
}

/// One owner holds an older value in the end.
fn diverge(history: &mut History, dice: &mut Dice) -> Option<()> {
    let count = u64::try_from(history.copies.len()).ok()?;
    let place = usize::try_from(dice.below(count)).ok()?;
    let key = history.copies[place].key.clone();
    let held = history.copies[place].held.version()?;
    let mut older = history.operations.iter().filter(|o| o.key == key);
    let (value, version) = older.find_map(|o| {
        let version = o.written_version().filter(|version| *version < held)?;
        Some((o.request.value()?, version))
    })?;
    history.copies[place].held = crate::history::Held::Value { value, version };
    Some(())
}

fn exceed(history: &mut History, dice: &mut Dice) -> Option<()> {
    let limit = 1 + dice.below(1000);
    let event = |used| Event::Usage {
        node: 1,
        resource: Resource::Pending,
        used,
        limit: Some(limit),
    };
    let marks = [0, limit, limit + 1].map(|used| Mark {
        at_ns: used,
        event: event(used),
    });
    history.marks.extend(marks);
    Some(())
}

fn disagree(history: &mut History, dice: &mut Dice) -> Option<()> {
    let ring = dice.next();
    for (node, ring) in [(0, ring), (1, ring), (2, ring ^ 1)] {
        history.marks.push(Mark {
            at_ns: u64::MAX / 2,
            event: Event::Membership {
                node,
                members: 1,
                ring,
                ring_members: Vec::new(),
            },
        });
    }
    Some(())
}

#[test]
fn each_mutation_is_flagged_by_the_invariant_that_names_it() {
    let made =
        |plan| -> Vec<History> { (0..SEEDS).map(|seed| legal_history(seed, plan)).collect() };
    let (mixed, immortal) = (&made(PLAN), &made(Plan { mortal: 0, ..PLAN }));
    let all = SEEDS * 9 / 10;
    let cases: [Row<'_>; 12] = [
        (
            "drop an acknowledged write",
            immortal,
            Invariant::Durability,
            drop_write,
            all,
            80,
        ),
        (
            "revert to an older value",
            immortal,
            Invariant::ReadYourWrites,
            revert,
            50,
            100,
        ),
        (
            "resurrect a deleted value",
            mixed,
            Invariant::NoResurrection,
            resurrect,
            all,
            100,
        ),
        (
            "swap versions",
            mixed,
            Invariant::WriteOrder,
            swap_versions,
            all,
            100,
        ),
        (
            "serve after expiry",
            mixed,
            Invariant::Expiry,
            serve_expired,
            50,
            100,
        ),
        (
            "invent a value",
            mixed,
            Invariant::NoInvention,
            invent,
            all,
            100,
        ),
        (
            "apply a failed write",
            mixed,
            Invariant::FailedMeansFailed,
            apply_failed,
            50,
            100,
        ),
        (
            "degrade silently",
            mixed,
            Invariant::NoSilentDegrade,
            degrade_silently,
            all,
            100,
        ),
        (
            "degrade unasked",
            mixed,
            Invariant::NoSilentDegrade,
            degrade_unasked,
            10,
            100,
        ),
        ("diverge", mixed, Invariant::Convergence, diverge, 50, 100),
        (
            "exceed a limit",
            mixed,
            Invariant::BoundedResources,
            exceed,
            all,
            100,
        ),
        (
            "disagree on the ring",
            mixed,
            Invariant::MembershipAgreement,
            disagree,
            all,
            100,
        ),
    ];
    let mut missed = Vec::new();
    for (name, histories, invariant, mutation, planted_min, percent_min) in cases {
        let (planted, flagged) = flagged(histories, invariant, mutation);
        println!("{name}: {invariant} flagged in {flagged} of {planted}");
        if planted < planted_min || flagged * 100 < planted * percent_min {
            missed.push((name, planted, flagged));
        }
    }
    assert_eq!(missed, []);
}
