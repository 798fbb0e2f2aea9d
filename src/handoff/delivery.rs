//! Hinted handoff: hands hints over when their target is back, in bounded batches, one at a time per target.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use shard_cache_membership::identity::NodeId;

use crate::{
    clock::Clock,
    handoff::{
        OwedHints,
        records::{self, NotRecords},
    },
    key::Key,
    replica::Replica,
    ring::gates::GateCell,
    store::Record,
    transport::{CallError, Delivery, PeerTransport, Reach},
};

/// Keys and values in one batch.
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Pause when nothing can be delivered.
const IDLE_PAUSE: Duration = Duration::from_millis(100);
/// Pause between two batches, so that a returning node is not flooded.
const BATCH_PAUSE: Duration = Duration::from_millis(5);

/// Delivers the hints of one node.
pub struct HintDelivery {
    /// This node. A coordinator may owe a record to its own node, which was not an owner yet when the write was sent.
    pub own: NodeId,
    /// What is owed.
    pub hints: Arc<OwedHints>,
    /// Where this node's own records go.
    pub replica: Arc<Replica>,
    /// How the others are reached.
    pub transport: Arc<dyn PeerTransport>,
    /// The node's slots.
    pub gates: Arc<GateCell>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// What a step came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Busy,
    Idle,
}

impl HintDelivery {
    /// Delivers for as long as the node runs.
    pub async fn run(self) {
        loop {
            let pause = match self.step().await {
                Step::Busy => BATCH_PAUSE,
                Step::Idle => IDLE_PAUSE,
            };
            self.clock.sleep(pause).await;
        }
    }

    /// One batch for each target that can be reached.
    async fn step(&self) -> Step {
        self.hints.expire();
        let mut step = Step::Idle;
        for target in self.hints.targets() {
            if self.transport.reach(target) == Reach::Up && self.deliver(target).await {
                step = Step::Busy;
            }
        }
        step
    }

    /// Whether anything was delivered. What was not stays owed.
    async fn deliver(&self, target: NodeId) -> bool {
        let gates = self.gates.load();
        let mut batches: BTreeMap<u64, Vec<(Key, Record)>> = BTreeMap::new();
        for (key, record) in self.hints.batch(target, BATCH_BYTES_MAX) {
            // Before this node has a configuration nothing is owed, and of a root that is gone all was forgotten.
            if let Some(root) = gates.root(gates.slot(&key)) {
                batches.entry(root).or_default().push((key, record));
            }
        }
        let mut any = false;
        for (root, batch) in batches {
            any |= self.deliver_batch(target, batch, root).await;
        }
        any
    }

    async fn deliver_batch(&self, target: NodeId, batch: Vec<(Key, Record)>, root: u64) -> bool {
        let paid: Vec<_> = batch
            .iter()
            .map(|(key, record)| (key.clone(), record.version))
            .collect();
        let delivered = if target == self.own {
            self.keep(batch, root)
        } else {
            self.send(target, &batch, root).await
        };
        match delivered {
            Ok(()) => {
                self.hints.delivered(target, &paid);
                true
            }
            Err(error) => {
                tracing::debug!(%target, %error, "hints stay owed");
                false
            }
        }
    }

    async fn send(
        &self,
        target: NodeId,
        batch: &[(Key, Record)],
        root: u64,
    ) -> Result<(), NotDelivered> {
        let records = records::encode(batch)?;
        self.transport
            .deliver(target, Delivery { root, records })
            .await?;
        Ok(())
    }

    fn keep(&self, batch: Vec<(Key, Record)>, root: u64) -> Result<(), NotDelivered> {
        let merged = self
            .replica
            .merge(|_slot| Some(root), batch, self.clock.now());
        if merged.drifted > 0 {
            return Err(NotDelivered::Drifted {
                records: merged.drifted,
            });
        }
        if merged.foreign > 0 {
            return Err(NotDelivered::Foreign {
                records: merged.foreign,
            });
        }
        Ok(())
    }
}

/// Why a batch stays owed.
#[derive(Debug, thiserror::Error)]
enum NotDelivered {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Unencodable(#[from] NotRecords),
    #[error("{records} records belong to another root than their slots here")]
    Foreign { records: u64 },
    #[error("{records} records are stamped too far ahead of the local clock")]
    Drifted { records: u64 },
}
