//! The numbers of a session's claims, for stores that keep traces of every key that they ever had.

use std::collections::HashMap;
use std::sync::Mutex;

use foldhash::fast::RandomState;

use crate::spi::mutex::locked;
use crate::types::names::LockName;

/// Which slots are taken, by name. A name without any is not kept.
#[derive(Debug, Default)]
pub(super) struct KeySlots(Mutex<HashMap<LockName, Vec<bool>, RandomState>>);

impl KeySlots {
    /// The lowest that is free at this name, from 0.
    pub(super) fn take(&self, name: &LockName) -> u32 {
        let mut names = locked(&self.0);
        let taken = names.entry(name.clone()).or_default();
        let slot = taken.iter().position(|taken| !taken).unwrap_or_else(|| {
            taken.push(false);
            taken.len() - 1
        });
        taken[slot] = true;
        u32::try_from(slot).unwrap_or(u32::MAX)
    }

    /// Nothing of the claim that had it can reach the store any more.
    pub(super) fn give_back(&self, name: &LockName, slot: u32) {
        let mut names = locked(&self.0);
        let Some(taken) = names.get_mut(name) else { return };
        if let Some(taken) = usize::try_from(slot).ok().and_then(|slot| taken.get_mut(slot)) {
            *taken = false;
        }
        if !taken.contains(&true) {
            names.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::names::{Kind, Namespace};

    #[test]
    fn the_lowest_free_slot_is_taken() {
        let slots = KeySlots::default();
        let name = |name| LockName::new(&Namespace::default(), Kind::Lock, name).unwrap();
        let (a, b) = (name("a"), name("b"));
        assert_eq!([slots.take(&a), slots.take(&a), slots.take(&b), slots.take(&a)], [0, 1, 0, 2]);
        slots.give_back(&a, 1);
        assert_eq!([slots.take(&a), slots.take(&a)], [1, 3]);
        slots.give_back(&b, 0);
        slots.give_back(&b, 0);
        slots.give_back(&a, 99);
        assert_eq!(locked(&slots.0).len(), 1);
        assert_eq!([slots.take(&b), slots.take(&a)], [0, 4]);
    }
}
