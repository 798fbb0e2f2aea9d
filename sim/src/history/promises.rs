//! What a cluster had promised: which invariants a history is judged by, with their bounds.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

/// A promise of the product.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Guarantee {
    /// An acknowledged write survives the loss of any one node.
    G1,
    /// After a heal all owners of a key come to agree.
    G2,
    /// An acknowledged delete never comes back.
    G3,
    /// Read your writes and monotonic reads, in real-time order across clients.
    G4,
    /// A write that starts after another was acknowledged gets a higher version.
    G5,
    /// No value is served later than its expiry and a margin.
    G6,
    /// A result says whether it was applied, surely not, or may be.
    G7,
    /// A quorum is never silently reduced.
    G8,
    /// What no table need promise: nothing is made up, resources are bounded, members come to agree, owners change by their
    /// law.
    Basic,
}

/// What is checked, one file each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Invariant {
    /// Every value that is read was written, under that version, and not later.
    NoInvention,
    /// Acknowledged writes are there.
    Durability,
    /// Owners agree after a heal.
    Convergence,
    /// Deleted values do not come back.
    NoResurrection,
    /// Reads do not go back behind what was acknowledged or read before they began.
    ReadYourWrites,
    /// Versions follow the real-time order of writes.
    WriteOrder,
    /// Expired values are not served.
    Expiry,
    /// What failed has no effect.
    FailedMeansFailed,
    /// Answers by too few owners say so.
    NoSilentDegrade,
    /// Memory, hints, exchanges and tasks stay within bounds.
    BoundedResources,
    /// Nodes that reach each other see the same members and ring.
    MembershipAgreement,
    /// The configuration of a slot never falls at a node.
    ConfigurationRises,
    /// A full owner has every write that was acknowledged in lower configurations.
    FullCovers,
    /// At most one configuration of a slot can acknowledge writes.
    OneConfiguration,
}

impl Invariant {
    /// All of them, in the order of verdicts.
    pub const ALL: [Self; 14] = [
        Self::NoInvention,
        Self::Durability,
        Self::Convergence,
        Self::NoResurrection,
        Self::ReadYourWrites,
        Self::WriteOrder,
        Self::Expiry,
        Self::FailedMeansFailed,
        Self::NoSilentDegrade,
        Self::BoundedResources,
        Self::MembershipAgreement,
        Self::ConfigurationRises,
        Self::FullCovers,
        Self::OneConfiguration,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoInvention => "no_invention",
            Self::Durability => "durability",
            Self::Convergence => "convergence",
            Self::NoResurrection => "no_resurrection",
            Self::ReadYourWrites => "read_your_writes",
            Self::WriteOrder => "write_order",
            Self::Expiry => "expiry",
            Self::FailedMeansFailed => "failed_means_failed",
            Self::NoSilentDegrade => "no_silent_degrade",
            Self::BoundedResources => "bounded_resources",
            Self::MembershipAgreement => "membership_agreement",
            Self::ConfigurationRises => "configuration_rises",
            Self::FullCovers => "full_covers",
            Self::OneConfiguration => "one_configuration",
        }
    }

    /// The promise that it is the law of.
    #[must_use]
    pub const fn guarantee(self) -> Guarantee {
        match self {
            Self::Durability => Guarantee::G1,
            Self::Convergence => Guarantee::G2,
            Self::NoResurrection => Guarantee::G3,
            Self::ReadYourWrites => Guarantee::G4,
            Self::WriteOrder => Guarantee::G5,
            Self::Expiry => Guarantee::G6,
            Self::FailedMeansFailed => Guarantee::G7,
            Self::NoSilentDegrade => Guarantee::G8,
            Self::NoInvention
            | Self::BoundedResources
            | Self::MembershipAgreement
            | Self::ConfigurationRises
            | Self::FullCovers
            | Self::OneConfiguration => Guarantee::Basic,
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a history has to reach to prove anything. Zero asks for nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Floors {
    /// Operations of any outcome.
    pub operations_min: u64,
    /// Acknowledged writes.
    pub acknowledged_min: u64,
    /// Reads that found a value.
    pub hits_min: u64,
    /// Reads that a promise spoke of: something had to be there, or had to be gone.
    pub judged_min: u64,
    /// Faults.
    pub faults_min: u64,
    /// Operations that began while a fault worked.
    pub during_faults_min: u64,
    /// Keys whose owners were compared in the end.
    pub compared_min: u64,
}

/// What a history is judged by.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Promises {
    /// The invariants that count.
    pub invariants: BTreeSet<Invariant>,
    /// How much later than its expiry a value may still be served.
    pub expiry_margin_ns: u64,
    /// How soon after a heal all owners of a key agree.
    pub data_agrees_within_ns: u64,
    /// How soon after a heal all nodes see the same members.
    pub members_agree_within_ns: u64,
    /// How soon after a heal all nodes have the same ring.
    pub ring_agrees_within_ns: u64,
    /// Whether an evicted or expired version still refuses older ones. If not, G3, G4 and G5 do not cover a key of
    /// which something may have been evicted or have expired.
    pub gone_leaves_a_trace: bool,
    /// Whether a slot that lost too many owners starts afresh. If not, older values of it may be read again.
    pub lost_slot_starts_afresh: bool,
    /// Whether owners may change without harm. If not, G1, G3, G4 and G5 do not cover what was written before such a
    /// change has settled.
    pub owners_change_safely: bool,
    /// What a history has to reach to prove anything.
    pub floors: Floors,
}

impl Promises {
    /// Everything that the semantics promise.
    #[must_use]
    pub fn full() -> Self {
        Self {
            invariants: Invariant::ALL.into(),
            expiry_margin_ns: 500_000_000,
            data_agrees_within_ns: 60_000_000_000,
            members_agree_within_ns: 6_000_000_000,
            ring_agrees_within_ns: 10_000_000_000,
            gone_leaves_a_trace: true,
            lost_slot_starts_afresh: true,
            owners_change_safely: true,
            floors: Floors::default(),
        }
    }

    /// Whether an invariant counts.
    #[must_use]
    pub fn hold(&self, invariant: Invariant) -> bool {
        self.invariants.contains(&invariant)
    }
}

impl Default for Promises {
    fn default() -> Self {
        Self::full()
    }
}
