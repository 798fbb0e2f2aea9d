//! Others that may have our name or our address. Gossip alone does not tell: what it says of a former life of ours looks
//! the same. So the layer above is told where to ask who is there.
//!
//! The name: of two processes that run, the one that outranks the other keeps it, so that exactly one gives way. The
//! address: whoever is reached there keeps it.

use std::{net::SocketAddr, time::Duration};

use super::Agent;
use crate::identity::NodeIdentity;

/// Whoever is there is asked at most so often.
const ASK_INTERVAL: Duration = Duration::from_secs(5);

/// A question that is due, and when the next one may be.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Suspicion {
    due: Option<SocketAddr>,
    not_before: Duration,
}

impl Agent {
    /// Peer address at which somebody may answer who has our name, or our address, and before whom we have to give way.
    /// At most one in five seconds, for as long as it looks like that.
    pub const fn rival_due(&mut self) -> Option<SocketAddr> {
        self.suspicion.due.take()
    }

    /// A present member has our name, at another address, and outranks us.
    pub(super) fn look_for_namesake(&mut self, at: Duration) {
        let own = *self.swim.identity();
        let has_our_name = |other: &&NodeIdentity| {
            other.node_id == own.node_id && other.addr != own.addr && other.outranks(&own)
        };
        let namesake = {
            let mut present = self.swim.iter_members().map(foca::Member::id);
            present.find(has_our_name).map(NodeIdentity::peer_addr)
        };
        if let Some(address) = namesake {
            self.suspect_rival(at, address);
        }
    }

    /// Others know our address under another boot id: of a former life of ours, or of somebody else.
    pub(super) fn note_address_claim(&mut self, at: Duration, claim: &NodeIdentity) {
        let own = *self.swim.identity();
        if claim.boot_id != own.boot_id {
            self.suspect_rival(at, own.peer_addr());
        }
    }

    fn suspect_rival(&mut self, at: Duration, address: SocketAddr) {
        if at >= self.suspicion.not_before {
            self.suspicion = Suspicion {
                due: Some(address),
                not_before: at + ASK_INTERVAL,
            };
        }
    }
}
