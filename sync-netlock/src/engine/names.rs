//! The names of a table, and the index that finds them.
//!
//! A name that has become unused (idle) is kept for a while before it is removed. Most names that
//! are released are acquired again soon, which then needs no allocation and no change of the index.
//!
//! Names with claims can be listed in their order. A name enters the ordered index only when it
//! has been in use for a while: until then, it is in a list of new names. Names that come and go
//! quickly therefore do not change the index.
//!
//! Invariants:
//!
//! - An idle name is in the list of idle names. A name is removed from the slab only when it is
//!   removed from that list.
//! - A name with claims is in the list of new names or in the index. Of the names without claims,
//!   only idle ones can be in the index.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::ops::{Index, IndexMut};

use distsync_core::spi::Revision;
use foldhash::fast::RandomState;
use slab::Slab;

use super::hash_index::HashIndex;
use super::lock::{Lock, Ordered};
use super::name_order::NameOrder;
use super::queue::{Slot, key, slab, slot};

/// The maximum length of the list of idle names.
const IDLE_MAX: usize = 1_024;
/// The maximum length of the list of new names. It is longer than the list of idle names, so that
/// most names are removed before they would enter the index. A page of a list reads all of it.
const NEW_MAX: usize = 4_096;

#[derive(Debug)]
pub(super) struct Names {
    locks: Slab<Lock>,
    /// A number that is above the slots of all names.
    end: usize,
    /// Contains slots and parts of hashes. The names are in the slab.
    by_name: HashIndex,
    /// Seeded at random for each table, so that clients cannot prepare names that collide.
    hasher: RandomState,
    /// Names in the order in which they became idle. Some may be in use again.
    idle_list: VecDeque<Slot>,
    /// The number of idle names.
    idle: usize,
    /// Names in the order in which they got claims. Some may have lost them, or be in the index.
    new_list: VecDeque<Slot>,
    order: NameOrder,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            locks: slab(),
            end: 0,
            by_name: HashIndex::default(),
            hasher: RandomState::default(),
            idle_list: VecDeque::new(),
            idle: 0,
            new_list: VecDeque::new(),
            order: NameOrder::default(),
        }
    }
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
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Returns up to `max` names with claims, in ascending order: those that begin with `prefix`
    /// and come after `after`. Also returns whether there are more.
    pub(super) fn page(&self, prefix: &str, after: &str, max: usize) -> (Vec<Slot>, bool) {
        let is_wanted = |lock: &Lock| {
            !lock.queue.is_empty() && lock.name.starts_with(prefix) && *lock.name > *after
        };
        let name = |slot: &Slot| &*self[*slot].name;
        let mut found: Vec<Slot> = self
            .new_list
            .iter()
            .copied()
            .filter(|slot| {
                self.locks
                    .get(key(*slot))
                    .is_some_and(|lock| lock.ordered == Ordered::New && is_wanted(lock))
            })
            .collect();
        // A slot that was used again can be listed more than once.
        found.sort_unstable();
        found.dedup();
        if found.len() > max + 1 {
            found.select_nth_unstable_by(max, |a, b| name(a).cmp(name(b)));
            found.truncate(max + 1);
        }
        let is_before = |name: &str| name <= after || name < prefix;
        let indexed = self
            .order
            .from(&self.locks, is_before)
            .take_while(|slot| name(slot).starts_with(prefix))
            .filter(|slot| !self[*slot].queue.is_empty())
            .take(max + 1);
        found.extend(indexed);
        found.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        let more = found.len() > max;
        found.truncate(max);
        (found, more)
    }

    /// Returns the number of names that a page reads besides its own.
    pub(super) fn read_by_page(&self) -> usize {
        self.new_list.len() + IDLE_MAX
    }

    /// Makes a name with claims appear in [pages](Self::page).
    #[inline]
    pub(super) fn make_listed(&mut self, index: Slot) {
        if self[index].ordered == Ordered::No {
            self.add_to_new(index);
        }
    }

    fn add_to_new(&mut self, index: Slot) {
        self[index].ordered = Ordered::New;
        self.new_list.push_back(index);
        if self.new_list.len() <= NEW_MAX {
            return;
        }
        let Some(oldest) = self.new_list.pop_front() else {
            return;
        };
        let Some(lock) = self
            .locks
            .get_mut(key(oldest))
            .filter(|lock| lock.ordered == Ordered::New)
        else {
            return;
        };
        if lock.queue.is_empty() && oldest != index {
            lock.ordered = Ordered::No;
        } else {
            lock.ordered = Ordered::Indexed;
            self.order.insert(oldest, &self.locks);
        }
    }

    /// Removes a name from the index, if it is there.
    fn remove_from_order(&mut self, index: Slot) {
        if std::mem::replace(&mut self[index].ordered, Ordered::No) == Ordered::Indexed {
            self.order.remove(index, &self.locks);
        }
    }

    /// Notes that no task settles the queue of a name any more. The name may have been removed.
    pub(super) fn mark_settled(&mut self, index: Slot) {
        if let Some(lock) = self.locks.get_mut(key(index)) {
            lock.is_unsettled = false;
        }
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
        self.end = self.end.max(key(index) + 1);
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
        if lock.idle {
            return None;
        }
        if !lock.is_unused() {
            if lock.queue.is_empty() {
                // Names without claims must not make a page read far.
                self.remove_from_order(index);
            }
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
        self.remove_from_order(first);
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
