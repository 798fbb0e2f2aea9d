//! What a scenario promises beside that nothing is lost, and whether it held.

use std::fmt;

/// A promise and whether it held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Claim {
    /// What was seen, in words that fit both.
    what: String,
    held: bool,
}

impl Claim {
    /// A promise that held or did not.
    #[must_use]
    pub(crate) fn new(held: bool, what: impl Into<String>) -> Self {
        let what = what.into();
        let claim = Self { what, held };
        eprintln!("  {claim}");
        claim
    }

    /// Whether it held.
    #[must_use]
    pub(crate) const fn held(&self) -> bool {
        self.held
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.held { "held" } else { "BROKEN" };
        write!(f, "{word}: {}", self.what)
    }
}
