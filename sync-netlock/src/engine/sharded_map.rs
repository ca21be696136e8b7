//! A map that grows in parts.
//!
//! A command waits while a map grows, which takes as long as the map has entries. This one consists
//! of shards, which grow one at a time, as those of a [`HashIndex`](super::hash_index) do.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// The number of shards.
const SHARDS: usize = 64;

/// A map by hash.
#[derive(Debug)]
pub(super) struct ShardedMap<K, V> {
    shards: Box<[HashTable<(K, V)>; SHARDS]>,
    len: usize,
    hasher: RandomState,
}

impl<K, V> Default for ShardedMap<K, V> {
    fn default() -> Self {
        Self {
            shards: Box::new([const { HashTable::new() }; SHARDS]),
            len: 0,
            hasher: RandomState::default(),
        }
    }
}

impl<K: Copy + Eq + Hash, V> ShardedMap<K, V> {
    /// Returns a hash, and the number of its shard. A shard uses the lowest and the highest bits of
    /// the hash.
    fn locate(&self, key: &K) -> (u64, usize) {
        let hash = self.hasher.hash_one(key);
        let [_, _, _, _, shard, ..] = hash.to_le_bytes();
        (hash, usize::from(shard) % SHARDS)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let (hash, shard) = self.locate(key);
        let found = self.shards[shard].find(hash, |(other, _)| other == key)?;
        Some(&found.1)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (hash, shard) = self.locate(key);
        let found = self.shards[shard].find_mut(hash, |(other, _)| other == key)?;
        Some(&mut found.1)
    }

    /// Sets the value of a key.
    pub(super) fn insert(&mut self, key: K, value: V) {
        if let Some(found) = self.get_mut(&key) {
            *found = value;
            return;
        }
        let (hash, shard) = self.locate(&key);
        let hasher = &self.hasher;
        self.shards[shard].insert_unique(hash, (key, value), |(key, _)| hasher.hash_one(key));
        self.len += 1;
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (hash, shard) = self.locate(key);
        let found = self.shards[shard].find_entry(hash, |(other, _)| other == key);
        let ((_, value), _) = found.ok()?.remove();
        self.len -= 1;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0_u32..200, any::<Option<u8>>()), 0..600)) {
            let (mut map, mut expected) = (ShardedMap::default(), HashMap::new());
            for (key, value) in steps {
                match value {
                    Some(value) => {
                        map.insert(key, value);
                        expected.insert(key, value);
                    }
                    None => prop_assert_eq!(map.remove(&key), expected.remove(&key)),
                }
                if let Some(value) = map.get_mut(&key) {
                    *value = value.wrapping_add(1);
                    expected.entry(key).and_modify(|value| *value = value.wrapping_add(1));
                }
                prop_assert_eq!(map.is_empty(), expected.is_empty());
            }
            for key in 0..200 {
                prop_assert_eq!(map.get(&key), expected.get(&key));
            }
        }
    }

    #[test]
    fn a_shard_grows_alone() {
        let mut map = ShardedMap::default();
        let capacity = |map: &ShardedMap<u32, u32>| map.shards.each_ref().map(HashTable::capacity);
        let mut before = capacity(&map);
        for key in 0..100_000 {
            map.insert(key, key);
            let after = capacity(&map);
            let grown = before.iter().zip(&after).filter(|(a, b)| a != b).count();
            assert!(grown <= 1, "key {key} has grown {grown} shards");
            before = after;
        }
        // The time to grow a shard is proportional to its size.
        assert!(before.iter().all(|shard| *shard <= 100_000 / 16));
    }
}
