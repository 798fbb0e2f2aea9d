//! The kinds of faults.

use serde::{Deserialize, Serialize};

/// Something that goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A process is killed; it starts again with an empty memory.
    Kill,
    /// A machine is gone without a word; its process starts again with an empty memory.
    Vanish,
    /// A process stands still for a while.
    Pause,
    /// Two nodes cannot reach each other.
    Cut,
    /// One node cannot reach another, which can reach it.
    OneWayCut,
    /// A node hears nobody, or nobody hears it.
    Deaf,
    /// A node cannot reach anybody.
    Isolate,
    /// The nodes fall into two groups.
    Split,
    /// Everything from and to a node takes long.
    Slow,
    /// Packets are lost everywhere.
    Loss,
    /// Datagrams arrive twice and in another order everywhere.
    Disorder,
    /// A process stands still for moments, again and again.
    Stutter,
    /// A wall clock steps, within the bound on clocks.
    ClockStep,
    /// A wall clock is far off for a while.
    ClockJump,
    /// A node is added to the ring, or one that has left comes back.
    Join,
    /// A node leaves in order.
    Leave,
    /// Connections between two nodes are reset, again and again, while packets go on.
    Reset,
    /// A process is killed; when it starts again its wall clock is far behind, and is put right some time later.
    Setback,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Kill,
        Self::Vanish,
        Self::Pause,
        Self::Cut,
        Self::OneWayCut,
        Self::Deaf,
        Self::Isolate,
        Self::Split,
        Self::Slow,
        Self::Loss,
        Self::Disorder,
        Self::Stutter,
        Self::ClockStep,
        Self::ClockJump,
        Self::Join,
        Self::Leave,
        Self::Reset,
        Self::Setback,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Vanish => "vanish",
            Self::Pause => "pause",
            Self::Cut => "cut",
            Self::OneWayCut => "one_way_cut",
            Self::Deaf => "deaf",
            Self::Isolate => "isolate",
            Self::Split => "split",
            Self::Slow => "slow",
            Self::Loss => "loss",
            Self::Disorder => "disorder",
            Self::Stutter => "stutter",
            Self::ClockStep => "clock_step",
            Self::ClockJump => "clock_jump",
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Reset => "reset",
            Self::Setback => "setback",
        }
    }

    /// Whether a node loses its memory.
    #[must_use]
    pub const fn loses_memory(self) -> bool {
        matches!(self, Self::Kill | Self::Vanish | Self::Setback)
    }
}

impl std::str::FromStr for FaultKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all = Self::ALL.into_iter();
        all.clone().find(|kind| kind.name() == name).ok_or_else(|| {
            let names: Vec<_> = all.map(Self::name).collect();
            format!("is none of {}", names.join(", "))
        })
    }
}
