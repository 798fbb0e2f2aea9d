//! How many bytes entries may count, by what the process has resident. Pure: readings in, an allowance out.
//!
//! Entries count what they cost on average. What the allocator cannot reuse after the sizes of values changed, hints and
//! buffers come on top. Where that is more than a share and a constant above the limit, entries make up for it at once.
//!
//! How much by: entries of a size that is not written any more lie on pages with others of theirs, and no such page is free
//! before the last of them has gone. So in the worst case nothing is given back until all that was there has been evicted,
//! and what is written meanwhile comes on top. The allowance therefore falls in proportion: all of it within two thirds of
//! what lies between the mark and the bound that is promised. It rises by a part of the room that there is.

/// How often resident memory is looked at.
pub const INTERVAL: std::time::Duration = std::time::Duration::from_millis(20);

/// What is promised of resident bytes: no more than a twentieth of the limit and this above it.
const BOUND_BYTES: u64 = 64 << 20;
const BOUND_SHARE: u64 = 20;
/// Entries begin to make up for what is resident at half that share and this above the limit: the rest is for what comes
/// while they do, which is less where the limit is small.
const BESIDE_BYTES: u64 = 16 << 20;
const BESIDE_BYTES_SMALL: u64 = 48 << 20;
/// What part of the limit that is taken for.
const BETWEEN_SHARE: u64 = 8;
const BESIDE_SHARE: u64 = 2 * BOUND_SHARE;
/// Most that the allowance falls in one step, and least, as parts of the limit.
const FALL_MOST: u64 = 4;
const FALL_LEAST: u64 = 256;
/// It falls by at least so many times the excess, because part of what is freed lies between what stays.
const FALL_TIMES: u64 = 2;
/// What part of the room it rises by in one step, and most, as a part of the limit.
const RISE: u64 = 128;
const RISE_MOST: u64 = 1024;
/// How far below the mark resident bytes must be before it rises, as a part of the limit.
const GAP: u64 = 32;
/// For so many steps after a fall only what was added since counts: the allocator gives back what is free within a second.
const SETTLE: u32 = 50;
/// It never falls below this part of the limit: what takes more beside entries is not theirs to make up for.
const FLOOR: u64 = 4;

/// The controller.
#[derive(Clone, Debug)]
pub struct MemoryGuard {
    limit: u64,
    allowed: u64,
    /// Up to where resident bytes were made up for by the last falls, and for how many steps that is still giving way.
    covered: u64,
    settling: u32,
}

impl MemoryGuard {
    /// Allows all of `limit` bytes at first.
    #[must_use]
    pub const fn new(limit: u64) -> Self {
        Self {
            limit,
            allowed: limit,
            covered: 0,
            settling: 0,
        }
    }

    /// What entries may count, given that the process has `resident` bytes and entries count `used`.
    pub fn step(&mut self, resident: u64, used: u64) -> u64 {
        let mark = self.mark();
        self.settling = self.settling.saturating_sub(1);
        if resident > mark {
            let known = if self.settling > 0 {
                self.covered.max(mark)
            } else {
                mark
            };
            if resident > known {
                self.covered = known + self.fall(resident - known, used);
                self.settling = SETTLE;
            }
        } else {
            let room = mark
                .saturating_sub(self.limit / GAP)
                .saturating_sub(resident);
            let rise = (room / RISE).min((self.limit / RISE_MOST).max(1));
            self.allowed = self.allowed.saturating_add(rise).min(self.limit);
        }
        self.allowed
    }

    /// Returns how much of the excess that makes up for.
    fn fall(&mut self, excess: u64, used: u64) -> u64 {
        let times = (self.limit / (self.beyond_mark() * 2 / 3).max(1)).max(FALL_TIMES);
        let least = (self.limit / FALL_LEAST).max(1);
        let fall = excess
            .saturating_mul(times)
            .clamp(least, (self.limit / FALL_MOST).max(least));
        // What entries have not taken yet is no room.
        let next = self.allowed.min(used).saturating_sub(fall);
        self.allowed = next.max(self.limit / FLOOR).min(self.allowed);
        excess.min(fall.div_ceil(times))
    }

    /// Whether entries may count less than the limit.
    #[must_use]
    pub const fn is_lowered(&self) -> bool {
        self.allowed < self.limit
    }

    /// Bytes between the mark and the bound that is promised.
    const fn beyond_mark(&self) -> u64 {
        let bound = self
            .limit
            .saturating_add(self.limit / BOUND_SHARE)
            .saturating_add(BOUND_BYTES);
        bound.saturating_sub(self.mark())
    }

    /// Resident bytes above which the allowance falls.
    const fn mark(&self) -> u64 {
        let share = self.limit / BESIDE_SHARE;
        let beside = BESIDE_BYTES_SMALL.saturating_sub(self.limit / BETWEEN_SHARE);
        let beside = if beside > BESIDE_BYTES {
            beside
        } else {
            BESIDE_BYTES
        };
        self.limit.saturating_add(share).saturating_add(beside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const LIMIT: u64 = 256 * MIB;

    #[test]
    fn resident_memory_within_the_mark_leaves_the_limit_alone() {
        let mut guard = MemoryGuard::new(LIMIT);
        for resident in [0, LIMIT, LIMIT + 22 * MIB] {
            assert_eq!(guard.step(resident, LIMIT), LIMIT);
        }
        assert!(!guard.is_lowered());
    }

    #[test]
    fn a_small_limit_is_not_lowered_for_what_a_process_takes_anyway() {
        let mut guard = MemoryGuard::new(MIB);
        assert_eq!(guard.step(45 * MIB, MIB), MIB);
        assert!(guard.step(64 * MIB, MIB) < MIB);
    }

    #[test]
    fn entries_make_up_for_waste_and_get_their_room_back() {
        let mut guard = MemoryGuard::new(LIMIT);
        // A third on top of what entries count, which the limit does not allow.
        let resident = |allowed: u64| allowed + allowed / 3;
        let mut allowed = LIMIT;
        for _ in 0..200 {
            allowed = guard.step(resident(allowed), allowed);
        }
        assert!(resident(allowed) <= guard.mark(), "{}", allowed / MIB);
        assert!(guard.is_lowered() && allowed > LIMIT * 3 / 4);
        let mut steps = 0;
        while guard.step(allowed, allowed) < LIMIT {
            steps += 1;
        }
        assert!((100..2000).contains(&steps), "{steps}");
        assert!(!guard.is_lowered());
    }

    #[test]
    fn a_step_is_bounded_and_what_it_made_up_for_is_waited_for() {
        let mut guard = MemoryGuard::new(LIMIT);
        let mark = guard.mark();
        let first = guard.step(mark + 40 * MIB, LIMIT);
        assert_eq!(first, LIMIT - LIMIT / FALL_MOST);
        let covered = guard.covered;
        assert!(covered > mark && covered < mark + 40 * MIB);
        for _ in 1..SETTLE {
            assert_eq!(guard.step(covered, first), first, "not given back yet");
        }
        let second = guard.step(mark + MIB, first);
        assert!(second < first, "it was not given back");
        let third = guard.step(mark + 2 * MIB, second);
        assert_eq!(first - second, second - third, "still growing");
    }

    #[test]
    fn all_that_may_go_has_gone_before_the_bound_is_reached_though_nothing_is_given_back() {
        for limit in [LIMIT, 32 * LIMIT] {
            let mut guard = MemoryGuard::new(limit);
            let (mut resident, mut used) = (guard.mark(), limit);
            while used > limit / FLOOR {
                resident += MIB / 2;
                used = guard.step(resident, used);
            }
            let bound = limit + limit / BOUND_SHARE + BOUND_BYTES;
            assert!(resident < bound - guard.beyond_mark() / 4, "{limit}");
        }
    }

    #[test]
    fn a_quarter_of_the_limit_always_remains_and_an_empty_store_does_not_raise_it() {
        for limit in [0, 1, 100, LIMIT, u64::MAX] {
            let mut guard = MemoryGuard::new(limit);
            let mut before = limit;
            for _ in 0..100 {
                let allowed = guard.step(u64::MAX, 0);
                assert!(allowed <= before && allowed >= limit / FLOOR);
                before = allowed;
            }
        }
    }
}
