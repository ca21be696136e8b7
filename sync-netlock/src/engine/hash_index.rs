//! An index of slots by the hash of what they contain.
//!
//! A command waits while the index grows. A large index therefore consists of shards, which grow
//! one at a time. An entry contains its part of the hash, so growing reads nothing but the shard. A
//! small index is one shard, because many shards of few entries would fill the processor's cache.

use hashbrown::HashTable;

use super::queue::Slot;

/// The number of shards of a large index. A shard of an index with a million entries grows in a
/// fraction of a millisecond.
const SHARDS: usize = 64;
/// The number of entries at which an index gets shards.
const SMALL: usize = 4_096;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The part of the hash that finds the shard, and the entry in it.
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
    /// One shard or [`SHARDS`].
    shards: Vec<HashTable<Entry>>,
}

impl Default for HashIndex {
    fn default() -> Self {
        Self {
            shards: vec![HashTable::new()],
        }
    }
}

/// Returns the part of a hash that is in its entry.
fn tag(hash: u64) -> u32 {
    let [a, b, c, d, ..] = hash.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

impl HashIndex {
    /// Returns the number of the shard of a tag: bits between those that a shard uses.
    #[inline]
    fn shard(&self, tag: u32) -> usize {
        (tag >> 19) as usize & (self.shards.len() - 1)
    }

    /// Returns the slot with this hash that `is_match` accepts.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_match: impl Fn(Slot) -> bool) -> Option<Slot> {
        let tag = tag(hash);
        let is_match = |entry: &Entry| entry.tag == tag && is_match(entry.slot);
        let found = self.shards[self.shard(tag)].find(Entry::hash(tag), is_match)?;
        Some(found.slot)
    }

    /// Adds a slot that is not in the index.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, slot: Slot) {
        let tag = tag(hash);
        if self.shards.len() == 1 && self.shards[0].len() >= SMALL {
            self.split();
        }
        let shard = self.shard(tag);
        self.add(shard, Entry { tag, slot });
    }

    #[inline]
    fn add(&mut self, shard: usize, entry: Entry) {
        let hash = |entry: &Entry| Entry::hash(entry.tag);
        self.shards[shard].insert_unique(Entry::hash(entry.tag), entry, hash);
    }

    /// Divides the only shard into many.
    #[cold]
    fn split(&mut self) {
        let entries = std::mem::take(&mut self.shards[0]);
        let shard = || HashTable::with_capacity(2 * SMALL / SHARDS);
        self.shards = std::iter::repeat_with(shard).take(SHARDS).collect();
        for entry in entries {
            self.add(self.shard(entry.tag), entry);
        }
    }

    /// Removes a slot, if it is in the index.
    #[inline]
    pub(super) fn remove(&mut self, hash: u64, slot: Slot) {
        let tag = tag(hash);
        let shard = self.shard(tag);
        let found = self.shards[shard].find_entry(Entry::hash(tag), |entry| entry.slot == slot);
        if let Ok(found) = found {
            found.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::queue::slot;

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
        (0..=slot(SMALL)).for_each(|slot| index.insert(hash(slot), slot));
        let capacity = |index: &HashIndex| -> Vec<_> {
            index.shards.iter().map(HashTable::capacity).collect()
        };
        let mut before = capacity(&index);
        for slot in slot(SMALL) + 1..100_000 {
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
