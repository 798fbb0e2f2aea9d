//! The configuration of a slot never falls at a node, for as long as it keeps its memory.
//!
//! **Violation**: at one look the node is in a lower configuration than at the look before, in the same life.
//!
//! **Not concluded**: of what a slot did between two looks. A node that starts over has another life.

use std::{collections::BTreeMap, sync::Arc};

use shard_cache::{key::Slot, ring::gates::Gates};
use shard_cache_membership::identity::BootId;

use super::Glimpse;

/// What nodes were in.
#[derive(Default)]
pub(super) struct ConfigurationRises {
    held: BTreeMap<u16, (BootId, Arc<Gates>)>,
}

impl ConfigurationRises {
    pub(super) fn look(&mut self, glimpses: &[Glimpse], slots: u16) -> Vec<String> {
        let mut found = Vec::new();
        for glimpse in glimpses {
            let now = (glimpse.boot, Arc::clone(&glimpse.gates));
            let before = self.held.insert(glimpse.index, now);
            let Some((boot, before)) = before.filter(|(boot, _)| *boot == glimpse.boot) else {
                continue;
            };
            if Arc::ptr_eq(&before, &glimpse.gates) {
                continue;
            }
            for slot in (0..slots).map(Slot) {
                let pair = (
                    before.configuration(slot),
                    glimpse.gates.configuration(slot),
                );
                if let (Some(was), Some(is)) = pair
                    && is < was
                {
                    let index = glimpse.index;
                    found.push(format!(
                        "node-{index} (life {boot}) went from {was:?} back to {is:?} in {slot}"
                    ));
                }
            }
        }
        found
    }
}
