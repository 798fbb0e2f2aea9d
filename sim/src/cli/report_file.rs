//! Reports as files: JSON for programs, words for people.

use std::{collections::BTreeMap, fs, path::Path};

use clap::Args;
use serde::Serialize;

use super::{
    check::{Exit, Output},
    run::{Finding, exit_of},
};
use crate::{
    options::Options,
    report::{Report, Summary},
    run::Outcome,
    scenario::Scenario,
};

/// Where a report goes.
#[derive(Args, Clone, Debug)]
pub struct ReportArguments {
    /// Writes the report to this file, too: as JSON if its name ends in .json, else in words.
    #[arg(long, value_name = "FILE")]
    pub report: Option<std::path::PathBuf>,
    /// The form of the report file, whatever its name.
    #[arg(short, long, value_enum, requires = "report")]
    pub output: Option<Output>,
}

impl ReportArguments {
    /// Writes a report if one is wanted.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, report: &impl Serialize, words: &str) -> std::io::Result<()> {
        let Some(file) = &self.report else {
            return Ok(());
        };
        let text = match self.output.unwrap_or_else(|| form_of(file)) {
            Output::Json => serde_json::to_string_pretty(report)?,
            Output::Text => words.to_owned(),
        };
        fs::write(file, format!("{}\n", text.trim_end()))
    }
}

fn form_of(file: &Path) -> Output {
    let is_json = file
        .extension()
        .is_some_and(|extension| extension == "json");
    if is_json { Output::Json } else { Output::Text }
}

/// A run and the verdict on it, for programs.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// The verdict on the history; violated also where only liveness failed.
    #[serde(flatten)]
    pub report: Report,
    /// What did not come right after everything had healed.
    pub liveness: Vec<String>,
    /// How often nodes took rare paths.
    pub rare_paths: BTreeMap<&'static str, u64>,
    /// Hash over everything that happened.
    pub trace: String,
    /// Events that happened.
    pub events: u64,
    /// Virtual time that passed.
    pub simulated_seconds: f64,
    /// The options in one sentence.
    pub description: String,
    /// Everything that the run was made of, as a scenario.
    pub options: Scenario,
}

impl RunReport {
    /// Of a run.
    #[must_use]
    pub fn new(options: &Options, outcome: &Outcome, report: &Report) -> Self {
        let mut report = report.clone();
        if exit_of(outcome, &report) == Exit::Violated {
            report.verdict = Summary::Violated;
        }
        Self {
            report,
            liveness: outcome.failures.clone(),
            rare_paths: outcome.paths.clone(),
            trace: trace_name(outcome.trace),
            events: outcome.events,
            simulated_seconds: outcome.simulated.as_secs_f64(),
            description: options.to_string(),
            options: Scenario::of(options),
        }
    }
}

/// A trace's hash as it is written.
#[must_use]
pub fn trace_name(trace: u64) -> String {
    format!("{trace:016x}")
}

/// A run in words.
#[must_use]
pub fn words(options: &Options, outcome: &Outcome, report: &Report) -> String {
    format!("{options}\n{}", Finding::of(outcome, report))
}
