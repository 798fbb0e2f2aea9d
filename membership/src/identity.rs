//! Who a member is: its node id, the life of its memory, and the identity that gossip carries.
//!
//! Invariants: `NodeIdentity` has a strict total order among identities of one address (`bump`
//! first), so that two nodes never disagree about which of two is newer; `renew` always rises in
//! that order and keeps the boot id.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Who a node is: the hash of its name. Stable over restarts and the ring's key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The id of a node name: its xxh3 hash with seed 0.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        Self(xxh3_64(name.as_bytes()))
    }
}

/// Which life of a node's memory: random per process start or store discard, not ordered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BootId(pub u64);

/// What gossip carries of a node. Small on purpose: about 45 bytes on the wire with IPv4, under 60
/// with IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeIdentity {
    /// Where gossip reaches it (UDP). Unique: of two identities with one address the one with the
    /// higher bump stays.
    pub addr: SocketAddr,
    /// Who it is; stable over restarts.
    pub node_id: NodeId,
    /// Unix milliseconds at process start, raised by every renewal. The only order in conflicts;
    /// the other fields only break ties.
    pub bump: u64,
    /// Renewals since process start: the next step of `bump` is two to this power, in milliseconds.
    pub renews: u8,
    /// Which life of its memory this is. Not ordered.
    pub boot_id: BootId,
    /// TCP port of peer links, at the same host as `addr`.
    pub peer_port: u16,
    /// Oldest protocol version it speaks.
    pub protocol_min: u8,
    /// Newest protocol version it speaks.
    pub protocol_max: u8,
}

/// Largest power of two in a renewal's step.
const RENEW_SHIFT_MAX: u8 = 40;
/// Where IPv4 addresses are among those of IPv6 (RFC 4291, section 2.5.5.2): canonical ones of IPv6 are never there.
const IPV4_MAPPED: u128 = 0xffff_0000_0000;

impl NodeIdentity {
    /// This identity with its address in the one form that survives the wire: IPv4-mapped addresses
    /// become IPv4, flow information and scope go.
    #[must_use]
    pub fn canonical(self) -> Self {
        Self {
            addr: canonical_addr(self.addr),
            ..self
        }
    }

    /// Where peer links reach it (TCP).
    #[must_use]
    pub const fn peer_addr(&self) -> SocketAddr {
        SocketAddr::new(self.addr.ip(), self.peer_port)
    }

    /// Stand-in for whoever listens at `addr`, to announce to an address whose holder is not known
    /// yet.
    #[must_use]
    pub(crate) const fn unknown_at(addr: SocketAddr) -> Self {
        Self {
            addr,
            node_id: NodeId(0),
            bump: 0,
            renews: 0,
            boot_id: BootId(0),
            peer_port: 0,
            protocol_min: 0,
            protocol_max: 0,
        }
    }

    /// Whether a datagram could be sent there at all.
    #[must_use]
    pub(crate) fn is_reachable(&self) -> bool {
        let ip = self.addr.ip();
        self.addr.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
    }

    /// Whether both sides speak at least one common protocol version.
    #[must_use]
    pub(crate) const fn speaks(&self, protocol_min: u8, protocol_max: u8) -> bool {
        self.protocol_min <= self.protocol_max
            && self.protocol_min <= protocol_max
            && protocol_min <= self.protocol_max
    }

    /// Whether this identity stays when both claim one address. Strict: of two unequal ones exactly
    /// one wins.
    #[must_use]
    pub(crate) fn outranks(&self, other: &Self) -> bool {
        self.rank() > other.rank()
    }

    const fn rank(&self) -> (u64, u64, u64, u8, (u16, u8, u8)) {
        let rest = (self.peer_port, self.protocol_min, self.protocol_max);
        (self.bump, self.node_id.0, self.boot_id.0, self.renews, rest)
    }
}

/// An address as foca compares it: foca looks a member up by walking through all of them, and these fit in registers.
/// Equal for canonical addresses that are equal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddrKey {
    low: u64,
    high: u64,
    port: u16,
}

impl AddrKey {
    fn of(addr: SocketAddr) -> Self {
        let ip = match addr.ip() {
            IpAddr::V4(ip) => u128::from(u32::from(ip)) | IPV4_MAPPED,
            IpAddr::V6(ip) => u128::from(ip),
        };
        Self {
            low: ip as u64,
            high: (ip >> 64) as u64,
            port: addr.port(),
        }
    }
}

impl foca::Identity for NodeIdentity {
    type Addr = AddrKey;

    /// The step doubles with every renewal, so that a process whose clock was set back over a
    /// restart passes its own former bump within about 22 renewals for an hour, not within
    /// millions.
    fn renew(&self) -> Option<Self> {
        let step = 1_u64 << self.renews.min(RENEW_SHIFT_MAX);
        Some(Self {
            bump: self.bump.saturating_add(step),
            renews: self.renews.saturating_add(1),
            ..*self
        })
    }

    fn addr(&self) -> AddrKey {
        AddrKey::of(self.addr)
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.outranks(adversary)
    }
}

impl fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            addr,
            node_id,
            bump,
            renews,
            boot_id,
            ..
        } = self;
        write!(f, "{node_id}@{addr}/bump {bump}+{renews}/boot {boot_id}")
    }
}

/// The one form of an address that survives the wire.
pub(crate) fn canonical_addr(addr: SocketAddr) -> SocketAddr {
    let ip: IpAddr = addr.ip().to_canonical();
    SocketAddr::new(ip, addr.port())
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use foca::Identity;
    use proptest::prelude::*;

    use super::*;

    fn identity(bump: u64, renews: u8, node: u64, boot: u64) -> NodeIdentity {
        NodeIdentity {
            addr: SocketAddr::from(([10, 0, 0, 1], 7946)),
            node_id: NodeId(node),
            bump,
            renews,
            boot_id: BootId(boot),
            peer_port: 7946,
            protocol_min: 1,
            protocol_max: 1,
        }
    }

    #[test]
    fn an_hour_is_made_up_within_22_renewals() {
        let start = identity(1_000_000_000, 0, 1, 1);
        let target = start.bump + 3_600_000;
        let mut now = start;
        let mut renewals = 0;
        while now.bump <= target {
            now = now.renew().unwrap();
            renewals += 1;
        }
        assert_eq!(renewals, 22);
        assert_eq!(now.boot_id, start.boot_id);
    }

    #[test]
    fn canonical_addresses_have_neither_scope_nor_mapped_form() {
        let mapped: SocketAddr = "[::ffff:10.1.2.3]:9".parse().unwrap();
        assert_eq!(canonical_addr(mapped), "10.1.2.3:9".parse().unwrap());
        let scoped = SocketAddr::V6(std::net::SocketAddrV6::new(
            "fe80::1".parse().unwrap(),
            9,
            7,
            3,
        ));
        assert_eq!(canonical_addr(scoped), "[fe80::1]:9".parse().unwrap());
    }

    proptest! {
        #[test]
        fn a_renewed_identity_wins_and_keeps_its_boot(bump in 0..u64::MAX / 2, renews in any::<u8>(), boot in any::<u64>()) {
            let old = identity(bump, renews, 7, boot);
            let new = old.renew().unwrap();
            prop_assert!(new.win_addr_conflict(&old));
            prop_assert!(!old.win_addr_conflict(&new));
            prop_assert_eq!(new.boot_id, old.boot_id);
        }

        #[test]
        fn of_two_unequal_identities_exactly_one_wins(
            a in (0..3_u64, 0..3_u8, 0..3_u64, 0..3_u64), b in (0..3_u64, 0..3_u8, 0..3_u64, 0..3_u64),
        ) {
            let (a, b) = (identity(a.0, a.1, a.2, a.3), identity(b.0, b.1, b.2, b.3));
            prop_assert_eq!(a.win_addr_conflict(&b) ^ b.win_addr_conflict(&a), a != b);
        }
    }
}
