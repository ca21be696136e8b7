//! A hash table that grows by small steps.
//!
//! A command waits while a table grows. A table that doubles moves all of its entries, and parts of
//! equal size would double at almost the same time. This one consists of shards. It grows by one
//! shard at a time, which takes its entries from one other shard. It never shrinks.
//!
//! The method is linear hashing: W. Litwin, "Linear hashing: a new tool for file and table
//! addressing", 1980.

use hashbrown::HashTable;

/// The average number of entries of a shard at which the table gets another one.
const SHARE: usize = 3_072;
/// The entries for which a shard has room: two shares, and what chance adds. It is all that a table
/// of 8,192 buckets takes.
const CAPACITY: usize = 7_168;
/// The lowest bits of a hash, and the highest 7, find an entry in its shard.
const BITS_IN_SHARD: u32 = 13;

/// A hash table. The user has the hashes, and compares entries.
#[derive(Debug)]
pub(super) struct SplitTable<T> {
    shards: Vec<HashTable<T>>,
    len: usize,
}

impl<T> Default for SplitTable<T> {
    fn default() -> Self {
        Self {
            shards: vec![HashTable::new()],
            len: 0,
        }
    }
}

impl<T> SplitTable<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns the number of the shard of a hash.
    #[inline]
    fn shard(&self, hash: u64) -> usize {
        let [a, b, c, d, ..] = (hash >> BITS_IN_SHARD).to_le_bytes();
        let bits = u32::from_le_bytes([a, b, c, d]) as usize;
        let (count, round) = (self.shards.len(), self.round());
        let shard = bits & (2 * round - 1);
        // The shards from `count` on are not split off yet.
        if shard < count { shard } else { shard - round }
    }

    /// Returns the number of shards at which the last round of splits began: a power of two.
    #[inline]
    fn round(&self) -> usize {
        1 << self.shards.len().ilog2()
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, is_match: impl FnMut(&T) -> bool) -> Option<&T> {
        self.shards[self.shard(hash)].find(hash, is_match)
    }

    #[inline]
    pub(super) fn find_mut(
        &mut self,
        hash: u64,
        is_match: impl FnMut(&T) -> bool,
    ) -> Option<&mut T> {
        let shard = self.shard(hash);
        self.shards[shard].find_mut(hash, is_match)
    }

    /// Adds an entry. `hash_of` returns the hash of any entry.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, entry: T, hash_of: impl Fn(&T) -> u64) {
        if self.len >= SHARE * self.shards.len() {
            self.split(&hash_of);
        }
        let shard = self.shard(hash);
        self.shards[shard].insert_unique(hash, entry, hash_of);
        self.len += 1;
    }

    /// Moves about a half of the entries of one shard to a new one.
    #[cold]
    fn split(&mut self, hash_of: &impl Fn(&T) -> u64) {
        let source = self.shards.len() - self.round();
        let entries =
            std::mem::replace(&mut self.shards[source], HashTable::with_capacity(CAPACITY));
        self.shards.push(HashTable::with_capacity(CAPACITY));
        for entry in entries {
            let hash = hash_of(&entry);
            let shard = self.shard(hash);
            self.shards[shard].insert_unique(hash, entry, hash_of);
        }
    }

    /// Removes and returns an entry.
    #[inline]
    pub(super) fn remove(&mut self, hash: u64, is_match: impl FnMut(&T) -> bool) -> Option<T> {
        let shard = self.shard(hash);
        let found = self.shards[shard].find_entry(hash, is_match).ok()?;
        self.len -= 1;
        Some(found.remove().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash that fills all shards alike.
    fn hash(number: &usize) -> u64 {
        (*number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn it_contains_what_was_inserted_and_not_removed() {
        let mut table = SplitTable::default();
        (0..50_000).for_each(|number| table.insert(hash(&number), number, hash));
        for number in (0..50_000).step_by(2) {
            assert_eq!(
                table.remove(hash(&number), |found| *found == number),
                Some(number)
            );
        }
        assert_eq!(table.len(), 25_000);
        for number in 0..50_000 {
            let found = table.find(hash(&number), |found| *found == number);
            assert_eq!(found.is_some(), number % 2 == 1);
        }
    }

    #[test]
    fn a_step_moves_few_entries_however_many_there_are() {
        const ENTRIES: usize = 100_000;
        let mut table = SplitTable::default();
        let mut before = vec![0];
        for number in 0..ENTRIES {
            table.insert(hash(&number), number, hash);
            let after: Vec<_> = table.shards.iter().map(HashTable::capacity).collect();
            let changed = (0..after.len()).filter(|&shard| before.get(shard) != after.get(shard));
            // The shard that is split off, and the one that was split.
            assert!(changed.count() <= 2, "entry {number}");
            before = after;
        }
        assert!(before.iter().all(|capacity| *capacity == CAPACITY));
        assert_eq!(table.shards.len(), ENTRIES.div_ceil(SHARE));
    }

    #[test]
    fn entries_with_the_same_hash_are_told_apart() {
        let mut table = SplitTable::default();
        (0..10_000_u32).for_each(|number| table.insert(7, number, |_| 7));
        assert_eq!(table.find(7, |found| *found == 9_999), Some(&9_999));
    }
}
