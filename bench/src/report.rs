//! What was measured.

use serde::Serialize;

/// What is known of a request that failed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Surely not applied.
    Failed,
    /// May appear later.
    Unknown,
}

/// Latencies in microseconds, of requests that were answered and of those whose outcome is unknown.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Latency {
    /// Of how many requests.
    pub count: u64,
    /// The mean.
    pub mean_us: f64,
    /// The median.
    pub p50_us: f64,
    /// Nine of ten were at most this.
    pub p90_us: f64,
    /// 95 of 100 were.
    pub p95_us: f64,
    /// 99 of 100 were.
    pub p99_us: f64,
    /// 999 of 1000 were.
    pub p999_us: f64,
    /// All were.
    pub max_us: f64,
}

/// Requests of a kind.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Operations {
    /// All that were due within the measurement.
    pub ended: u64,
    /// Answered as they should: hits, misses and acknowledged writes.
    pub ok: u64,
    /// Reads that found a value.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Acknowledged writes.
    pub stored: u64,
    /// Surely not applied.
    pub failed: u64,
    /// Of these, the ones that a node shed.
    pub shed: u64,
    /// May appear later.
    pub unknown: u64,
    /// Reads that found a value which was never written under their key.
    pub corrupt: u64,
    /// Answered as they should, per second.
    pub throughput: f64,
    /// From when they were due.
    pub latency: Latency,
}

impl Operations {
    /// Everything that was not answered as it should.
    #[must_use]
    pub const fn errors(&self) -> u64 {
        self.failed + self.unknown + self.corrupt
    }

    /// Their share of all, from 0 to 1; 0 when there was nothing.
    #[must_use]
    pub fn error_ratio(&self) -> f64 {
        self.errors() as f64 / self.ended.max(1) as f64
    }
}

/// Failures of one kind.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Failures {
    /// What is known of them.
    pub outcome: Verdict,
    /// The gRPC code; `UNREACHABLE` and `NOT_SENT` where nothing was sent.
    pub code: String,
    /// What kind of failure it was.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// One interval, or what there was of it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Moment {
    /// When it began, counted from the beginning of the measurement.
    pub at_seconds: f64,
    /// Answered as they should, per second.
    pub throughput: f64,
    /// Ended within it, answered as they should.
    pub ok: u64,
    /// Surely not applied.
    pub failed: u64,
    /// May appear later.
    pub unknown: u64,
    /// Wrong values.
    pub corrupt: u64,
    /// Median latency.
    pub p50_us: f64,
    /// Of 99 in 100.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
}

/// CPU time of a server process.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ServerCpu {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// CPU time, user and system, within the measurement.
    pub seconds: f64,
    /// Divided by all requests that were answered, whichever node they went to.
    pub us_per_op: f64,
}

/// CPU time, user and system.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Cpu {
    /// Of this process, in seconds.
    pub client_seconds: f64,
    /// Of this process, divided by all requests that were answered.
    pub client_us_per_op: f64,
    /// Of the servers that were found on this machine.
    pub servers: Vec<ServerCpu>,
    /// Their sum per request; absent if none was found.
    pub server_us_per_op: Option<f64>,
}

/// What was measured.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// The plan, as a program reads it.
    pub plan: serde_json::Value,
    /// How long was measured.
    pub seconds: f64,
    /// Whether it ended early because somebody asked for it.
    pub interrupted: bool,
    /// Reads and writes.
    pub all: Operations,
    /// Reads.
    pub reads: Operations,
    /// Writes.
    pub writes: Operations,
    /// From when requests were sent, however late that was: what a closed loop would have shown.
    pub service: Latency,
    /// How late requests were sent.
    pub lateness: Latency,
    /// What failed, by outcome, code and reason.
    pub failures: Vec<Failures>,
    /// What happened to connections, and how often.
    pub notes: std::collections::BTreeMap<String, u64>,
    /// CPU time.
    pub cpu: Cpu,
    /// Interval by interval.
    pub series: Vec<Moment>,
}
