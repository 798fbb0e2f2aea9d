//! `check HISTORY`: judges a recorded history and says so.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, ValueEnum};

use crate::{
    check::check,
    history::{self, History, Promises},
    report::{Report, Summary},
};

/// Arguments of `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArguments {
    /// The history: JSON lines, as the simulator or the chaos tool records them.
    pub history: PathBuf,
    /// Writes the report as JSON to this file, too.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// What had been promised.
    #[arg(long, value_enum, default_value_t)]
    pub promises: PromisesChoice,
    /// What is written to standard output.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Which promises a history is judged by.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PromisesChoice {
    /// What the history says was in force; all promises if it does not.
    #[default]
    Recorded,
    /// All promises.
    Full,
}

/// The form of the output.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// What `check` exits with. Wrong usage is 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// No promise was broken.
    Kept = 0,
    /// A promise was broken.
    Violated = 1,
    /// The report cannot be written.
    Failed = 3,
    /// Too little happened to prove anything.
    Vacuous = 5,
    /// The history cannot be read.
    Unreadable = 7,
    /// A rare path was taken too seldom, see [`crate::paths::GATED`], or a run was slower than expected.
    Untaken = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Runs the command.
#[must_use]
pub fn run(arguments: &CheckArguments) -> Exit {
    let history = match history::read_file(&arguments.history) {
        Ok(history) => history,
        Err(error) => {
            eprintln!("{}: {error}", arguments.history.display());
            return Exit::Unreadable;
        }
    };
    let report = judge(&history, arguments.promises);
    match say(&report, arguments.output, arguments.report.as_deref()) {
        Ok(()) => exit_of(&report),
        Err(error) => {
            eprintln!("cannot write the report: {error}");
            Exit::Failed
        }
    }
}

/// The report on a history by the promises chosen.
fn judge(history: &History, choice: PromisesChoice) -> Report {
    let recorded = history.header.promises.clone();
    let floors = recorded.as_ref().map(|recorded| recorded.floors);
    let mut promises = match choice {
        PromisesChoice::Recorded => recorded.unwrap_or_default(),
        PromisesChoice::Full => Promises::full(),
    };
    // How much had to happen is the recorder's to say, whatever was promised.
    promises.floors = floors.unwrap_or_default();
    Report::new(history, &check(history, &promises))
}

fn say(report: &Report, output: Output, file: Option<&Path>) -> io::Result<()> {
    let json = report.to_json()?;
    if let Some(file) = file {
        fs::write(file, format!("{json}\n"))?;
    }
    let mut stdout = io::stdout().lock();
    match output {
        Output::Text => write!(stdout, "{report}"),
        Output::Json => writeln!(stdout, "{json}"),
    }
}

const fn exit_of(report: &Report) -> Exit {
    match report.verdict {
        Summary::Kept => Exit::Kept,
        Summary::Violated => Exit::Violated,
        Summary::Vacuous => Exit::Vacuous,
    }
}
