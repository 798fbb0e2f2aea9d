//! The nodes of a run: starting, killing and asking them.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use shard_cache::{
    api::{Condition, cache::CacheApi},
    node::{Drained, Node},
    ring::RingMember,
};
use shard_cache_membership::{agent::AgentError, identity::NodeId, view::Liveness};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    history::{Event, Resource},
    node,
    options::Options,
    paths,
    recorder::Recorder,
    repeats::Repeats,
    world::{HostId, Power, World},
};

/// The nodes of a run. Clones are the same cluster.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    world: World,
    options: Options,
    recorder: Recorder,
    repeats: Repeats,
    /// Where clients and faults run: a host that never fails.
    outside: HostId,
    nodes: Mutex<Vec<Slot>>,
    /// Wall clocks that are off whatever is started there, in milliseconds ahead.
    astray: Mutex<BTreeMap<u16, i64>>,
    paths: Mutex<BTreeMap<&'static str, u64>>,
}

/// The place of a node.
#[derive(Clone, Default)]
struct Slot {
    /// The node, while its process runs.
    node: Option<Arc<Node>>,
    /// Its client port, without the port.
    api: Option<CacheApi>,
    /// It has been started, and has not been told to leave since.
    is_member: bool,
}

impl Cluster {
    /// A cluster whose nodes have not been started.
    #[must_use]
    pub fn new(world: World, options: Options, recorder: Recorder) -> Self {
        for index in 0..options.nodes {
            world.add_host(node::address(index));
        }
        let outside = world.add_host((Ipv4Addr::new(10, 255, 255, 254), 1).into());
        world.switch_on(outside);
        let usual = (options.delay, options.jitter, options.loss_ppm);
        world.network(|network| {
            network.change_all(|path| (path.delay, path.jitter, path.loss_ppm) = usual);
        });
        let nodes = Mutex::new(vec![Slot::default(); usize::from(options.nodes)]);
        Self {
            shared: Arc::new(Shared {
                world,
                options,
                recorder,
                repeats: Repeats::default(),
                outside,
                nodes,
                astray: Mutex::default(),
                paths: Mutex::default(),
            }),
        }
    }

    /// The world that it is in.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.shared.world
    }

    /// What the run is like.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// Where everything is noted.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.shared.recorder
    }

    /// The host where clients and faults run.
    #[must_use]
    pub fn outside(&self) -> HostId {
        self.shared.outside
    }

    /// Starts a node that does not run, with an empty memory.
    ///
    /// # Errors
    /// If the configuration is impossible.
    pub fn start(&self, index: u16) -> Result<(), AgentError> {
        let Shared { world, options, .. } = &*self.shared;
        let host = HostId(index);
        let life = world.life(host) + 1;
        let life = options.plant.map_or(life, |plant| plant.boots_as(life));
        let seed = xxh3_64_with_seed(
            &[
                u64::from(index).to_le_bytes(),
                u64::from(life).to_le_bytes(),
            ]
            .concat(),
            options.seed,
        );
        let mut rng = SmallRng::seed_from_u64(seed);
        let drift = rng.random_range(-options.drift_ppm..=options.drift_ppm);
        world.set_drift(host, drift);
        let usual = rng.random_range(-options.skew_millis..=options.skew_millis);
        let astray = self.astray().get(&index).copied();
        self.set_clock(index, astray.unwrap_or(usual));
        let repeats = self.shared.repeats.clone();
        let started = node::start_planted(world, host, options, seed, repeats)?;
        let boot_id = started.boot_id();
        self.nodes()[usize::from(index)] = Slot {
            api: Some(CacheApi::new(started.edge(&options.config(index)))),
            node: Some(started),
            is_member: true,
        };
        self.shared.recorder.mark(
            world,
            Event::Boot {
                node: u32::from(index),
                boot_id: boot_id.0,
            },
        );
        Ok(())
    }

    /// Ends a node without any shutdown.
    pub fn crash(&self, index: u16, power: Power) {
        let Shared {
            world, recorder, ..
        } = &*self.shared;
        self.note_end(index);
        recorder.mark(
            world,
            Event::Crash {
                node: u32::from(index),
            },
        );
        world.crash(HostId(index), power);
        let former = {
            let slot = &mut self.nodes()[usize::from(index)];
            (slot.node.take(), slot.api.take())
        };
        drop(former);
    }

    /// Lets a node leave in order and ends its process. Completes when it has ended; `None` when it did not run, or ended
    /// otherwise.
    pub async fn leave(&self, index: u16) -> Option<Drained> {
        self.note_end(index);
        let leaving = std::mem::take(&mut self.nodes()[usize::from(index)]);
        let node = Arc::into_inner(leaving.node?)?;
        let (ended, drained) = tokio::sync::oneshot::channel();
        let task = async move {
            // Nobody may wait for it any more.
            drop(ended.send(node.drain().await));
        };
        let Shared {
            world, recorder, ..
        } = &*self.shared;
        // From the first word about it on, the others may count without it.
        recorder.mark(
            world,
            Event::Leave {
                node: u32::from(index),
            },
        );
        world.spawn(HostId(index), "drain", Box::pin(task));
        let drained = drained.await.ok();
        world.crash(HostId(index), Power::Ended);
        recorder.mark(
            world,
            Event::Drained {
                node: u32::from(index),
                is_clean: drained == Some(Drained::Clean),
            },
        );
        drained
    }

    /// Sets a node's wall clock so far ahead of true time.
    pub fn set_clock(&self, index: u16, offset_millis: i64) {
        let Shared {
            world, recorder, ..
        } = &*self.shared;
        world.set_wall_offset(HostId(index), offset_millis);
        recorder.mark(
            world,
            Event::Clock {
                node: u32::from(index),
                offset_ns: offset_millis * 1_000_000,
            },
        );
    }

    /// Leads a node's wall clock astray, over restarts too; `None` puts it right.
    pub fn lead_astray(&self, index: u16, offset_millis: Option<i64>) {
        match offset_millis {
            Some(offset) => self.astray().insert(index, offset),
            None => self.astray().remove(&index),
        };
        self.set_clock(index, offset_millis.unwrap_or(0));
    }

    fn astray(&self) -> MutexGuard<'_, BTreeMap<u16, i64>> {
        self.shared
            .astray
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The node, if its process runs.
    #[must_use]
    pub fn node(&self, index: u16) -> Option<Arc<Node>> {
        self.nodes()[usize::from(index)].node.clone()
    }

    /// What answers clients at a node, if its process runs.
    #[must_use]
    pub fn api(&self, index: u16) -> Option<CacheApi> {
        self.nodes()[usize::from(index)].api.clone()
    }

    /// Whether a node has been started and has not been told to leave since.
    #[must_use]
    pub fn is_member(&self, index: u16) -> bool {
        self.nodes()[usize::from(index)].is_member
    }

    /// Which life each member that runs is in.
    #[must_use]
    pub fn lives(&self) -> BTreeMap<u16, u32> {
        let members = self.running().into_iter().filter(|it| self.is_member(*it));
        members
            .map(|index| (index, self.shared.world.life(HostId(index))))
            .collect()
    }

    /// Whether a member has lost its memory since these lives were noted. One that has left since has not.
    #[must_use]
    pub fn has_lost_memory_since(&self, lives: &BTreeMap<u16, u32>) -> bool {
        let now = self.lives();
        let mut members = lives.iter().filter(|(index, _)| self.is_member(**index));
        members.any(|(index, life)| now.get(index) != Some(life))
    }

    /// Indices of the nodes whose processes run.
    #[must_use]
    pub fn running(&self) -> Vec<u16> {
        let running = self.running_nodes().into_iter();
        running.map(|(index, _)| index).collect()
    }

    /// The nodes whose processes run.
    pub(crate) fn running_nodes(&self) -> Vec<(u16, Arc<Node>)> {
        let nodes = self.nodes();
        let slots = (0u16..).zip(nodes.iter());
        let running =
            slots.filter_map(|(index, slot)| Some((index, Arc::clone(slot.node.as_ref()?))));
        running.collect()
    }

    /// Whether any other node than this one is in a ring. One that has only been told of a ring, and lacks its slots, holds
    /// nothing that would be left.
    #[must_use]
    pub fn has_ring_without(&self, index: u16) -> bool {
        let is_in_ring = |(other, node): &(u16, Arc<Node>)| {
            let own = RingMember {
                node_id: NodeId::of_name(&node::name(*other)),
                boot_id: node.boot_id(),
            };
            node.ring()
                .is_some_and(|ring| ring.members().contains(&own))
        };
        let mut others = self.running_nodes().into_iter();
        others.any(|other| other.0 != index && is_in_ring(&other))
    }

    /// Whether every ring names this node in its present life.
    #[must_use]
    pub fn is_in_every_ring(&self, index: u16) -> bool {
        let Some(member) = self.node(index).map(|node| RingMember {
            node_id: NodeId::of_name(&node::name(index)),
            boot_id: node.boot_id(),
        }) else {
            return false;
        };
        let mut rings = self
            .running_nodes()
            .into_iter()
            .filter_map(|(_, it)| it.ring());
        rings.all(|ring| ring.members().contains(&member))
    }

    /// Why not all members run in one ring of all of them, with the lives that they have now and all slots settled; `None`
    /// when they do.
    #[must_use]
    pub fn unsettled(&self) -> Option<String> {
        let running = self.running_nodes();
        let is_running = |index: u16| running.iter().any(|(running, _)| *running == index);
        let absent = (0..self.options().nodes).find(|it| self.is_member(*it) && !is_running(*it));
        if let Some(index) = absent {
            return Some(format!("node-{index} does not run"));
        }
        let mut lives: Vec<_> = running
            .iter()
            .map(|(index, node)| (NodeId::of_name(&node::name(*index)), node.boot_id()))
            .collect();
        lives.sort_unstable();
        running.iter().find_map(|(index, node)| {
            let Some(ring) = node.ring() else {
                return Some(format!("node-{index} has no ring"));
            };
            let members = ring.members().iter();
            let mut members: Vec<_> = members.map(|it| (it.node_id, it.boot_id)).collect();
            members.sort_unstable();
            if members != lives {
                return Some(format!("node-{index} has a ring of other members or lives"));
            }
            let slots = node.slots();
            (slots.unsettled > 0).then(|| format!("node-{index}: slots are not settled: {slots:?}"))
        })
    }

    /// Why not all nodes say of themselves that all is well; `None` when they do.
    #[must_use]
    pub fn unwell(&self) -> Option<String> {
        self.unsettled().or_else(|| {
            self.running_nodes().into_iter().find_map(|(_, node)| {
                let health = node.queries().health();
                let (node, condition, reason) = (health.node, health.condition, health.reason);
                (condition != Condition::Ok).then(|| format!("{node} is {condition:?}: {reason}"))
            })
        })
    }

    /// Exchanges, hints and tasks that are left.
    #[must_use]
    pub fn left_over(&self) -> Vec<LeftOver> {
        let running = self.running_nodes().into_iter();
        running
            .map(|(index, node)| {
                let (view, ring) = (node.view(), node.ring());
                // One that had left before anybody had heard of that life of it is down for the others, and may be back as
                // far as they know.
                let may_be_back = |target: NodeId| {
                    let mut members = ring.iter().flat_map(|ring| ring.members());
                    let held = view.member(target);
                    held.is_some_and(|it| it.liveness == Liveness::Down && !it.has_left())
                        && !members.any(|it| it.node_id == target)
                };
                let owed = node.hints().targets.into_iter();
                let owed = owed.filter(|it| !may_be_back(it.target));
                LeftOver {
                    index,
                    exchanges: node.exchanges_under_way(),
                    hints: owed.map(|target| target.pending).sum(),
                    tasks: self.shared.world.tasks(HostId(index)),
                }
            })
            .collect()
    }

    /// Notes how much every node uses, how often it has sent the same again, and what it has evicted so far.
    pub fn note_usage(&self) {
        let Shared {
            world, recorder, ..
        } = &*self.shared;
        for left in self.left_over() {
            let used = [
                (Resource::Pending, left.exchanges),
                (Resource::Hints, left.hints),
                (Resource::Tasks, left.tasks),
            ];
            for (resource, used) in used {
                let event = Event::Usage {
                    node: u32::from(left.index),
                    resource,
                    used: used as u64,
                    limit: None,
                };
                recorder.mark(world, event);
            }
        }
        for (index, node) in self.running_nodes() {
            self.note_evictions(index, &node);
        }
        for most in self.shared.repeats.take(world.now()) {
            let event = Event::Usage {
                node: u32::from(most.host.0),
                resource: most.resource,
                used: most.sends,
                limit: Some(most.limit),
            };
            recorder.mark(world, event);
        }
    }

    /// Notes what every node believes about the others.
    pub fn note_membership(&self) {
        for (index, node) in self.running_nodes() {
            let view = node.view();
            let seen: Vec<u8> = view
                .members
                .iter()
                .filter(|it| it.liveness.is_present())
                .flat_map(|it| [it.node_id.0, it.boot_id.0])
                .flat_map(u64::to_le_bytes)
                .collect();
            let event = Event::Membership {
                node: u32::from(index),
                members: xxh3_64_with_seed(&seen, 0),
                ring: node.ring().map_or(0, |ring| ring.hash()),
                ring_members: self.ring_members(&node),
            };
            self.shared.recorder.mark(&self.shared.world, event);
        }
    }

    /// The nodes that the ring of a node names.
    fn ring_members(&self, node: &Node) -> Vec<u32> {
        let ring = node.ring();
        let is_named = |index: &u16| {
            let node_id = NodeId::of_name(&node::name(*index));
            let mut members = ring.iter().flat_map(|ring| ring.members());
            members.any(|it| it.node_id == node_id)
        };
        let named = (0..self.options().nodes).filter(is_named);
        named.map(u32::from).collect()
    }

    /// Notes what a node has evicted, and how often it took rare paths, in the life that ends now.
    pub fn note_end(&self, index: u16) {
        let Some(node) = self.node(index) else {
            return;
        };
        self.note_evictions(index, &node);
        let mut paths = self.rare_paths_mut();
        for (name, count) in paths::of(node.metrics()) {
            *paths.entry(name).or_default() += count;
        }
    }

    /// A tombstone that is pushed out takes along what is older in its slot, values of other keys too.
    fn note_evictions(&self, index: u16, node: &Node) {
        let stats = node.store().stats();
        let event = Event::Evictions {
            node: u32::from(index),
            boot_id: node.boot_id().0,
            total: stats.evictions_capacity
                + stats.evictions_memory
                + stats.floors_raised
                + stats.ghosts_forgotten,
        };
        self.shared.recorder.mark(&self.shared.world, event);
    }

    /// How often nodes took rare paths, in lives that have been noted.
    #[must_use]
    pub fn rare_paths(&self) -> BTreeMap<&'static str, u64> {
        self.rare_paths_mut().clone()
    }

    /// Counts something rare that was done beside the nodes.
    pub(crate) fn count_path(&self, name: &'static str, count: u64) {
        *self.rare_paths_mut().entry(name).or_default() += count;
    }

    fn rare_paths_mut(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.shared
            .paths
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a condition holds, looking at it often; at most so long. Returns why it still does not hold.
    pub async fn await_none(
        &self,
        timeout: Duration,
        condition: impl Fn() -> Option<String>,
    ) -> Result<(), String> {
        let world = &self.shared.world;
        let give_up = world.now() + crate::world::nanos(timeout);
        loop {
            let Some(reason) = condition() else {
                return Ok(());
            };
            if world.now() >= give_up {
                return Err(reason);
            }
            world.sleep(Duration::from_millis(100)).await;
        }
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.shared
            .nodes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left at a node when nobody asks it anything.
#[derive(Clone, Copy, Debug)]
pub struct LeftOver {
    /// The node.
    pub index: u16,
    /// Exchanges under way.
    pub exchanges: usize,
    /// Hints owed, to whomever.
    pub hints: usize,
    /// Tasks.
    pub tasks: usize,
}
