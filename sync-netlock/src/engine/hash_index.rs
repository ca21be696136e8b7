//! An index of slots by the hash of what they contain.
//!
//! An entry contains its part of the hash, so that the index grows without reading anything else.

use super::queue::Slot;
use super::split_table::SplitTable;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// A part of the hash.
    tag: u32,
    slot: Slot,
}

impl Entry {
    /// Returns the hash in the table, which uses its lowest and its highest bits.
    fn hash(&self) -> u64 {
        table_hash(self.tag)
    }
}

fn table_hash(tag: u32) -> u64 {
    u64::from(tag) << 32 | u64::from(tag)
}

/// An index of slots by hash. The user compares what a slot contains.
#[derive(Debug, Default)]
pub(super) struct HashIndex {
    entries: SplitTable<Entry>,
}

/// Returns the part of a hash that is in its entry.
fn tag(hash: u64) -> u32 {
    let [a, b, c, d, ..] = hash.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

impl HashIndex {
    /// Returns the slot with this hash that `is_match` accepts.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_match: impl Fn(Slot) -> bool) -> Option<Slot> {
        let tag = tag(hash);
        let is_match = |entry: &Entry| entry.tag == tag && is_match(entry.slot);
        let found = self.entries.find(table_hash(tag), is_match)?;
        Some(found.slot)
    }

    /// Adds a slot that is not in the index.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, slot: Slot) {
        let tag = tag(hash);
        let entry = Entry { tag, slot };
        self.entries.insert(table_hash(tag), entry, Entry::hash);
    }

    /// Removes a slot, if it is in the index.
    #[inline]
    pub(super) fn remove(&mut self, hash: u64, slot: Slot) {
        let hash = table_hash(tag(hash));
        self.entries.remove(hash, |entry| entry.slot == slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(slot: Slot) -> u64 {
        u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn an_index_contains_what_was_inserted_and_not_removed() {
        let mut index = HashIndex::default();
        (0..10_000).for_each(|slot| index.insert(hash(slot), slot));
        let mut even = (0..10_000).step_by(2);
        even.by_ref()
            .for_each(|slot| index.remove(hash(slot), slot));
        for slot in 0..10_000 {
            let found = index.find(hash(slot), |found| found == slot);
            assert_eq!(found, (slot % 2 == 1).then_some(slot));
        }
    }

    #[test]
    fn slots_with_the_same_hash_are_told_apart() {
        let mut index = HashIndex::default();
        (0..100).for_each(|slot| index.insert(7, slot));
        (0..99).for_each(|slot| index.remove(7, slot));
        assert_eq!(index.find(7, |_| true), Some(99));
    }
}
