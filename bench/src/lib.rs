//! The load engine of `shard-cache bench`.
//!
//! ```text
//! Plan ─► run ─► lanes, one per connection: wire (bytes ─► http2 ─► service) or client (the ordinary Rust client)
//!           │       │  └─ workload (what is asked), pace (when it is due), value (what is written, and whether what is
//!           │       │     read is that)
//!           │       └─► recorder ─► Report ─► Threshold
//!           └─► cpu (what this process and the servers used)
//! ```
//!
//! A request belongs to the measurement if it was *due* within it, and its latency counts from when it was due: in the
//! closed loop that is when it was sent; in the open loop it is what the schedule says, however late the request could be
//! sent, so that a stall counts for all requests that it held up.
//!
//! Everything runs on one thread, on the runtime of the caller.

#![allow(
    clippy::disallowed_methods,
    reason = "a tool that measures nodes from outside runs in real time, outside of the seams"
)]

mod client;
mod cpu;
mod error;
mod http2;
mod lane;
mod operation;
mod others;
mod pace;
mod plan;
mod recorder;
mod report;
mod run;
mod service;
mod threshold;
mod timer;
mod value;
mod wire;
mod workload;

pub use error::{BenchError, PlanError};
pub use plan::{Distribution, Generator, Mix, Pace, Plan, SizeRange, System, limits};
pub use report::{Cpu, Failures, Latency, Moment, Operations, Report, ServerCpu, Verdict};
pub use run::{Progress, run};
pub use threshold::{Threshold, ThresholdError};
