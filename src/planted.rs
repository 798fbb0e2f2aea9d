//! Bugs that are planted on purpose, so that the tests with real nodes prove that they would find them. Only in builds with
//! the feature `planted-bugs`, which nobody ships: without it neither this module nor any of its uses is compiled.
//!
//! The variable [`VARIABLE`] names the bug; such a build does not serve without one. A process has one bug for all its
//! life.

use std::{fmt, str::FromStr, sync::OnceLock};

/// The variable that names the bug.
pub const VARIABLE: &str = "SHARD_CACHE_PLANT";

static PLANTED: OnceLock<Bug> = OnceLock::new();

/// A mistake that a replicated cache may well have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// A write is acknowledged once the first owner has stored it; the others are left to repair.
    AckBeforeStore,
    /// An owner that is owed a hint counts as if it had stored the write, and the hint is lost. Nothing is repaired.
    HintsDropped,
    /// A delete removes the value and leaves no trace of it.
    DeletesForgotten,
    /// An owner stores whatever arrives last, whatever its version.
    StaleWins,
    /// A node that restarted empty counts as full as soon as it has asked, and copies nothing. Nothing is repaired.
    EmptyIsFull,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::AckBeforeStore,
        Self::HintsDropped,
        Self::DeletesForgotten,
        Self::StaleWins,
        Self::EmptyIsFull,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AckBeforeStore => "ack_before_store",
            Self::HintsDropped => "hints_dropped",
            Self::DeletesForgotten => "deletes_forgotten",
            Self::StaleWins => "stale_wins",
            Self::EmptyIsFull => "empty_is_full",
        }
    }

    /// Whether it is the one that this process has.
    #[must_use]
    pub fn is_planted(self) -> bool {
        PLANTED.get() == Some(&self)
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Bug {
    type Err = NotPlanted;

    fn from_str(name: &str) -> Result<Self, NotPlanted> {
        let mut all = Self::ALL.into_iter();
        all.find(|bug| bug.name() == name)
            .ok_or_else(|| NotPlanted::Unknown {
                name: name.to_owned(),
            })
    }
}

/// Plants the bug of this name, for the rest of the process.
///
/// # Errors
/// There is no such bug, or another one is planted already. Nothing is changed.
pub fn plant(name: Option<&str>) -> Result<Bug, NotPlanted> {
    let bug = name.ok_or(NotPlanted::Unnamed)?.parse()?;
    let planted = *PLANTED.get_or_init(|| bug);
    if planted == bug {
        Ok(bug)
    } else {
        Err(NotPlanted::Other { planted })
    }
}

/// Whether one owner is enough for a client's write.
pub(crate) fn one_owner_is_enough() -> bool {
    Bug::AckBeforeStore.is_planted() || Bug::HintsDropped.is_planted()
}

/// Whether nobody is owed a hint.
pub(crate) fn nothing_is_owed() -> bool {
    Bug::AckBeforeStore.is_planted() || Bug::HintsDropped.is_planted()
}

/// Whether owners are never compared: repair would make good for the bug before anybody looks.
pub(crate) fn nothing_is_repaired() -> bool {
    Bug::HintsDropped.is_planted() || Bug::EmptyIsFull.is_planted()
}

/// Why no bug was planted. Nothing may be served then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotPlanted {
    /// None was named.
    #[error(
        "this build is broken on purpose (feature `planted-bugs`) and serves with a bug only: set {VARIABLE} to one of {}",
        known()
    )]
    Unnamed,
    /// There is none of this name.
    #[error(
        "{VARIABLE}: `{name}` is none of the bugs of this build, which are {}",
        known()
    )]
    Unknown {
        /// The name.
        name: String,
    },
    /// The process has another one.
    #[error("this process has the bug {planted} already")]
    Other {
        /// The bug that it has.
        planted: Bug,
    },
}

fn known() -> String {
    Bug::ALL.map(Bug::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_a_name_that_is_understood() {
        for bug in Bug::ALL {
            assert_eq!(bug.name().parse(), Ok(bug));
        }
    }

    #[test]
    fn whoever_names_no_known_bug_is_told_all_of_them() {
        let others = ["", "ack", "Ack_Before_Store", "ack_before_store "].map(Some);
        for name in others.into_iter().chain([None]) {
            let refused = plant(name).unwrap_err().to_string();
            assert!(refused.contains(VARIABLE), "{refused}");
            assert!(
                Bug::ALL.iter().all(|bug| refused.contains(bug.name())),
                "{refused}"
            );
        }
        assert!(Bug::ALL.iter().all(|bug| !bug.is_planted()));
    }
}
