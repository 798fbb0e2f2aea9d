//! What a node tells about itself: metrics, logs, figures of its process.

mod complaints;
mod constant;
pub mod exposition;
pub mod labels;
pub mod latencies;
pub mod logs;
pub mod machine;
pub mod metrics;
pub mod peers;
pub mod process;
pub mod reference;
pub mod snapshot;
pub mod traces;

pub use complaints::Complaints;
pub use exposition::Format;
pub use labels::{
    Api, BreakerState, Code, Direction, HedgeOutcome, HintDropReason, Lookup, Op, OperationOutcome,
    RepairMode, ReplicaOp, ReplicaOutcome, RetryReason, ShedReason,
};
pub use latencies::{Exemplar, LATENCY_BUCKETS, Latencies};
pub use machine::{AllocatorFigures, AllocatorReader, Machine};
pub use metrics::Metrics;
pub use peers::PeerRequests;
pub use process::ProcessFigures;
pub use snapshot::{PeerHints, Snapshot};
