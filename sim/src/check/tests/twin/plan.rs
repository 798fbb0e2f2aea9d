//! What a history of the twin is to contain, and what the twin does wrong.

/// A small random number generator (splitmix64).
pub(in crate::check::tests) struct Dice(u64);

impl Dice {
    pub(in crate::check::tests) const fn new(seed: u64) -> Self {
        Self(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(in crate::check::tests) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(in crate::check::tests) const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(in crate::check::tests) const fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}
/// What a history is to contain.
#[derive(Clone, Copy, Debug)]
pub(in crate::check::tests) struct Plan {
    pub(in crate::check::tests) operations: u64,
    pub(in crate::check::tests) keys: u64,
    /// Share of messages that are lost, in percent.
    pub(in crate::check::tests) loss: u64,
    /// Share of sets with a life, in percent.
    pub(in crate::check::tests) mortal: u64,
    pub(in crate::check::tests) evictions: u64,
    pub(in crate::check::tests) restarts: u64,
    /// Whether two nodes restart at a time, which loses what only they had.
    pub(in crate::check::tests) in_pairs: bool,
    /// By how much recorded times may be off.
    pub(in crate::check::tests) uncertainty_ns: u64,
    /// What the register does wrong; the history does not tell.
    pub(in crate::check::tests) bug: Option<Bug>,
}

/// Something that a register may do wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::check::tests) enum Bug {
    /// A read answers before it has stored what it found.
    NoWriteBack,
    /// A write is acknowledged when one node has stored it.
    AcknowledgesEarly,
    /// A node that holds something newer says that it has stored what it refused.
    NewerIgnored,
    /// A delete removes the record instead of leaving a tombstone.
    NoTombstone,
    /// What is delivered late begins its life anew.
    LifeBegunAnew,
    /// Nobody looks at the expiry.
    NeverExpires,
    /// A node that restarted counts before it has copied anything.
    EmptyNodeCounts,
    /// A write that failed was sent all the same.
    FailedIsSent,
    /// Fewer owners will do, and the answer does not say so.
    DegradesSilently,
    /// Neither hints nor repair.
    NoRepair,
    /// What is evicted leaves no version behind.
    EvictsWithoutTrace,
}
