//! Timing and bounds of the protocol, as profiles with checked values.
//!
//! Invariant: an `AgentConfig` that passed `validate` is one that foca accepts and never has to
//! change, apart from the suspicion time, which local health stretches. The payload bound is a
//! constant on purpose: foca must never see another one at run time.

use std::time::Duration;

/// Largest foca payload in a datagram, in bytes, before the envelope: with it (and a seal) under
/// the IPv6 minimum MTU.
pub const PAYLOAD_BYTES_MAX: usize = 1100;
/// Longest cluster id, in bytes.
pub const CLUSTER_ID_BYTES_MAX: usize = 128;
/// Longest of the configured times but the down memory.
pub const INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// How one agent behaves. The same on all nodes of a cluster, apart from what an operator tunes on
/// purpose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AgentConfig {
    /// Datagrams and states of other cluster ids are refused and counted.
    pub cluster_id: String,
    /// One random member is probed each such period.
    pub probe_period: Duration,
    /// How long a direct answer may take before others are asked to probe; under half of the
    /// period.
    pub probe_rtt: Duration,
    /// How many others are asked to probe.
    pub indirect_probes: usize,
    /// From suspect to down, at local health score 0; multiplied by 1 + score.
    pub suspect_timeout: Duration,
    /// How often each update is sent. Not derived from the cluster's size: that gives 2 for 3
    /// nodes, too few.
    pub max_transmissions: u8,
    /// How often pending updates are gossiped, and to how many.
    pub gossip: Rounds,
    /// How often a random member is asked for its members.
    pub announce: Rounds,
    /// How often members that are down are announced to: the time that a healed partition needs.
    pub announce_down: Rounds,
    /// How long a member that is down stays known.
    pub down_memory: Duration,
    /// How often seeds and last-known peers that are not active are announced to, for ever.
    pub seed_interval: Duration,
    /// Shortest time between two periodic push-pulls.
    pub push_pull_min: Duration,
    /// Longest time between two periodic push-pulls.
    pub push_pull_max: Duration,
    /// Whether a datagram must come from the IP address that its sender's identity names. Off
    /// behind address translation.
    pub source_check: SourceCheck,
}

/// Something done each `every`, with `fanout` random members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rounds {
    /// Time between two rounds.
    pub every: Duration,
    /// Members per round.
    pub fanout: usize,
}

/// Whether the sender's address is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourceCheck {
    /// Any source address is accepted.
    Off,
    /// The source IP address must be the identity's.
    SameIp,
}

/// A named set of timings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Profile {
    /// One data centre, 3-50 nodes; fine to 100.
    #[default]
    Lan,
    /// Round trips up to some hundred milliseconds.
    Wan,
    /// Several nodes on one machine.
    Local,
}

/// Why a configuration is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// The cluster id is empty.
    #[error("the cluster id is empty")]
    ClusterIdEmpty,
    /// The cluster id is too long.
    #[error("the cluster id has {bytes} bytes; at most {CLUSTER_ID_BYTES_MAX} are allowed")]
    ClusterIdTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A time is zero or beyond its bound.
    #[error("{field} is {value:?}; it must be above zero and at most {max:?}")]
    OutOfRange {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: Duration,
        /// Its bound.
        max: Duration,
    },
    /// A count is zero.
    #[error("{field} is zero")]
    ZeroCount {
        /// Name of the field.
        field: &'static str,
    },
    /// No time is left for indirect probes.
    #[error("probe_rtt {probe_rtt:?} is not below half of probe_period {probe_period:?}")]
    ProbeRttTooLong {
        /// Configured answer time.
        probe_rtt: Duration,
        /// Configured period.
        probe_period: Duration,
    },
    /// A member could not refute within the suspicion time.
    #[error("suspect_timeout {suspect_timeout:?} is below twice the probe_period {probe_period:?}")]
    SuspectTimeoutTooShort {
        /// Configured suspicion time.
        suspect_timeout: Duration,
        /// Configured period.
        probe_period: Duration,
    },
    /// A down member would be forgotten before all have heard of it.
    #[error(
        "down_memory {down_memory:?} is below ten times the suspect_timeout {suspect_timeout:?}"
    )]
    DownMemoryTooShort {
        /// Configured memory.
        down_memory: Duration,
        /// Configured suspicion time.
        suspect_timeout: Duration,
    },
    /// The shortest push-pull interval is above the longest.
    #[error("push_pull_min {min:?} is above push_pull_max {max:?}")]
    PushPullRange {
        /// Configured minimum.
        min: Duration,
        /// Configured maximum.
        max: Duration,
    },
}

/// Default down memory.
const DOWN_MEMORY: Duration = Duration::from_secs(24 * 3600);
/// Longest down memory.
const DOWN_MEMORY_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

impl AgentConfig {
    /// The profile's values for the cluster.
    #[must_use]
    pub fn of_profile(profile: Profile, cluster_id: &str) -> Self {
        let lan = Self {
            cluster_id: cluster_id.to_owned(),
            probe_period: Duration::from_millis(500),
            probe_rtt: Duration::from_millis(150),
            indirect_probes: 4,
            suspect_timeout: Duration::from_secs(3),
            max_transmissions: 20,
            gossip: Rounds::new(200, 3),
            announce: Rounds::new(5_000, 1),
            announce_down: Rounds::new(2_000, 2),
            down_memory: DOWN_MEMORY,
            seed_interval: Duration::from_secs(2),
            push_pull_min: Duration::from_secs(10),
            push_pull_max: Duration::from_secs(30),
            source_check: SourceCheck::Off,
        };
        match profile {
            Profile::Lan => lan,
            Profile::Wan => Self {
                probe_period: Duration::from_secs(2),
                probe_rtt: Duration::from_millis(800),
                suspect_timeout: Duration::from_secs(12),
                gossip: Rounds::new(500, 4),
                announce: Rounds::new(15_000, 2),
                announce_down: Rounds::new(5_000, 2),
                seed_interval: Duration::from_secs(5),
                push_pull_min: Duration::from_secs(20),
                push_pull_max: Duration::from_secs(60),
                ..lan
            },
            Profile::Local => Self {
                probe_period: Duration::from_millis(300),
                probe_rtt: Duration::from_millis(100),
                suspect_timeout: Duration::from_millis(1_500),
                gossip: Rounds::new(100, 3),
                announce: Rounds::new(2_000, 1),
                announce_down: Rounds::new(1_000, 2),
                seed_interval: Duration::from_millis(500),
                push_pull_min: Duration::from_secs(5),
                push_pull_max: Duration::from_secs(10),
                ..lan
            },
        }
    }

    /// Whether the agent can run with these values.
    ///
    /// # Errors
    /// The first violated rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let bytes = self.cluster_id.len();
        if bytes == 0 {
            return Err(ConfigError::ClusterIdEmpty);
        }
        if bytes > CLUSTER_ID_BYTES_MAX {
            return Err(ConfigError::ClusterIdTooLong { bytes });
        }
        self.validate_ranges()?;
        self.validate_relations()
    }

    fn validate_ranges(&self) -> Result<(), ConfigError> {
        let times = [
            ("probe_period", self.probe_period, INTERVAL_MAX),
            ("probe_rtt", self.probe_rtt, INTERVAL_MAX),
            ("suspect_timeout", self.suspect_timeout, INTERVAL_MAX),
            ("gossip.every", self.gossip.every, INTERVAL_MAX),
            ("announce.every", self.announce.every, INTERVAL_MAX),
            (
                "announce_down.every",
                self.announce_down.every,
                INTERVAL_MAX,
            ),
            ("down_memory", self.down_memory, DOWN_MEMORY_MAX),
            ("seed_interval", self.seed_interval, INTERVAL_MAX),
            ("push_pull_min", self.push_pull_min, INTERVAL_MAX),
            ("push_pull_max", self.push_pull_max, INTERVAL_MAX),
        ];
        for (field, value, max) in times {
            if value.is_zero() || value > max {
                return Err(ConfigError::OutOfRange { field, value, max });
            }
        }
        let counts = [
            ("indirect_probes", self.indirect_probes),
            ("max_transmissions", usize::from(self.max_transmissions)),
            ("gossip.fanout", self.gossip.fanout),
            ("announce.fanout", self.announce.fanout),
            ("announce_down.fanout", self.announce_down.fanout),
        ];
        for (field, count) in counts {
            if count == 0 {
                return Err(ConfigError::ZeroCount { field });
            }
        }
        Ok(())
    }

    fn validate_relations(&self) -> Result<(), ConfigError> {
        let (probe_period, probe_rtt) = (self.probe_period, self.probe_rtt);
        let (suspect_timeout, down_memory) = (self.suspect_timeout, self.down_memory);
        let (min, max) = (self.push_pull_min, self.push_pull_max);
        if probe_rtt * 2 >= probe_period {
            return Err(ConfigError::ProbeRttTooLong {
                probe_rtt,
                probe_period,
            });
        }
        if suspect_timeout < probe_period * 2 {
            return Err(ConfigError::SuspectTimeoutTooShort {
                suspect_timeout,
                probe_period,
            });
        }
        if down_memory < suspect_timeout * 10 {
            return Err(ConfigError::DownMemoryTooShort {
                down_memory,
                suspect_timeout,
            });
        }
        if min > max {
            return Err(ConfigError::PushPullRange { min, max });
        }
        Ok(())
    }
}

impl Rounds {
    const fn new(every_millis: u64, fanout: usize) -> Self {
        Self {
            every: Duration::from_millis(every_millis),
            fanout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_valid() {
        for profile in [Profile::Lan, Profile::Wan, Profile::Local] {
            assert_eq!(
                AgentConfig::of_profile(profile, "c").validate(),
                Ok(()),
                "{profile:?}"
            );
        }
    }

    #[test]
    fn impossible_values_are_refused_with_their_reason() {
        let good = AgentConfig::of_profile(Profile::Lan, "c");
        let refused = |config: AgentConfig| config.validate().unwrap_err();
        assert_eq!(
            refused(AgentConfig {
                cluster_id: String::new(),
                ..good.clone()
            }),
            ConfigError::ClusterIdEmpty
        );
        assert_eq!(
            refused(AgentConfig {
                cluster_id: "x".repeat(129),
                ..good.clone()
            }),
            ConfigError::ClusterIdTooLong { bytes: 129 }
        );
        assert!(matches!(
            refused(AgentConfig {
                probe_period: Duration::ZERO,
                ..good.clone()
            }),
            ConfigError::OutOfRange {
                field: "probe_period",
                ..
            }
        ));
        assert!(matches!(
            refused(AgentConfig {
                probe_rtt: Duration::from_millis(250),
                ..good.clone()
            }),
            ConfigError::ProbeRttTooLong { .. }
        ));
        assert!(matches!(
            refused(AgentConfig {
                suspect_timeout: Duration::from_millis(600),
                ..good.clone()
            }),
            ConfigError::SuspectTimeoutTooShort { .. }
        ));
        assert!(matches!(
            refused(AgentConfig {
                down_memory: Duration::from_secs(29),
                ..good.clone()
            }),
            ConfigError::DownMemoryTooShort { .. }
        ));
        assert!(matches!(
            refused(AgentConfig {
                push_pull_min: Duration::from_secs(31),
                ..good.clone()
            }),
            ConfigError::PushPullRange { .. }
        ));
        assert_eq!(
            refused(AgentConfig {
                max_transmissions: 0,
                ..good
            }),
            ConfigError::ZeroCount {
                field: "max_transmissions"
            }
        );
    }
}
