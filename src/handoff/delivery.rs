//! Hinted handoff: hands hints over when their target is back, in bounded batches, one at a time per target.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use shard_cache_membership::identity::NodeId;

use crate::{
    clock::Clock,
    handoff::{OwedHints, records},
    ring::Ring,
    transport::{Delivery, PeerTransport, Reach},
};

/// Keys and values in one batch.
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Pause when nothing can be delivered.
const IDLE_PAUSE: Duration = Duration::from_millis(100);
/// Pause between two batches, so that a returning node is not flooded.
const BATCH_PAUSE: Duration = Duration::from_millis(5);

/// Delivers the hints of one node.
pub struct HintDelivery {
    hints: Arc<OwedHints>,
    transport: Arc<dyn PeerTransport>,
    ring: Arc<ArcSwapOption<Ring>>,
    clock: Arc<dyn Clock>,
}

/// What a step came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Busy,
    Idle,
}

impl HintDelivery {
    /// A worker over the node's hints.
    #[must_use]
    pub fn new(
        hints: Arc<OwedHints>,
        transport: Arc<dyn PeerTransport>,
        ring: Arc<ArcSwapOption<Ring>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            hints,
            transport,
            ring,
            clock,
        }
    }

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
        let Some(root) = self.ring.load().as_deref().map(Ring::root) else {
            return Step::Idle;
        };
        let mut step = Step::Idle;
        for target in self.hints.targets() {
            if self.transport.reach(target) == Reach::Up && self.deliver(target, root).await {
                step = Step::Busy;
            }
        }
        step
    }

    /// Whether a batch was delivered. What was not stays owed.
    async fn deliver(&self, target: NodeId, root: u64) -> bool {
        let batch = self.hints.batch(target, BATCH_BYTES_MAX);
        if batch.is_empty() {
            return false;
        }
        let records = match records::encode(&batch) {
            Ok(records) => records,
            Err(error) => {
                tracing::error!(%target, %error, "hints cannot be encoded");
                return false;
            }
        };
        match self
            .transport
            .deliver(target, Delivery { root, records })
            .await
        {
            Ok(()) => {
                let paid: Vec<_> = batch
                    .into_iter()
                    .map(|(key, record)| (key, record.version))
                    .collect();
                self.hints.delivered(target, &paid);
                true
            }
            Err(error) => {
                tracing::debug!(%target, %error, "hints stay owed");
                false
            }
        }
    }
}
