//! The results as files: Markdown for people, JSON for programs.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    goals::Outcome,
    results::{METRICS, Results},
    rows::{Effort, ROWS},
};

/// Everything that is written.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    pub(crate) machine: BTreeMap<&'static str, String>,
    /// How each system was started.
    pub(crate) commands: BTreeMap<&'static str, String>,
    pub(crate) command: String,
    pub(crate) repetitions: usize,
    pub(crate) effort: Effort,
    pub(crate) results: &'a Results,
    pub(crate) ratios: &'a [Outcome],
}

impl Document<'_> {
    /// Writes `RESULTS.md` and `RESULTS.json` into a folder.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        fs::write(folder.join("RESULTS.md"), self.markdown())?;
        let json = format!("{:#}\n", self.json());
        fs::write(folder.join("RESULTS.json"), json)?;
        Ok(())
    }

    fn json(&self) -> Value {
        let rows: BTreeMap<String, Value> = ROWS
            .iter()
            .filter(|row| !self.results.samples(row).is_empty())
            .map(|row| {
                let medians: BTreeMap<&str, Option<f64>> = METRICS
                    .iter()
                    .map(|(name, metric)| (*name, self.results.median(row, *metric)))
                    .collect();
                let samples = self.results.samples(row);
                (row.id(), json!({ "median": medians, "samples": samples }))
            })
            .collect();
        let ratios: BTreeMap<&str, &Outcome> =
            self.ratios.iter().map(|one| (one.name, one)).collect();
        json!({
            "machine": self.machine,
            "command": self.command,
            "systems": self.commands,
            "repetitions": self.repetitions,
            "seconds": self.effort.duration.as_secs_f64(),
            "keys": self.effort.keys,
            "rows": rows,
            "not_measured": self.results.missing,
            "figures": self.results.single,
            "ratios": ratios,
        })
    }

    fn markdown(&self) -> String {
        let mut text = String::from(
            "# Results of `make bench-load`\n\n\
             Written by the program; do not edit. Absolute figures belong to one machine and one day: **the ratios are\n\
             the result**. How it is measured, and what the figures mean: [docs/benchmarking.md](../docs/benchmarking.md).\n\n",
        );
        self.ratios(&mut text);
        self.rows(&mut text);
        self.conditions(&mut text);
        text
    }

    fn ratios(&self, text: &mut String) {
        *text += "## Ratios\n\nMedian of the quotients within each repetition, and their range.\n\n\
                  | ratio | shape | value | range | goal | |\n|---|---|---|---|---|---|\n";
        for one in self.ratios {
            let value = match (one.value, &one.missing) {
                (Some(value), _) => figure(value),
                (None, reason) => {
                    format!("not measured: {}", reason.as_deref().unwrap_or("no reason"))
                }
            };
            let range = one
                .range
                .map_or_else(String::new, |(least, most)| span(least, most));
            let verdict = match one.met {
                Some(true) => "met",
                Some(false) => "**not met**",
                None => "",
            };
            let goal = one.goal.as_deref().unwrap_or("-");
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {value} | {range} | {goal} | {verdict} |",
                one.name, one.shape
            );
        }
    }

    fn rows(&self, text: &mut String) {
        *text += "\n## Rows\n\nMedians over repetitions. `6x64` is 6 connections with 64 requests outstanding in all. CPU \
                  is µs per\noperation, over all processes of a system; in an open loop latency counts from when a request \
                  was due.\n\n\
                  | row | req/s | range | p50 µs | p95 | p99 | p99.9 | max | server CPU | client CPU | errors |\n\
                  |---|---|---|---|---|---|---|---|---|---|---|\n";
        for row in ROWS {
            let median = |metric| {
                self.results
                    .median(&row, metric)
                    .map_or_else(String::new, figure)
            };
            let Some((least, most)) = self.results.range(&row, |one| one.throughput) else {
                let reason = self.results.missing.get(&row.id());
                let reason = reason.map_or("not asked for", String::as_str);
                let _ = writeln!(
                    text,
                    "| {} | not measured: {reason} |{}",
                    row.id(),
                    " |".repeat(9)
                );
                continue;
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                row.id(),
                median(|one| one.throughput),
                span(least, most),
                median(|one| one.p50_us),
                median(|one| one.p95_us),
                median(|one| one.p99_us),
                median(|one| one.p999_us),
                median(|one| one.max_us),
                median(|one| one.server_us_per_op),
                median(|one| one.client_us_per_op),
                median(|one| one.error_ratio),
            );
        }
        for (name, value) in &self.results.single {
            let _ = writeln!(text, "\n{name}: {}", figure(*value));
        }
    }

    fn conditions(&self, text: &mut String) {
        let _ = write!(
            text,
            "\n## Conditions\n\n`{}`: {} repetitions, {:.1} s for each row in each of them after {:.1} s of warm-up; all \
             systems run all the\ntime, rows alternate within a repetition. {} keys of 32 bytes. One process \
             makes the load, on one thread.\n\n| | |\n|---|---|\n",
            self.command,
            self.repetitions,
            self.effort.duration.as_secs_f64(),
            self.effort.warm_up.as_secs_f64(),
            self.effort.keys,
        );
        for (name, value) in &self.machine {
            let _ = writeln!(text, "| {name} | {value} |");
        }
        *text += "\n| system | started as |\n|---|---|\n";
        for (name, command) in &self.commands {
            let _ = writeln!(text, "| {name} | `{command}` |");
        }
    }
}

fn span(least: f64, most: f64) -> String {
    format!("{} - {}", figure(least), figure(most))
}

/// Three digits, or all before the point.
fn figure(value: f64) -> String {
    if value == 0.0 {
        "0".to_owned()
    } else if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else if value.abs() >= 0.01 {
        format!("{value:.2}")
    } else {
        format!("{value:.1e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_about_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (123_456.7, "123457"),
            (12.34, "12.3"),
            (0.754, "0.75"),
            (0.000_51, "5.1e-4"),
        ] {
            assert_eq!(figure(value), text);
        }
    }
}
