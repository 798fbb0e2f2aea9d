//! Log lines about what others do wrong, which they may do again and again: one in a while, with a count of the rest.

use crate::{
    clock::Monotonic,
    sync::{Mutex, lock},
};

/// How often one kind of complaint is written.
const INTERVAL: Monotonic = Monotonic::from_millis(10_000);

/// One kind of complaint.
#[derive(Debug, Default)]
pub struct Complaints(Mutex<Untold>);

#[derive(Debug, Default)]
struct Untold {
    told_at: Option<Monotonic>,
    count: u64,
}

impl Complaints {
    /// There is a reason to complain, now. If it is to be told: how many were not since the last one that was.
    pub fn due(&self, now: Monotonic) -> Option<u64> {
        let mut untold = lock(&self.0);
        let is_due = |told_at: Monotonic| now >= told_at.saturating_add(INTERVAL);
        if untold.told_at.is_none_or(is_due) {
            untold.told_at = Some(now);
            return Some(std::mem::take(&mut untold.count));
        }
        untold.count += 1;
        None
    }
}

#[cfg(all(test, not(feature = "race")))]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_later_ones_are_counted_until_one_is_told_again() {
        let complaints = Complaints::default();
        assert_eq!(complaints.due(Monotonic::from_secs(1)), Some(0));
        assert_eq!(complaints.due(Monotonic::from_secs(2)), None);
        assert_eq!(complaints.due(Monotonic::from_secs(10)), None);
        assert_eq!(complaints.due(Monotonic::from_secs(11)), Some(2));
        assert_eq!(complaints.due(Monotonic::from_secs(12)), None);
    }
}
