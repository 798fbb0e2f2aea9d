//! What goes wrong in a run, as a list that is known before the run begins. A run can be repeated with a part of it and
//! everything else equal.
//!
//! Several hands draw the list, each with one fault after the other: one, or two, take memories, one breaks the network,
//! one stops processes and moves clocks, and where it is asked for, one lets nodes join and leave. So up to five faults
//! overlap.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};
use serde::{Deserialize, Serialize};

use crate::{
    history::{Floors, Invariant},
    options::{FaultKind, Options},
    span::Span,
};

/// What a file says instead of a seed.
#[derive(Clone, Debug)]
pub struct Given {
    /// What goes wrong.
    pub plan: Vec<Fault>,
    /// How many nodes form the first ring.
    pub first_nodes: u16,
    /// The only invariants that count; those of the promises if absent.
    pub invariants: Option<BTreeSet<Invariant>>,
    /// How much has to happen; what is usual if absent.
    pub floors: Option<Floors>,
    /// The command that does the same again.
    pub replay: String,
}

/// In runs of at least this, some that are cut off are so for this many times longer: up to 160 s.
const LONG_RUN: Duration = Duration::from_secs(120);
const LONG: u32 = 4;
const LONG_SHARE: f64 = 0.2;
/// About how long a ring needs to be whole again.
const SETTLES_WITHIN: Duration = Duration::from_secs(5);

/// What one hand may do.
const LOSSES: &[FaultKind] = &[FaultKind::Kill, FaultKind::Vanish, FaultKind::Setback];
const CHANGES: &[FaultKind] = &[FaultKind::Join, FaultKind::Leave];
const OTHERS: [&[FaultKind]; 2] = [
    &[
        FaultKind::Cut,
        FaultKind::OneWayCut,
        FaultKind::Deaf,
        FaultKind::Isolate,
        FaultKind::Split,
        FaultKind::Slow,
        FaultKind::Loss,
        FaultKind::Disorder,
        FaultKind::Reset,
    ],
    &[
        FaultKind::Pause,
        FaultKind::Stutter,
        FaultKind::ClockStep,
        FaultKind::ClockJump,
    ],
];

/// One fault. What a field means depends on the kind; the others are left out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When it begins, after clients have begun to work.
    pub at: Span,
    /// What it is.
    pub kind: FaultKind,
    /// The nodes that it concerns, from 0 on; of a split one of the two groups. If `slow` names two, only what the first
    /// sends to the second is slow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<u16>,
    /// How long it lasts; for a lost node, until it is started again.
    #[serde(default = "ten_seconds", rename = "for")]
    pub lasts: Span,
    /// A lost node is lost again, as soon as it is back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub again: Vec<Again>,
    /// Nobody hears a `deaf` node, instead of that it hears nobody.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mute: bool,
    /// What `slow` adds to each packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// Packets lost; or that arrive late, and three fifths as many arrive twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// How far ahead a clock is set; negative for behind. Of a setback, how far behind it is at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_ms: Option<i64>,
    /// What the moments of a stutter or of resets follow from, and when a clock is put right after a setback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draws: Option<u64>,
    /// Faults of one hand never overlap: one waits until the one before it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand: Option<u8>,
}

/// Another loss of the same node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Again {
    /// How long after its start.
    pub after: Span,
    /// How long it is away then.
    #[serde(rename = "for")]
    pub lasts: Span,
}

const fn ten_seconds() -> Span {
    Span(Duration::from_secs(10))
}

impl Fault {
    /// A fault with nothing but what each kind has.
    #[must_use]
    pub const fn new(at: Duration, kind: FaultKind, nodes: Vec<u16>, lasts: Duration) -> Self {
        Self {
            at: Span(at),
            kind,
            nodes,
            lasts: Span(lasts),
            again: Vec::new(),
            mute: false,
            delay: None,
            percent: None,
            offset_ms: None,
            draws: None,
            hand: None,
        }
    }

    /// How many nodes a kind concerns, of a cluster of so many.
    #[must_use]
    pub const fn nodes_of(kind: FaultKind, nodes: u16) -> std::ops::RangeInclusive<u16> {
        match kind {
            FaultKind::Loss | FaultKind::Disorder => 0..=0,
            FaultKind::Cut | FaultKind::OneWayCut | FaultKind::Reset => 2..=2,
            FaultKind::Slow => 1..=2,
            FaultKind::Join => 1..=nodes,
            FaultKind::Split => 1..=nodes.saturating_sub(1),
            FaultKind::Kill
            | FaultKind::Vanish
            | FaultKind::Pause
            | FaultKind::Deaf
            | FaultKind::Isolate
            | FaultKind::Stutter
            | FaultKind::ClockStep
            | FaultKind::ClockJump
            | FaultKind::Setback
            | FaultKind::Leave => 1..=1,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.at.0.as_secs_f64();
        let (kind, nodes, lasts) = (self.kind.name(), &self.nodes, self.lasts);
        write!(f, "{seconds:>10.3} s  {kind}")?;
        if !nodes.is_empty() {
            write!(f, " {nodes:?}")?;
        }
        write!(f, " for {lasts}")?;
        for Again { after, lasts } in &self.again {
            write!(f, ", after {after} again for {lasts}")?;
        }
        if self.mute {
            write!(f, ", mute")?;
        }
        if let Some(delay) = self.delay {
            write!(f, ", {delay} more")?;
        }
        if let Some(percent) = self.percent {
            write!(f, ", {percent} %")?;
        }
        if let Some(offset) = self.offset_ms {
            write!(f, ", {offset} ms off")?;
        }
        Ok(())
    }
}

/// The faults of a run, by their beginning: those that are given, or those that its seed draws.
#[must_use]
pub fn of(options: &Options) -> Vec<Fault> {
    if let Some(given) = &options.given {
        return given.plan.clone();
    }
    let losses = (0..options.losses).map(|_| LOSSES);
    let mut plan = Vec::new();
    for (hand, kinds) in (0u8..).zip(losses.chain(OTHERS).chain([CHANGES])) {
        let allowed = kinds.iter().copied();
        let kinds: Vec<_> = allowed
            .filter(|kind| options.faults.contains(kind))
            .collect();
        let seed = options.seed ^ 0x6861_6e64 ^ u64::from(hand) << 56;
        let drawing = Drawing {
            options,
            hand,
            kinds,
            rng: SmallRng::seed_from_u64(seed),
            members: (0..options.first_nodes()).collect(),
            lived: options.first_nodes(),
        };
        plan.extend(drawing.all());
    }
    plan.sort_by_key(|fault: &Fault| fault.at);
    plan
}

/// The faults of a plan by hand; those without one each by itself.
#[must_use]
pub fn by_hand(plan: Vec<Fault>) -> Vec<Vec<(usize, Fault)>> {
    let mut hands: BTreeMap<(u8, usize), Vec<(usize, Fault)>> = BTreeMap::new();
    for (place, fault) in plan.into_iter().enumerate() {
        let hand = fault.hand.map_or((u8::MAX, place), |hand| (hand, 0));
        hands.entry(hand).or_default().push((place, fault));
    }
    hands.into_values().collect()
}

struct Drawing<'a> {
    options: &'a Options,
    hand: u8,
    kinds: Vec<FaultKind>,
    rng: SmallRng,
    /// Who is in the ring as far as joins and leaves are concerned.
    members: BTreeSet<u16>,
    /// The first of the nodes that were never started.
    lived: u16,
}

impl Drawing<'_> {
    fn all(mut self) -> Vec<Fault> {
        let mut drawn = Vec::new();
        let mut at = Duration::ZERO;
        let calm = u64::try_from(self.options.calm.as_nanos()).unwrap_or(u64::MAX / 2) * 2;
        loop {
            let pause = Duration::from_nanos(self.rng.random_range(0..calm.max(1)));
            // A file has milliseconds.
            at += Duration::from_millis(u64::try_from(pause.as_millis()).unwrap_or(0) + 1);
            let Some(kind) = self.kinds.choose(&mut self.rng).copied() else {
                return drawn;
            };
            if at >= self.options.duration {
                return drawn;
            }
            if let Some(mut fault) = self.one(kind, at) {
                if self.is_long(&fault) {
                    fault.lasts = Span(fault.lasts.0 * LONG);
                }
                let again = fault.again.iter();
                at += fault.lasts.0 + again.map(|it| it.after.0 + it.lasts.0).sum::<Duration>();
                if kind.loses_memory() || CHANGES.contains(&kind) {
                    at += SETTLES_WITHIN;
                }
                drawn.push(fault);
            }
        }
    }

    /// Whether somebody is cut off for so long that deletes may have outlived their tombstones meanwhile. Drawn apart, so
    /// that short runs stay as they are.
    fn is_long(&self, fault: &Fault) -> bool {
        let cuts_off = match fault.kind {
            FaultKind::Pause | FaultKind::Isolate | FaultKind::Deaf | FaultKind::Split => true,
            FaultKind::Kill
            | FaultKind::Vanish
            | FaultKind::Cut
            | FaultKind::OneWayCut
            | FaultKind::Slow
            | FaultKind::Loss
            | FaultKind::Disorder
            | FaultKind::Stutter
            | FaultKind::ClockStep
            | FaultKind::ClockJump
            | FaultKind::Join
            | FaultKind::Leave
            | FaultKind::Reset
            | FaultKind::Setback => false,
        };
        let seed = self.options.seed ^ u64::try_from(fault.at.0.as_nanos()).unwrap_or(0);
        let mut rng = SmallRng::seed_from_u64(seed);
        cuts_off && self.options.duration >= LONG_RUN && rng.random_bool(LONG_SHARE)
    }

    fn one(&mut self, kind: FaultKind, at: Duration) -> Option<Fault> {
        let nodes = self.options.nodes;
        let node = self.rng.random_range(0..nodes);
        let lasts = match kind {
            // Back before anybody has noticed, or only after that.
            _ if kind.loses_memory() && self.rng.random_bool(0.3) => millis(&mut self.rng, 1, 200),
            _ if kind.loses_memory() => millis(&mut self.rng, 10, 30_000),
            _ => millis(&mut self.rng, 10, 40_000),
        };
        let amount = self.rng.random_range(1..=100u32);
        let concerned = match kind {
            FaultKind::Loss | FaultKind::Disorder => Vec::new(),
            FaultKind::Cut | FaultKind::OneWayCut | FaultKind::Reset => {
                vec![node, (node + self.rng.random_range(1..nodes)) % nodes]
            }
            FaultKind::Slow if self.rng.random_bool(0.4) => {
                vec![node, (node + self.rng.random_range(1..nodes)) % nodes]
            }
            FaultKind::Split => {
                let others = (0..nodes).filter(|it| *it != node);
                let mut group: Vec<u16> = others.filter(|_| self.rng.random_bool(0.5)).collect();
                if group.is_empty() {
                    group.push(node);
                }
                group
            }
            FaultKind::Join => {
                let first = self.joins()?;
                let more = if self.rng.random_bool(0.3) { 2 } else { 0 };
                let others = (0..more).filter_map(|_| self.joins());
                let mut all = vec![first];
                all.extend(others.collect::<Vec<_>>());
                all
            }
            FaultKind::Leave => vec![self.leaves()?],
            FaultKind::Kill
            | FaultKind::Vanish
            | FaultKind::Pause
            | FaultKind::Deaf
            | FaultKind::Isolate
            | FaultKind::Slow
            | FaultKind::Stutter
            | FaultKind::ClockStep
            | FaultKind::ClockJump
            | FaultKind::Setback => vec![node],
        };
        let mut fault = Fault::new(at, kind, concerned, lasts);
        fault.hand = Some(self.hand);
        fault.mute = kind == FaultKind::Deaf && amount <= 50;
        if kind.loses_memory() && self.rng.random_bool(0.3) {
            // Losing the same node again before it is back in the ring is no second loss.
            fault.again = (0..2)
                .map(|_| Again {
                    after: Span(millis(&mut self.rng, 1, 2_000)),
                    lasts: Span(millis(&mut self.rng, 1, 30_000)),
                })
                .collect();
        }
        match kind {
            FaultKind::Slow => {
                fault.delay = Some(Span(Duration::from_millis(u64::from(amount) * 5)));
            }
            FaultKind::Loss => fault.percent = Some(f64::from(amount * 3) / 10.0),
            FaultKind::Disorder => fault.percent = Some(f64::from(amount) / 2.0),
            FaultKind::Stutter | FaultKind::Reset => fault.draws = Some(self.draws()),
            FaultKind::Setback => {
                fault.draws = Some(self.draws());
                let behind = millis(&mut self.rng, 100, 60_000).as_millis();
                fault.offset_ms = Some(-i64::try_from(behind).unwrap_or(0));
            }
            FaultKind::ClockStep => {
                let skew = self.options.skew_millis + 50;
                fault.offset_ms = Some(self.rng.random_range(-skew..=skew));
            }
            FaultKind::ClockJump => fault.offset_ms = Some((i64::from(amount) - 50) * 1_000),
            FaultKind::Kill
            | FaultKind::Vanish
            | FaultKind::Pause
            | FaultKind::Cut
            | FaultKind::OneWayCut
            | FaultKind::Deaf
            | FaultKind::Isolate
            | FaultKind::Split
            | FaultKind::Join
            | FaultKind::Leave => {}
        }
        Some(fault)
    }

    /// What the moments within a fault follow from.
    fn draws(&mut self) -> u64 {
        u64::from(self.rng.random::<u32>())
    }

    /// New ones join in the order of their places, so that those that never come are the last.
    fn joins(&mut self) -> Option<u16> {
        let known = self.options.nodes.min(self.lived + 1);
        let absent: Vec<u16> = (0..known).filter(|it| !self.members.contains(it)).collect();
        let node = absent.choose(&mut self.rng).copied()?;
        self.members.insert(node);
        self.lived = self.lived.max(node + 1);
        Some(node)
    }

    fn leaves(&mut self) -> Option<u16> {
        if self.members.len() <= least_members(self.options) {
            return None;
        }
        let members: Vec<u16> = self.members.iter().copied().collect();
        let node = members.choose(&mut self.rng).copied()?;
        // A node that joins when every seed has left finds nobody, which nothing promises otherwise.
        let is_seed = |member: &u16| self.options.seeds.contains(member);
        let seeds = members.iter().filter(|member| is_seed(member));
        if is_seed(&node) && seeds.count() == 1 {
            return None;
        }
        self.members.remove(&node);
        Some(node)
    }
}

/// How far a ring may shrink: one of all owners to two; a larger one keeps enough members for all copies.
#[must_use]
pub fn least_members(options: &Options) -> usize {
    if options.owners_are_fixed() {
        2
    } else {
        usize::from(options.replication_factor).max(2)
    }
}

/// A time whose order of magnitude is as likely as any other between the two.
pub fn millis(rng: &mut SmallRng, least: u64, most: u64) -> Duration {
    let doublings = (most / least).ilog2();
    let least = least << rng.random_range(0..=doublings);
    Duration::from_millis(rng.random_range(least..=(least * 2).min(most).max(least)))
}
