//! Histories of a cluster.
//!
//! A [`history`] is what clients and observers saw: every operation with its interval and outcome, every fault, and
//! what the nodes held in the end.
//!
//! No I/O apart from readers and writers that are passed in, no clock, no randomness.

pub mod history;
