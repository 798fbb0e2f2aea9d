//! The command line of `chaos/processes`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use crate::judge::Floors;

const EXIT_CODES: &str = "\
Exit codes: 0 everything held, 1 something was lost or a promise was broken, 2 usage, 4 nodes cannot be started, 5 the \
run proves nothing (too few writes, evictions, keys that were not read back), 77 a tool or a privilege is missing for \
some scenario and the others passed, 130 interrupted.";

/// What is done to nodes under load.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Scenario {
    /// Five nodes, each ended in order and started again, one after the other.
    RollingRestart,
    /// Five nodes, each killed and started again with an empty memory, one after the other.
    Kills,
    /// Three nodes become six and three again.
    Scale,
    /// Five nodes, two cut off from three.
    Split,
    /// Four nodes, two cut off from two.
    EvenSplit,
    /// Five nodes, three of them paused, one after the other.
    Pause,
    /// Three nodes, one of them paused for minutes.
    Away,
    /// The same with little room for what it is owed.
    AwayOverflow,
}

impl Scenario {
    /// Its name.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RollingRestart => "rolling-restart",
            Self::Kills => "kills",
            Self::Scale => "scale",
            Self::Split => "split",
            Self::EvenSplit => "even-split",
            Self::Pause => "pause",
            Self::Away => "away",
            Self::AwayOverflow => "away-overflow",
        }
    }

    /// Whether nodes have to be cut off from each other.
    #[must_use]
    pub(crate) const fn needs_namespaces(self) -> bool {
        match self {
            Self::Split | Self::EvenSplit => true,
            Self::RollingRestart
            | Self::Kills
            | Self::Scale
            | Self::Pause
            | Self::Away
            | Self::AwayOverflow => false,
        }
    }
}

/// Start nodes as processes of this machine, change their cluster under load, read every key back at every node, and say
/// whether anything acknowledged was lost and whether what is promised held.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ProcessArguments {
    /// What to do; all of it by default.
    #[arg(value_enum, value_name = "SCENARIO")]
    scenarios: Vec<Scenario>,
    /// The node's program; `make build` leaves it there.
    #[arg(long, value_name = "FILE", default_value = "./shard-cache")]
    pub(crate) binary: PathBuf,
    /// Writers beside each other.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) writers: u16,
    /// Turns per second, of all writers together. Each is a write, and of a fifth of the new keys a second one.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// Deadline of a request.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
    /// How long a split lasts.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) split_for: Duration,
    /// How long a pause lasts.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) pause_for: Duration,
    /// How long one of three is away.
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = humantime::parse_duration)]
    pub(crate) away_for: Duration,
    /// Longest time for the nodes to agree, settle and owe nothing.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) settle: Duration,
    /// Acknowledged writes without which a scenario proves nothing; it writes until there are so many.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    min_acked: usize,
    /// Share of the acknowledged writes that must have begun and ended within a fault.
    #[arg(long, value_name = "0..1", default_value_t = 0.3)]
    min_during: f64,
    /// Exit with 0 where scenarios lack privileges and are skipped; otherwise that is exit code 77.
    #[arg(long)]
    pub(crate) skip_without_privileges: bool,
    /// Keep the history of each scenario in this directory, one JSON object per line.
    #[arg(long, value_name = "DIR")]
    pub(crate) histories: Option<PathBuf>,
    /// Keep the logs of the nodes in this directory. Otherwise they are kept only where something went wrong.
    #[arg(long, value_name = "DIR")]
    pub(crate) logs: Option<PathBuf>,
}

impl ProcessArguments {
    /// What to do, in order.
    #[must_use]
    pub(crate) fn scenarios(&self) -> Vec<Scenario> {
        if self.scenarios.is_empty() {
            Scenario::value_variants().to_vec()
        } else {
            self.scenarios.clone()
        }
    }

    /// What each scenario has to reach.
    #[must_use]
    pub(crate) const fn floors(&self) -> Floors {
        Floors {
            acked_min: self.min_acked,
            during_min: self.min_during,
        }
    }

    /// What is wrong with the arguments.
    #[must_use]
    pub(crate) fn problem(&self) -> Option<String> {
        if !(0.0..=1.0).contains(&self.min_during) {
            return Some(format!("--min-during {}: 0 to 1", self.min_during));
        }
        if !self.binary.is_file() {
            return Some(format!(
                "--binary {}: there is no such file; `make build` makes ./shard-cache",
                self.binary.display()
            ));
        }
        None
    }
}
