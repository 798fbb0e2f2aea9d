//! How a node leaves: in order, heard by the others, within `node.drain_timeout`, and told what was not finished.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use shard_cache_membership::{
    agent::Parting,
    driver::LEAVE_LINGER,
    handle::CommandError,
    identity::NodeId,
    record::{NodeRecord, Phase},
};
use shard_cache_proto::cluster::DrainProgress;

use super::Node;
use crate::{clock::Monotonic, transport::PeerTransport as _};

/// Between telling load balancers that this node leaves and refusing their requests.
const DRAIN_NOTICE: Duration = Duration::from_secs(1);
/// How long connections may take to end when all requests have.
const DRAIN_CONNECTIONS_TIMEOUT: Duration = Duration::from_secs(1);
/// How long callers may take to hear that the drain is over.
const LAST_WORD_TIMEOUT: Duration = Duration::from_millis(250);
/// How often a leaving node looks whether its requests and hints are done.
const SETTLE_INTERVAL: Duration = Duration::from_millis(50);
/// What is left of the drain timeout for leaving gossip and closing once requests and hints had their time.
const DRAIN_RESERVE: Duration = LEAVE_LINGER
    .saturating_add(DRAIN_CONNECTIONS_TIMEOUT)
    .saturating_add(Duration::from_millis(500));

/// What a leaving node has not finished.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Left {
    requests: usize,
    writes: usize,
    hints: usize,
    slots: usize,
}

impl Left {
    const fn is_nothing(self) -> bool {
        self.requests == 0 && self.writes == 0 && self.hints == 0 && self.slots == 0
    }

    const fn progress(self) -> DrainProgress {
        DrainProgress {
            requests: self.requests as u64,
            exchanges: self.writes as u64,
            hints: self.hints as u64,
            slots: self.slots as u64,
            done: false,
            reason: String::new(),
        }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            requests,
            writes,
            hints,
            slots,
        } = self;
        write!(
            f,
            "{requests} requests in flight, {writes} exchanges under way, {hints} hints owed to present members, \
             {slots} slots that their owners have not all taken over"
        )
    }
}

/// How a drain ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Drained {
    /// Everything was handed over, and a member that passes it on knows that this node has left, or there is none.
    Clean,
    /// Something was not.
    Unsafe {
        /// What.
        reason: String,
    },
}

impl Node {
    /// Waits until an operator has asked for the node to leave; [`drain`](Self::drain) it then. Cancel-safe.
    pub async fn drain_wanted(&self) {
        self.departure.wanted().await;
    }

    /// Leaves in order: tells the others, stops taking requests, finishes those under way, hands over hints, waits until
    /// the others know, leaves gossip, closes; all within `node.drain_timeout`. Traces are exported last, for a bounded
    /// time of their own.
    ///
    /// Dropping the future leaves the node half stopped; end the process then.
    pub async fn drain(self) -> Drained {
        tracing::info!("draining");
        let clock = Arc::clone(&self.core.clock);
        let deadline = clock.monotonic() + self.drain_timeout;
        let drained = tokio::select! {
            biased;
            drained = self.leave(deadline.saturating_sub(DRAIN_RESERVE)) => drained,
            () = clock.sleep(self.drain_timeout) => Drained::Unsafe {
                reason: format!("not done within {:?}: {}", self.drain_timeout, self.left()),
            },
        };
        // Who asked before `leave` came to its end has been told; this is for those of a drain that was cut short.
        self.last_word(&drained).await;
        self.traces.stop(&*clock).await;
        drained
    }

    /// Leaves; whatever is not finished by `settle_deadline` is given up and told.
    async fn leave(&self, settle_deadline: Monotonic) -> Drained {
        self.draining.store(true, Ordering::Release);
        self.leaving.cancel();
        self.core.clock.sleep(DRAIN_NOTICE).await;
        self.coordinator.stop_admitting();
        self.stop_clients.cancel();
        let left = self.settle(settle_deadline).await;
        let within = settle_deadline.saturating_sub(self.core.clock.monotonic());
        let parted = self.membership.leave(within).await;
        let drained = drained(left, parted);
        self.last_word(&drained).await;
        self.stop_peers.cancel();
        self.core.transport.close();
        tokio::select! {
            biased;
            () = self.core.workers.stop() => {}
            () = self.core.clock.sleep(DRAIN_CONNECTIONS_TIMEOUT) => {
                tracing::warn!("some connections did not end in time");
            }
        }
        self.membership.shutdown().await;
        drained
    }

    /// Tells those who asked for the drain that it is over, while their connections still stand.
    async fn last_word(&self, drained: &Drained) {
        let reason = match drained {
            Drained::Clean => String::new(),
            Drained::Unsafe { reason } => reason.clone(),
        };
        let progress = DrainProgress {
            done: true,
            reason,
            ..self.left().progress()
        };
        self.departure.tell(progress);
        tokio::select! {
            biased;
            () = self.departure.heard() => {}
            () = self.core.clock.sleep(LAST_WORD_TIMEOUT) => {}
        }
    }

    /// Waits until every request has been answered, every write under way has been settled, nothing is owed to
    /// members that can be reached, and the next owners of this node's slots are full. Returns what is left at the
    /// deadline.
    async fn settle(&self, deadline: Monotonic) -> Left {
        // Two looks in a row: between leaving the table and becoming a hint an exchange is in neither count.
        let mut clear = false;
        loop {
            let left = self.left();
            self.departure.tell(left.progress());
            if (clear && left.is_nothing()) || self.core.clock.monotonic() >= deadline {
                return left;
            }
            clear = left.is_nothing();
            self.core.clock.sleep(SETTLE_INTERVAL).await;
        }
    }

    fn left(&self) -> Left {
        Left {
            requests: self.admission.in_flight(),
            // A write whose slow owner has not answered may still become a hint.
            writes: self.core.ledger.under_way(),
            hints: self.hints_owed_to_present(),
            slots: if self.somebody_stays() {
                self.slots().unsettled
            } else {
                0
            },
        }
    }

    /// Whether there is any other member that does not leave, too: without one nobody can take slots over. One that is held
    /// for down stays as well, unless an operator has said that it is gone: perhaps it is this node that hears nobody.
    fn somebody_stays(&self) -> bool {
        let view = self.view();
        self.desk.remembered(&view).any(|member| {
            let leaves = |record: &NodeRecord| record.phase == Phase::Leaving;
            member.node_id != view.own && !member.record.as_deref().is_some_and(leaves)
        })
    }

    fn hints_owed_to_present(&self) -> usize {
        let view = self.view();
        let present = |target: NodeId| {
            view.member(target)
                .is_some_and(|member| member.liveness.is_present())
        };
        let stats = self.core.hints.stats();
        let owed = stats.targets.iter().filter(|target| present(target.target));
        owed.map(|target| target.pending).sum()
    }
}

/// What a drain came to.
fn drained(left: Left, parted: Result<Parting, CommandError>) -> Drained {
    let unfinished = (!left.is_nothing()).then(|| format!("not done in time: {left}"));
    let unheard = match parted {
        Ok(Parting::Heard) => None,
        Ok(Parting::Unheard { members }) => Some(format!(
            "none of {members} other members has shown that it knows that this node leaves; they may keep it in the \
             ring as an owner that is down, until it is back"
        )),
        Err(error) => Some(format!("gossip was not left: {error}")),
    };
    let reasons: Vec<String> = unfinished.into_iter().chain(unheard).collect();
    if reasons.is_empty() {
        Drained::Clean
    } else {
        let reason = reasons.join("; ");
        Drained::Unsafe { reason }
    }
}
