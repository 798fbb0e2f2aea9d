//! Running maxima over time: "the highest version that was surely there before this moment", by binary search.

use crate::history::{Operation, ValueId, Version};

/// A version that an operation vouches for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) version: Version,
    /// Who wrote it or saw it.
    pub(super) by: &'a Operation,
    /// The value; none if the key was deleted, or gone for another reason.
    pub(super) value: Option<ValueId>,
}

impl Known<'_> {
    /// Of two that know one version, a write says more than a read, and a value more than a miss.
    fn rank(&self) -> (Version, bool, bool) {
        (
            self.version,
            self.by.request.is_write(),
            self.value.is_some(),
        )
    }
}

/// What is known from when on.
#[derive(Debug, Default)]
pub(super) struct RunningMax<'a> {
    /// By time; each holds the highest version up to its time.
    entries: Vec<(u64, Known<'a>)>,
}

impl<'a> RunningMax<'a> {
    /// Builds it from (time from which it is known, what is known), in any order.
    pub(super) fn new(mut entries: Vec<(u64, Known<'a>)>) -> Self {
        entries.sort_unstable_by_key(|(at, known)| (*at, known.by.id));
        let mut highest: Option<Known<'a>> = None;
        for (_, known) in &mut entries {
            match highest {
                Some(before) if before.rank() >= known.rank() => *known = before,
                Some(_) | None => highest = Some(*known),
            }
        }
        Self { entries }
    }

    /// The highest version known strictly before a time.
    pub(super) fn before(&self, time_ns: u64) -> Option<Known<'a>> {
        let count = self.entries.partition_point(|(at, _)| *at < time_ns);
        Some(self.entries.get(count.checked_sub(1)?)?.1)
    }

    /// The highest version known at a time or before.
    pub(super) fn by(&self, time_ns: u64) -> Option<Known<'a>> {
        let count = self.entries.partition_point(|(at, _)| *at <= time_ns);
        Some(self.entries.get(count.checked_sub(1)?)?.1)
    }
}
