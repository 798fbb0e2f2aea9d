//! What a store knows of a key that it has no value of.

use crate::version::Version;

/// Why there is no value to serve, and what that says of values elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Absence {
    /// There is no trace of the key.
    #[default]
    Untraced,
    /// Deleted, expired, or below the slot's floor: whatever is not above this version is dead everywhere.
    Gone(Version),
    /// A value of this version was here and went: older ones elsewhere are out of date, this one itself may be served.
    Ghost(Version),
    /// There is no trace of the key any more, but a value up to this version may have been here: whatever is not above it
    /// may be out of date.
    Unsure(Version),
}

impl Absence {
    /// The version that it speaks of.
    #[must_use]
    pub const fn version(self) -> Option<Version> {
        match self {
            Self::Untraced => None,
            Self::Gone(version) | Self::Ghost(version) | Self::Unsure(version) => Some(version),
        }
    }

    /// The version up to which a value was here for certain.
    #[must_use]
    pub const fn known(self) -> Option<Version> {
        match self {
            Self::Untraced | Self::Unsure(_) => None,
            Self::Gone(version) | Self::Ghost(version) => Some(version),
        }
    }
}

/// Why a key has no value here, for people. Nothing is decided by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MissCause {
    /// There is no trace of the key: it was never here, or whatever was is long forgotten.
    NotSeen,
    /// Its time to live is over.
    Expired,
    /// It made room for others, or found none.
    Evicted,
    /// It was deleted.
    Deleted,
    /// A newer value went at another owner, and what was here is out of date.
    GoneElsewhere,
    /// Something was here, and what became of it is forgotten.
    TraceLost,
}
