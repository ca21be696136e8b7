//! The ordered index of names, for lists in pages.
//!
//! It is a sorted sequence of slots in chunks, because slots take a tenth of the memory of a search
//! tree of names. A change searches the chunk and the position in it, and moves at most one chunk.

use slab::Slab;

use super::lock::Lock;
use super::queue::{Slot, key};

/// The maximum length of a chunk.
const CHUNK: usize = 512;

/// Slots in the order of their names. No chunk is empty.
#[derive(Debug, Default)]
pub(super) struct NameOrder {
    chunks: Vec<Vec<Slot>>,
}

fn name(locks: &Slab<Lock>, slot: Slot) -> &str {
    &locks[key(slot)].name
}

impl NameOrder {
    /// Returns the chunk and the position of the first name for which `is_before` is false. The
    /// names for which it is true come first.
    fn locate(&self, locks: &Slab<Lock>, is_before: impl Fn(&str) -> bool) -> (usize, usize) {
        let is_before = |slot: &Slot| is_before(name(locks, *slot));
        let after = self.chunks.partition_point(|chunk| is_before(&chunk[0]));
        let Some(chunk) = after.checked_sub(1) else {
            return (0, 0);
        };
        (chunk, self.chunks[chunk].partition_point(is_before))
    }

    /// Adds a name that is not in the index.
    pub(super) fn insert(&mut self, slot: Slot, locks: &Slab<Lock>) {
        let added = name(locks, slot);
        let (mut chunk, mut at) = self.locate(locks, |name| name < added);
        let is_last = chunk + 1 >= self.chunks.len();
        match self.chunks.get_mut(chunk) {
            None => self.chunks.push(Vec::new()),
            // Names in ascending order fill their chunks.
            Some(full) if full.len() >= CHUNK && at == full.len() && is_last => {
                self.chunks.push(Vec::new());
                (chunk, at) = (chunk + 1, 0);
            }
            Some(full) if full.len() >= CHUNK => {
                let upper = full.split_off(CHUNK / 2);
                self.chunks.insert(chunk + 1, upper);
                if at > CHUNK / 2 {
                    (chunk, at) = (chunk + 1, at - CHUNK / 2);
                }
            }
            Some(_) => {}
        }
        self.chunks[chunk].insert(at, slot);
    }

    /// Removes a name that is in the index.
    pub(super) fn remove(&mut self, slot: Slot, locks: &Slab<Lock>) {
        let removed = name(locks, slot);
        let (mut chunk, mut at) = self.locate(locks, |name| name < removed);
        if self
            .chunks
            .get(chunk)
            .is_some_and(|slots| at == slots.len())
        {
            (chunk, at) = (chunk + 1, 0);
        }
        let next = self.chunks.get(chunk + 1).map_or(CHUNK, Vec::len);
        let Some(slots) = self.chunks.get_mut(chunk) else {
            return;
        };
        debug_assert_eq!(slots[at], slot);
        slots.remove(at);
        if slots.is_empty() {
            self.chunks.remove(chunk);
        } else if slots.len() < CHUNK / 4 && next <= CHUNK / 2 {
            let next = self.chunks.remove(chunk + 1);
            self.chunks[chunk].extend(next);
        } else if slots.capacity() > 4 * slots.len() {
            slots.shrink_to(2 * slots.len());
        }
    }

    /// Returns the slots from the first name for which `is_before` is false.
    pub(super) fn from<'a>(
        &'a self,
        locks: &'a Slab<Lock>,
        is_before: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = Slot> + 'a {
        let (chunk, at) = self.locate(locks, is_before);
        let rest = self.chunks.get(chunk).map_or(&[][..], |slots| &slots[at..]);
        let later = self.chunks.iter().skip(chunk + 1).flatten();
        rest.iter().chain(later).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use distsync_core::spi::Revision;
    use proptest::prelude::*;

    use super::*;
    use crate::engine::queue::slot;

    fn check(order: &NameOrder, locks: &Slab<Lock>, known: &BTreeMap<String, Slot>, from: &str) {
        let found: Vec<Slot> = order.from(locks, |name| name <= from).collect();
        let expected: Vec<Slot> = known
            .iter()
            .filter(|(name, _)| &***name > from)
            .map(|(_, slot)| *slot)
            .collect();
        assert_eq!(found, expected, "after {from}");
        assert!(
            order
                .chunks
                .iter()
                .all(|chunk| (1..=CHUNK).contains(&chunk.len()))
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]
        #[test]
        fn the_index_is_sorted(numbers in prop::collection::vec((0u32..3_000, 0u8..3), 6_000)) {
            let (mut order, mut locks) = (NameOrder::default(), Slab::new());
            let mut known = BTreeMap::new();
            // In ascending order first, which fills the chunks.
            let ascending = (0..2_000).map(|number| (number, 1));
            for (number, add) in ascending.chain(numbers) {
                let name = format!("n{number:05}");
                match (add > 0, known.get(&name).copied()) {
                    (true, None) => {
                        let lock = Lock::new(&name, 0, Revision(1));
                        let added = slot(locks.insert(lock));
                        order.insert(added, &locks);
                        known.insert(name, added);
                    }
                    (false, Some(removed)) => {
                        order.remove(removed, &locks);
                        locks.remove(key(removed));
                        known.remove(&name);
                    }
                    _ => {}
                }
            }
            for from in ["", "n", "n01000", "n02999", "o"] {
                check(&order, &locks, &known, from);
            }
            for (_, removed) in std::mem::take(&mut known) {
                order.remove(removed, &locks);
            }
            prop_assert!(order.chunks.is_empty());
        }
    }
}
