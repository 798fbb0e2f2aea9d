//! What happened to a cluster, as it was seen from outside.
//!
//! A [`History`] is a [`Header`] (what the cluster was and what it had promised), [`Operation`]s (every request, with
//! its interval on one clock and its outcome), [`Mark`]s (faults, lives of nodes, samples) and [`OwnerCopy`]s (what each
//! node held of each key in the end). Recording knows nothing of right and wrong; [`crate::check`] decides from this
//! alone.
//!
//! Rules of recording, on which verdicts rest:
//! - one attempt is one operation: what was tried again is another one;
//! - whatever is not surely known is [`Outcome::Unknown`]; only what was surely not applied is [`Outcome::Failed`];
//! - values are unique within a key: a read then names the write that it saw;
//! - all times are nanoseconds on one clock, and none is further off than [`Clocks::uncertainty_ns`];
//! - evictions of a life of a node are recorded at its end too, when [`Header::evictions_recorded`] says so.
//!
//! On disk a history is JSON lines ([`read()`], [`Writer`]); `docs/history.md` describes each field.

mod chaos;
mod error;
mod header;
mod lines;
mod mark;
mod operation;
mod promises;
mod read;
mod version;
mod write;

pub use self::{
    error::ReadError,
    header::{Clocks, Cluster, FORMAT, Header},
    mark::{Event, Held, Mark, OwnerCopy, Resource},
    operation::{
        Answer, Answered, Consistency, Degrade, Life, Operation, Outcome, Request, Unanswered,
    },
    promises::{Floors, Guarantee, Invariant, Promises},
    read::{read, read_file},
    version::{ValueId, Version},
    write::Writer,
};

/// A whole history. The order of the lists does not matter.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// What the cluster was and what it had promised.
    pub header: Header,
    /// Every request.
    pub operations: Vec<Operation>,
    /// What was done to the cluster, and what was seen of it.
    pub marks: Vec<Mark>,
    /// What the nodes held in the end.
    pub copies: Vec<OwnerCopy>,
}
