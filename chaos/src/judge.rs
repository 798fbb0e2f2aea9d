//! From a history to a verdict, without I/O.
//!
//! The values of a key are unique, so that a read names the write that it saw. A read is illegal when it saw
//!
//! - a value whose life was over (`expired`), by more than the margin that nodes have for it;
//! - a value that nobody wrote, or only wrote later, or whose write surely failed (`invented`);
//! - nothing, though a write was acknowledged before the read began and no delete may explain it (`lost`);
//! - a value that was deleted (`resurrected`) or overwritten (`stale`) by a write that began after the value was
//!   acknowledged, and was itself acknowledged before the read began;
//! - less than an earlier read had seen, where the write that was seen is of unknown outcome (`went_back`).
//!
//! A write of unknown outcome may be applied at any time, until somebody has seen it: from then on it counts as
//! acknowledged. These rules find every violation of a single operation; they do not search for a total order.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::history::{Action, FaultState, History, Operation, Outcome, Purpose};

/// How long after its end a value may still be served (G6).
const EXPIRY_MARGIN_US: u64 = 500_000;

/// What a run has to reach to prove anything.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Floors {
    /// Acknowledged writes.
    pub(crate) acked_min: usize,
    /// Share of them that began and ended within a fault.
    pub(crate) during_min: f64,
}

/// A kind of illegal read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// An acknowledged write is gone.
    Lost,
    /// A deleted value is back.
    Resurrected,
    /// An overwritten value is back.
    Stale,
    /// A value that was never written, or whose write surely failed.
    Invented,
    /// What a read has seen is gone.
    WentBack,
    /// A value whose life is over.
    Expired,
}

impl Kind {
    /// All kinds.
    pub(crate) const ALL: [Self; 6] = [
        Self::Lost,
        Self::Resurrected,
        Self::Stale,
        Self::Invented,
        Self::WentBack,
        Self::Expired,
    ];

    /// Its name.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Resurrected => "resurrected",
            Self::Stale => "stale",
            Self::Invented => "invented",
            Self::WentBack => "went back",
            Self::Expired => "expired",
        }
    }
}

/// An illegal read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Violation {
    /// What is wrong with it.
    pub(crate) kind: Kind,
    /// The key.
    pub(crate) key: String,
    /// Place of the node that answered.
    pub(crate) node: usize,
    /// When the read began.
    pub(crate) begun_us: u64,
    /// Whether it was part of reading everything back.
    pub(crate) audit: bool,
    /// What was found.
    pub(crate) found: Option<String>,
}

/// What reading everything back found at one node, in keys.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub(crate) struct ReadBack {
    /// Read, legally, with a value.
    pub(crate) present: usize,
    /// Read, legally, without one.
    pub(crate) absent: usize,
    /// Read, illegally.
    pub(crate) illegal: usize,
    /// Not answered, after all attempts.
    pub(crate) unread: usize,
}

/// The verdict on a history.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub(crate) struct Verdict {
    /// Keys that were written to.
    pub(crate) keys: usize,
    /// Writes acknowledged.
    pub(crate) acked: usize,
    /// Those that began and ended within a fault.
    pub(crate) acked_during: usize,
    /// Writes that were surely not applied.
    pub(crate) failed: usize,
    /// Writes of unknown outcome.
    pub(crate) unknown: usize,
    /// Every illegal read.
    pub(crate) violations: Vec<Violation>,
    /// Keys with an illegal read of the kind.
    pub(crate) keys_by_kind: BTreeMap<Kind, usize>,
    /// By place of the node.
    pub(crate) read_back: Vec<ReadBack>,
    /// Entries that the nodes evicted. Eviction is legal: then a key that is gone says nothing.
    pub(crate) evicted: u64,
    /// Faults after which the nodes did not come to agree, or went on owing, within the time allowed.
    pub(crate) unsettled: Vec<String>,
    /// Limits that were missed, in words.
    pub(crate) broken: Vec<String>,
    /// Why the run proves nothing; empty when it does.
    pub(crate) vacuous: Vec<String>,
}

impl Verdict {
    /// Keys with an illegal read of the kind.
    #[must_use]
    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.keys_by_kind.get(&kind).copied().unwrap_or_default()
    }

    /// Whether something happened that the promises exclude.
    #[must_use]
    pub(crate) fn is_violated(&self) -> bool {
        let excused = |kind| self.evicted > 0 && matches!(kind, Kind::Lost | Kind::WentBack);
        let illegal = self.violations.iter().any(|found| !excused(found.kind));
        illegal || !self.unsettled.is_empty() || !self.broken.is_empty()
    }

    /// Share of the acknowledged writes that fell inside faults.
    #[must_use]
    pub(crate) fn during_share(&self) -> f64 {
        if self.acked == 0 {
            return 0.0;
        }
        self.acked_during as f64 / self.acked as f64
    }
}

/// Judges a history.
#[must_use]
pub(crate) fn judge(history: &History, floors: Floors) -> Verdict {
    let mut verdict = Verdict {
        read_back: vec![ReadBack::default(); history.run.nodes.len()],
        ..Verdict::default()
    };
    count_writes(history, &mut verdict);
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in &history.operations {
        keys.entry(&operation.key).or_default().push(operation);
    }
    verdict.keys = keys.len();
    for operations in keys.values() {
        judge_key(operations, &mut verdict);
    }
    let mut kinds: BTreeMap<Kind, BTreeSet<&str>> = BTreeMap::new();
    for violation in &verdict.violations {
        kinds
            .entry(violation.kind)
            .or_default()
            .insert(&violation.key);
    }
    verdict.keys_by_kind = kinds
        .iter()
        .map(|(kind, keys)| (*kind, keys.len()))
        .collect();
    verdict.evicted = evicted(history);
    verdict.unsettled = faults_in(history, FaultState::Unsettled);
    verdict.vacuous = vacuous(history, &verdict, floors);
    verdict
}

/// When each fault worked, by name: from `on` to `off`, or to the end of time.
#[must_use]
pub(crate) fn windows(history: &History) -> Vec<(String, u64, u64)> {
    let on = history
        .marks
        .iter()
        .filter(|mark| mark.state == FaultState::On);
    on.map(|on| {
        let mut later = history.marks.iter().filter(|mark| mark.fault == on.fault);
        let off = later.find(|mark| mark.state == FaultState::Off && mark.at_us >= on.at_us);
        (
            on.fault.clone(),
            on.at_us,
            off.map_or(u64::MAX, |off| off.at_us),
        )
    })
    .collect()
}

fn count_writes(history: &History, verdict: &mut Verdict) {
    let windows = windows(history);
    let asked = |o: &&Operation| o.action.is_write() && o.purpose != Purpose::Wipe;
    for operation in history.operations.iter().filter(asked) {
        match operation.outcome {
            Outcome::Ok => {
                verdict.acked += 1;
                let inside = |(_, on, off): &(String, u64, u64)| {
                    operation.begun_us >= *on && operation.ended_us <= *off
                };
                verdict.acked_during += usize::from(windows.iter().any(inside));
            }
            Outcome::Failed => verdict.failed += 1,
            Outcome::Unknown => verdict.unknown += 1,
        }
    }
}

fn faults_in(history: &History, state: FaultState) -> Vec<String> {
    let marks = history.marks.iter().filter(|mark| mark.state == state);
    marks.map(|mark| mark.fault.clone()).collect()
}

fn vacuous(history: &History, verdict: &Verdict, floors: Floors) -> Vec<String> {
    let mut reasons = Vec::new();
    if verdict.acked < floors.acked_min {
        reasons.push(format!(
            "{} writes were acknowledged, {} are needed",
            verdict.acked, floors.acked_min
        ));
    }
    if verdict.during_share() < floors.during_min {
        reasons.push(format!(
            "{:.1} % of them fell inside faults, {:.1} % are needed",
            verdict.during_share() * 100.0,
            floors.during_min * 100.0
        ));
    }
    for fault in faults_in(history, FaultState::Failed) {
        reasons.push(format!("the command of fault {fault} failed"));
    }
    if verdict.keys == 0 || verdict.read_back.is_empty() {
        reasons.push("no key was read back at any node".to_owned());
    }
    // Of a node that has left nothing can be asked any more.
    let staying = verdict.read_back.iter().enumerate();
    let staying = staying.filter(|(place, _)| history.run.stays(*place));
    let unread: usize = staying.map(|(_, node)| node.unread).sum();
    if unread > 0 {
        reasons.push(format!("{unread} reads of keys at nodes were not answered"));
    }
    if verdict.evicted > 0 {
        let evicted = verdict.evicted;
        reasons.push(format!(
            "{evicted} entries were evicted, which is legal and looks like loss: raise server.cache.capacity"
        ));
    }
    reasons
}

/// Over all lives of all nodes: the counters start again with each.
fn evicted(history: &History) -> u64 {
    let mut lives: HashMap<(&str, u64), u64> = HashMap::new();
    for seen in &history.evictions {
        let most = lives.entry((&seen.node, seen.boot_id)).or_default();
        *most = seen.total.max(*most);
    }
    lives.values().sum()
}

/// A write to one key.
struct Write<'a> {
    /// None for a delete.
    value: Option<&'a str>,
    begun: u64,
    /// When it was acknowledged, or first seen; from then on it has surely happened.
    certain: Option<u64>,
    acked: bool,
    failed: bool,
    /// How long the value lives, in microseconds.
    life_us: Option<u64>,
}

impl Write<'_> {
    /// Whether it happened before the other write, as far as one who watches from outside can tell.
    fn precedes(&self, other: &Self) -> bool {
        self.certain.is_some_and(|certain| certain < other.begun)
    }

    /// Whether its value's life may be over by then: it begins when the coordinator stamps the write.
    fn may_have_expired(&self, time: u64) -> bool {
        self.life_us
            .is_some_and(|life| self.begun.saturating_add(life) <= time)
    }

    /// Whether nobody may serve its value any more. Of a write of unknown outcome that is not known.
    fn must_have_expired(&self, time: u64) -> bool {
        let end = self.certain.zip(self.life_us);
        self.acked && end.is_some_and(|(certain, life)| certain + life + EXPIRY_MARGIN_US < time)
    }

    fn certain_before(&self, time: u64) -> bool {
        self.certain.is_some_and(|certain| certain < time)
    }
}

fn judge_key(operations: &[&Operation], verdict: &mut Verdict) {
    let mut writes = Vec::new();
    let mut reads = Vec::new();
    for operation in operations {
        let (value, ttl_ms) = match &operation.action {
            Action::Set { value, ttl_ms } => (Some(value.as_str()), *ttl_ms),
            Action::Delete => (None, None),
            Action::Get { found } => {
                reads.push((*operation, found.as_deref()));
                continue;
            }
        };
        let acked = operation.outcome == Outcome::Ok;
        writes.push(Write {
            value,
            begun: operation.begun_us,
            certain: acked.then_some(operation.ended_us),
            acked,
            failed: operation.outcome == Outcome::Failed,
            life_us: ttl_ms.map(|ttl| ttl.saturating_mul(1000)),
        });
    }
    let mut audited = vec![false; verdict.read_back.len()];
    reads.retain(|(read, _)| read.outcome == Outcome::Ok);
    reads.sort_by_key(|(read, _)| read.ended_us);
    for (read, found) in reads {
        let kind = match found {
            Some(value) => judge_value(&mut writes, value, read),
            None => judge_miss(&mut writes, read),
        };
        let audit = read.purpose == Purpose::Audit;
        if let Some(kind) = kind {
            verdict.violations.push(Violation {
                kind,
                key: read.key.clone(),
                node: read.node,
                begun_us: read.begun_us,
                audit,
                found: found.map(str::to_owned),
            });
        }
        if audit
            && let (Some(node), Some(seen)) = (
                verdict.read_back.get_mut(read.node),
                audited.get_mut(read.node),
            )
        {
            *seen = true;
            match (kind, found) {
                (Some(_), _) => node.illegal += 1,
                (None, Some(_)) => node.present += 1,
                (None, None) => node.absent += 1,
            }
        }
    }
    for (node, audited) in verdict.read_back.iter_mut().zip(audited) {
        node.unread += usize::from(!audited);
    }
}

fn judge_value(writes: &mut [Write<'_>], value: &str, read: &Operation) -> Option<Kind> {
    let Some(place) = writes.iter().position(|write| write.value == Some(value)) else {
        return Some(Kind::Invented);
    };
    let seen = &writes[place];
    if seen.failed || seen.begun > read.ended_us {
        return Some(Kind::Invented);
    }
    if seen.must_have_expired(read.begun_us) {
        return Some(Kind::Expired);
    }
    let newer = writes
        .iter()
        .filter(|newer| newer.certain_before(read.begun_us) && seen.precedes(newer))
        .max_by_key(|newer| newer.begun);
    let kind = newer.map(|newer| match (newer.acked, newer.value) {
        (false, _) => Kind::WentBack,
        (true, None) => Kind::Resurrected,
        (true, Some(_)) => Kind::Stale,
    });
    if kind.is_none() {
        note_seen(&mut writes[place], read.ended_us);
    }
    kind
}

fn judge_miss(writes: &mut [Write<'_>], read: &Operation) -> Option<Kind> {
    let lives = |write: &&Write<'_>| !write.may_have_expired(read.ended_us);
    let sets = || {
        let sets = writes.iter().filter(|write| write.value.is_some());
        sets.filter(lives)
    };
    let certain = || sets().filter(|set| set.certain_before(read.begun_us));
    // Never written, for all that is known: a miss is what is to be expected.
    certain().next()?;
    let explains = |delete: &Write<'_>| {
        delete.value.is_none()
            && !delete.failed
            && delete.begun <= read.ended_us
            && !certain().any(|set| delete.precedes(set))
    };
    let mut deletes = (0..writes.len()).filter(|place| explains(&writes[*place]));
    match (deletes.next(), deletes.next()) {
        (None, _) if certain().any(|set| set.acked) => Some(Kind::Lost),
        (None, _) => Some(Kind::WentBack),
        (Some(only), None) => {
            note_seen(&mut writes[only], read.ended_us);
            None
        }
        (Some(_), Some(_)) => None,
    }
}

fn note_seen(write: &mut Write<'_>, at: u64) {
    write.certain = Some(write.certain.map_or(at, |certain| certain.min(at)));
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
