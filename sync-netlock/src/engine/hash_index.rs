//! An index of slots by the hash of what they contain.
//!
//! A command waits while the index grows. The index therefore consists of shards, which grow one at
//! a time. An entry contains its part of the hash, so growing reads nothing but the shard.

use hashbrown::HashTable;

use super::queue::Slot;

/// The number of shards. A shard of an index with a million entries grows in a fraction of a
/// millisecond.
const SHARDS: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The part of the hash that finds the entry in its shard.
    tag: u32,
    slot: Slot,
}

impl Entry {
    /// Returns the hash in the shard. Its lowest and its highest bits are used.
    fn hash(tag: u32) -> u64 {
        u64::from(tag) << 32 | u64::from(tag)
    }
}

/// An index of slots by hash. The user compares what a slot contains.
#[derive(Debug)]
pub(super) struct HashIndex {
    shards: Box<[HashTable<Entry>; SHARDS]>,
}

impl Default for HashIndex {
    fn default() -> Self {
        Self {
            shards: Box::new([const { HashTable::new() }; SHARDS]),
        }
    }
}

/// Splits a hash into the number of a shard and a tag.
fn split(hash: u64) -> (usize, u32) {
    let [a, b, c, d, shard, ..] = hash.to_le_bytes();
    let tag = u32::from_le_bytes([a, b, c, d]);
    (usize::from(shard) % SHARDS, tag)
}

impl HashIndex {
    /// Returns the slot with this hash that `is_match` accepts.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_match: impl Fn(Slot) -> bool) -> Option<Slot> {
        let (shard, tag) = split(hash);
        let is_match = |entry: &Entry| entry.tag == tag && is_match(entry.slot);
        let found = self.shards[shard].find(Entry::hash(tag), is_match)?;
        Some(found.slot)
    }

    /// Adds a slot that is not in the index.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, slot: Slot) {
        let (shard, tag) = split(hash);
        let (entry, hash) = (Entry { tag, slot }, |entry: &Entry| Entry::hash(entry.tag));
        self.shards[shard].insert_unique(Entry::hash(tag), entry, hash);
    }

    /// Removes a slot, if it is in the index.
    #[inline]
    pub(super) fn remove(&mut self, hash: u64, slot: Slot) {
        let (shard, tag) = split(hash);
        let found = self.shards[shard].find_entry(Entry::hash(tag), |entry| entry.slot == slot);
        if let Ok(found) = found {
            found.remove();
        }
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

    #[test]
    fn a_shard_grows_alone() {
        let mut index = HashIndex::default();
        let capacity = |index: &HashIndex| index.shards.each_ref().map(HashTable::capacity);
        let mut before = capacity(&index);
        for slot in 0..100_000 {
            index.insert(hash(slot), slot);
            let after = capacity(&index);
            let grown = before.iter().zip(&after).filter(|(a, b)| a != b).count();
            assert!(grown <= 1, "slot {slot} has grown {grown} shards");
            before = after;
        }
        // The time to grow a shard is proportional to its size.
        assert!(before.iter().all(|shard| *shard <= 100_000 / 16));
    }
}
