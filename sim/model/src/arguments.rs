//! The arguments of the command line.

use std::{fmt, path::PathBuf};

use slot_model::{
    explore::MODES,
    rules::{Bug, Rules},
    sweep::Until,
};

/// What can be asked for.
pub(crate) const USAGE: &str = "\
usage: slot-model [COMMAND] [OPTION]...

commands:
  --seeds N          random schedules of so many seeds in each mode (the default, with 20000)
  --mutants          planted bugs: each that random schedules find must be caught by one of --seeds
  --exhaustive       every schedule of small instances, up to --depth D (14) or a bound on worlds
  --replay MODE:SEED one random schedule in words
  --scenario FILE... scenarios: each must go as it says, and fail with the planted bugs that it catches
  --help             this text

options:
  --from SEED        the first seed (0)
  --mode MODE        one mode only, 0 to 3
  --stop             stop at the first violation
  --mutant NAME      the rule with a planted bug
  --all-full         a stricter rule: only full answers count
  --sketch           the first sketch of the rule, without numbers, which is not safe
  --sketch-voters    the same, and only former full owners are sources";

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    Help,
    Sweep,
    Mutants,
    Exhaustive,
    Replay { mode: usize, seed: u64 },
    Scenarios,
}

/// What to do, and how.
#[derive(Clone, Debug)]
pub(crate) struct Arguments {
    pub(crate) command: Command,
    pub(crate) rules: Rules,
    pub(crate) seeds: u64,
    pub(crate) from: u64,
    pub(crate) mode: Option<usize>,
    pub(crate) depth: usize,
    pub(crate) until: Until,
    pub(crate) files: Vec<PathBuf>,
}

/// A mistake in the arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Mistake {
    Unknown {
        argument: String,
    },
    NoValue {
        option: String,
        wanted: &'static str,
    },
    BadValue {
        option: String,
        value: String,
        wanted: &'static str,
    },
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { argument } => write!(formatter, "{argument} is not known"),
            Self::NoValue { option, wanted } => write!(formatter, "{option} needs {wanted}"),
            Self::BadValue {
                option,
                value,
                wanted,
            } => write!(formatter, "{option} needs {wanted}, not {value}"),
        }
    }
}

impl Arguments {
    /// Reads what follows the program's name.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self, Mistake> {
        let mut arguments = Self {
            command: Command::Sweep,
            rules: Rules::sound(),
            seeds: 20_000,
            from: 0,
            mode: None,
            depth: 14,
            until: Until::Many,
            files: vec![],
        };
        let mut words = words;
        while let Some(option) = words.next() {
            arguments.take(&option, &mut words)?;
        }
        Ok(arguments)
    }

    fn take(
        &mut self,
        option: &str,
        rest: &mut impl Iterator<Item = String>,
    ) -> Result<(), Mistake> {
        match option {
            "--help" | "-h" => self.command = Command::Help,
            "--mutants" => self.command = Command::Mutants,
            "--exhaustive" => self.command = Command::Exhaustive,
            "--replay" => {
                let (mode, seed) = value(option, rest, "MODE:SEED", replayed)?;
                self.command = Command::Replay { mode, seed };
            }
            "--seeds" => self.seeds = value(option, rest, NUMBER, number)?,
            "--from" => self.from = value(option, rest, NUMBER, number)?,
            "--depth" => self.depth = value(option, rest, NUMBER, number)?,
            "--mode" => self.mode = Some(value(option, rest, "a mode, 0 to 3", mode)?),
            "--stop" => self.until = Until::First,
            "--mutant" => {
                let bug = value(option, rest, "the name of a planted bug", Bug::named)?;
                self.rules = bug.rules();
            }
            "--all-full" => self.rules = self.rules.all_full(),
            "--sketch" => self.rules = self.rules.sketch(),
            "--sketch-voters" => {
                self.rules = Rules {
                    only_full_sources: true,
                    ..self.rules.sketch()
                };
            }
            "--scenario" => {
                let file = value(option, rest, "a file", |word| Some(PathBuf::from(word)))?;
                self.files.push(file);
                self.command = Command::Scenarios;
            }
            file if self.command == Command::Scenarios && !file.starts_with("--") => {
                self.files.push(PathBuf::from(file));
            }
            unknown => {
                return Err(Mistake::Unknown {
                    argument: unknown.to_owned(),
                });
            }
        }
        Ok(())
    }
}

const NUMBER: &str = "a number";

/// The value that follows an option.
fn value<T>(
    option: &str,
    rest: &mut impl Iterator<Item = String>,
    wanted: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, Mistake> {
    let option = option.to_owned();
    let Some(value) = rest.next() else {
        return Err(Mistake::NoValue { option, wanted });
    };
    read(&value).ok_or(Mistake::BadValue {
        option,
        value,
        wanted,
    })
}

fn number<T: std::str::FromStr>(word: &str) -> Option<T> {
    word.parse().ok()
}

fn mode(word: &str) -> Option<usize> {
    number(word).filter(|mode| *mode < MODES.len())
}

fn replayed(word: &str) -> Option<(usize, u64)> {
    let (at, seed) = word.split_once(':')?;
    Some((mode(at)?, number(seed)?))
}
