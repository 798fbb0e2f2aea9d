//! Histories of a cluster and the verdict on them.
//!
//! A [`history`] is what clients and observers saw: every operation with its interval and outcome, every fault, and
//! what the nodes held in the end. [`check`] decides from it alone which promises were broken; it knows nothing of how
//! the history came about. [`report`] says it to people and programs, and [`shrink`] looks for the few faults that a
//! failure needs.
//!
//! No I/O apart from readers and writers that are passed in, no clock, no randomness.

pub mod check;
pub mod cli;
pub mod history;
pub mod report;
pub mod shrink;
