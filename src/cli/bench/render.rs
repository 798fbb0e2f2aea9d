//! A measurement as people, spreadsheets and programs read it.

use std::fmt::Write as _;

use serde_json::{Value, json};
use shard_cache_bench::{Latency, Moment, Operations, Report, Threshold, Verdict};

use super::{
    super::output::{self, Column},
    Failure,
};

/// One second, on one line.
pub(super) fn moment(moment: &Moment) -> String {
    let mut line = format!(
        "{:>4.0} s  {:>9.0} ops/s  p50 {:>8}  p99 {:>8}  max {:>8}",
        moment.at_seconds,
        moment.throughput,
        time(moment.p50_us),
        time(moment.p99_us),
        time(moment.max_us),
    );
    for (count, name) in [
        (moment.failed, "failed"),
        (moment.unknown, "unknown"),
        (moment.corrupt, "corrupt"),
    ] {
        if count > 0 {
            // Writing to a string cannot fail.
            let _ = write!(line, "  {count} {name}");
        }
    }
    line
}

/// The whole measurement for people.
pub(super) fn table(report: &Report) -> String {
    let mut text = format!("{}\n\n", head(report));
    let columns = [
        Column::Left("KIND"),
        Column::Right("OPS/S"),
        Column::Right("OK"),
        Column::Right("MISSES"),
        Column::Right("FAILED"),
        Column::Right("(SHED)"),
        Column::Right("UNKNOWN"),
        Column::Right("CORRUPT"),
    ];
    let rows: Vec<_> = kinds(report)
        .iter()
        .map(|(name, one)| counts(name, one))
        .collect();
    text += &output::table(&columns, &rows);
    let columns = [
        Column::Left("LATENCY"),
        Column::Right("MEAN"),
        Column::Right("P50"),
        Column::Right("P90"),
        Column::Right("P95"),
        Column::Right("P99"),
        Column::Right("P99.9"),
        Column::Right("MAX"),
    ];
    let mut rows: Vec<_> = kinds(report)
        .iter()
        .map(|(name, one)| latencies(name, &one.latency))
        .collect();
    if is_open(report) {
        rows.push(latencies("sent to answered", &report.service));
        rows.push(latencies("sent late by", &report.lateness));
    }
    text += "\n\n";
    text += &output::table(&columns, &rows);
    text += "\n\n";
    text += &cpu(report);
    text += &trouble(report);
    text.trim_end().to_owned()
}

/// All, and reads and writes apart if there were both.
fn kinds(report: &Report) -> Vec<(&'static str, &Operations)> {
    let apart = [("reads", &report.reads), ("writes", &report.writes)];
    let mut kinds: Vec<_> = apart.into_iter().filter(|(_, one)| one.ended > 0).collect();
    if kinds.len() != 1 {
        kinds.push(("all", &report.all));
    }
    kinds
}

fn head(report: &Report) -> String {
    let plan = &report.plan;
    let text = |name: &str| plan[name].as_str().unwrap_or_default().to_owned();
    let rate = match plan["rate"].as_f64() {
        Some(rate) => format!(" at {rate} requests/s"),
        None => String::new(),
    };
    let early = if report.interrupted {
        " (ended early)"
    } else {
        ""
    };
    format!(
        "{}, {} loop{rate}, {} generator: {} connections, {} outstanding in all, {:.1} s{early}",
        text("mix"),
        text("loop"),
        text("generator"),
        plan["connections"],
        plan["outstanding_in_all"],
        report.seconds,
    )
}

fn is_open(report: &Report) -> bool {
    report.plan["loop"] == "open"
}

fn counts(name: &str, one: &Operations) -> Vec<String> {
    let mut row = vec![name.to_owned(), format!("{:.0}", one.throughput)];
    row.extend(
        [
            one.ok,
            one.misses,
            one.failed,
            one.shed,
            one.unknown,
            one.corrupt,
        ]
        .map(|count| count.to_string()),
    );
    row
}

fn latencies(name: &str, latency: &Latency) -> Vec<String> {
    let mut row = vec![name.to_owned()];
    row.extend(
        [
            latency.mean_us,
            latency.p50_us,
            latency.p90_us,
            latency.p95_us,
            latency.p99_us,
            latency.p999_us,
            latency.max_us,
        ]
        .map(time),
    );
    row
}

fn cpu(report: &Report) -> String {
    let cpu = &report.cpu;
    let mut text = format!("CPU per operation: client {:.1} µs", cpu.client_us_per_op);
    match cpu.server_us_per_op {
        None => text += "; no server process was found on this machine",
        Some(sum) => {
            let servers: Vec<String> = cpu
                .servers
                .iter()
                .map(|one| format!("{} {}: {:.1}", one.name, one.pid, one.us_per_op))
                .collect();
            // Writing to a string cannot fail.
            let _ = write!(text, ", servers {sum:.1} µs ({})", servers.join(", "));
        }
    }
    text + "\n"
}

fn trouble(report: &Report) -> String {
    let mut text = String::new();
    for one in &report.failures {
        let outcome = match one.outcome {
            Verdict::Failed => "failed",
            Verdict::Unknown => "unknown",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {outcome}: {} {}", one.count, one.code, one.reason);
    }
    for (note, count) in &report.notes {
        let _ = writeln!(text, "{count} times: {note}");
    }
    text
}

/// A time in the unit that suits it.
fn time(micros: f64) -> String {
    if micros < 1_000.0 {
        format!("{micros:.0}µs")
    } else if micros < 1_000_000.0 {
        format!("{:.2}ms", micros / 1e3)
    } else {
        format!("{:.2}s", micros / 1e6)
    }
}

/// For programs: the report, and what became of each threshold.
pub(super) fn document(report: &Report, thresholds: &[Threshold]) -> Result<Value, Failure> {
    let mut document = serde_json::to_value(report)
        .map_err(|error| Failure::failed(format!("cannot write the report: {error}")))?;
    document["thresholds"] = thresholds
        .iter()
        .map(|threshold| {
            json!({
                "condition": threshold.to_string(),
                "measured": threshold.measured(report),
                "broken": threshold.is_broken(report),
            })
        })
        .collect();
    Ok(document)
}

/// For spreadsheets: names and one line for each kind.
pub(super) fn csv(report: &Report) -> String {
    let mut text = "kind,seconds,throughput,ok,hits,misses,stored,failed,shed,unknown,corrupt,mean_us,p50_us,p90_us,\
                    p95_us,p99_us,p999_us,max_us,client_us_per_op,server_us_per_op"
        .to_owned();
    for (name, one) in [
        ("all", &report.all),
        ("reads", &report.reads),
        ("writes", &report.writes),
    ] {
        let counts = [
            one.ok,
            one.hits,
            one.misses,
            one.stored,
            one.failed,
            one.shed,
            one.unknown,
            one.corrupt,
        ]
        .map(|count| count.to_string());
        let latency = &one.latency;
        let times = [
            latency.mean_us,
            latency.p50_us,
            latency.p90_us,
            latency.p95_us,
            latency.p99_us,
            latency.p999_us,
            latency.max_us,
        ]
        .map(|micros| format!("{micros:.3}"));
        let server = report.cpu.server_us_per_op;
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n{name},{:.3},{:.1},{},{},{:.3},{}",
            report.seconds,
            one.throughput,
            counts.join(","),
            times.join(","),
            report.cpu.client_us_per_op,
            server.map_or_else(String::new, |micros| format!("{micros:.3}")),
        );
    }
    text
}
