//! The command line of `chaos/figures`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

const EXIT_CODES: &str = "\
Exit codes: 0 measured, 2 usage, 4 nodes cannot be started or do not do what is measured, 130 interrupted. What lacks a \
tool or a privilege is left out, and the table says so.";

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Figure {
    /// From a kill to the moment when all nodes know.
    Detection,
    /// From the end of a split to one view and one ring.
    Heal,
    /// From the start of a further node, and from its leave, until all slots have settled.
    Join,
    /// Until a node that was killed is full again, how fast copies go, and what clients notice.
    Refill,
    /// What the state of slots takes.
    Memory,
}

/// Measure how changes of owners go on this machine, with processes of the node's program, and print a table.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct FigureArguments {
    /// What to measure; all of it by default.
    #[arg(value_enum, value_name = "FIGURE")]
    figures: Vec<Figure>,
    /// The node's program; `make build` leaves it there.
    #[arg(long, value_name = "FILE", default_value = "./shard-cache")]
    pub(crate) binary: PathBuf,
    /// Kills, splits and joins that are measured.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Restarts of a node with data that are measured.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    refills: u16,
    /// Bytes of values that a node holds when it is killed, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) data_mib: u32,
    /// Requests of clients per second beside a copy.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// Longest time for the nodes to agree, settle and owe nothing.
    #[arg(long, value_name = "TIME", default_value = "3m", value_parser = humantime::parse_duration)]
    pub(crate) settle: Duration,
    /// Write the table into this document, between its markers.
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
    /// Keep the logs of the nodes in this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) logs: Option<PathBuf>,
}

impl FigureArguments {
    /// What to measure, in order.
    #[must_use]
    pub(crate) fn figures(&self) -> Vec<Figure> {
        if self.figures.is_empty() {
            Figure::value_variants().to_vec()
        } else {
            self.figures.clone()
        }
    }

    /// Kills, splits and joins that are measured.
    #[must_use]
    pub(crate) fn runs(&self) -> usize {
        usize::from(self.runs)
    }

    /// Restarts of a node with data that are measured.
    #[must_use]
    pub(crate) fn refills(&self) -> usize {
        usize::from(self.refills)
    }

    /// What is wrong with the arguments.
    #[must_use]
    pub(crate) fn problem(&self) -> Option<String> {
        if self.write.is_some() && !self.figures.is_empty() {
            return Some("--write needs all figures, or the others would be lost".to_owned());
        }
        (!self.binary.is_file()).then(|| {
            let binary = self.binary.display();
            format!("--binary {binary}: there is no such file; `make build` makes ./shard-cache")
        })
    }
}
