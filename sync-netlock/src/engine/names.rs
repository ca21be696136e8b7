//! The names in use, and how they are found.
//!
//! A name that nobody is at any more rests for a while before it is let go: most names that are
//! released are acquired again soon, and then cost no allocation and no change of the index.
//!
//! Invariant: an idle name is in the line of those that rest; a name leaves the slab only when it
//! leaves that line.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::ops::{Index, IndexMut};

use distsync_core::spi::{ClaimId, Revision};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use slab::Slab;

use super::line::{Claim, NONE, Slot, key, slot};
use super::lock::Lock;

/// How many names may rest.
const RESTING: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Names {
    locks: Slab<Lock>,
    /// Slots only: the names stand in the slab.
    by_name: HashTable<Slot>,
    /// Seeded anew for each table, so that names cannot be made to collide ahead of time.
    hasher: RandomState,
    /// Names that were idle when they came here, in order of that.
    resting: VecDeque<Slot>,
    /// How many names are idle.
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
    /// How many somebody is at.
    pub(super) fn len(&self) -> usize {
        self.locks.len() - self.idle
    }

    /// Whether somebody is at the name of this slot, or was since it was entered last.
    pub(super) fn is_in_use(&self, index: Slot) -> bool {
        self.locks.get(key(index)).is_some_and(|lock| !lock.idle)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Lock> {
        self.locks.iter().map(|(_, lock)| lock)
    }

    /// The claims of all names that begin in one way, in the order of each line.
    pub(super) fn claims_below(&self, prefix: &str, claims: &Slab<Claim>) -> Vec<ClaimId> {
        let below = self.iter().filter(|lock| lock.name.starts_with(prefix));
        below
            .flat_map(|lock| lock.line.iter(claims).map(|claim| claim.id))
            .collect()
    }

    /// The names where somebody waits.
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
            .find(hash, |slot| self[*slot].name.as_bytes() == name)
            .copied()
    }

    pub(super) fn hash_one(&self, name: &[u8]) -> u64 {
        self.hasher.hash_one(name)
    }

    /// The name's slot for somebody who comes to it, if it is known.
    pub(super) fn enter(&mut self, name: &[u8], hash: u64) -> Option<Slot> {
        let found = self.find_hashed(name, hash)?;
        if std::mem::take(&mut self[found].idle) {
            self.idle -= 1;
        }
        Some(found)
    }

    /// A slot for a name that is not known, and for somebody who comes to it.
    pub(super) fn insert(&mut self, name: &str, hash: u64, revision: Revision) -> Slot {
        let index = slot(self.locks.insert(Lock::new(name, hash, revision)));
        let locks = &self.locks;
        self.by_name
            .insert_unique(hash, index, |slot| locks[key(*slot)].hash);
        index
    }

    /// The name's slot for somebody who comes to it, known or not.
    pub(super) fn enter_or_insert(&mut self, name: &str, revision: Revision) -> Slot {
        let hash = self.hash_one(name.as_bytes());
        self.enter(name.as_bytes(), hash)
            .unwrap_or_else(|| self.insert(name, hash, revision))
    }

    /// Somebody has left the name. If nobody is at it now, it rests; the one let go for that is
    /// returned.
    pub(super) fn leave(&mut self, index: Slot) -> Option<Lock> {
        let lock = &mut self[index];
        if lock.idle || !lock.is_deserted() {
            return None;
        }
        lock.idle = true;
        self.idle += 1;
        let lock = &mut self[index];
        if !std::mem::replace(&mut lock.rests, true) {
            self.resting.push_back(index);
        }
        if self.resting.len() > RESTING {
            self.let_go()
        } else {
            None
        }
    }

    /// Takes the first out of the line of those that rest, and lets it go unless it is in use
    /// again.
    fn let_go(&mut self) -> Option<Lock> {
        let first = self.resting.pop_front()?;
        let lock = &mut self[first];
        lock.rests = false;
        if !lock.idle {
            return None;
        }
        self.idle -= 1;
        let lock = self.locks.remove(key(first));
        if let Ok(found) = self.by_name.find_entry(lock.hash, |slot| *slot == first) {
            found.remove();
        }
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
    fn a_name_that_rests_is_taken_up_again() {
        let mut names = names();
        let a = names.enter_or_insert("a", Revision(1));
        assert_eq!(names.len(), 1);
        assert!(names.leave(a).is_none());
        assert_eq!((names.len(), names.find("a")), (0, Some(a)));
        assert_eq!(names.enter_or_insert("a", Revision(2)), a);
        assert_eq!((names.len(), names[a].revision), (1, Revision(1)));
    }

    #[test]
    fn only_so_many_rest_and_none_that_is_in_use_is_let_go() {
        let mut names = names();
        let busy = names.enter_or_insert("busy", Revision(1));
        names.leave(busy);
        names.enter_or_insert("busy", Revision(1));
        let mut let_go = Vec::new();
        for number in 0..2 * RESTING {
            let name = format!("n{number}");
            let index = names.enter_or_insert(&name, Revision(1));
            let_go.extend(names.leave(index).map(|lock| lock.name));
        }
        assert_eq!(let_go.len(), RESTING);
        assert!(
            let_go
                .iter()
                .enumerate()
                .all(|(number, name)| **name == *format!("n{number}"))
        );
        assert_eq!((names.len(), names.find("busy")), (1, Some(busy)));
        assert_eq!(names.iter().count(), RESTING + 1);
        assert!(names.find("n0").is_none());
    }
}
