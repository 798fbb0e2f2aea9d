//! Rules that concern more than one field, or that a field's type cannot express.

use std::{net::IpAddr, time::Duration};

use shard_cache_membership::record::{NAME_BYTES_MAX, ZONE_BYTES_MAX};

use super::{
    model::Config,
    units::{format_duration, format_size},
};
use crate::version::DRIFT_MAX_MILLIS;

/// Largest sum of key and value sizes, in bytes: what one peer message can carry with room to spare.
const ENTRY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Longest cluster id, in bytes.
const CLUSTER_ID_BYTES_MAX: usize = 64;
/// Most seeds.
const SEEDS_MAX: usize = 128;
/// Leaving takes this long even when nothing is in the way.
const DRAIN_TIMEOUT_MIN: Duration = Duration::from_secs(5);
/// Slowest copies of slots, in bytes per second.
const COPY_BYTES_PER_SECOND_MIN: usize = 64 * 1024;
/// Room in a peer queue beside the largest entry, in bytes.
const QUEUE_SLACK_BYTES: usize = 64 * 1024;

/// A rule that the configuration breaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Violation {
    /// The field to look at first.
    pub(super) path: &'static str,
    /// The rule with the numbers, and what would satisfy it.
    pub(super) message: String,
}

/// All rules that `config` breaks.
pub(super) fn check(config: &Config) -> Vec<Violation> {
    let mut broken = Broken(Vec::new());
    quorums(config, &mut broken);
    sizes(config, &mut broken);
    durations(config, &mut broken);
    addresses(config, &mut broken);
    names(config, &mut broken);
    traces(config, &mut broken);
    broken.0
}

struct Broken(Vec<Violation>);

impl Broken {
    /// Records a violation unless `holds`.
    fn unless(&mut self, holds: bool, path: &'static str, message: impl FnOnce() -> String) {
        if !holds {
            self.0.push(Violation {
                path,
                message: message(),
            });
        }
    }
}

fn quorums(config: &Config, broken: &mut Broken) {
    let n = config.cluster.replication_factor;
    let (r, w) = (
        config.client.quorum.read_quorum,
        config.client.quorum.write_quorum,
    );
    let majority = n / 2 + 1;
    broken.unless(r <= n, "client.quorum.read_quorum", || {
        format!("{r} is more than cluster.replication_factor {n}; {majority} would be a majority")
    });
    broken.unless(w <= n, "client.quorum.write_quorum", || {
        format!("{w} is more than cluster.replication_factor {n}; {majority} would be a majority")
    });
    broken.unless(r + w > n, "client.quorum.read_quorum", || {
        format!(
            "read_quorum {r} + write_quorum {w} must be more than cluster.replication_factor {n}, \
             or reads miss acknowledged writes; {majority} and {majority} would do"
        )
    });
    // Owners change by majorities: one that has not heard of it may not answer reads by itself.
    let meets_changes = r + majority > n || r + w <= n;
    broken.unless(meets_changes, "client.quorum.read_quorum", || {
        format!(
            "read_quorum {r} must meet every majority of cluster.replication_factor {n}, or reads miss what was \
             acknowledged after owners have changed; {} would do",
            n + 1 - majority
        )
    });
    broken.unless(2 * w > n, "client.quorum.write_quorum", || {
        format!(
            "2 x write_quorum {w} must be more than cluster.replication_factor {n}, \
             or two writes can both be acknowledged unaware of each other; {majority} would do"
        )
    });
}

fn sizes(config: &Config, broken: &mut Broken) {
    let cache = &config.server.cache;
    broken.unless(
        cache.max_value_size >= 1,
        "server.cache.max_value_size",
        || "0 bytes: must be at least 1B".to_owned(),
    );
    broken.unless(cache.max_key_size >= 1, "server.cache.max_key_size", || {
        "0 bytes: must be at least 1B".to_owned()
    });
    let entry = cache.max_value_size.saturating_add(cache.max_key_size);
    broken.unless(
        entry <= ENTRY_BYTES_MAX,
        "server.cache.max_value_size",
        || {
            format!(
                "max_value_size {} + max_key_size {} must be at most {}",
                size(cache.max_value_size),
                size(cache.max_key_size),
                size(ENTRY_BYTES_MAX)
            )
        },
    );
    if let Some(memory) = cache.max_memory {
        broken.unless(memory >= entry as u64, "server.cache.max_memory", || {
            format!(
                "{} cannot hold one entry of max_value_size {} + max_key_size {}",
                format_size(memory),
                size(cache.max_value_size),
                size(cache.max_key_size)
            )
        });
    }
    let queue = config.server.peer.queue_bytes_max;
    let needed = entry.saturating_add(QUEUE_SLACK_BYTES);
    broken.unless(queue >= needed, "server.peer.queue_bytes_max", || {
        format!(
            "{} cannot hold the largest entry, which needs {}",
            size(queue),
            size(needed)
        )
    });
    let hints = &config.hints;
    broken.unless(
        hints.target_bytes_max <= hints.total_bytes_max,
        "hints.target_bytes_max",
        || {
            format!(
                "{} is more than hints.total_bytes_max {}",
                size(hints.target_bytes_max),
                size(hints.total_bytes_max)
            )
        },
    );
    let rates = [
        (
            "background.bytes_per_second_max",
            config.background.bytes_per_second_max,
        ),
        (
            "handoff.bytes_per_second_max",
            config.handoff.bytes_per_second_max,
        ),
        (
            "repair.bytes_per_second_max",
            config.repair.bytes_per_second_max,
        ),
    ];
    for (path, rate) in rates {
        broken.unless(rate >= COPY_BYTES_PER_SECOND_MIN, path, || {
            format!(
                "{} is less than {}, with which a copy would never end",
                size(rate),
                size(COPY_BYTES_PER_SECOND_MIN)
            )
        });
    }
}

fn size(bytes: usize) -> String {
    format_size(bytes as u64)
}

fn durations(config: &Config, broken: &mut Broken) {
    let limits = &config.server.limits;
    let traces = &config.telemetry.traces;
    let positive: [(&'static str, Duration); 12] = [
        (
            "server.gossip.down_memory",
            config.server.gossip.down_memory,
        ),
        ("server.limits.cpu_window", limits.cpu_window),
        ("server.limits.request_timeout", limits.request_timeout),
        (
            "server.peer.connect_timeout",
            config.server.peer.connect_timeout,
        ),
        (
            "server.peer.stall_timeout",
            config.server.peer.stall_timeout,
        ),
        (
            "server.peer.reconnect_max",
            config.server.peer.reconnect_max,
        ),
        ("client.hedging.timeout", config.client.hedging.timeout),
        ("hints.window", config.hints.window),
        ("tombstones.life", config.tombstones.life),
        ("repair.interval", config.repair.interval),
        ("telemetry.traces.flush_interval", traces.flush_interval),
        ("telemetry.traces.export_timeout", traces.export_timeout),
    ];
    for (path, duration) in positive {
        broken.unless(!duration.is_zero(), path, || {
            "must be longer than 0s".to_owned()
        });
    }
    broken.unless(
        limits.request_timeout <= limits.max_request_timeout,
        "server.limits.request_timeout",
        || {
            format!(
                "{} is longer than server.limits.max_request_timeout {}",
                format_duration(limits.request_timeout),
                format_duration(limits.max_request_timeout)
            )
        },
    );
    let drain = config.node.drain_timeout;
    broken.unless(drain >= DRAIN_TIMEOUT_MIN, "node.drain_timeout", || {
        format!(
            "{} is shorter than {}, which leaving takes even when nothing is in the way",
            format_duration(drain),
            format_duration(DRAIN_TIMEOUT_MIN)
        )
    });
    let hedging = &config.client.hedging;
    broken.unless(
        !hedging.enabled || hedging.timeout < limits.request_timeout,
        "client.hedging.timeout",
        || {
            format!(
                "{} must be shorter than server.limits.request_timeout {}",
                format_duration(hedging.timeout),
                format_duration(limits.request_timeout)
            )
        },
    );
    let drift = Duration::from_millis(DRIFT_MAX_MILLIS);
    broken.unless(
        config.tombstones.life > config.hints.window.saturating_add(drift),
        "tombstones.life",
        || {
            format!(
                "{} must be longer than hints.window {} + {} of clock drift, \
                 or a hint could bring a deleted value back",
                format_duration(config.tombstones.life),
                format_duration(config.hints.window),
                format_duration(drift)
            )
        },
    );
}

fn addresses(config: &Config, broken: &mut Broken) {
    let server = &config.server;
    broken.unless(!server.bind.is_empty(), "server.bind", || {
        "empty: name at least one address, such as 127.0.0.1 or ::".to_owned()
    });
    let ports = [
        ("server.grpc.port", server.grpc.port),
        ("server.http.port", server.http.port),
        ("server.gossip.port", server.gossip.port),
    ];
    for (index, (path, port)) in ports.iter().enumerate() {
        let same = ports[..index]
            .iter()
            .find(|(_, other)| other == port && *port != 0);
        broken.unless(same.is_none(), path, || {
            format!(
                "{port} is also {}; every port must be its own",
                same.map_or("", |(path, _)| path)
            )
        });
    }
    if let Some(advertise) = &server.advertise {
        let unspecified = advertise
            .host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_unspecified());
        broken.unless(!unspecified, "server.advertise", || {
            format!("nobody can connect to `{advertise}`: name an address that others reach")
        });
    }
    let seeds = &config.cluster.seeds;
    broken.unless(seeds.len() <= SEEDS_MAX, "cluster.seeds", || {
        format!("{} seeds, at most {SEEDS_MAX}", seeds.len())
    });
    for seed in seeds {
        broken.unless(is_host_and_port(seed), "cluster.seeds", || {
            format!("`{seed}` is no host:port, such as node1:7946 or [::1]:7946")
        });
    }
}

fn is_host_and_port(seed: &str) -> bool {
    seed.parse::<super::model::Advertise>()
        .is_ok_and(|address| address.port.is_some_and(|port| port != 0))
}

fn names(config: &Config, broken: &mut Broken) {
    let clean = |text: &str| !text.chars().any(|c| c.is_control() || c.is_whitespace());
    let id = &config.cluster.id;
    broken.unless(
        (1..=CLUSTER_ID_BYTES_MAX).contains(&id.len()) && clean(id),
        "cluster.id",
        || {
            format!(
                "{} bytes: must be 1 to {CLUSTER_ID_BYTES_MAX} bytes without blanks or control characters",
                id.len()
            )
        },
    );
    if let Some(name) = &config.node.name {
        broken.unless((1..=NAME_BYTES_MAX).contains(&name.len()) && clean(name), "node.name", || {
            format!(
                "{} bytes: must be 1 to {NAME_BYTES_MAX} bytes without blanks or control characters",
                name.len()
            )
        });
    }
    let zone = &config.node.zone;
    broken.unless(zone.len() <= ZONE_BYTES_MAX && clean(zone), "node.zone", || {
        format!(
            "{} bytes: must be at most {ZONE_BYTES_MAX} bytes without blanks or control characters",
            zone.len()
        )
    });
}

fn traces(config: &Config, broken: &mut Broken) {
    let traces = &config.telemetry.traces;
    if let Some(endpoint) = &traces.endpoint {
        broken.unless(is_collector(endpoint), "telemetry.traces.endpoint", || {
            format!(
                "`{endpoint}` is no http URL, such as http://127.0.0.1:4317; TLS is not supported: use a collector beside the node"
            )
        });
    }
    let (batch, queue) = (traces.batch_spans_max, traces.queue_spans_max);
    broken.unless(batch <= queue, "telemetry.traces.batch_spans_max", || {
        format!("{batch} is more than telemetry.traces.queue_spans_max {queue}")
    });
    let named = traces.service_name.as_deref() != Some("");
    broken.unless(named, "telemetry.traces.service_name", || {
        "must not be empty".to_owned()
    });
    let decoded = traces.attributes().filter(|(name, _)| !name.is_empty());
    broken.unless(
        decoded.count() == traces.resource_attributes.len(),
        "telemetry.traces.resource_attributes",
        || {
            format!(
                "`{}` is not a list of name=value with percent-encoded values",
                traces.resource_attributes.join(",")
            )
        },
    );
}

fn is_collector(endpoint: &str) -> bool {
    endpoint.parse::<http::Uri>().is_ok_and(|uri| {
        let has_host = uri.host().is_some_and(|host| !host.is_empty());
        uri.scheme_str() == Some("http") && has_host
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Advertise;

    fn broken_paths(change: impl FnOnce(&mut Config)) -> Vec<&'static str> {
        let mut config = Config::default();
        change(&mut config);
        check(&config)
            .into_iter()
            .map(|violation| violation.path)
            .collect()
    }

    #[test]
    fn the_defaults_break_no_rule() {
        assert_eq!(check(&Config::default()), []);
    }

    #[test]
    fn quorums_that_do_not_overlap_are_refused_with_the_numbers() {
        let quorum = |n: usize, r: usize, w: usize| {
            broken_paths(|config| {
                config.cluster.replication_factor = n;
                config.client.quorum.read_quorum = r;
                config.client.quorum.write_quorum = w;
            })
        };
        let (read, write) = ("client.quorum.read_quorum", "client.quorum.write_quorum");
        assert_eq!(quorum(3, 2, 2), [""; 0]);
        assert_eq!(quorum(1, 1, 1), [""; 0]);
        assert_eq!(quorum(2, 1, 2), [""; 0]);
        assert_eq!(quorum(4, 2, 3), [""; 0]);
        assert_eq!(quorum(3, 1, 3), [read]);
        assert_eq!(quorum(5, 2, 4), [read]);
        assert_eq!(quorum(3, 1, 2), [read]);
        assert_eq!(quorum(3, 3, 1), [write]);
        assert_eq!(quorum(5, 2, 2), [read, write]);
        assert_eq!(quorum(1, 2, 2), [read, write]);
    }

    #[test]
    fn what_makes_no_exporter_is_refused() {
        let endpoint = |endpoint: &str| {
            broken_paths(|config| {
                config.telemetry.traces.endpoint = Some(endpoint.to_owned());
            })
        };
        for legal in [
            "http://127.0.0.1:4317",
            "http://collector",
            "http://[::1]:4317/",
        ] {
            assert_eq!(endpoint(legal), [""; 0], "{legal}");
        }
        for illegal in [
            "",
            "collector:4317",
            "https://collector",
            "http://",
            "/v1/traces",
        ] {
            assert_eq!(
                endpoint(illegal),
                ["telemetry.traces.endpoint"],
                "{illegal}"
            );
        }
        let attributes = |attribute: &str| {
            broken_paths(|config| {
                config.telemetry.traces.resource_attributes = vec![attribute.to_owned()];
            })
        };
        assert_eq!(attributes("a=b%20c"), [""; 0]);
        for illegal in ["a", "=b", "a=%zz"] {
            assert_eq!(
                attributes(illegal),
                ["telemetry.traces.resource_attributes"]
            );
        }
        assert_eq!(
            broken_paths(|config| config.telemetry.traces.batch_spans_max = 5000),
            ["telemetry.traces.batch_spans_max"]
        );
    }

    #[test]
    fn a_tombstone_must_outlive_every_hint() {
        assert_eq!(
            broken_paths(|config| config.tombstones.life = config.hints.window),
            ["tombstones.life"]
        );
    }

    #[test]
    fn two_faces_cannot_share_a_port_unless_both_take_a_free_one() {
        assert_eq!(
            broken_paths(|c| c.server.http.port = 8080),
            ["server.http.port"]
        );
        assert_eq!(
            broken_paths(|c| c.server.gossip.port = 8081),
            ["server.gossip.port"]
        );
        let free = broken_paths(|c| {
            c.server.grpc.port = 0;
            c.server.http.port = 0;
            c.server.gossip.port = 0;
        });
        assert_eq!(free, [""; 0]);
    }

    #[test]
    fn an_address_that_nobody_can_reach_is_no_advertise_address() {
        for text in ["0.0.0.0", "0.0.0.0:7946", "::", "[::]:7946"] {
            let advertise: Advertise = text.parse().unwrap();
            assert_eq!(
                broken_paths(|config| config.server.advertise = Some(advertise)),
                ["server.advertise"],
                "{text}"
            );
        }
    }

    #[test]
    fn sizes_that_cannot_be_met_are_refused() {
        assert_eq!(
            broken_paths(|c| c.server.cache.max_value_size = ENTRY_BYTES_MAX),
            ["server.cache.max_value_size"]
        );
        assert_eq!(
            broken_paths(|c| c.server.cache.max_memory = Some(1024)),
            ["server.cache.max_memory"]
        );
        assert_eq!(
            broken_paths(|c| c.server.peer.queue_bytes_max = 1024),
            ["server.peer.queue_bytes_max"]
        );
        assert_eq!(
            broken_paths(|c| c.hints.target_bytes_max = c.hints.total_bytes_max + 1),
            ["hints.target_bytes_max"]
        );
    }

    #[test]
    fn hedges_come_before_the_deadline() {
        let path = ["client.hedging.timeout"];
        let late = |c: &mut Config| c.client.hedging.timeout = c.server.limits.request_timeout;
        assert_eq!(broken_paths(late), path);
        let off = |c: &mut Config| {
            late(c);
            c.client.hedging.enabled = false;
        };
        assert_eq!(broken_paths(off), [""; 0]);
    }

    #[test]
    fn a_drain_has_the_time_that_it_takes_at_least() {
        let drain = |timeout| broken_paths(|c| c.node.drain_timeout = timeout);
        assert_eq!(drain(DRAIN_TIMEOUT_MIN), [""; 0]);
        let short = DRAIN_TIMEOUT_MIN - Duration::from_millis(1);
        assert_eq!(drain(short), ["node.drain_timeout"]);
    }

    #[test]
    fn names_and_seeds_have_a_form() {
        assert_eq!(broken_paths(|c| c.cluster.id.clear()), ["cluster.id"]);
        assert_eq!(
            broken_paths(|c| c.node.name = Some("a b".to_owned())),
            ["node.name"]
        );
        assert_eq!(
            broken_paths(|c| c.node.zone = "z".repeat(ZONE_BYTES_MAX + 1)),
            ["node.zone"]
        );
        for seed in ["node1", "node1:0", ":7946", "node1:x", "a/b:1"] {
            let seeds = vec![seed.to_owned()];
            assert_eq!(
                broken_paths(|c| c.cluster.seeds = seeds),
                ["cluster.seeds"],
                "{seed}"
            );
        }
        let good = vec!["node1:7946".to_owned(), "[::1]:7946".to_owned()];
        assert_eq!(broken_paths(|c| c.cluster.seeds = good), [""; 0]);
    }
}
