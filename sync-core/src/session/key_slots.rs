//! Key slots: small numbers that the claims of a session use in turn as part of their keys.
//!
//! For stores that never free all memory of a key that they once had. There, a session must not use
//! a new key for each claim.

use std::collections::HashMap;
use std::sync::Mutex;

use foldhash::fast::RandomState;

use crate::spi::mutex::locked;
use crate::types::names::LockName;

/// The slots in use, by name. A name without slots in use has no entry.
#[derive(Debug, Default)]
pub(super) struct KeySlots(Mutex<HashMap<LockName, Vec<bool>, RandomState>>);

impl KeySlots {
    /// Takes the lowest free slot of a name, from 0.
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

    /// Releases a slot. No request about the claim that used it may reach the store any more.
    pub(super) fn release(&self, name: &LockName, slot: u32) {
        let mut names = locked(&self.0);
        let Some(taken) = names.get_mut(name) else {
            return;
        };
        if let Some(taken) = usize::try_from(slot)
            .ok()
            .and_then(|slot| taken.get_mut(slot))
        {
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
        assert_eq!(
            [
                slots.take(&a),
                slots.take(&a),
                slots.take(&b),
                slots.take(&a)
            ],
            [0, 1, 0, 2]
        );
        slots.release(&a, 1);
        assert_eq!([slots.take(&a), slots.take(&a)], [1, 3]);
        slots.release(&b, 0);
        slots.release(&b, 0);
        slots.release(&a, 99);
        assert_eq!(locked(&slots.0).len(), 1);
        assert_eq!([slots.take(&b), slots.take(&a)], [0, 4]);
    }
}
