//! A map that grows by small steps.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;

use super::split_table::SplitTable;

/// A map by hash.
#[derive(Debug)]
pub(super) struct SplitMap<K, V> {
    entries: SplitTable<(K, V)>,
    hasher: RandomState,
}

impl<K, V> Default for SplitMap<K, V> {
    fn default() -> Self {
        Self {
            entries: SplitTable::default(),
            hasher: RandomState::default(),
        }
    }
}

impl<K: Copy + Eq + Hash, V> SplitMap<K, V> {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let hash = self.hasher.hash_one(key);
        let (_, value) = self.entries.find(hash, |(other, _)| other == key)?;
        Some(value)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let hash = self.hasher.hash_one(key);
        let (_, value) = self.entries.find_mut(hash, |(other, _)| other == key)?;
        Some(value)
    }

    /// Sets the value of a key.
    pub(super) fn insert(&mut self, key: K, value: V) {
        if let Some(found) = self.get_mut(&key) {
            *found = value;
            return;
        }
        let hasher = &self.hasher;
        let hash = hasher.hash_one(key);
        self.entries
            .insert(hash, (key, value), |(key, _)| hasher.hash_one(key));
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let hash = self.hasher.hash_one(key);
        let (_, value) = self.entries.remove(hash, |(other, _)| other == key)?;
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
            let (mut map, mut expected) = (SplitMap::default(), HashMap::new());
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
}
