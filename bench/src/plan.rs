//! What is to be measured, checked before anything is sent.

use std::{net::ToSocketAddrs as _, time::Duration};

use shard_cache_client::{Consistency, Ttl};

use crate::{error::PlanError, value::Keys};

/// The bounds of a plan.
pub mod limits {
    use std::time::Duration;

    /// Most connections.
    pub const CONNECTIONS_MAX: usize = 10_000;
    /// Most requests outstanding in all.
    pub const IN_FLIGHT_MAX: usize = 1_000_000;
    /// Most requests per second of an open loop.
    pub const RATE_MAX: f64 = 10_000_000.0;
    /// Most keys.
    pub const KEYS_MAX: u64 = 1_000_000_000;
    /// Largest key, in bytes.
    pub const KEY_BYTES_MAX: usize = 64 * 1024;
    /// Largest value, in bytes.
    pub const VALUE_BYTES_MAX: u32 = 8 * 1024 * 1024;
    /// Longest run, and longest warm-up.
    pub const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
    /// Shortest run.
    pub const DURATION_MIN: Duration = Duration::from_millis(10);
    /// Longest deadline of a request; nothing is waited for longer than this after the end.
    pub const TIMEOUT_MAX: Duration = Duration::from_secs(60);
    /// Shortest deadline of a request.
    pub const TIMEOUT_MIN: Duration = Duration::from_millis(1);
    /// Steepest Zipf distribution.
    pub const EXPONENT_MAX: f64 = 10.0;
    /// Flattest Zipf distribution.
    pub const EXPONENT_MIN: f64 = 0.01;
}

use limits::{
    CONNECTIONS_MAX, DURATION_MAX, DURATION_MIN, EXPONENT_MAX, EXPONENT_MIN, IN_FLIGHT_MAX,
    KEY_BYTES_MAX, KEYS_MAX, RATE_MAX, TIMEOUT_MAX, TIMEOUT_MIN, VALUE_BYTES_MAX,
};

/// What makes the requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Generator {
    /// Own, minimal HTTP/2: one or two microseconds of CPU per request, so that it is the nodes that are measured.
    #[default]
    Wire,
    /// The ordinary Rust client, with what it costs.
    Client,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum System {
    /// Nodes of ours, or what speaks as they do.
    #[default]
    ShardCache,
    /// etcd: puts and linearizable reads. By the wire generator only, as all others.
    Etcd,
    /// redis: SET, then WAIT if replicas are to have it, and GET.
    Redis {
        /// How many replicas a write waits for.
        replicas: u32,
    },
    /// memcached, by its text protocol.
    Memcached,
}

/// Which requests are made.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Mix {
    /// Reads only.
    Get,
    /// Writes only.
    Set,
    /// Both.
    Mixed {
        /// Share of reads, from 0 to 1.
        reads: f64,
    },
    /// The core workload A of YCSB: half reads, half writes.
    YcsbA,
    /// The core workload B of YCSB: 95 % reads.
    YcsbB,
    /// The core workload C of YCSB: reads only.
    YcsbC,
}

impl Mix {
    /// Share of reads.
    #[must_use]
    pub const fn reads(self) -> f64 {
        match self {
            Self::Get | Self::YcsbC => 1.0,
            Self::Set => 0.0,
            Self::Mixed { reads } => reads,
            Self::YcsbA => 0.5,
            Self::YcsbB => 0.95,
        }
    }

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Mixed { .. } => "mixed",
            Self::YcsbA => "ycsb-a",
            Self::YcsbB => "ycsb-b",
            Self::YcsbC => "ycsb-c",
        }
    }
}

/// When requests are made.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Pace {
    /// As soon as one is answered the next is sent.
    #[default]
    Closed,
    /// By a fixed schedule, whatever the answers do.
    Open {
        /// Requests per second in all.
        rate: f64,
    },
}

/// How keys are chosen.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Distribution {
    /// All alike.
    #[default]
    Uniform,
    /// Few often, many seldom.
    Zipf {
        /// How steep.
        exponent: f64,
    },
}

/// Sizes, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SizeRange {
    /// The smallest, in bytes.
    pub least: u32,
    /// The largest, in bytes.
    pub most: u32,
}

/// What is to be measured.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// Nodes, as `host:port`; connections are spread evenly over them.
    pub endpoints: Vec<String>,
    /// What they are.
    pub system: System,
    /// What makes the requests.
    pub generator: Generator,
    /// Which requests.
    pub mix: Mix,
    /// When.
    pub pace: Pace,
    /// Connections in all.
    pub connections: usize,
    /// Most requests outstanding on each connection.
    pub outstanding: usize,
    /// Most requests outstanding in all, spread as evenly as can be over the connections; instead of `outstanding`.
    pub in_flight: Option<usize>,
    /// How long is measured.
    pub duration: Duration,
    /// How long requests are made before that.
    pub warm_up: Duration,
    /// How often it is told what came of it, and noted in the series.
    pub interval: Duration,
    /// How many keys.
    pub keys: u64,
    /// Their size, in bytes.
    pub key_bytes: usize,
    /// Sizes of values.
    pub value_size: SizeRange,
    /// How keys are chosen.
    pub distribution: Distribution,
    /// Time to live of what is written.
    pub ttl: Ttl,
    /// How many owners take part.
    pub consistency: Consistency,
    /// Deadline of each request.
    pub timeout: Duration,
    /// Whether all keys are written first.
    pub load: bool,
    /// Two runs with one seed make the same requests on each connection.
    pub seed: u64,
    /// Whether what is read is checked to be what was written.
    pub verify: bool,
    /// Processes of the nodes, whose CPU time is counted; those that listen on this machine are found by themselves.
    pub pids: Vec<u32>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            endpoints: vec!["localhost:8080".to_owned()],
            system: System::default(),
            generator: Generator::default(),
            mix: Mix::Set,
            pace: Pace::default(),
            connections: 2,
            outstanding: 16,
            in_flight: None,
            duration: Duration::from_secs(10),
            warm_up: Duration::from_secs(1),
            interval: Duration::from_secs(1),
            keys: 100_000,
            key_bytes: 32,
            value_size: SizeRange {
                least: 100,
                most: 100,
            },
            distribution: Distribution::default(),
            ttl: Ttl::Default,
            consistency: Consistency::Default,
            timeout: Duration::from_millis(500),
            load: false,
            seed: 1,
            verify: true,
            pids: Vec::new(),
        }
    }
}

impl Plan {
    /// Whether it can be carried out.
    ///
    /// # Errors
    /// Names what is outside of its bounds, and the bounds.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.endpoints.is_empty() {
            return Err(PlanError::NoEndpoint);
        }
        let count =
            |name, value: usize, most: usize| range(name, value as f64, 1.0, most as f64, "");
        count("connections", self.connections, CONNECTIONS_MAX)?;
        match self.in_flight {
            Some(in_flight) => {
                count("concurrency", in_flight, IN_FLIGHT_MAX)?;
                if in_flight < self.connections {
                    return Err(PlanError::FewRequests {
                        in_flight,
                        connections: self.connections,
                    });
                }
            }
            None => {
                let most = IN_FLIGHT_MAX / self.connections;
                count("outstanding per connection", self.outstanding, most)?;
            }
        }
        self.check_mix()?;
        self.check_sizes()?;
        self.check_times()
    }

    fn check_mix(&self) -> Result<(), PlanError> {
        range("reads", self.mix.reads(), 0.0, 1.0, "of 1")?;
        if let Pace::Open { rate } = self.pace {
            range("rate", rate, 0.001, RATE_MAX, "requests per second")?;
        }
        if let Distribution::Zipf { exponent } = self.distribution {
            range("zipf exponent", exponent, EXPONENT_MIN, EXPONENT_MAX, "")?;
        }
        range("keys", self.keys as f64, 1.0, KEYS_MAX as f64, "")
    }

    fn check_sizes(&self) -> Result<(), PlanError> {
        range(
            "key size",
            self.key_bytes as f64,
            1.0,
            KEY_BYTES_MAX as f64,
            "bytes",
        )?;
        let least = Keys::PREFIX.len() + Keys::digits(self.keys.saturating_sub(1));
        if self.key_bytes < least {
            return Err(PlanError::KeySize {
                bytes: self.key_bytes,
                keys: self.keys,
                least,
            });
        }
        let SizeRange { least, most } = self.value_size;
        if least > most {
            return Err(PlanError::SizeOrder { least, most });
        }
        let most_bytes = f64::from(VALUE_BYTES_MAX);
        range("value size", f64::from(most), 0.0, most_bytes, "bytes")
    }

    fn check_times(&self) -> Result<(), PlanError> {
        time("duration", self.duration, DURATION_MIN, DURATION_MAX)?;
        time("warm-up", self.warm_up, Duration::ZERO, DURATION_MAX)?;
        time("interval", self.interval, DURATION_MIN, DURATION_MAX)?;
        time("timeout", self.timeout, TIMEOUT_MIN, TIMEOUT_MAX)
    }

    /// Most requests outstanding on a connection.
    #[must_use]
    pub fn outstanding_of(&self, lane: usize) -> usize {
        match self.in_flight {
            None => self.outstanding,
            Some(all) => all / self.connections + usize::from(lane < all % self.connections),
        }
    }

    /// Most requests outstanding in all.
    #[must_use]
    pub fn outstanding_in_all(&self) -> usize {
        self.in_flight
            .unwrap_or(self.connections * self.outstanding)
    }

    pub(crate) fn keys_format(&self) -> Keys {
        Keys::new(self.key_bytes)
    }
}

fn range(
    name: &'static str,
    value: f64,
    least: f64,
    most: f64,
    unit: &'static str,
) -> Result<(), PlanError> {
    // Not a number is in no range.
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(PlanError::Range {
            name,
            value,
            least,
            most,
            unit,
        })
    }
}

fn time(
    name: &'static str,
    value: Duration,
    least: Duration,
    most: Duration,
) -> Result<(), PlanError> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(PlanError::Time {
            name,
            value,
            least,
            most,
        })
    }
}

/// Port of a node's client interface when none is given.
const DEFAULT_PORT: u16 = 8080;

/// The `host:port` of an endpoint as people write it, as the client reads it.
pub(crate) fn authority(endpoint: &str) -> Result<String, PlanError> {
    let invalid = |message: &str| PlanError::Endpoint {
        endpoint: endpoint.to_owned(),
        message: message.to_owned(),
    };
    if endpoint.starts_with("https://") {
        return Err(invalid("TLS is not supported: use http:// or host:port"));
    }
    let text = endpoint
        .strip_prefix("http://")
        .unwrap_or(endpoint)
        .trim_end_matches('/');
    if text.is_empty() || text.contains(['/', '@', '?', '#', ' ']) {
        return Err(invalid("expected host:port"));
    }
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(format!("[{text}]:{DEFAULT_PORT}"));
    }
    match text
        .rsplit_once(':')
        .filter(|(_, port)| !port.contains(']'))
    {
        None => Ok(format!("{text}:{DEFAULT_PORT}")),
        Some((_, port)) if port.parse::<u16>().is_ok_and(|port| port != 0) => Ok(text.to_owned()),
        Some(_) => Err(invalid("expected host:port")),
    }
}

/// The addresses of an authority. Blocks while a name is resolved.
pub(crate) fn resolve(authority: &str) -> std::io::Result<Vec<std::net::SocketAddr>> {
    Ok(authority.to_socket_addrs()?.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_bounds_is_named_with_its_bounds() {
        let refused = |change: fn(&mut Plan)| {
            let mut plan = Plan::default();
            change(&mut plan);
            plan.check().unwrap_err().to_string()
        };
        assert_eq!(Plan::default().check(), Ok(()));
        for (text, words) in [
            (
                refused(|plan| plan.connections = 0),
                ["connections", "10000"],
            ),
            (
                refused(|plan| plan.outstanding = 600_000),
                ["600000", "500000"],
            ),
            (
                refused(|plan| plan.in_flight = Some(1)),
                ["1 requests", "2 connections"],
            ),
            (
                refused(|plan| plan.key_bytes = 10),
                ["100000 keys", "11 bytes"],
            ),
            (
                refused(|plan| plan.timeout = Duration::ZERO),
                ["timeout", "1ms"],
            ),
            (
                refused(|plan| plan.pace = Pace::Open { rate: f64::NAN }),
                ["rate", "NaN"],
            ),
            (
                refused(|plan| plan.value_size = SizeRange { least: 2, most: 1 }),
                ["2", "1 bytes"],
            ),
            (
                refused(|plan| plan.mix = Mix::Mixed { reads: 1.5 }),
                ["reads", "1.5"],
            ),
        ] {
            for word in words {
                assert!(text.contains(word), "{text}: no {word}");
            }
        }
    }

    #[test]
    fn requests_in_all_are_spread_evenly() {
        let plan = Plan {
            connections: 6,
            in_flight: Some(64),
            ..Plan::default()
        };
        let spread: Vec<_> = (0..6).map(|lane| plan.outstanding_of(lane)).collect();
        assert_eq!(spread, [11, 11, 11, 11, 10, 10]);
        assert_eq!(plan.outstanding_in_all(), 64);
    }

    #[test]
    fn an_endpoint_is_read_as_the_client_reads_it() {
        for (text, expected) in [
            ("localhost", Some("localhost:8080")),
            ("http://127.0.0.1:9000/", Some("127.0.0.1:9000")),
            ("::1", Some("[::1]:8080")),
            ("[::1]:9000", Some("[::1]:9000")),
            ("node:0", None),
            ("node:port", None),
            ("https://node", None),
            ("", None),
        ] {
            assert_eq!(authority(text).ok().as_deref(), expected, "{text}");
        }
    }
}
