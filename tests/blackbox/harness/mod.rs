//! What the black-box tests have in common.
//!
//! - `node`: one process: started, killed, stopped, frozen, restarted on the ports it had.
//! - `collector`: keeps the spans that nodes export.
//! - `cluster`: several of them, and what it means that they agree.
//! - `inside`: a node within the test's own process.
//! - `http`: as much of HTTP/1.1 as the tests need.
//! - `load`: concurrent writers of unique keys that remember what was acknowledged, and reading it all back.
//! - `lookout`: looks at the members meanwhile.
//! - `relay`: a forwarder of UDP and TCP that can be cut.
//! - `wait`: conditions with deadlines.
//! - `room`: tests that measure or load run one at a time, the others beside each other.

pub(crate) mod cluster;
pub(crate) mod collector;
pub(crate) mod http;
pub(crate) mod inside;
pub(crate) mod load;
pub(crate) mod lookout;
pub(crate) mod node;
pub(crate) mod relay;
pub(crate) mod room;
pub(crate) mod wait;

pub(crate) use cluster::{Cluster, Options};
pub(crate) use node::{Launch, NodeProcess};
pub(crate) use room::Room;
pub(crate) use wait::{holds, until};

use std::time::Duration;

/// How long anything in a small cluster on a slow machine may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
