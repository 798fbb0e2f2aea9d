//! Black-box tests: real processes on loopback, driven through gRPC, HTTP and the command line as a user would. One file
//! per behaviour; `harness` starts the processes, waits for conditions and makes load.
//!
//! No test sleeps for a fixed time to wait for an effect: each awaits a condition with a deadline. All ports are free
//! ones that the system chose.

#![allow(
    clippy::disallowed_methods,
    reason = "tests run in real time, outside of the seams"
)]

mod harness;

mod any_node;
mod batch;
mod bench;
mod cli;
mod cpu;
mod deadlines;
mod drain;
mod eviction;
mod explain;
mod foreign;
mod freeze;
mod http;
mod identity;
mod kill;
mod limits;
mod orders;
mod overload;
mod pressure;
mod profiles;
mod reload;
mod restart_copies;
mod restart_seed;
mod settings;
mod split;
mod start_order;
mod traces;
mod ttl;
mod whole_cluster;
mod zones;
