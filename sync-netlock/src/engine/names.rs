//! The names of a table, and the index that finds them.
//!
//! A name that has become unused (idle) is kept for a while before it is removed. Most names that
//! are released are acquired again soon, which then needs no allocation and no change of the index.
//!
//! Invariant: an idle name is in the list of idle names. A name is removed from the slab only when
//! it is removed from that list.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::ops::{Index, IndexMut};

use distsync_core::spi::{ClaimId, Revision};
use foldhash::fast::RandomState;
use slab::Slab;

use super::hash_index::HashIndex;
use super::lock::Lock;
use super::queue::{Claim, NONE, Slot, key, slot};

/// The maximum length of the list of idle names.
const IDLE_MAX: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Names {
    locks: Slab<Lock>,
    /// Contains slots and parts of hashes. The names are in the slab.
    by_name: HashIndex,
    /// Seeded at random for each table, so that clients cannot prepare names that collide.
    hasher: RandomState,
    /// Names in the order in which they became idle. Some may be in use again.
    idle_list: VecDeque<Slot>,
    /// The number of idle names.
    idle: usize,
}

impl Index<Slot> for Names {
    type Output = Lock;

    fn index(&self, index: Slot) -> &Lock {
        &self.locks[key(index)]
    }
}

impl IndexMut<Slot> for Names {
    fn index_mut(&mut self, index: Slot) -> &mut Lock {
        &mut self.locks[key(index)]
    }
}

impl Names {
    /// Returns the number of names in use.
    pub(super) fn len(&self) -> usize {
        self.locks.len() - self.idle
    }

    /// Returns the name in a slot, if there is one.
    pub(super) fn get_mut(&mut self, index: Slot) -> Option<&mut Lock> {
        self.locks.get_mut(key(index))
    }

    /// Returns whether the slot has a name that is not idle.
    pub(super) fn is_in_use(&self, index: Slot) -> bool {
        self.locks.get(key(index)).is_some_and(|lock| !lock.idle)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Lock> {
        self.locks.iter().map(|(_, lock)| lock)
    }

    /// Returns the name in a slot, if the slot is not free.
    pub(super) fn get(&self, index: Slot) -> Option<&Lock> {
        self.locks.get(key(index))
    }

    /// Returns a number that is above the slots of all names.
    pub(super) fn capacity(&self) -> usize {
        self.locks.capacity()
    }

    /// Returns the claims of all names that begin with `prefix`, in the order of each queue.
    pub(super) fn claims_below(&self, prefix: &str, claims: &Slab<Claim>) -> Vec<ClaimId> {
        let below = self.iter().filter(|lock| lock.name.starts_with(prefix));
        below
            .flat_map(|lock| lock.queue.iter(claims).map(|claim| claim.id))
            .collect()
    }

    /// Returns the names that have waiters.
    pub(super) fn with_waiters(&self) -> Vec<Slot> {
        self.locks
            .iter()
            .filter(|(_, lock)| lock.next != NONE)
            .map(|(key, _)| slot(key))
            .collect()
    }

    pub(super) fn find(&self, name: &str) -> Option<Slot> {
        let name = name.as_bytes();
        self.find_hashed(name, self.hash_one(name))
    }

    fn find_hashed(&self, name: &[u8], hash: u64) -> Option<Slot> {
        self.by_name
            .find(hash, |slot| self[slot].name.as_bytes() == name)
    }

    pub(super) fn hash_one(&self, name: &[u8]) -> u64 {
        self.hasher.hash_one(name)
    }

    /// Returns the slot of a name for a new claim or watcher, if the name exists.
    pub(super) fn enter(&mut self, name: &[u8], hash: u64) -> Option<Slot> {
        let found = self.find_hashed(name, hash)?;
        if std::mem::take(&mut self[found].idle) {
            self.idle -= 1;
        }
        Some(found)
    }

    /// Adds a name that does not exist yet, for a new claim or watcher.
    pub(super) fn insert(&mut self, name: &str, hash: u64, revision: Revision) -> Slot {
        let index = slot(self.locks.insert(Lock::new(name, hash, revision)));
        self.by_name.insert(hash, index);
        index
    }

    /// Returns the slot of a name for a new claim or watcher. Adds the name if it does not exist.
    pub(super) fn enter_or_insert(&mut self, name: &str, revision: Revision) -> Slot {
        let hash = self.hash_one(name.as_bytes());
        self.enter(name.as_bytes(), hash)
            .unwrap_or_else(|| self.insert(name, hash, revision))
    }

    /// Marks a name as idle if it has become unused. Returns the name that was removed to keep the
    /// list of idle names short, if there is one.
    pub(super) fn leave(&mut self, index: Slot) -> Option<Lock> {
        let lock = &mut self[index];
        if lock.idle || !lock.is_unused() {
            return None;
        }
        lock.idle = true;
        self.idle += 1;
        let lock = &mut self[index];
        if !std::mem::replace(&mut lock.is_listed_idle, true) {
            self.idle_list.push_back(index);
        }
        if self.idle_list.len() > IDLE_MAX {
            self.remove_oldest_idle()
        } else {
            None
        }
    }

    /// Removes the first name from the list of idle names, and from the table unless it is in use
    /// again.
    fn remove_oldest_idle(&mut self) -> Option<Lock> {
        let first = self.idle_list.pop_front()?;
        let lock = &mut self[first];
        lock.is_listed_idle = false;
        if !lock.idle {
            return None;
        }
        self.idle -= 1;
        let lock = self.locks.remove(key(first));
        self.by_name.remove(lock.hash, first);
        Some(lock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::default()
    }

    #[test]
    fn an_idle_name_is_reused() {
        let mut names = names();
        let a = names.enter_or_insert("a", Revision(1));
        assert_eq!(names.len(), 1);
        assert!(names.leave(a).is_none());
        assert_eq!((names.len(), names.find("a")), (0, Some(a)));
        assert_eq!(names.enter_or_insert("a", Revision(2)), a);
        assert_eq!((names.len(), names[a].revision), (1, Revision(1)));
    }

    #[test]
    fn the_number_of_idle_names_is_bounded_and_no_name_in_use_is_removed() {
        let mut names = names();
        let busy = names.enter_or_insert("busy", Revision(1));
        names.leave(busy);
        names.enter_or_insert("busy", Revision(1));
        let mut removed = Vec::new();
        for number in 0..2 * IDLE_MAX {
            let name = format!("n{number}");
            let index = names.enter_or_insert(&name, Revision(1));
            removed.extend(names.leave(index).map(|lock| lock.name));
        }
        assert_eq!(removed.len(), IDLE_MAX);
        assert!(
            removed
                .iter()
                .enumerate()
                .all(|(number, name)| **name == *format!("n{number}"))
        );
        assert_eq!((names.len(), names.find("busy")), (1, Some(busy)));
        assert_eq!(names.iter().count(), IDLE_MAX + 1);
        assert!(names.find("n0").is_none());
    }
}
