//! The command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;

use crate::{fault::Fault, judge::Floors, timings::Limits};

/// What the exit code of a check says.
pub(crate) const EXIT_CODES: &str = "\
Exit codes: 0 nothing was lost, 1 violation, 2 usage, 4 a node cannot be reached, 5 the run proves nothing (too few \
writes, a fault that did not work, evictions, keys that were not read back), 130 interrupted.";

/// What is checked, and how much load there is.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// Client address of a node; give all nodes of the cluster.
    #[arg(long = "node", value_name = "HOST:PORT",
        default_values = ["127.0.0.1:8080", "127.0.0.1:8082", "127.0.0.1:8084"])]
    pub(crate) nodes: Vec<String>,
    /// HTTP address of a node, in the order of --node: what it says of the cluster is followed, ten times a second, so
    /// that the report can tell when a fault was known and when it was over for all.
    #[arg(long = "http", value_name = "HOST:PORT")]
    pub(crate) http: Vec<SocketAddr>,
    /// Longest time from a fault's begin until every node that answers sees fewer members alive. Needs --http, as the
    /// next three do.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, requires = "http")]
    known_within: Option<Duration>,
    /// Longest time from a fault's end until all nodes see all members alive.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, requires = "http")]
    members_within: Option<Duration>,
    /// Longest time from a fault's end until all nodes go by one ring.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, requires = "http")]
    ring_within: Option<Duration>,
    /// Smallest share of requests that have to be answered at the first try during a fault, of those made at nodes that
    /// answer throughout.
    #[arg(long, value_name = "0..1", requires = "http")]
    first_try_min: Option<f64>,
    /// A fault: a command for the shell that makes it and undoes it. Several run one after the other, each when the
    /// nodes agree again and owe nothing. Exit code 77 means that it lacks a tool or a privilege.
    #[arg(long = "fault", value_name = "NAME: COMMAND")]
    faults: Vec<Fault>,
    /// A fault after the others that may be skipped when it lacks a tool or a privilege.
    #[arg(long = "optional-fault", value_name = "NAME: COMMAND")]
    optional_faults: Vec<Fault>,
    /// The fault of this name takes the memory of every node: what was written before it has to be gone afterwards.
    #[arg(long, value_name = "NAME")]
    pub(crate) wipes: Vec<String>,
    /// Writers beside each other.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    writers: u16,
    /// Turns per second, of all writers together. Each is a write, and of a fifth of the new keys a second one.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// Deadline of a request.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
    /// How long to write before the first fault.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) before: Duration,
    /// How long to write after the last fault.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    pub(crate) after: Duration,
    /// Longest time for the nodes to agree and owe nothing, at the start and after each fault.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) settle: Duration,
    /// Longest time for a fault's command.
    #[arg(long, value_name = "TIME", default_value = "3m", value_parser = humantime::parse_duration)]
    pub(crate) fault_timeout: Duration,
    /// Acknowledged writes without which the run proves nothing.
    #[arg(long, value_name = "N", default_value_t = 5000)]
    min_acked: usize,
    /// Share of the acknowledged writes that must have begun and ended within a fault.
    #[arg(long, value_name = "0..1", default_value_t = 0.3)]
    min_during: f64,
    /// In the end delete every key, so that another run can follow on the same nodes for as long as one likes.
    #[arg(long)]
    pub(crate) remove: bool,
    /// Write every operation to this file, one JSON object per line.
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
    /// Write the verdict to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Judge the history in this file instead of running anything.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["faults", "optional_faults", "history"])]
    pub(crate) judge: Option<PathBuf>,
}

impl Arguments {
    /// All faults, in their order.
    #[must_use]
    pub(crate) fn faults(&self) -> Vec<Fault> {
        let optional = self.optional_faults.iter().cloned().map(|fault| Fault {
            required: false,
            ..fault
        });
        self.faults.iter().cloned().chain(optional).collect()
    }

    /// How many writers.
    #[must_use]
    pub(crate) fn writers(&self) -> usize {
        usize::from(self.writers)
    }

    /// What the run has to reach.
    #[must_use]
    pub(crate) const fn floors(&self) -> Floors {
        Floors {
            acked_min: self.min_acked,
            during_min: self.min_during,
        }
    }

    /// What each fault has to keep to.
    #[must_use]
    pub(crate) const fn limits(&self) -> Limits {
        Limits {
            known: self.known_within,
            members: self.members_within,
            ring: self.ring_within,
            first_try_min: self.first_try_min,
        }
    }

    /// What is wrong with the arguments together.
    #[must_use]
    pub(crate) fn problem(&self) -> Option<String> {
        if !(0.0..=1.0).contains(&self.min_during) {
            return Some(format!("--min-during {}: 0 to 1", self.min_during));
        }
        if let Some(share) = self
            .first_try_min
            .filter(|share| !(0.0..=1.0).contains(share))
        {
            return Some(format!("--first-try-min {share}: 0 to 1"));
        }
        if !self.http.is_empty() && self.http.len() != self.nodes.len() {
            let (http, nodes) = (self.http.len(), self.nodes.len());
            return Some(format!("{http} addresses by --http, and {nodes} by --node"));
        }
        let faults = self.faults();
        if let Some(name) = self
            .wipes
            .iter()
            .find(|name| !faults.iter().any(|fault| fault.name == **name))
        {
            return Some(format!("--wipes {name}: no fault is called so"));
        }
        let twice = faults.iter().enumerate().find(|(place, fault)| {
            faults[..*place]
                .iter()
                .any(|other| other.name == fault.name)
        });
        twice.map(|(_, fault)| format!("two faults are called {}", fault.name))
    }
}
