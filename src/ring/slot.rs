//! Slot reconfiguration: how the owners of a slot change without losing an acknowledged write, without consensus and
//! without any assumption about time. The rule is `docs/slot-reconfiguration.md`; the numbers in the comments below are
//! those of its rules.
//!
//! - [`configuration`]: numbered owners of a slot, their order, and how many of them make a cover.
//! - [`state`]: what a node knows about one slot, as a pure state machine: one method per atomic step.
//! - [`walk`]: whether the answers of others cover everything that was acknowledged (rules 11 and 16).
//!
//! The idea is that of reconfigurable atomic storage (Lynch and Shvartsman, "RAMBO", DISC 2002; Aguilera, Keidar, Malkhi
//! and Shraer, "Dynamic atomic storage without consensus", J. ACM 2011): every operation names the configuration that it
//! counts under, a node only ever moves up and then refuses everything below, and a new owner counts by itself only once
//! it has copied from a cover of each earlier configuration.

pub mod configuration;
pub mod state;
#[cfg(test)]
mod tests;
mod walk;

pub use configuration::{Configuration, Quorums, Root, SlotConfiguration};
pub use state::{Answered, Carry, Grant, LossEvidence, OnSettled, SlotState, Vote};
