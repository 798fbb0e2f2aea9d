//! The laws of slot reconfiguration, seen inside of nodes: every simulated second, and in the end. One file per law:
//!
//! - `configuration_rises`: a slot's configuration never falls at a node;
//! - `full_covers`: who is full has every write that was acknowledged in lower configurations;
//! - `one_configuration`: at most one configuration of a slot can acknowledge writes.
//!
//! What is seen is noted in the history as [`Event::Broken`].

mod acknowledged;
mod configuration_rises;
mod full_covers;
mod one_configuration;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use shard_cache::{node::Node, ring::gates::Gates};
use shard_cache_membership::identity::BootId;

use self::{
    configuration_rises::ConfigurationRises, full_covers::FullCovers,
    one_configuration::OneConfiguration,
};
use crate::{
    cluster::Cluster,
    history::{Event, Invariant},
    world::Nanos,
};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// Breaches of one law that are noted in a run.
const NOTED_MAX: u32 = 10;

/// A node at one moment.
struct Glimpse {
    index: u16,
    boot: BootId,
    gates: Arc<Gates>,
    node: Arc<Node>,
}

/// What has been seen of a run's nodes. Clones are the same.
#[derive(Clone)]
pub(crate) struct Laws {
    cluster: Cluster,
    seen: Arc<Mutex<Seen>>,
}

struct Seen {
    rises: ConfigurationRises,
    covers: FullCovers,
    one: OneConfiguration,
    noted: BTreeMap<Invariant, u32>,
    /// The gates of the last look, to see whether anything has changed.
    held: Vec<(u16, Arc<Gates>)>,
}

impl Laws {
    pub(crate) fn new(cluster: Cluster) -> Self {
        let options = cluster.options();
        let seen = Seen {
            rises: ConfigurationRises::default(),
            covers: FullCovers::new(options),
            one: OneConfiguration::new(options),
            noted: BTreeMap::new(),
            held: Vec::new(),
        };
        Self {
            cluster,
            seen: Arc::new(Mutex::new(seen)),
        }
    }

    /// Looks again and again, for as long as the run lasts.
    pub(crate) async fn run(self) {
        loop {
            self.look();
            self.cluster.world().sleep(INTERVAL).await;
        }
    }

    /// Looks once.
    pub(crate) fn look(&self) {
        let now = self.cluster.world().now();
        let glimpses: Vec<Glimpse> = self
            .cluster
            .running_nodes()
            .into_iter()
            .map(|(index, node)| Glimpse {
                index,
                boot: node.boot_id(),
                gates: node.gates(),
                node,
            })
            .collect();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let breaches = seen.look(&self.cluster, &glimpses, now);
        let world = self.cluster.world();
        for (invariant, what) in breaches {
            let noted = seen.noted.entry(invariant).or_default();
            *noted += 1;
            if *noted <= NOTED_MAX {
                let event = Event::Broken { invariant, what };
                self.cluster.recorder().mark(world, event);
            }
        }
    }

    /// How often a full owner was compared with what had been acknowledged of a key.
    pub(crate) fn compared(&self) -> u64 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.covers.compared()
    }
}

impl Seen {
    fn look(
        &mut self,
        cluster: &Cluster,
        glimpses: &[Glimpse],
        now: Nanos,
    ) -> Vec<(Invariant, String)> {
        let slots = cluster.options().slots;
        let is_same = |held: &[(u16, Arc<Gates>)]| {
            let same = |(glimpse, (index, gates)): (&Glimpse, &(u16, Arc<Gates>))| {
                glimpse.index == *index && Arc::ptr_eq(&glimpse.gates, gates)
            };
            glimpses.len() == held.len() && glimpses.iter().zip(held).all(same)
        };
        let has_changed = !is_same(&self.held);
        let mut breaches = Vec::new();
        let mut add = |invariant: Invariant, found: Vec<String>| {
            breaches.extend(found.into_iter().map(|what| (invariant, what)));
        };
        if has_changed {
            let found = self.rises.look(glimpses, slots);
            add(Invariant::ConfigurationRises, found);
            add(Invariant::OneConfiguration, self.one.look(glimpses));
            let held = glimpses.iter();
            self.held = held.map(|it| (it.index, Arc::clone(&it.gates))).collect();
        }
        let found = self
            .covers
            .look(cluster.recorder(), glimpses, now, has_changed);
        add(Invariant::FullCovers, found);
        breaches
    }
}
