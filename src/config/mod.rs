//! The configuration: parsed once into valid types, then never looked at as text again.
//!
//! Where a value comes from, in rising order of precedence: defaults, file, environment (`OTEL_*`, then ours), flags. What every node of a
//! cluster must agree on is in [`ClusterConfig`] and [`ClientConfig`]; the rest belongs to one node.
//!
//! - `model`: the tree of fields with their defaults.
//! - `units`: durations, sizes and bounded numbers as people write them.
//! - `load`: defaults, file, environment and flags to a checked [`Config`], with the origin of every value.
//! - `file`: the YAML file, with the place of every value in it.
//! - `overrides`: environment variables and flags as values for paths.
//! - `otel`: the variables of OpenTelemetry as values for paths.
//! - `error`: what is wrong, where, and what would be right.
//! - `check`: rules that concern more than one field.
//! - `reference`: one line of documentation per field; the example file and the accepted paths come from it.
//! - `example`: renders the tree as commented YAML.
//! - `machine`, `environment`: the only places that ask the operating system.
//!
//! Invariant: a [`Config`] that [`load()`] returned has passed every rule of `check`.

mod check;
pub mod environment;
mod error;
mod example;
mod file;
mod load;
pub mod machine;
mod model;
mod otel;
mod overrides;
mod reference;
mod units;

pub use error::{ConfigError, Origin, Place, Problem};
pub use example::{example, print, print_with_origins};
pub use load::{Loaded, Sources, load, load_system};
pub use model::{
    Advertise, BackgroundConfig, CacheConfig, ClientConfig, ClusterConfig, Config, DebugConfig,
    DegradeConfig, Exposure, GossipConfig, GossipProfile, GrpcConfig, HandoffConfig, HedgingConfig,
    HintsConfig, HttpConfig, LimitsConfig, LinkKind, LogFormat, LogLevel, NodeConfig, OnLoss,
    PeerConfig, QuorumConfig, RepairConfig, ServerConfig, TelemetryConfig, TombstonesConfig,
    TracesConfig, TracesSampler,
};
pub use overrides::Flag;
#[cfg(test)]
pub(crate) use reference::twin_flags;
pub(crate) use units::{parse_duration, parse_size};
