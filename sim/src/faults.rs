//! Does what a plan says. Each hand does one fault after the other.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rand::{SeedableRng as _, rngs::SmallRng};
use shard_cache::node::Drained;

use crate::{
    cluster::Cluster,
    history::Event,
    options::FaultKind,
    plan::{self, Fault, millis},
    world::{HostId, Nanos, Power, nanos, network::Path},
};

/// A lost node is waited for so long at most: only what breaks its way back, another fault for example, may take so long.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// How long for a node that left to be gone from every ring, before it is asked whether it has to come back.
const UNHEARD_TIMEOUT: Duration = Duration::from_secs(60);

/// What `slow` adds, what share of packets is lost or late, and how far a clock is off, where a fault does not say so.
const DELAY: Duration = Duration::from_millis(100);
const PERCENT: f64 = 5.0;
const STEP_MILLIS: i64 = 50;
const JUMP_MILLIS: i64 = 30_000;

/// How many faults cut each path at the moment.
type Cuts = Arc<Mutex<BTreeMap<(u16, u16), u32>>>;

/// The hands of a run, each with its part of the plan. Each ends with its faults undone.
#[must_use]
pub fn hands(cluster: &Cluster) -> Vec<Hand> {
    let cuts = Cuts::default();
    let parts = plan::by_hand(plan::of(cluster.options()));
    let hands = parts.into_iter().map(|faults| Hand {
        cluster: cluster.clone(),
        faults,
        cuts: Arc::clone(&cuts),
    });
    hands.collect()
}

/// One hand.
pub struct Hand {
    cluster: Cluster,
    /// With their places in the plan.
    faults: Vec<(usize, Fault)>,
    cuts: Cuts,
}

impl Hand {
    /// Does its faults, from now on; none of them begins later than `until`.
    pub async fn run(self, until: Nanos) {
        let world = self.cluster.world();
        let begun = world.now();
        for (place, fault) in &self.faults {
            world
                .sleep_until(world.now().max(begun + nanos(fault.at.0)))
                .await;
            if world.now() >= until {
                return;
            }
            self.inflict(*place, fault).await;
        }
    }

    async fn inflict(&self, place: usize, fault: &Fault) {
        let name = format!("{}-{place}", fault.kind.name());
        match (fault.kind, fault.nodes.as_slice()) {
            (FaultKind::Kill | FaultKind::Vanish | FaultKind::Setback, [node]) => {
                self.lose_memory(&name, fault, *node).await;
            }
            (FaultKind::Join, nodes) => self.let_join(&name, nodes).await,
            (FaultKind::Leave, [node]) => self.let_leave(&name, *node).await,
            (FaultKind::Loss | FaultKind::Disorder | FaultKind::Slow | FaultKind::Deaf, _)
            | (FaultKind::Cut | FaultKind::OneWayCut | FaultKind::Isolate | FaultKind::Split, _) => {
                self.break_network(&name, fault).await;
            }
            (FaultKind::Reset, [one, other]) => self.reset(&name, fault, *one, *other).await,
            (FaultKind::Pause | FaultKind::Stutter, [node]) => {
                self.hold(&name, fault, *node).await;
            }
            (FaultKind::ClockStep | FaultKind::ClockJump, [node]) => {
                self.move_clock(&name, fault, *node).await;
            }
            (
                FaultKind::Kill
                | FaultKind::Vanish
                | FaultKind::Setback
                | FaultKind::Leave
                | FaultKind::Pause
                | FaultKind::Stutter
                | FaultKind::ClockStep
                | FaultKind::ClockJump
                | FaultKind::Reset,
                _,
            ) => {}
        }
    }

    async fn lose_memory(&self, name: &str, fault: &Fault, node: u16) {
        let world = self.cluster.world();
        if self.cluster.node(node).is_none() || !self.cluster.has_ring_without(node) {
            // Another hand has it, or all others; nothing is promised when all have started anew.
            return;
        }
        self.begin(name, &[node]);
        let power = if fault.kind == FaultKind::Vanish {
            Power::Gone
        } else {
            Power::Ended
        };
        let mut again = fault.again.iter();
        let mut away = fault.lasts.0;
        let is_setback = fault.kind == FaultKind::Setback;
        loop {
            self.cluster.crash(node, power);
            if is_setback {
                let behind = fault.offset_ms.unwrap_or(-JUMP_MILLIS);
                self.cluster.lead_astray(node, Some(behind));
            }
            world.sleep(away).await;
            if let Err(error) = self.cluster.start(node) {
                world.note(|| format!("node-{node} does not start: {error}"));
                return;
            }
            let Some(next) = again.next() else { break };
            world.sleep(next.after.0).await;
            if self.cluster.node(node).is_none() || !self.cluster.has_ring_without(node) {
                break;
            }
            away = next.lasts.0;
        }
        if is_setback {
            let mut rng = SmallRng::seed_from_u64(fault.draws.unwrap_or_default());
            world.sleep(millis(&mut rng, 1, 20_000)).await;
            self.cluster.lead_astray(node, None);
        }
        self.end(name);
        // The next loss is a first one only when this node is back in every ring.
        self.settle(SETTLE_TIMEOUT).await;
    }

    async fn let_join(&self, name: &str, nodes: &[u16]) {
        let new = nodes.iter().copied();
        let new: Vec<u16> = new.filter(|node| !self.cluster.is_member(*node)).collect();
        if new.is_empty() {
            return;
        }
        self.begin(name, &new);
        for node in new {
            self.add(node);
        }
        self.settle(SETTLE_TIMEOUT).await;
        self.end(name);
    }

    fn add(&self, node: u16) {
        let world = self.cluster.world();
        let event = Event::Join {
            node: u32::from(node),
        };
        self.cluster.recorder().mark(world, event);
        if let Err(error) = self.cluster.start(node) {
            world.note(|| format!("node-{node} does not start: {error}"));
        }
    }

    async fn let_leave(&self, name: &str, node: u16) {
        let running = self.cluster.running();
        let least = plan::least_members(self.cluster.options());
        let is_possible = running.contains(&node) && running.len() > least;
        if !is_possible || !self.cluster.has_ring_without(node) {
            return;
        }
        self.begin(name, &[node]);
        let lives = self.cluster.lives();
        let was_seen = self.cluster.is_in_every_ring(node);
        let drained = self.cluster.leave(node).await;
        let world = self.cluster.world();
        world.note(|| format!("node-{node} has left: {drained:?}"));
        while !self.settle(UNHEARD_TIMEOUT).await {
            // If nobody heard of it, or if who heard may have lost its memory since, or if they may not know of the
            // life that left, it has only vanished for the others, and has to come back. Else they have to go on
            // without it.
            let is_heard = was_seen && drained == Some(Drained::Clean);
            if !is_heard || self.cluster.has_lost_memory_since(&lives) {
                self.add(node);
                self.settle(SETTLE_TIMEOUT).await;
                break;
            }
        }
        self.end(name);
    }

    /// Waits until all members are in one ring and all of their slots are settled: the next loss is the first again.
    /// Returns whether they are.
    async fn settle(&self, timeout: Duration) -> bool {
        let settled = self
            .cluster
            .await_none(timeout, || self.cluster.unsettled());
        let is_settled = settled.await.is_ok();
        if is_settled {
            let world = self.cluster.world();
            self.cluster.recorder().mark(world, Event::Settled);
        }
        is_settled
    }

    async fn break_network(&self, name: &str, fault: &Fault) {
        self.begin(name, &fault.nodes);
        self.change_paths(fault, true);
        self.cluster.world().sleep(fault.lasts.0).await;
        self.change_paths(fault, false);
        self.end(name);
    }

    async fn reset(&self, name: &str, fault: &Fault, one: u16, other: u16) {
        let world = self.cluster.world();
        self.begin(name, &fault.nodes);
        let mut rng = SmallRng::seed_from_u64(fault.draws.unwrap_or_default());
        let until = world.now() + nanos(fault.lasts.0);
        while world.now() < until {
            world.reset(HostId(one), HostId(other));
            world.sleep(millis(&mut rng, 1, 4_000)).await;
        }
        self.end(name);
    }

    async fn hold(&self, name: &str, fault: &Fault, node: u16) {
        let world = self.cluster.world();
        self.begin(name, &[node]);
        if fault.kind == FaultKind::Pause {
            world.pause(HostId(node), fault.lasts.0);
            world.sleep(fault.lasts.0).await;
        } else {
            let mut rng = SmallRng::seed_from_u64(fault.draws.unwrap_or_default());
            let until = world.now() + nanos(fault.lasts.0);
            while world.now() < until {
                let still = millis(&mut rng, 1, 400);
                world.pause(HostId(node), still);
                let runs = millis(&mut rng, 1, 400);
                world.sleep(still + runs).await;
            }
        }
        self.end(name);
    }

    async fn move_clock(&self, name: &str, fault: &Fault, node: u16) {
        self.begin(name, &[node]);
        let is_jump = fault.kind == FaultKind::ClockJump;
        let usual = if is_jump { JUMP_MILLIS } else { STEP_MILLIS };
        let offset = fault.offset_ms.unwrap_or(usual);
        if is_jump {
            self.cluster.lead_astray(node, Some(offset));
        } else {
            self.cluster.set_clock(node, offset);
        }
        self.cluster.world().sleep(fault.lasts.0).await;
        if is_jump {
            self.cluster.lead_astray(node, None);
        }
        self.end(name);
    }

    /// Breaks the paths that a fault concerns, or repairs them. Faults that overlap add up.
    fn change_paths(&self, fault: &Fault, is_begin: bool) {
        let nodes = self.cluster.options().nodes;
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        self.cluster.world().network(|network| {
            for from in 0..nodes {
                for to in (0..nodes).filter(|to| from != *to && touches(fault, from, *to)) {
                    let cuts = cuts.entry((from, to)).or_default();
                    network.change(HostId(from), HostId(to), |path| {
                        change(path, fault, is_begin, cuts);
                    });
                }
            }
        });
    }

    fn begin(&self, name: &str, nodes: &[u16]) {
        let event = Event::FaultBegin {
            fault: name.to_owned(),
            nodes: nodes.iter().copied().map(u32::from).collect(),
        };
        self.cluster.recorder().mark(self.cluster.world(), event);
    }

    fn end(&self, name: &str) {
        let event = Event::FaultEnd {
            fault: name.to_owned(),
        };
        self.cluster.recorder().mark(self.cluster.world(), event);
    }
}

/// Whether a fault concerns what one node sends to another.
fn touches(fault: &Fault, from: u16, to: u16) -> bool {
    let nodes = fault.nodes.as_slice();
    let is = |node: u16| nodes.contains(&node);
    match fault.kind {
        FaultKind::Cut => is(from) && is(to),
        FaultKind::OneWayCut => nodes == [from, to],
        FaultKind::Deaf => is(if fault.mute { from } else { to }),
        FaultKind::Slow if nodes.len() == 2 => nodes == [from, to],
        FaultKind::Isolate | FaultKind::Slow => is(from) || is(to),
        FaultKind::Split => is(from) != is(to),
        FaultKind::Loss | FaultKind::Disorder => true,
        FaultKind::Kill
        | FaultKind::Vanish
        | FaultKind::Join
        | FaultKind::Leave
        | FaultKind::Pause
        | FaultKind::Stutter
        | FaultKind::ClockStep
        | FaultKind::ClockJump
        | FaultKind::Reset
        | FaultKind::Setback => false,
    }
}

fn change(path: &mut Path, fault: &Fault, is_begin: bool, cuts: &mut u32) {
    let delay = fault.delay.map_or(DELAY, |delay| delay.0);
    let ppm = ppm(fault.percent.unwrap_or(PERCENT));
    let add = |to: &mut u32, ppm: u32| {
        *to = if is_begin {
            to.saturating_add(ppm)
        } else {
            to.saturating_sub(ppm)
        };
    };
    match fault.kind {
        FaultKind::Slow if is_begin => path.delay += delay,
        FaultKind::Slow => path.delay = path.delay.saturating_sub(delay),
        FaultKind::Loss => add(&mut path.loss_ppm, ppm),
        FaultKind::Disorder => {
            add(&mut path.reorder_ppm, ppm);
            add(&mut path.duplicate_ppm, ppm / 5 * 3);
        }
        FaultKind::Cut
        | FaultKind::OneWayCut
        | FaultKind::Deaf
        | FaultKind::Isolate
        | FaultKind::Split => {
            add(cuts, 1);
            path.cut = *cuts > 0;
        }
        FaultKind::Kill
        | FaultKind::Vanish
        | FaultKind::Join
        | FaultKind::Leave
        | FaultKind::Pause
        | FaultKind::Stutter
        | FaultKind::ClockStep
        | FaultKind::ClockJump
        | FaultKind::Reset
        | FaultKind::Setback => {}
    }
}

/// Percent as parts of a million.
#[must_use]
pub fn ppm(percent: f64) -> u32 {
    // Clamped, so that nothing is cut off.
    (percent.clamp(0.0, 100.0) * 10_000.0).round() as u32
}
