//! What operators do with the node.

use shard_cache_proto::cluster as pb;
use tokio::sync::watch;

use super::{
    desk::Desk,
    safety::{self, Own},
};
use crate::{
    api::{AdminActions, ClusterQueries as _, ForgetRefusal},
    clock::BoxFuture,
};

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
        let node = node.to_owned();
        Box::pin(async move { Err(ForgetRefusal::NoMember { node }) })
    }
}

impl Desk {
    fn own_safety(&self) -> Own {
        let view = self.view();
        let ring = self.ring.ring.load_full();
        let absent = ring.as_deref().map_or_else(Vec::new, |ring| {
            let members = ring.members().iter();
            members
                .filter(|member| !super::desk::is_present(&view, **member))
                .map(|member| super::desk::name_of(&view, member.node_id))
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
}
