//! To and from the options of a run.

use std::{collections::BTreeSet, time::Duration};

use super::{Load, Network, Scenario, Topology, Wanted};
use crate::{
    faults::ppm,
    options::{Mix, Options},
    plan::{self, Given},
    span::Span,
};

/// Minutes of a run that does not say how long it takes.
const MINUTES: u64 = 5;

impl Scenario {
    /// How long clients work and faults happen.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        let minutes = self.minutes.unwrap_or(MINUTES);
        self.seconds.unwrap_or(minutes.saturating_mul(60))
    }

    /// R and W.
    #[must_use]
    pub fn quorums(&self) -> (u8, u8) {
        let majority = self.topology.replication_factor / 2 + 1;
        let Topology {
            read_quorum,
            write_quorum,
            ..
        } = self.topology;
        (
            read_quorum.unwrap_or(majority),
            write_quorum.unwrap_or(majority),
        )
    }

    /// How many nodes form the first ring.
    #[must_use]
    pub fn first_nodes(&self) -> u16 {
        self.topology.first_nodes.unwrap_or(self.topology.nodes)
    }

    /// How many members the first ring needs.
    #[must_use]
    pub fn min_members(&self) -> u16 {
        self.topology.min_members.unwrap_or(self.first_nodes())
    }

    /// The nodes that others join through.
    #[must_use]
    pub fn seeds(&self) -> BTreeSet<u16> {
        let usual = || (0..self.topology.nodes.min(3)).collect();
        self.topology.seeds.clone().unwrap_or_else(usual)
    }

    /// The options of a run of it; `replay` is the command that does the same again.
    #[must_use]
    pub fn options(&self, replay: String) -> Options {
        let Self {
            topology,
            network,
            load,
            ..
        } = self;
        let (quorum, write_quorum) = self.quorums();
        let invariants = match &self.promises {
            Wanted::All => None,
            Wanted::Only(invariants) => Some(invariants.clone()),
        };
        Options {
            seed: self.seed,
            nodes: topology.nodes,
            replication_factor: topology.replication_factor,
            quorum,
            write_quorum,
            min_members: self.min_members(),
            ring_down_grace: topology.ring_down_grace.0,
            losses: 1,
            slots: topology.slots,
            duration: Duration::from_secs(self.seconds()),
            clients: load.clients,
            rate: load.rate,
            keys: load.keys,
            mix: Mix {
                set: load.set,
                delete: load.delete,
                ttl: load.ttl,
                one: load.one,
                all: load.all,
                degrade: load.degrade,
            },
            value_bytes_max: load.value_bytes,
            huge_value_bytes: load.huge_value_bytes.unwrap_or(load.value_bytes),
            default_ttl: load.default_ttl.0,
            seeds: self.seeds(),
            zones: topology.zones,
            ghosts_max: topology.ghosts,
            profile: topology.profile,
            capacity_entries: topology.capacity_entries,
            memory_bytes: topology.memory_bytes,
            hint_bytes_max: topology.hint_bytes,
            hint_window: topology.hint_window.0,
            tombstone_life: topology.tombstone_life.0,
            tombstone_bytes_max: topology.tombstone_bytes,
            queue_bytes_max: topology.queue_bytes,
            requests_max: topology.requests_max,
            stall_timeout: topology.stall_timeout.0,
            reconnect_max: topology.reconnect_max.0,
            hedge: (topology.hedge_after.0, topology.hedge_share),
            deadline_max: load.deadline.0,
            delay: network.delay.0,
            jitter: network.jitter.0,
            loss_ppm: ppm(network.loss_percent),
            skew_millis: network.clock_skew_ms,
            drift_ppm: network.clock_drift_ppm,
            faults: self.faults.iter().map(|fault| fault.kind).collect(),
            calm: Duration::ZERO,
            plant: None,
            given: Some(Given {
                plan: self.faults.clone(),
                first_nodes: self.first_nodes(),
                invariants,
                floors: self.floors,
                replay,
            }),
        }
    }

    /// The scenario of a run, with the faults that its seed draws written down.
    #[must_use]
    pub fn of(options: &Options) -> Self {
        let given = options.given.as_ref();
        let only = given.and_then(|given| given.invariants.clone());
        Self {
            seed: options.seed,
            minutes: None,
            seconds: Some(options.duration.as_secs()),
            topology: Topology {
                nodes: options.nodes,
                first_nodes: Some(options.first_nodes()),
                replication_factor: options.replication_factor,
                read_quorum: Some(options.quorum),
                write_quorum: Some(options.write_quorum),
                slots: options.slots,
                min_members: Some(options.min_members.min(options.first_nodes())),
                ring_down_grace: Span(options.ring_down_grace),
                seeds: Some(options.seeds.clone()),
                profile: options.profile,
                capacity_entries: options.capacity_entries,
                memory_bytes: options.memory_bytes,
                hint_bytes: options.hint_bytes_max,
                hint_window: Span(options.hint_window),
                tombstone_life: Span(options.tombstone_life),
                tombstone_bytes: options.tombstone_bytes_max,
                ghosts: options.ghosts_max,
                zones: options.zones,
                queue_bytes: options.queue_bytes_max,
                requests_max: options.requests_max,
                stall_timeout: Span(options.stall_timeout),
                reconnect_max: Span(options.reconnect_max),
                hedge_after: Span(options.hedge.0),
                hedge_share: options.hedge.1,
            },
            network: Network {
                delay: Span(options.delay),
                jitter: Span(options.jitter),
                loss_percent: f64::from(options.loss_ppm) / 10_000.0,
                clock_skew_ms: options.skew_millis,
                clock_drift_ppm: options.drift_ppm,
            },
            load: Load {
                rate: options.rate,
                clients: options.clients,
                keys: options.keys,
                set: options.mix.set,
                delete: options.mix.delete,
                ttl: options.mix.ttl,
                one: options.mix.one,
                all: options.mix.all,
                degrade: options.mix.degrade,
                value_bytes: options.value_bytes_max,
                huge_value_bytes: Some(options.huge_value_bytes),
                default_ttl: Span(options.default_ttl),
                deadline: Span(options.deadline_max),
            },
            faults: plan::of(options),
            promises: only.map_or(Wanted::All, Wanted::Only),
            floors: given.and_then(|given| given.floors),
            expect: None,
            trace: None,
        }
    }

    /// The same as a file.
    ///
    /// # Errors
    /// Never in practice: a scenario has nothing that YAML lacks.
    pub fn to_yaml(&self) -> anyhow::Result<String> {
        Ok(serde_saphyr::to_string(self)?)
    }
}
