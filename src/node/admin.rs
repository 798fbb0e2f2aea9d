//! What operators do with the node.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use shard_cache_membership::{
    identity::NodeId,
    view::{Liveness, Member, View},
};
use shard_cache_proto::cluster as pb;
use tokio::sync::{oneshot, watch};

use super::{
    desk::{Desk, is_present},
    push_pull::{OrderNews, exchange},
    reload::{Change, ReloadError, Reloaded},
    safety::{self, Own},
};
use crate::{
    api::{AdminActions, ClusterQueries as _, DropRefusal, ForgetRefusal, HintTarget, NotReloaded},
    clock::BoxFuture,
    handoff::TargetHints,
    ring::RingMember,
    telemetry::logs::LogsError,
};

/// How long the other members may take to hear of an order.
const TELL_TIMEOUT: Duration = Duration::from_secs(2);

impl AdminActions for Desk {
    fn safe_to_stop(&self) -> BoxFuture<pb::SafeToStopResponse> {
        let own = self.own_safety();
        let node = self.facts.name.clone();
        let status = self.status();
        Box::pin(async move {
            let reasons = safety::objections(&own, &status.await.nodes);
            pb::SafeToStopResponse {
                node,
                safe: reasons.is_empty(),
                reasons: reasons.iter().map(ToString::to_string).collect(),
            }
        })
    }

    fn drain(&self) -> watch::Receiver<pb::DrainProgress> {
        self.departure.want()
    }

    fn forget(&self, node: &str) -> BoxFuture<Result<pb::ForgetResponse, ForgetRefusal>> {
        let view = self.view();
        let found = self.find(&view, node);
        let (intake, tell) = (self.keeper.intake.clone(), self.tell(&view));
        Box::pin(async move {
            let (member, shown) = found?;
            let (done, answer) = oneshot::channel();
            let name = shown.name.clone();
            let order = OrderNews::Forget { member, name, done };
            if !intake.order(order).await {
                return Err(ForgetRefusal::Stopped);
            }
            answer.await.map_err(|_ended| ForgetRefusal::Stopped)??;
            let (told, untold) = tell.await;
            Ok(pb::ForgetResponse {
                member: Some(shown),
                told,
                untold,
            })
        })
    }

    fn accept_losses(&self) -> BoxFuture<pb::AcceptLossesResponse> {
        let (intake, tell) = (self.keeper.intake.clone(), self.tell(&self.view()));
        Box::pin(async move {
            let (done, answer) = oneshot::channel();
            let listens = intake.order(OrderNews::AcceptLosses { done }).await;
            if !listens || answer.await.is_err() {
                return pb::AcceptLossesResponse::default();
            }
            let (told, untold) = tell.await;
            pb::AcceptLossesResponse { told, untold }
        })
    }

    fn reload(&self) -> Result<pb::ReloadResponse, NotReloaded> {
        let Reloaded {
            changed,
            restart_needed,
        } = self
            .reload_config()
            .map_err(|error| NotReloaded(error.to_string()))?;
        Ok(pb::ReloadResponse {
            node: self.facts.name.clone(),
            changed: changed.into_iter().map(told).collect(),
            restart_needed: restart_needed.into_iter().map(told).collect(),
        })
    }

    fn set_log_level(&self, level: &str) -> Result<pb::SetLogLevelResponse, LogsError> {
        let before = self.reloader.set_log_level(level)?;
        tracing::info!(
            before,
            after = level,
            "an operator has the log level changed"
        );
        Ok(pb::SetLogLevelResponse {
            node: self.facts.name.clone(),
            before,
        })
    }

    fn list_hints(&self) -> pb::ListHintsResponse {
        pb::ListHintsResponse {
            node: self.facts.name.clone(),
            targets: self.owed(|_| true),
        }
    }

    fn drop_hints(&self, target: HintTarget) -> Result<pb::DropHintsResponse, DropRefusal> {
        let dropped = match target {
            HintTarget::All => self.owed(|_| true),
            HintTarget::Node(node) => {
                let is_meant = |node_id| is_called(node_id, &node);
                let owed = self.owed(is_meant);
                let is_member = || {
                    let view = self.view();
                    view.members.iter().any(|member| is_meant(member.node_id))
                };
                if owed.is_empty() && !is_member() {
                    return Err(DropRefusal::NoMember { node });
                }
                owed
            }
        };
        for owed in &dropped {
            let pb::TargetHints { node, pending, .. } = owed;
            tracing::warn!(target_node = %node, pending, "an operator has hints dropped");
            self.hints.discard(NodeId(owed.node_id));
        }
        Ok(pb::DropHintsResponse { dropped })
    }
}

/// Whether a member is meant by a name or an id.
fn is_called(node_id: NodeId, node: &str) -> bool {
    node_id == NodeId::of_name(node) || node_id.to_string() == node
}

fn told(change: Change) -> pb::ConfigChange {
    let Change {
        path,
        before,
        after,
    } = change;
    pb::ConfigChange {
        path,
        before,
        after,
    }
}

impl Desk {
    /// See [`super::Node::reload`].
    pub(super) fn reload_config(&self) -> Result<Reloaded, ReloadError> {
        let reloaded = self.reloader.reload();
        match &reloaded {
            Ok(found) => {
                self.metrics.note_config_in_use(self.clock.wall_millis());
                for change in &found.changed {
                    let Change {
                        path,
                        before,
                        after,
                    } = change;
                    tracing::info!(path, before, after, "the configuration has changed");
                }
                for change in &found.restart_needed {
                    let Change {
                        path,
                        before,
                        after,
                    } = change;
                    tracing::warn!(
                        path,
                        before,
                        after,
                        "the configuration has changed, and a restart is needed for it"
                    );
                }
                tracing::info!(
                    changed = found.changed.len(),
                    restart_needed = found.restart_needed.len(),
                    "the configuration was read again"
                );
            }
            Err(error) => {
                self.metrics.config_reload_successful.set(0);
                tracing::error!(%error, "the configuration was not reloaded");
            }
        }
        reloaded
    }

    fn own_safety(&self) -> Own {
        let view = self.view();
        let ring = self.ring.ring.load_full();
        let absent = ring.as_deref().map_or_else(Vec::new, |ring| {
            let members = ring.members().iter();
            members
                .filter(|member| !is_present(&view, **member))
                .map(|member| view.name_of(member.node_id))
                .collect()
        });
        let owed = self.hints.stats();
        let to_others = owed.targets.iter();
        Own {
            ring_hash: ring.as_deref().map(|ring| format!("{:016x}", ring.hash())),
            ring_members: ring.as_deref().map_or(0, |ring| ring.members().len()),
            absent,
            hints: to_others
                .filter(|target| target.target != self.facts.own)
                .map(|target| target.pending as u64)
                .sum(),
        }
    }

    /// What is owed to some members, by name.
    fn owed(&self, is_meant: impl Fn(NodeId) -> bool) -> Vec<pb::TargetHints> {
        let view = self.view();
        let targets = self.hints.stats().targets.into_iter();
        let mut owed: Vec<_> = targets
            .filter(|owed| is_meant(owed.target))
            .map(|owed| shown(&view, owed))
            .collect();
        owed.sort_by(|a, b| a.node.cmp(&b.node));
        owed
    }

    /// The member of this name or id, in the life to forget: the one that the ring names, or that was seen last.
    fn find(&self, view: &View, node: &str) -> Result<(RingMember, pb::Member), ForgetRefusal> {
        let is_meant = |node_id| is_called(node_id, node);
        let seen = view.members.iter().find(|member| is_meant(member.node_id));
        if let Some(seen) = seen.filter(|seen| seen.liveness != Liveness::Down) {
            return Err(ForgetRefusal::NotDown {
                name: view.name_of(seen.node_id),
                liveness: seen.liveness.as_str(),
            });
        }
        let ring = self.ring.ring.load_full();
        let in_ring = ring.as_deref().and_then(|ring| {
            let members = ring.members().iter();
            members.copied().find(|member| is_meant(member.node_id))
        });
        let life = |seen: &Member| RingMember {
            node_id: seen.node_id,
            boot_id: seen.boot_id,
        };
        let Some(member) = in_ring.or_else(|| seen.map(life)) else {
            return Err(ForgetRefusal::NoMember {
                node: node.to_owned(),
            });
        };
        let shown = seen.map_or_else(
            || pb::Member {
                name: node.to_owned(),
                node_id: member.node_id.0,
                boot_id: member.boot_id.0,
                ..pb::Member::default()
            },
            |seen| self.shown(seen),
        );
        Ok((member, shown))
    }

    /// Exchanges states with all members that are there. Names of those that were told, this node included, and of those
    /// that were not.
    fn tell(&self, view: &View) -> BoxFuture<(Vec<String>, Vec<String>)> {
        let others = view.present().filter(|member| member.node_id != view.own);
        let calls = others.map(|member| {
            let name = view.name_of(member.node_id);
            let address = member.peer_addr;
            let (intake, transport) = (self.keeper.intake.clone(), Arc::clone(&self.transport));
            let timeout = self.clock.sleep(TELL_TIMEOUT);
            async move {
                let is_told = tokio::select! {
                    biased;
                    exchanged = exchange(address, &intake, &*transport) => exchanged.is_ok(),
                    () = timeout => false,
                };
                (name, is_told)
            }
        });
        let calls = join_all(calls.collect::<Vec<_>>());
        let own = self.facts.name.clone();
        Box::pin(async move {
            let (mut told, mut untold) = (vec![own], Vec::new());
            for (name, is_told) in calls.await {
                if is_told { &mut told } else { &mut untold }.push(name);
            }
            (told, untold)
        })
    }
}

fn shown(view: &View, owed: TargetHints) -> pb::TargetHints {
    pb::TargetHints {
        node: view.name_of(owed.target),
        node_id: owed.target.0,
        pending: owed.pending as u64,
        refused: owed.refused as u64,
        bytes: owed.bytes as u64,
        oldest_age_millis: owed.oldest_age_millis,
    }
}
