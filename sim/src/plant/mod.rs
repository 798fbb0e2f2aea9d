//! Planted bugs: the checker proves itself by finding them. Production code is not changed and has no switch for them;
//! they are planted where a simulated node meets the simulator, and neither the checker nor the recorder knows of them.
//!
//! - `wire`: where messages of peers arrive at a node; `slots`: in its replies about slots;
//! - `edge`: between the coordinator and the client;
//! - the configuration and the boot id that a node is started with.

pub(crate) mod edge;
pub(crate) mod slots;
pub(crate) mod wire;

use std::time::Duration;

use shard_cache::config::Config;

use crate::history::Invariant;

/// Life of tombstones that are purged early: far shorter than a hint may be owed.
const SHORT_TOMBSTONE_LIFE: Duration = Duration::from_secs(1);

/// A known bug.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Plant {
    /// An owner says that it has stored a write, and does not store it: one write in four.
    AckBeforeStore,
    /// An owner answers under any configuration, also for a memory that it has lost.
    AnyConfiguration,
    /// An owner says that it has stored a delete that another node coordinates, and does not store it.
    NoTombstone,
    /// Tombstones are forgotten while older writes may still be owed, and nothing is left of them.
    TombstonePurgedEarly,
    /// A node takes the time of peers whose clocks are far ahead for its own.
    DriftMerged,
    /// An owner that holds something newer says that it has stored the write.
    NewerIgnored,
    /// An owner that is owed a hint counts toward the write quorum.
    HintCounted,
    /// Hints for values that expire are delivered without their expiry.
    HintBeyondExpiry,
    /// Owners never find that they differ.
    DigestSkipped,
    /// What is known of values that expired or were evicted is told to nobody.
    GhostIgnored,
    /// A node that restarted empty copies nothing before it counts again.
    EmptyPull,
    /// The life of a value begins anew when it is repaired.
    ExpiryRestarted,
    /// What a read repairs is not stored before it is answered.
    NoWriteBack,
    /// Fewer owners than asked for are taken for enough, and the answer does not say so.
    SilentDegrade,
    /// A write that failed is sent all the same.
    FailedWriteSent,
    /// An owner says that it is full whenever it answers.
    FullClaimed,
    /// A pull is answered whatever configuration the source is in.
    PullUnsealed,
    /// A full owner says that all owners are.
    SettledEarly,
    /// A node that restarts keeps its boot id.
    BootKept,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::AckBeforeStore,
        Self::AnyConfiguration,
        Self::NoTombstone,
        Self::TombstonePurgedEarly,
        Self::DriftMerged,
        Self::NewerIgnored,
        Self::HintCounted,
        Self::HintBeyondExpiry,
        Self::DigestSkipped,
        Self::GhostIgnored,
        Self::EmptyPull,
        Self::ExpiryRestarted,
        Self::NoWriteBack,
        Self::SilentDegrade,
        Self::FailedWriteSent,
        Self::FullClaimed,
        Self::PullUnsealed,
        Self::SettledEarly,
        Self::BootKept,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AckBeforeStore => "ack_before_store",
            Self::AnyConfiguration => "any_configuration",
            Self::NoTombstone => "no_tombstone",
            Self::TombstonePurgedEarly => "tombstone_purged_early",
            Self::DriftMerged => "drift_merged",
            Self::NewerIgnored => "newer_ignored",
            Self::HintCounted => "hint_counted",
            Self::HintBeyondExpiry => "hint_beyond_expiry",
            Self::DigestSkipped => "digest_skipped",
            Self::GhostIgnored => "ghost_ignored",
            Self::EmptyPull => "empty_pull",
            Self::ExpiryRestarted => "expiry_restarted",
            Self::NoWriteBack => "no_write_back",
            Self::SilentDegrade => "silent_degrade",
            Self::FailedWriteSent => "failed_write_sent",
            Self::FullClaimed => "full_claimed",
            Self::PullUnsealed => "pull_unsealed",
            Self::SettledEarly => "settled_early",
            Self::BootKept => "boot_kept",
        }
    }

    /// The invariant that has to find it.
    #[must_use]
    pub const fn invariant(self) -> Invariant {
        match self {
            Self::AckBeforeStore
            | Self::HintCounted
            | Self::EmptyPull
            | Self::FullClaimed
            | Self::BootKept => Invariant::Durability,
            Self::AnyConfiguration | Self::PullUnsealed | Self::SettledEarly => {
                Invariant::FullCovers
            }
            Self::NoTombstone | Self::TombstonePurgedEarly => Invariant::NoResurrection,
            Self::NewerIgnored => Invariant::WriteOrder,
            Self::DigestSkipped => Invariant::Convergence,
            Self::ExpiryRestarted | Self::HintBeyondExpiry | Self::DriftMerged => Invariant::Expiry,
            Self::NoWriteBack | Self::GhostIgnored => Invariant::ReadYourWrites,
            Self::SilentDegrade => Invariant::NoSilentDegrade,
            Self::FailedWriteSent => Invariant::FailedMeansFailed,
        }
    }

    /// The life whose boot id a node takes in its present one.
    pub(crate) fn boots_as(self, life: u32) -> u32 {
        if self == Self::BootKept { 1 } else { life }
    }

    /// What it changes in the configuration that nodes are started with.
    pub(crate) fn configure(self, config: &mut Config) {
        if self == Self::TombstonePurgedEarly {
            config.tombstones.life = SHORT_TOMBSTONE_LIFE;
            config.server.cache.ghosts_max = Some(0);
        }
    }
}

impl std::fmt::Display for Plant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Plant {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all = Self::ALL.into_iter();
        all.clone()
            .find(|plant| plant.name() == name)
            .ok_or_else(|| {
                let names: Vec<_> = all.map(Self::name).collect();
                format!("is none of {}", names.join(", "))
            })
    }
}
