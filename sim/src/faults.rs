//! What goes wrong, when and for how long. Several hands work at the same time, each with one fault at a time: one, or
//! two, take memories, one breaks the network, one stops processes and moves clocks, and where it is asked for, one lets
//! nodes join and leave. So up to five faults overlap.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};

use crate::{
    cluster::Cluster,
    history::Event,
    options::FaultKind,
    world::{HostId, Nanos, Power, nanos, network::Path},
};

/// A lost node is waited for so long at most: only what breaks its way back, another fault for example, may take so long.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// As long for a node that left to be gone from every ring.
const UNHEARD_TIMEOUT: Duration = Duration::from_secs(60);

/// What one hand may do.
const LOSSES: &[FaultKind] = &[FaultKind::Kill, FaultKind::Vanish];
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
    ],
    &[
        FaultKind::Pause,
        FaultKind::Stutter,
        FaultKind::ClockStep,
        FaultKind::ClockJump,
    ],
];

/// Starts the hands that have something to do. Each ends after `until`, with its fault undone.
#[must_use]
pub fn hands(cluster: &Cluster) -> Vec<Hand> {
    let allowed = &cluster.options().faults;
    let losses = (0..cluster.options().losses).map(|_| LOSSES);
    (0u64..)
        .zip(losses.chain(OTHERS).chain([CHANGES]))
        .filter_map(|(place, kinds)| {
            let kinds: Vec<_> = kinds
                .iter()
                .copied()
                .filter(|kind| allowed.contains(kind))
                .collect();
            let seed = cluster.options().seed ^ 0x6861_6e64 ^ place << 56;
            (!kinds.is_empty()).then(|| Hand {
                cluster: cluster.clone(),
                place,
                kinds,
                rng: SmallRng::seed_from_u64(seed),
                done: 0,
            })
        })
        .collect()
}

/// One hand.
pub struct Hand {
    cluster: Cluster,
    place: u64,
    kinds: Vec<FaultKind>,
    rng: SmallRng,
    done: u32,
}

impl Hand {
    /// Does one fault after the other until a time. What it did is undone when it ends.
    pub async fn run(mut self, until: Nanos) {
        let world = self.cluster.world().clone();
        loop {
            let calm = nanos(self.cluster.options().calm) * 2;
            let pause = Duration::from_nanos(self.rng.random_range(0..calm));
            world.sleep(pause).await;
            if world.now() >= until {
                return;
            }
            let Some(kind) = self.kinds.choose(&mut self.rng).copied() else {
                return;
            };
            self.done += 1;
            match kind {
                FaultKind::Kill | FaultKind::Vanish => self.lose_memory(kind).await,
                FaultKind::Join => self.let_join().await,
                FaultKind::Leave => self.let_leave().await,
                FaultKind::Pause
                | FaultKind::Cut
                | FaultKind::OneWayCut
                | FaultKind::Deaf
                | FaultKind::Isolate
                | FaultKind::Split
                | FaultKind::Slow
                | FaultKind::Loss
                | FaultKind::Disorder
                | FaultKind::Stutter
                | FaultKind::ClockStep
                | FaultKind::ClockJump => self.disturb(kind).await,
            }
        }
    }

    async fn lose_memory(&mut self, kind: FaultKind) {
        let world = self.cluster.world().clone();
        let node = self.any_node();
        if self.cluster.node(node).is_none() {
            // Another hand has it.
            return;
        }
        let fault = self.begin(kind, &[node]);
        let power = if kind == FaultKind::Vanish {
            Power::Gone
        } else {
            Power::Ended
        };
        // Losing the same node again before it is back in the ring is no second loss.
        let times = if self.rng.random_bool(0.25) { 3 } else { 1 };
        for _ in 0..times {
            if self.cluster.node(node).is_none() {
                break;
            }
            self.cluster.crash(node, power);
            let away = self.millis(20, 30_000);
            world.sleep(away).await;
            if let Err(error) = self.cluster.start(node) {
                world.note(|| format!("node-{node} does not start: {error}"));
                return;
            }
            if times > 1 {
                let again = self.millis(1, 2_000);
                world.sleep(again).await;
            }
        }
        self.end(&fault);
        // The next loss is a first one only when this node is back in every ring.
        self.settle(SETTLE_TIMEOUT).await;
    }

    async fn let_join(&mut self) {
        let world = self.cluster.world();
        let nodes = 0..self.cluster.options().nodes;
        let mut absent: Vec<u16> = nodes.filter(|it| !self.cluster.is_member(*it)).collect();
        // New ones in the order of their places, so that those that never come are the last.
        let has_lived = |node: u16| world.life(HostId(node)) > 0;
        let new = absent.iter().copied().find(|it| !has_lived(*it));
        absent.retain(|it| has_lived(*it) || Some(*it) == new);
        let Some(node) = absent.choose(&mut self.rng).copied() else {
            return;
        };
        let fault = self.begin(FaultKind::Join, &[node]);
        self.add(node);
        self.settle(SETTLE_TIMEOUT).await;
        self.end(&fault);
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

    async fn let_leave(&mut self) {
        let running = self.cluster.running();
        let options = self.cluster.options();
        // A ring of all owners may shrink to two; a larger one keeps enough members for all copies.
        let least = if options.owners_are_fixed() {
            2
        } else {
            usize::from(options.replication_factor)
        };
        let Some(node) = running.choose(&mut self.rng).copied() else {
            return;
        };
        if running.len() <= least {
            return;
        }
        let fault = self.begin(FaultKind::Leave, &[node]);
        let drained = self.cluster.leave(node).await;
        let world = self.cluster.world();
        world.note(|| format!("node-{node} has left: {drained:?}"));
        // Whoever leaves while nobody can hear it has only vanished for the others: it has to come back.
        if !self.settle(UNHEARD_TIMEOUT).await {
            self.add(node);
            self.settle(SETTLE_TIMEOUT).await;
        }
        self.end(&fault);
    }

    /// Waits until all members are in one ring. Returns whether they are.
    async fn settle(&self, timeout: Duration) -> bool {
        let settled = self
            .cluster
            .await_none(timeout, || self.cluster.unsettled());
        let is_settled = settled.await.is_ok();
        // Where owners change, new ones do not get what the old ones had: nothing is settled by agreeing on a ring.
        if is_settled && self.cluster.options().owners_are_fixed() {
            let world = self.cluster.world();
            self.cluster.recorder().mark(world, Event::Settled);
        }
        is_settled
    }

    /// A time whose order of magnitude is as likely as any other between the two.
    fn millis(&mut self, least: u64, most: u64) -> Duration {
        let doublings = (most / least).ilog2();
        let least = least << self.rng.random_range(0..=doublings);
        Duration::from_millis(
            self.rng
                .random_range(least..=(least * 2).min(most).max(least)),
        )
    }

    async fn disturb(&mut self, kind: FaultKind) {
        let world = self.cluster.world().clone();
        let nodes = self.cluster.options().nodes;
        let lasts = self.millis(10, 40_000);
        let node = self.any_node();
        let other = (node + self.rng.random_range(1..nodes)) % nodes;
        let group: Vec<u16> = (0..nodes).filter(|_| self.rng.random_bool(0.5)).collect();
        let amount = self.rng.random_range(1..=100u32);
        let fault = match kind {
            FaultKind::Kill | FaultKind::Vanish | FaultKind::Join | FaultKind::Leave => return,
            FaultKind::Cut | FaultKind::OneWayCut => self.begin(kind, &[node, other]),
            FaultKind::Split => self.begin(kind, &group),
            FaultKind::Loss | FaultKind::Disorder => self.begin(kind, &[]),
            FaultKind::Pause
            | FaultKind::Deaf
            | FaultKind::Isolate
            | FaultKind::Slow
            | FaultKind::Stutter
            | FaultKind::ClockStep
            | FaultKind::ClockJump => self.begin(kind, &[node]),
        };
        let is_deaf = amount > 50;
        let touches = move |from: u16, to: u16| match kind {
            FaultKind::Cut => (from, to) == (node, other) || (to, from) == (node, other),
            FaultKind::OneWayCut => (from, to) == (node, other),
            FaultKind::Deaf => (if is_deaf { to } else { from }) == node,
            FaultKind::Isolate | FaultKind::Slow => from == node || to == node,
            FaultKind::Split => group.contains(&from) != group.contains(&to),
            FaultKind::Loss | FaultKind::Disorder => true,
            FaultKind::Kill
            | FaultKind::Vanish
            | FaultKind::Join
            | FaultKind::Leave
            | FaultKind::Pause
            | FaultKind::Stutter
            | FaultKind::ClockStep
            | FaultKind::ClockJump => false,
        };
        let delay = Duration::from_millis(u64::from(amount) * 5);
        let (begin, undo): (Change, Change) = match kind {
            FaultKind::Cut
            | FaultKind::OneWayCut
            | FaultKind::Deaf
            | FaultKind::Isolate
            | FaultKind::Split => (
                Box::new(|path| path.cut = true),
                Box::new(|path| path.cut = false),
            ),
            FaultKind::Slow => (
                Box::new(move |path| path.delay += delay),
                Box::new(move |path| path.delay -= delay),
            ),
            FaultKind::Loss => (
                Box::new(move |path| path.loss_ppm = amount * 3_000),
                Box::new(|path| path.loss_ppm = 0),
            ),
            FaultKind::Disorder => (
                Box::new(move |path| {
                    (path.duplicate_ppm, path.reorder_ppm) = (amount * 3_000, amount * 5_000);
                }),
                Box::new(|path| (path.duplicate_ppm, path.reorder_ppm) = (0, 0)),
            ),
            FaultKind::Pause => {
                world.pause(HostId(node), lasts);
                (Box::new(|_| {}), Box::new(|_| {}))
            }
            FaultKind::Stutter => (Box::new(|_| {}), Box::new(|_| {})),
            FaultKind::ClockStep => {
                let skew = self.cluster.options().skew_millis + 50;
                let offset = self.rng.random_range(-skew..=skew);
                self.cluster.set_clock(node, offset);
                (Box::new(|_| {}), Box::new(|_| {}))
            }
            FaultKind::ClockJump => {
                let seconds = i64::from(amount) - 50;
                self.cluster.set_clock(node, seconds * 1_000);
                (Box::new(|_| {}), Box::new(|_| {}))
            }
            FaultKind::Kill | FaultKind::Vanish | FaultKind::Join | FaultKind::Leave => return,
        };
        self.change_paths(&touches, begin);
        if kind == FaultKind::Stutter {
            self.stutter(node, lasts).await;
        } else {
            world.sleep(lasts).await;
        }
        if kind == FaultKind::ClockJump {
            self.cluster.set_clock(node, 0);
        }
        self.change_paths(&touches, undo);
        self.end(&fault);
    }

    async fn stutter(&mut self, node: u16, lasts: Duration) {
        let world = self.cluster.world().clone();
        let until = world.now() + nanos(lasts);
        while world.now() < until {
            let still = self.millis(1, 400);
            world.pause(HostId(node), still);
            let runs = self.millis(1, 400);
            world.sleep(still + runs).await;
        }
    }

    fn change_paths(&self, touches: &dyn Fn(u16, u16) -> bool, mut change: Change) {
        let nodes = self.cluster.options().nodes;
        self.cluster.world().network(|network| {
            for from in 0..nodes {
                for to in (0..nodes).filter(|to| from != *to && touches(from, *to)) {
                    network.change(HostId(from), HostId(to), &mut change);
                }
            }
        });
    }

    fn any_node(&mut self) -> u16 {
        self.rng.random_range(0..self.cluster.options().nodes)
    }

    fn begin(&self, kind: FaultKind, nodes: &[u16]) -> String {
        let fault = format!("{}-{}-{}", kind.name(), self.place, self.done);
        let event = Event::FaultBegin {
            fault: fault.clone(),
            nodes: nodes.iter().copied().map(u32::from).collect(),
        };
        self.cluster.recorder().mark(self.cluster.world(), event);
        fault
    }

    fn end(&self, fault: &str) {
        let event = Event::FaultEnd {
            fault: fault.to_owned(),
        };
        self.cluster.recorder().mark(self.cluster.world(), event);
    }
}

type Change = Box<dyn FnMut(&mut Path) + Send>;
