//! The number of claims of each principal on each name.

use crate::engine::queue::{Slot, key};
use crate::engine::split_map::SplitMap;

/// The number of names in one part of the list. The list grows by a part at a time, so that no
/// growth takes long.
const PART: usize = 1_024;

/// The claims of one share on one name.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    share: Slot,
    /// If it is 0, the place is free, and `share` has no meaning.
    claims: u32,
}

/// The number of claims by name and share. Nearly all names have claims of one share only, whose
/// count is found without hashing.
#[derive(Debug, Default)]
pub(super) struct ClaimCounts {
    /// The count of one share for each name, by the slot of the name.
    first: Vec<Box<[Count; PART]>>,
    /// Claims that found the place taken by another share.
    more: SplitMap<(Slot, Slot), usize>,
}

impl ClaimCounts {
    pub(super) fn get(&self, name: Slot, share: Slot) -> usize {
        let first = self
            .first
            .get(key(name) / PART)
            .map(|part| part[key(name) % PART])
            .filter(|first| first.share == share)
            .map_or(0, |first| first.claims as usize);
        if self.more.is_empty() {
            return first;
        }
        first + self.more.get(&(name, share)).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, name: Slot, share: Slot) {
        while self.first.len() <= key(name) / PART {
            self.first.push(Box::new([Count::default(); PART]));
        }
        let first = &mut self.first[key(name) / PART][key(name) % PART];
        if first.claims == 0 {
            *first = Count { share, claims: 1 };
        } else if first.share == share && first.claims < u32::MAX {
            first.claims += 1;
        } else {
            match self.more.get_mut(&(name, share)) {
                Some(claims) => *claims += 1,
                None => self.more.insert((name, share), 1),
            }
        }
    }

    /// Removes a claim that was added.
    pub(super) fn remove(&mut self, name: Slot, share: Slot) {
        if let Some(part) = self.first.get_mut(key(name) / PART) {
            let first = &mut part[key(name) % PART];
            if first.share == share && first.claims > 0 {
                first.claims -= 1;
                return;
            }
        }
        if let Some(claims) = self.more.get_mut(&(name, share)) {
            *claims -= 1;
            if *claims == 0 {
                self.more.remove(&(name, share));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The counts are those of a map, for any order of additions and removals.
        #[test]
        fn claims_are_counted_by_name_and_share(
            steps in prop::collection::vec((any::<bool>(), 0_u32..4, 0_u32..3), 0..200),
        ) {
            let mut counts = ClaimCounts::default();
            let mut expected = HashMap::<(Slot, Slot), usize>::new();
            for (adds, name, share) in steps {
                // Names in different parts.
                let name = name * 700;
                let claims = expected.entry((name, share)).or_default();
                if adds {
                    *claims += 1;
                    counts.add(name, share);
                } else if *claims > 0 {
                    *claims -= 1;
                    counts.remove(name, share);
                }
                for (&(name, share), &claims) in &expected {
                    prop_assert_eq!(counts.get(name, share), claims);
                }
            }
            let left: Vec<_> = expected.into_iter().filter(|(_, claims)| *claims > 0).collect();
            for ((name, share), claims) in left {
                (0..claims).for_each(|_| counts.remove(name, share));
            }
            prop_assert!(counts.more.is_empty());
        }
    }
}
