//! The flags of `shard-cache bench`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use shard_cache_bench::{
    Distribution, Generator, Mix, Pace, Plan, Report, SizeRange, System, Threshold, ThresholdError,
};
use shard_cache_client::Ttl;

use super::{
    super::{connection::Level, output::Format},
    Failure, output, render,
};
use crate::config::{parse_duration, parse_size};

/// Requests outstanding on each connection, unless told otherwise.
const OUTSTANDING_CLOSED: usize = 16;
/// The same in an open loop, which is not to be held up by it.
const OUTSTANDING_OPEN: usize = 1024;
/// Between two lines of progress.
const INTERVAL: Duration = Duration::from_secs(1);

/// Measure throughput and latency under load. Results are told in three values: OK, FAILED (surely not applied) and
/// UNKNOWN (may appear later).
#[derive(Debug, Args)]
pub(in super::super) struct BenchArguments {
    /// What is asked: reads, writes, both (--reads), or a core workload of YCSB (a: half writes, b: 5 %, c: none).
    #[arg(value_enum, default_value_t = Shape::Mixed)]
    shape: Shape,
    /// Nodes; connections are spread evenly over them.
    #[arg(
        long = "endpoint",
        alias = "endpoints",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "localhost:8080",
        env = "SHARD_CACHE_ENDPOINT"
    )]
    endpoints: Vec<String>,
    /// What makes the requests: `wire` is cheap, so that nodes are measured; `client` is the ordinary Rust client.
    #[arg(long, value_enum, default_value_t = Made::Wire)]
    generator: Made,
    /// Open loop: so many requests per second in all by a fixed schedule, whatever the answers do; latency counts from
    /// when a request was due. Without it, closed loop: a request is sent when one is answered.
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// Connections in all; 2 for each endpoint unless given.
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// Most requests outstanding on each connection; 16, or 1024 with --rate, unless given.
    #[arg(long, value_name = "N", conflicts_with = "concurrency")]
    outstanding: Option<usize>,
    /// Most requests outstanding in all, spread evenly over the connections.
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// How long is measured.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    duration: Duration,
    /// How long requests are made before that.
    #[arg(long, default_value = "1s", value_parser = parse_duration)]
    warm_up: Duration,
    /// How many keys.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    keys: u64,
    /// Size of every key.
    #[arg(long, value_name = "SIZE", default_value = "32", value_parser = parse_size)]
    key_size: u64,
    /// Size of values, or a range of sizes such as 100..4KiB.
    #[arg(long, value_name = "SIZE[..SIZE]", default_value = "100", value_parser = parse_sizes)]
    value_size: SizeRange,
    /// How keys are chosen.
    #[arg(long, value_enum, default_value_t = Choice::Uniform)]
    distribution: Choice,
    /// How much more often the frequent keys are chosen.
    #[arg(long, value_name = "EXPONENT", default_value_t = 0.99)]
    zipf_exponent: f64,
    /// Share of reads in `mixed`.
    #[arg(long, value_name = "SHARE", default_value_t = 0.9)]
    reads: f64,
    /// Time to live of what is written; 0 is none, the node's default unless given.
    #[arg(long, value_parser = parse_duration)]
    ttl: Option<Duration>,
    /// How many owners must take part; the node's default when not given.
    #[arg(long, value_enum, env = "SHARD_CACHE_CONSISTENCY")]
    consistency: Option<Level>,
    /// Deadline of each request.
    #[arg(long, default_value = "500ms", value_parser = parse_duration, env = "SHARD_CACHE_TIMEOUT")]
    timeout: Duration,
    /// Write all keys first: by default if anything is read.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    load: Option<bool>,
    /// Two runs with one seed make the same requests on each connection.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Whether what is read is checked to be what was written.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    verify: Switch,
    /// Process whose CPU time is counted as a node's; those that listen on this machine are found unless given.
    #[arg(long = "pid", value_name = "PID", value_delimiter = ',')]
    pids: Vec<u32>,
    /// Condition under which the exit code is 8, such as 'p99>10ms', 'error-ratio>0.1%' or 'throughput<30k'; repeatable.
    /// p50 p90 p95 p99 p999 max mean, errors error-ratio failed unknown shed corrupt misses, throughput; also of one
    /// kind: reads.p99, writes.p99.
    #[arg(long = "fail-if", value_name = "CONDITION", value_parser = parse_threshold)]
    fail_if: Vec<Threshold>,
    /// Form of the result.
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        default_value_t,
        env = "SHARD_CACHE_OUTPUT"
    )]
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Shape {
    Get,
    Set,
    Mixed,
    YcsbA,
    YcsbB,
    YcsbC,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Made {
    Wire,
    Client,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Choice {
    Uniform,
    Zipf,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// The form of a measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
enum Form {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// The same on one line.
    Jsonl,
    /// A line of names and a line of figures.
    Csv,
}

impl BenchArguments {
    /// The form in which failures are told.
    pub(in super::super) const fn format(&self) -> Format {
        match self.form {
            Form::Table | Form::Csv => Format::Table,
            Form::Json => Format::Json,
            Form::Jsonl => Format::Jsonl,
        }
    }

    pub(super) fn thresholds(&self) -> &[Threshold] {
        &self.fail_if
    }

    pub(super) fn plan(&self) -> Result<Plan, Failure> {
        let mix = match self.shape {
            Shape::Get => Mix::Get,
            Shape::Set => Mix::Set,
            Shape::Mixed => Mix::Mixed { reads: self.reads },
            Shape::YcsbA => Mix::YcsbA,
            Shape::YcsbB => Mix::YcsbB,
            Shape::YcsbC => Mix::YcsbC,
        };
        let outstanding = self.outstanding.unwrap_or(match self.rate {
            None => OUTSTANDING_CLOSED,
            Some(_) => OUTSTANDING_OPEN,
        });
        let plan = Plan {
            endpoints: self.endpoints.clone(),
            system: System::ShardCache,
            generator: match self.generator {
                Made::Wire => Generator::Wire,
                Made::Client => Generator::Client,
            },
            mix,
            pace: self.rate.map_or(Pace::Closed, |rate| Pace::Open { rate }),
            connections: self.connections.unwrap_or(2 * self.endpoints.len()),
            outstanding,
            in_flight: self.concurrency,
            duration: self.duration,
            warm_up: self.warm_up,
            interval: INTERVAL,
            keys: self.keys,
            key_bytes: usize::try_from(self.key_size).unwrap_or(usize::MAX),
            value_size: self.value_size,
            distribution: match self.distribution {
                Choice::Uniform => Distribution::Uniform,
                Choice::Zipf => Distribution::Zipf {
                    exponent: self.zipf_exponent,
                },
            },
            ttl: match self.ttl {
                None => Ttl::Default,
                Some(Duration::ZERO) => Ttl::Never,
                Some(ttl) => Ttl::After(ttl),
            },
            consistency: Level::consistency(self.consistency),
            timeout: self.timeout,
            load: self.load.unwrap_or(mix.reads() > 0.0),
            seed: self.seed,
            verify: self.verify == Switch::On,
            pids: self.pids.clone(),
        };
        plan.check()
            .map_err(|error| Failure::from(shard_cache_bench::BenchError::from(error)))?;
        Ok(plan)
    }

    pub(super) fn write(&self, report: &Report) -> Result<(), Failure> {
        match self.form {
            Form::Table => output::write_line(&render::table(report)),
            Form::Csv => output::write_line(&render::csv(report)),
            Form::Json | Form::Jsonl => {
                let document = render::document(report, &self.fail_if)?;
                output::write_json(self.format(), &document)
            }
        }
    }
}

fn parse_threshold(text: &str) -> Result<Threshold, ThresholdError> {
    text.parse()
}

/// `100`, `4KiB` or `100..4KiB`.
fn parse_sizes(text: &str) -> Result<SizeRange, String> {
    let size = |text: &str| {
        let bytes = parse_size(text)?;
        u32::try_from(bytes).map_err(|_| {
            let most = shard_cache_bench::limits::VALUE_BYTES_MAX;
            format!("`{text}` is larger than any value, at most {most} bytes")
        })
    };
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    Ok(SizeRange {
        least: size(least)?,
        most: size(most)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_one_or_a_range() {
        let range = |least, most| Ok(SizeRange { least, most });
        assert_eq!(parse_sizes("100"), range(100, 100));
        assert_eq!(parse_sizes("100..4KiB"), range(100, 4096));
        assert!(parse_sizes("100..").is_err());
        assert!(parse_sizes("5GiB").unwrap_err().contains("5GiB"));
    }
}
