//! The client interface over gRPC: `cache.CacheService`, `shardcache.v1.Cluster`, `shardcache.v1.Admin`,
//! `grpc.health.v1` and reflection.
//!
//! - [`edge`]: admission and measurement of every request; the HTTP face uses it too.
//! - `batch`: many keys in one call.
//! - [`convert`]: wire types to the coordinator's and back; every check of what a client sends.
//! - [`status`]: every refusal and failure as a gRPC status or an HTTP answer.
//! - [`deadline`]: how long a request may take.
//! - `traced`: the span of every request that is recorded.
//! - [`serve`]: the port; `front`: where its requests go; `plain`: their messages; `connections`: how they are accepted; `socket`, `pieces`: how its
//!   answers are written.
//! - [`peer`]: what other nodes ask; on a port of its own. `frames`: its links of bare frames.

pub mod admin;
mod batch;
pub mod cache;
pub mod cluster;
mod connections;
pub mod convert;
pub mod deadline;
pub mod edge;
mod frames;
mod front;
pub mod peer;
mod pieces;
mod plain;
pub mod serve;
mod socket;
pub mod status;
mod traced;

pub use admin::{AdminActions, DropRefusal, ForgetRefusal, HintTarget, NotReloaded, is_local};
pub use cluster::{ClusterQueries, Condition, NodeHealth, hide_keys};
pub(crate) use connections::Door;
pub use convert::{Invalid, Limits};
pub use edge::Edge;
pub use front::Front;
pub use serve::{Reflection, ServingSwitch, front};
pub(crate) use status::Answered;
pub use status::Refusal;
