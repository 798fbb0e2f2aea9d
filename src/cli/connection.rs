//! Flags that client commands share, and the runtime they run on.

use std::{future::Future, time::Duration};

use clap::{Args, ValueEnum};
use shard_cache_client::{CallOptions, Client, ClientOptions, Consistency};

use super::exit::Failure;
use crate::{
    clock::{Clock, SystemClock},
    config::parse_duration,
};

/// Which node to ask, and for how long.
#[derive(Clone, Debug, Args)]
pub(super) struct ConnectionArguments {
    /// Node to ask, as host:port; several are tried in order until one can be reached.
    #[arg(
        long = "endpoint",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "localhost:8080",
        env = "SHARD_CACHE_ENDPOINT"
    )]
    endpoints: Vec<String>,
    /// Longest time to connect, and then to wait for the answer.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "5s",
        value_parser = parse_duration,
        env = "SHARD_CACHE_TIMEOUT"
    )]
    timeout: Duration,
}

impl ConnectionArguments {
    /// Connects to the first node that can be reached.
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        let options = ClientOptions {
            connect_timeout: self.timeout,
            timeout: self.timeout,
            message_bytes_max: MESSAGE_BYTES_MAX,
            ..ClientOptions::default()
        };
        Ok(Client::connect_any(&self.endpoints, options).await?)
    }
}

/// Between two questions whether it is as it should be.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// How long to ask again.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct WaitArguments {
    /// Wait so long for it to become so.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "0s",
        value_parser = parse_duration,
        env = "SHARD_CACHE_WAIT"
    )]
    wait: Duration,
}

impl WaitArguments {
    /// Asks until it is as it should be or the time is over, at least once. Returns what was said last.
    pub(super) async fn ask<T>(
        &self,
        ask: impl AsyncFn() -> Result<T, Failure>,
        is_over: impl Fn(&Result<T, Failure>) -> bool,
    ) -> Result<T, Failure> {
        let clock = SystemClock::new();
        let until = clock.monotonic() + self.wait;
        loop {
            let answer = ask().await;
            if is_over(&answer) || clock.monotonic() >= until {
                return answer;
            }
            clock.sleep(POLL_INTERVAL).await;
        }
    }
}

/// Larger than any value that a node can be configured to accept: the node knows the limit and names it.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The terms of a request.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct TermsArguments {
    /// How many owners must take part; the node's default when not given.
    #[arg(long, value_enum, env = "SHARD_CACHE_CONSISTENCY")]
    consistency: Option<Level>,
    /// Accept fewer owners than that, at least one; the answer then says so.
    #[arg(long, env = "SHARD_CACHE_DEGRADE")]
    degrade: bool,
}

/// A consistency level.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Level {
    One,
    Quorum,
    All,
}

impl Level {
    /// For the client; without one, the node's default.
    pub(super) const fn consistency(level: Option<Self>) -> Consistency {
        match level {
            None => Consistency::Default,
            Some(Self::One) => Consistency::One,
            Some(Self::Quorum) => Consistency::Quorum,
            Some(Self::All) => Consistency::All,
        }
    }
}

impl TermsArguments {
    /// The terms for the client.
    pub(super) fn options(self) -> CallOptions {
        CallOptions {
            consistency: Level::consistency(self.consistency),
            degrade: self.degrade,
            timeout: None,
        }
    }
}

/// Runs a client command to its end.
pub(super) fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::system("cannot start the runtime", &error))?
        .block_on(command)
}
