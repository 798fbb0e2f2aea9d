//! One node of shard-cache. Read the modules in the order in which a request meets them:
//!
//! ```text
//! client ─► api, http ─► coordinator ─► ring (who?) ─► transport ─► replica ─► store
//!                            │  └─ quorum (enough? what is owed?) ─► handoff (hints)
//! UDP ─► membership::driver ─► agent ─► View ─► ring::roster ─► Ring (rebuilt, swapped whole)
//! View: target is back ─► handoff (delivery) ─► transport ─► replica ─► store
//! Ring: this node is joining ─► handoff (pull) ─► transport ─► replica ─► store
//! ```
//!
//! A request goes down once and comes up once; nothing below calls back up.
//!
//! Pure values, without I/O, tasks or clocks: [`version`], [`offsets`], [`key`], [`operation`], [`trace`], [`store`], [`ring`], the
//! tallies of [`coordinator::quorum`], the hints of [`handoff`]. The asynchronous shell around them: [`coordinator`], [`transport`],
//! [`handoff`], [`api`], [`http`]. [`node`] is the only file that knows every part.
//!
//! Beside the way of a request: `profiles` (what this process does with its time and memory), `documents` (the cluster as
//! JSON).
//!
//! Seams: [`clock`] (time, randomness), [`workers`] (tasks), [`transport::PeerTransport`] (peers),
//! [`overload::system::CpuSource`] (the CPU's counters), [`overload::system::MemorySource`] (resident memory) and the datagram socket of the membership driver. Everything else runs the same in production and under simulation.

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod coordinator;
mod documents;
pub mod handoff;
pub mod http;
pub mod key;
pub mod node;
pub mod offsets;
pub mod operation;
pub mod overload;
#[cfg(feature = "planted-bugs")]
pub mod planted;
mod profiles;
pub mod repair;
pub mod replica;
pub mod ring;
pub mod slot_set;
pub mod store;
mod sync;
pub mod telemetry;
pub mod trace;
pub mod transport;
pub mod version;
pub mod workers;

// Models under shuttle's scheduler. Tests of the library rather than of their own, because those would build the binary
// with shuttle's locks and leave it where the real one belongs.
#[cfg(all(test, feature = "race"))]
#[path = "../tests/race/main.rs"]
mod race;
