//! The simulator: whole nodes of production code on virtual time, network and clocks, on one thread, deterministic.
//!
//! ```text
//! world: events ─► tasks of hosts ─► node (coordinator, replica, store, ring, hints, membership) ─► world
//! ```
//!
//! - [`world`]: time, tasks, hosts and the network between them.
//! - [`peers`]: the peer port of a node over the world's connections.
//! - [`node`]: a node of production code on a host.

pub mod node;
pub mod peers;
pub mod world;
