//! Why a run cannot be made.

use std::time::Duration;

use thiserror::Error;

/// A plan that cannot be carried out. Nothing was sent.
#[derive(Clone, PartialEq, Debug, Error)]
pub enum PlanError {
    /// A number is outside of its bounds.
    #[error("{name} is {value}, from {least} to {most} {unit} are possible")]
    Range {
        /// What is outside.
        name: &'static str,
        /// What it is.
        value: f64,
        /// The least possible.
        least: f64,
        /// The most possible.
        most: f64,
        /// What is counted.
        unit: &'static str,
    },
    /// A time is outside of its bounds.
    #[error("{name} is {value:?}, from {least:?} to {most:?} are possible")]
    Time {
        /// What is outside.
        name: &'static str,
        /// What it is.
        value: Duration,
        /// The least possible.
        least: Duration,
        /// The most possible.
        most: Duration,
    },
    /// Keys cannot hold their numbers.
    #[error("keys of {bytes} bytes cannot number {keys} keys, at least {least} bytes are needed")]
    KeySize {
        /// The size asked for.
        bytes: usize,
        /// How many keys there are to be.
        keys: u64,
        /// The least size.
        least: usize,
    },
    /// A range of sizes that ends before it begins.
    #[error("value sizes from {least} to {most} bytes are no range")]
    SizeOrder {
        /// Its beginning.
        least: u32,
        /// Its end.
        most: u32,
    },
    /// Nobody to ask.
    #[error("no endpoint given")]
    NoEndpoint,
    /// Some connection would have no request.
    #[error("{in_flight} requests in all are fewer than the {connections} connections")]
    FewRequests {
        /// Requests outstanding in all.
        in_flight: usize,
        /// Connections.
        connections: usize,
    },
    /// Not an address.
    #[error("`{endpoint}` is no endpoint: {message}")]
    Endpoint {
        /// As it was given.
        endpoint: String,
        /// What is wrong with it.
        message: String,
    },
}

/// Why a run ended without a report.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The plan cannot be carried out.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// None of the nodes could be connected to. Nothing was sent.
    #[error("cannot reach {endpoints}: {message}")]
    Unreachable {
        /// Those that were tried.
        endpoints: String,
        /// Why.
        message: String,
    },
    /// Writing all keys first did not succeed; what was written stays.
    #[error(
        "loading ended with {failed} of {keys} keys not surely stored, mostly because of {cause}"
    )]
    Load {
        /// How many failed.
        failed: u64,
        /// How many there are.
        keys: u64,
        /// The most frequent cause.
        cause: String,
    },
    /// It was asked to stop before anything was measured.
    #[error("stopped while {while_doing}, before anything was measured")]
    Stopped {
        /// What was being done.
        while_doing: &'static str,
    },
    /// The system refused a timer or a counter.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}
