//! What a node tells about itself: metrics, logs, figures of its process.

mod constant;
pub mod exposition;
pub mod labels;
pub mod logs;
pub mod metrics;
pub mod process;
pub mod snapshot;
pub mod traces;

pub use exposition::Format;
pub use labels::{
    Api, BreakerState, Code, Direction, HedgeOutcome, HintDropReason, Lookup, Op, OperationOutcome,
    RepairMode, ReplicaOp, ReplicaOutcome, RetryReason, ShedReason,
};
pub use metrics::Metrics;
pub use process::ProcessFigures;
pub use snapshot::{PeerHints, Snapshot};
