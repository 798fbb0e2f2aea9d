//! The simulator: whole nodes of production code on virtual time, network and clocks, on one thread, deterministic; and
//! the verdict on what they did.
//!
//! ```text
//! seed ─► options ─► run ─► cluster ─► node (production code) ─► peers ─► world (time, tasks, network)
//!                     │  workload, faults ─► recorder ─► history ─► check ─► report
//! ```
//!
//! - [`world`]: time, tasks, hosts and the network between them.
//! - `port`: the client port of a node; [`peers`]: its peer port over the world's connections; [`node`]: a node of production code on a host.
//! - [`cluster`]: the nodes of a run; [`workload`], [`faults`]: what happens to them; [`recorder`]: what is noted of it.
//! - [`plant`]: known bugs, to see whether the checker finds them.
//! - [`fault_kind`], [`plan`]: what goes wrong, before it happens; [`scenario`]: a run as a file; [`span`]: durations in
//!   it.
//! - [`logs`]: what nodes log, for people; [`repeats`]: what they send again and again.
//! - [`options`]: what a run is like; [`run`](mod@run): its phases; [`paths`]: rare paths that it took.
//! - `laws`: the laws of slot reconfiguration, seen inside of nodes.
//! - [`history`], [`check`], [`report`], [`shrink`]: what happened as seen from outside, and which promises it broke.
//! - [`scale`]: membership alone, with a thousand nodes.
//! - [`mod@cli`] has the commands.

pub mod check;
pub mod cli;
pub mod cluster;
pub mod fault_kind;
pub mod faults;
pub mod history;
mod laws;
pub mod logs;
pub mod node;
pub mod options;
pub mod paths;
pub mod peers;
pub mod plan;
pub mod plant;
mod port;
pub mod recorder;
pub mod repeats;
pub mod report;
pub mod run;
pub mod scale;
pub mod scenario;
pub mod shrink;
pub mod span;
pub mod workload;
pub mod world;
