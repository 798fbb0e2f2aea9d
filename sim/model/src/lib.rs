//! A model of slot reconfiguration: one slot, 3 to 6 nodes, 1 or 2 keys, a bag of messages, no time. What production does
//! must agree with it.
//!
//! ```text
//! explore (random schedules) ─┐
//! exhaustive (all, bounded) ──┼─► world (state, one method per atomic step, checks) ◄─ rules (switches, planted bugs)
//! ```
//!
//! The promises that are checked have names:
//!
//! - G1, G4: a read returns nothing older than what was acknowledged, or returned, before it began;
//! - G3, G4: what an acknowledged write or delete superseded never comes back, also not in another root;
//! - G5: an acknowledged write is newer than everything that was acknowledged before it began.
//!
//! Left out: eviction, expiry, pulls in parts, two bootstraps, lying nodes.

pub mod config;
pub mod exhaustive;
pub mod explore;
pub mod modelled;
pub mod random;
pub mod rules;
pub mod scenario;
pub mod sweep;
pub mod world;
