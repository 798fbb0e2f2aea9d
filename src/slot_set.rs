//! Sets of slots, one bit each: what a scan, a digest exchange or a handoff is about.

use crate::key::Slot;

const WORD_BITS: usize = u64::BITS as usize;
/// Slots are 16 bits wide, so a set never needs more.
const BYTES_MAX: usize = (u16::MAX as usize + 1) / 8;

/// A set of slots. Equal sets are equal values: the last word is never zero.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SlotSet {
    words: Vec<u64>,
    len: usize,
}

impl SlotSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All slots of a cluster of `slots` slots.
    #[must_use]
    pub fn all(slots: u16) -> Self {
        (0..slots).map(Slot).collect()
    }

    /// Adds a slot; returns whether it was absent.
    pub fn insert(&mut self, slot: Slot) -> bool {
        let (word, bit) = (slot.index() / WORD_BITS, 1u64 << (slot.index() % WORD_BITS));
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let absent = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.len += usize::from(absent);
        absent
    }

    /// Removes a slot; returns whether it was there.
    pub fn remove(&mut self, slot: Slot) -> bool {
        let (word, bit) = (slot.index() / WORD_BITS, 1u64 << (slot.index() % WORD_BITS));
        let present = self.contains(slot);
        if present {
            self.words[word] &= !bit;
            self.len -= 1;
            while self.words.last() == Some(&0) {
                self.words.pop();
            }
        }
        present
    }

    /// Whether the slot is in the set.
    #[must_use]
    pub fn contains(&self, slot: Slot) -> bool {
        let bit = slot.index() % WORD_BITS;
        self.words
            .get(slot.index() / WORD_BITS)
            .is_some_and(|word| word >> bit & 1 == 1)
    }

    /// How many slots it holds.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its slots in rising order.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        self.iter_from(Slot(0))
    }

    /// Its slots at or above `from`, in rising order.
    pub fn iter_from(&self, from: Slot) -> impl Iterator<Item = Slot> + '_ {
        let first = from.index() / WORD_BITS;
        self.words
            .iter()
            .enumerate()
            .skip(first)
            .flat_map(move |(index, word)| {
                let below = if index == first {
                    (1u64 << (from.index() % WORD_BITS)) - 1
                } else {
                    0
                };
                Bits(word & !below).filter_map(move |bit| {
                    u16::try_from(index * WORD_BITS + bit as usize)
                        .ok()
                        .map(Slot)
                })
            })
    }

    /// The set as it travels: bit `i` of byte `j`, least significant first, is slot `8 * j + i`.
    /// Trailing zero bytes are left out.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self
            .words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        bytes
    }

    /// The set of its travelling form. Every sequence is one; bytes past slot 65 535 name no slot
    /// and are ignored.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(BYTES_MAX)];
        let mut words: Vec<u64> = bytes
            .chunks(8)
            .map(|chunk| {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                u64::from_le_bytes(word)
            })
            .collect();
        while words.last() == Some(&0) {
            words.pop();
        }
        let len = words.iter().map(|word| word.count_ones() as usize).sum();
        Self { words, len }
    }
}

impl Extend<Slot> for SlotSet {
    fn extend<I: IntoIterator<Item = Slot>>(&mut self, slots: I) {
        for slot in slots {
            self.insert(slot);
        }
    }
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        let mut set = Self::new();
        set.extend(slots);
        set
    }
}

/// The positions of the set bits of a word, lowest first.
struct Bits(u64);

impl Iterator for Bits {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let bit = (self.0 != 0).then(|| self.0.trailing_zeros())?;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn behaves_like_an_ordered_set(
            slots in prop::collection::vec(any::<u16>(), 0..100),
            from: u16,
        ) {
            let naive: BTreeSet<u16> = slots.iter().copied().collect();
            let set: SlotSet = slots.iter().copied().map(Slot).collect();
            prop_assert_eq!(set.len(), naive.len());
            prop_assert_eq!(set.is_empty(), naive.is_empty());
            prop_assert!(set.iter().map(|slot| slot.0).eq(naive.iter().copied()));
            let above = set.iter_from(Slot(from)).map(|slot| slot.0);
            prop_assert!(above.eq(naive.range(from..).copied()));
            for slot in slots.iter().flat_map(|slot| [*slot, slot.wrapping_add(1)]) {
                prop_assert_eq!(set.contains(Slot(slot)), naive.contains(&slot));
            }
        }

        #[test]
        fn survives_its_travelling_form(slots in prop::collection::btree_set(any::<u16>(), 0..100)) {
            let set: SlotSet = slots.into_iter().map(Slot).collect();
            prop_assert_eq!(SlotSet::from_bytes(&set.to_bytes()), set);
        }

        #[test]
        fn takes_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let set = SlotSet::from_bytes(&bytes);
            let kept = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
            prop_assert_eq!(set.to_bytes(), &bytes[..kept]);
        }
    }

    #[test]
    fn travels_least_significant_bit_first() {
        let set: SlotSet = [0, 3, 9].into_iter().map(Slot).collect();
        assert_eq!(set.to_bytes(), [0b0000_1001, 0b0000_0010]);
    }

    #[test]
    fn ignores_bytes_past_the_last_slot() {
        let set = SlotSet::from_bytes(&vec![0xff; BYTES_MAX + 100]);
        assert_eq!(set.len(), usize::from(u16::MAX) + 1);
        assert_eq!(set.iter().count(), set.len());
    }

    #[test]
    fn inserting_tells_whether_the_slot_was_absent() {
        let mut set = SlotSet::new();
        assert!(set.insert(Slot(700)));
        assert!(!set.insert(Slot(700)));
        assert_eq!(set.len(), 1);
    }
}
