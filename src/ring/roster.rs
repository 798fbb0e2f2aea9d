//! The roster: which members the ring is built from, as a pure state machine.
//!
//! Views go in, the ring and a few requests to the shell come out. Without a ring a node adopts the
//! one that somebody announces or, where nobody has one, the member with the lowest id forms the
//! first. With a ring the roster follows the views, damped: who is down stays as an absent owner
//! for a grace, and a ring of no more members than owners per slot never shrinks by failure, so
//! that a blip moves nothing and a lost node does not lower a quorum.
//!
//! Invariants: the outcome depends on the inputs alone; a ring once there never becomes empty; only
//! members that announce our bootstrap are added; a node with a ring never forms another, and gives
//! its own up only for an older; the zone of one life of a member is the one that it announced in it.
//!
//! Rings of different nodes agree when their views do and they have told each other
//! ([`Roster::adopt`]) of the members that are away: when members went down in different order in
//! two views and not all of them may be removed, it takes an exchange until both keep the same.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use shard_cache_membership::{
    identity::{BootId, NodeId},
    record::{NodeRecord, Phase},
    view::{Member, View},
};
use thiserror::Error;

use crate::{
    clock::Monotonic,
    ring::{
        Bootstrap, Ring, RingMember, Shape,
        zone::{ZoneId, ZonedMember},
    },
};

mod following;
mod seeking;
mod state;

use following::Following;
use seeking::{Seeking, Sought};
pub use state::{RosterState, STATE_BYTES_MAX, StateError};

/// How long to wait for an answer to a push-pull before asking for the next one.
pub const ADOPT_INTERVAL: Duration = Duration::from_millis(500);

/// The terms of a roster.
#[derive(Clone, Copy, Debug)]
pub struct RosterConfig {
    /// The shape of the rings.
    pub shape: Shape,
    /// Members that must be present before one of them forms the first ring.
    pub min_members: usize,
    /// How long these members must stay the same before.
    pub formation_wait: Duration,
    /// How long a member that is down stays in the ring.
    pub ring_down_grace: Duration,
}

/// What the shell should do after an update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RosterEffect {
    /// Do a push-pull with this member and call [`Roster::adopt`] with the state that it has.
    /// Repeated, at most once per [`ADOPT_INTERVAL`] and to each in turn, while there is somebody
    /// to adopt from and we have no ring.
    Adopt {
        /// Who announces a ring.
        from: NodeId,
    },
    /// We formed the first ring. Announce its bootstrap.
    Formed {
        /// The new ring's bootstrap.
        bootstrap: Bootstrap,
    },
    /// There is an older cluster, and our ring is void. Discard the store, take a new boot id
    /// ([`Roster::reboot`]) and go back to joining.
    Superseded {
        /// Who announces the older bootstrap.
        by: NodeId,
    },
}

/// Why a state was not adopted. Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum AdoptError {
    /// We have a ring by now, and keep it.
    #[error("this node has a ring already")]
    HaveRing,
    /// The other node is configured otherwise; one of the two has to be corrected.
    #[error("the cluster's rings are {theirs:?}, this node is configured for {ours:?}")]
    ShapeDiffers {
        /// The shape of the state.
        theirs: Shape,
        /// The shape that we are configured for.
        ours: Shape,
    },
}

/// Follows the views and keeps the ring.
#[derive(Debug)]
pub struct Roster {
    config: RosterConfig,
    own: RingMember,
    /// Lives of members that are gone for good. As bounded as the orders that they come from.
    forgotten: BTreeSet<RingMember>,
    standing: Standing,
}

#[derive(Debug)]
enum Standing {
    Seeking(Seeking),
    Following(Following),
}

impl Roster {
    /// A roster without a ring.
    #[must_use]
    pub fn new(config: RosterConfig, own: RingMember) -> Self {
        Self {
            config,
            own,
            forgotten: BTreeSet::new(),
            standing: Standing::Seeking(Seeking::default()),
        }
    }

    /// These lives of members are gone for good: with the next update they leave the ring, whatever its size, unless it
    /// would be empty, and they never enter it again.
    pub fn forget(&mut self, members: impl Iterator<Item = RingMember>) {
        self.forgotten.extend(members);
    }

    /// Takes note of a view. Call it for every new view, at [`next_deadline`](Self::next_deadline),
    /// and with the latest view after [`adopt`](Self::adopt) and [`reboot`](Self::reboot).
    /// `wall_millis` becomes the age of a ring that is formed.
    pub fn update(
        &mut self,
        view: &View,
        now: Monotonic,
        wall_millis: u64,
    ) -> Option<RosterEffect> {
        let (config, own) = (&self.config, self.own);
        match &mut self.standing {
            Standing::Seeking(seeking) => match seeking.update(config, own, view, now)? {
                Sought::Holder(from) => Some(RosterEffect::Adopt { from }),
                Sought::Quiet(members) => {
                    let bootstrap = Bootstrap {
                        formed_millis: wall_millis,
                        former: own.boot_id,
                    };
                    let formed = Following::form(config, bootstrap, members.into_iter());
                    self.standing = Standing::Following(formed);
                    Some(RosterEffect::Formed { bootstrap })
                }
            },
            Standing::Following(following) => {
                if let Some(by) = older_holder(view, own.node_id, following.bootstrap) {
                    // Due at once: the older ring waits to be adopted.
                    self.standing = Standing::Seeking(Seeking::due(now));
                    return Some(RosterEffect::Superseded { by });
                }
                following.update(config, own, &self.forgotten, view, now);
                None
            }
        }
    }

    /// When the next update is due if no view comes before; `None` when only a view changes
    /// anything.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        match &self.standing {
            Standing::Seeking(seeking) => seeking.next_deadline(),
            Standing::Following(following) => following.next_deadline(&self.config),
        }
    }

    /// Takes another node's ring, or, having one that descends from the same bootstrap, what the other knows of members
    /// that are away; [`update`](Self::update) with the same view comes next. Whether we are in the ring already is for
    /// [`is_member`](Self::is_member) to say.
    ///
    /// # Errors
    /// [`AdoptError`]; this node's ring and configuration stay as they were.
    pub fn adopt(
        &mut self,
        state: &RosterState,
        view: &View,
        now: Monotonic,
    ) -> Result<(), AdoptError> {
        if let Standing::Following(following) = &mut self.standing {
            if following.bootstrap == state.bootstrap {
                following.reconcile(&self.config, &self.forgotten, view, state, now);
            }
            return Err(AdoptError::HaveRing);
        }
        if state.shape != self.config.shape {
            return Err(AdoptError::ShapeDiffers {
                theirs: state.shape,
                ours: self.config.shape,
            });
        }
        self.standing = Standing::Following(Following::adopt(&self.config, state, now));
        Ok(())
    }

    /// What another node adopts; `None` without a ring.
    #[must_use]
    pub fn state(&self, now: Monotonic) -> Option<RosterState> {
        let following = self.following()?;
        Some(RosterState {
            shape: self.config.shape,
            bootstrap: following.bootstrap,
            is_first: following.is_first,
            members: following.told(now),
        })
    }

    /// The ring. The same `Arc` until the members change.
    #[must_use]
    pub fn ring(&self) -> Option<Arc<Ring>> {
        self.following()
            .map(|following| Arc::clone(&following.ring))
    }

    /// Whether the ring still is the first one of the cluster: its owners are those of every slot's first configuration.
    #[must_use]
    pub fn is_first_ring(&self) -> bool {
        self.following().is_some_and(|following| following.is_first)
    }

    /// The ring's bootstrap: what this node announces in its record's attachment.
    #[must_use]
    pub fn bootstrap(&self) -> Option<Bootstrap> {
        self.following().map(|following| following.bootstrap)
    }

    /// Whether the ring has this member under this boot id.
    #[must_use]
    pub fn is_member(&self, member: RingMember) -> bool {
        self.following()
            .is_some_and(|following| following.ring.members().contains(&member))
    }

    /// Whether some members of the ring are away and others could stand in their place: other nodes may have chosen
    /// otherwise until they are told.
    #[must_use]
    pub fn has_chosen(&self) -> bool {
        self.following().is_some_and(Following::has_chosen)
    }

    /// Whether nothing is left of the ring: we and all others that it names are in another life by now or have been
    /// forgotten, and nobody who is there is in a ring.
    #[must_use]
    pub fn is_void(&self, view: &View) -> bool {
        let is_over = |member: &RingMember| {
            let is_replaced = |life: BootId| life != member.boot_id;
            self.forgotten.contains(member)
                || (member.node_id == self.own.node_id && is_replaced(self.own.boot_id))
                || view
                    .member(member.node_id)
                    .is_some_and(|seen| is_replaced(seen.boot_id))
        };
        let members = |following: &Following| following.ring.members().iter().all(is_over);
        self.following().is_some_and(members) && holders(view, self.own.node_id).next().is_none()
    }

    /// Gives the ring up and looks for another one, in the same life.
    pub fn abandon(&mut self) {
        self.standing = Standing::Seeking(Seeking::default());
    }

    /// Starts over without a ring and with a new boot id, because the store was discarded.
    pub fn reboot(&mut self, boot_id: BootId) {
        let own = RingMember {
            boot_id,
            ..self.own
        };
        self.own = own;
        self.standing = Standing::Seeking(Seeking::default());
    }

    fn following(&self) -> Option<&Following> {
        match &self.standing {
            Standing::Seeking(_) => None,
            Standing::Following(following) => Some(following),
        }
    }
}

/// The record, if it speaks of the member's present boot. One of an earlier life says nothing about
/// this one.
fn current_record(member: &Member) -> Option<&NodeRecord> {
    member
        .record
        .as_deref()
        .filter(|record| record.boot_id == member.boot_id)
}

/// The member as a ring takes it; `None` until it has described its present life.
fn zoned(member: &Member) -> Option<ZonedMember> {
    Some(ZonedMember {
        member: RingMember {
            node_id: member.node_id,
            boot_id: member.boot_id,
        },
        zone: ZoneId::of_name(&current_record(member)?.zone),
    })
}

/// Present members but us that are in a ring, with its bootstrap, in rising node id. Who is joining has only been told of
/// one: that may be all that is left of it.
fn holders(view: &View, own: NodeId) -> impl Iterator<Item = (Bootstrap, NodeId)> {
    view.present()
        .filter(move |member| member.node_id != own)
        .filter_map(|member| {
            let record = current_record(member).filter(|record| record.phase != Phase::Joining)?;
            Some((Bootstrap::from_bytes(&record.attachment)?, member.node_id))
        })
}

/// The first with the oldest ring, if it is older than ours.
fn older_holder(view: &View, own: NodeId, ours: Bootstrap) -> Option<NodeId> {
    holders(view, own)
        .min()
        .filter(|&(bootstrap, _)| bootstrap < ours)
        .map(|(_, node_id)| node_id)
}

#[cfg(test)]
mod tests;
