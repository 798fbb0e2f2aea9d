//! The simulator: whole nodes of production code on virtual time, network and clocks, on one thread, deterministic; and
//! the verdict on what they did.
//!
//! ```text
//! world: events ─► tasks of hosts ─► node (coordinator, replica, store, ring, hints, membership) ─► world
//! ```
//!
//! - [`world`]: time, tasks, hosts and the network between them.
//! - [`peers`]: the peer port of a node over the world's connections; [`node`]: a node of production code on a host.
//! - [`history`], [`check`], [`report`], [`shrink`]: what happened as seen from outside, and which promises it broke. No
//!   I/O apart from readers and writers that are passed in, no clock, no randomness.
//! - [`cli`]: commands.

pub mod check;
pub mod cli;
pub mod history;
pub mod node;
pub mod peers;
pub mod report;
pub mod shrink;
pub mod world;
