//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::{fault::Fault, judge::Floors};

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
    /// A fault: a command for the shell that makes it and undoes it. Several run one after the other, each when the
    /// nodes agree again and owe nothing. Exit code 77 means that it lacks a tool or a privilege.
    #[arg(long = "fault", value_name = "NAME: COMMAND")]
    faults: Vec<Fault>,
    /// A fault after the others that may be skipped when it lacks a tool or a privilege.
    #[arg(long = "optional-fault", value_name = "NAME: COMMAND")]
    optional_faults: Vec<Fault>,
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

    /// What is wrong with the arguments together.
    #[must_use]
    pub(crate) fn problem(&self) -> Option<String> {
        if !(0.0..=1.0).contains(&self.min_during) {
            return Some(format!("--min-during {}: 0 to 1", self.min_during));
        }
        let faults = self.faults();
        let twice = faults.iter().enumerate().find(|(place, fault)| {
            faults[..*place]
                .iter()
                .any(|other| other.name == fault.name)
        });
        twice.map(|(_, fault)| format!("two faults are called {}", fault.name))
    }
}
