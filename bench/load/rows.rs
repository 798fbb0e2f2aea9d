//! What is measured: systems, and shapes of load. Data only.

use std::time::Duration;

use shard_cache_bench::{Mix, Pace, Plan, SizeRange};

/// A system.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Name {
    /// A bare tonic server.
    Echo,
    /// One node.
    Single,
    /// Three nodes.
    Cluster,
    /// Three nodes with a unary call per peer operation.
    Unary,
    /// Six nodes.
    Six,
    /// One redis.
    Redis,
    /// One with two replicas, and writes that wait for one of them.
    RedisReplicated,
    /// One memcached.
    Memcached,
    /// Three etcd.
    Etcd,
}

impl Name {
    pub(crate) const ALL: [Self; 9] = [
        Self::Echo,
        Self::Single,
        Self::Cluster,
        Self::Unary,
        Self::Six,
        Self::Redis,
        Self::RedisReplicated,
        Self::Memcached,
        Self::Etcd,
    ];

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Single => "single",
            Self::Cluster => "cluster",
            Self::Unary => "unary",
            Self::Six => "six",
            Self::Redis => "redis",
            Self::RedisReplicated => "redis-wait",
            Self::Memcached => "memcached",
            Self::Etcd => "etcd",
        }
    }

    /// The program, if it is not ours.
    pub(crate) const fn program(self) -> Option<&'static str> {
        match self {
            Self::Echo | Self::Single | Self::Cluster | Self::Unary | Self::Six => None,
            Self::Redis | Self::RedisReplicated => Some("redis-server"),
            Self::Memcached => Some("memcached"),
            Self::Etcd => Some("etcd"),
        }
    }
}

/// A shape of load at a system.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Row {
    pub(crate) system: Name,
    pub(crate) reads: bool,
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
    pub(crate) value_bytes: u32,
    /// Requests per second of an open loop.
    pub(crate) rate: Option<f64>,
}

/// Value size of all rows that do not say otherwise, in bytes.
pub(crate) const VALUE_BYTES: u32 = 100;
/// Connections, and requests outstanding on all of them: the multiplexed shape.
const MANY: (usize, usize) = (6, 64);
/// A connection for each of 64 requests.
const ONE_EACH: (usize, usize) = (64, 64);
/// 16 requests on each of 6 connections.
pub(crate) const SIXTEEN_EACH: (usize, usize) = (6, 96);
/// One request at a time.
const ALONE: (usize, usize) = (1, 1);
const HALF: (usize, usize) = (6, 32);
/// Two connections and 24 requests for each node.
const PER_NODE: (usize, usize) = (2, 24);

const fn row(system: Name, reads: bool, (connections, in_flight): (usize, usize)) -> Row {
    Row {
        system,
        reads,
        connections,
        in_flight,
        value_bytes: VALUE_BYTES,
        rate: None,
    }
}

const fn nodes(system: Name, count: usize) -> Row {
    let (connections, in_flight) = PER_NODE;
    row(system, false, (connections * count, in_flight * count))
}

const fn sized(reads: bool, value_bytes: u32) -> Row {
    Row {
        value_bytes,
        ..row(Name::Cluster, reads, MANY)
    }
}

/// An open loop may not be held up by a bound on what is outstanding.
const fn open(system: Name, connections: usize, rate: f64) -> Row {
    Row {
        rate: Some(rate),
        ..row(system, false, (connections, connections * 1024))
    }
}

pub(crate) const ECHO_SET: Row = row(Name::Echo, false, MANY);
pub(crate) const ECHO_GET: Row = row(Name::Echo, true, MANY);
pub(crate) const ECHO_ALONE: Row = row(Name::Echo, false, ALONE);
pub(crate) const CLUSTER_SET: Row = row(Name::Cluster, false, MANY);
pub(crate) const CLUSTER_GET: Row = row(Name::Cluster, true, MANY);
pub(crate) const CLUSTER_ALONE: Row = row(Name::Cluster, false, ALONE);
pub(crate) const CLUSTER_HALF: Row = row(Name::Cluster, false, HALF);
pub(crate) const CLUSTER_ONE_EACH: Row = row(Name::Cluster, false, ONE_EACH);
pub(crate) const CLUSTER_SIXTEEN_EACH: Row = row(Name::Cluster, false, SIXTEEN_EACH);
pub(crate) const CLUSTER_SET_512: Row = sized(false, 512);
pub(crate) const CLUSTER_GET_512: Row = sized(true, 512);
pub(crate) const CLUSTER_SET_1024: Row = sized(false, 1024);
pub(crate) const CLUSTER_GET_1024: Row = sized(true, 1024);
pub(crate) const CLUSTER_OPEN: Row = open(Name::Cluster, 6, 30_000.0);
pub(crate) const CLUSTER_PER_NODE: Row = nodes(Name::Cluster, 3);
pub(crate) const SIX_PER_NODE: Row = nodes(Name::Six, 6);
pub(crate) const UNARY_SET: Row = row(Name::Unary, false, MANY);
pub(crate) const SINGLE_SET_ONE_EACH: Row = row(Name::Single, false, ONE_EACH);
pub(crate) const SINGLE_GET_ONE_EACH: Row = row(Name::Single, true, ONE_EACH);
pub(crate) const SINGLE_SET_SIXTEEN_EACH: Row = row(Name::Single, false, SIXTEEN_EACH);
pub(crate) const SINGLE_GET_SIXTEEN_EACH: Row = row(Name::Single, true, SIXTEEN_EACH);
pub(crate) const SINGLE_OPEN: Row = open(Name::Single, 2, 10_000.0);
pub(crate) const REDIS_SET_ONE_EACH: Row = row(Name::Redis, false, ONE_EACH);
pub(crate) const REDIS_GET_ONE_EACH: Row = row(Name::Redis, true, ONE_EACH);
pub(crate) const REDIS_SET_SIXTEEN_EACH: Row = row(Name::Redis, false, SIXTEEN_EACH);
pub(crate) const REDIS_GET_SIXTEEN_EACH: Row = row(Name::Redis, true, SIXTEEN_EACH);
pub(crate) const WAIT_ONE_EACH: Row = row(Name::RedisReplicated, false, ONE_EACH);
pub(crate) const WAIT_SIXTEEN_EACH: Row = row(Name::RedisReplicated, false, SIXTEEN_EACH);
pub(crate) const MEMCACHED_SET: Row = row(Name::Memcached, false, ONE_EACH);
pub(crate) const MEMCACHED_GET: Row = row(Name::Memcached, true, ONE_EACH);
pub(crate) const ETCD_SET: Row = row(Name::Etcd, false, MANY);
pub(crate) const ETCD_GET: Row = row(Name::Etcd, true, MANY);

/// All, in the order in which they are measured: what is compared stands near each other.
pub(crate) const ROWS: [Row; 32] = [
    ECHO_SET,
    CLUSTER_SET,
    UNARY_SET,
    ETCD_SET,
    ECHO_GET,
    CLUSTER_GET,
    ETCD_GET,
    ECHO_ALONE,
    CLUSTER_ALONE,
    CLUSTER_HALF,
    WAIT_ONE_EACH,
    CLUSTER_ONE_EACH,
    WAIT_SIXTEEN_EACH,
    CLUSTER_SIXTEEN_EACH,
    REDIS_SET_ONE_EACH,
    SINGLE_SET_ONE_EACH,
    MEMCACHED_SET,
    REDIS_GET_ONE_EACH,
    SINGLE_GET_ONE_EACH,
    MEMCACHED_GET,
    REDIS_SET_SIXTEEN_EACH,
    SINGLE_SET_SIXTEEN_EACH,
    REDIS_GET_SIXTEEN_EACH,
    SINGLE_GET_SIXTEEN_EACH,
    CLUSTER_SET_512,
    CLUSTER_SET_1024,
    CLUSTER_GET_512,
    CLUSTER_GET_1024,
    CLUSTER_PER_NODE,
    SIX_PER_NODE,
    SINGLE_OPEN,
    CLUSTER_OPEN,
];

/// How long and how much.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Effort {
    pub(crate) keys: u64,
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
}

impl Row {
    /// Names it, in files and on the command line.
    pub(crate) fn id(&self) -> String {
        let kind = if self.reads { "get" } else { "set" };
        let shape = match self.rate {
            Some(rate) => format!("{}k/s", rate / 1000.0),
            None => format!("{}x{}", self.connections, self.in_flight),
        };
        let size = match self.value_bytes {
            VALUE_BYTES => String::new(),
            bytes => format!(" {bytes}B"),
        };
        format!("{} {kind} {shape}{size}", self.system.text())
    }

    /// The plan of one measurement, still without nodes.
    pub(crate) fn plan(&self, effort: Effort) -> Plan {
        Plan {
            mix: if self.reads { Mix::Get } else { Mix::Set },
            pace: self.rate.map_or(Pace::Closed, |rate| Pace::Open { rate }),
            connections: self.connections,
            in_flight: Some(self.in_flight),
            duration: effort.duration,
            warm_up: effort.warm_up,
            keys: effort.keys,
            value_size: SizeRange {
                least: self.value_bytes,
                most: self.value_bytes,
            },
            timeout: Duration::from_secs(5),
            // Values of another size may be there from another row.
            load: self.reads && self.system != Name::Echo,
            // What the echo says is nobody's value.
            verify: self.system != Name::Echo,
            ..Plan::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rows_have_names_of_their_own_and_plans_that_can_be_carried_out() {
        let effort = Effort {
            keys: 1000,
            warm_up: Duration::ZERO,
            duration: Duration::from_secs(1),
        };
        let ids: BTreeSet<String> = ROWS.iter().map(Row::id).collect();
        assert_eq!(ids.len(), ROWS.len());
        for row in ROWS {
            assert_eq!(row.plan(effort).check(), Ok(()), "{}", row.id());
        }
    }
}
