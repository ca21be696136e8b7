//! What this client deletes itself: the end of such a key is no eviction.
//!
//! The watch tells of a deletion before or after its answer comes, and by its key only, which the session uses again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use distsync_core::spi::locked;
use distsync_core::spi::{ClaimId, SessionId};

use crate::keys::{lease, lease_of};

/// By key.
#[derive(Debug, Default)]
pub(crate) struct Leaving(Mutex<HashMap<String, Vec<Leave>>>);

#[derive(Debug)]
struct Leave {
    claim: ClaimId,
    /// The revision of the deletion, once it is known.
    deleted_at: Option<i64>,
}

impl Leaving {
    fn keys(&self) -> MutexGuard<'_, HashMap<String, Vec<Leave>>> {
        locked(&self.0)
    }

    /// A claim's key is about to be deleted: from now on, and unless it [was](Departure::deleted) until this is dropped.
    pub(crate) fn begin<'a>(&'a self, claim: ClaimId, key: &'a str) -> Departure<'a> {
        self.keys().entry(key.to_owned()).or_default().push(Leave { claim, deleted_at: None });
        Departure { leaving: self, claim, key }
    }

    /// Whether the deletion of a key at a revision is one that this client has asked for. Each is explained once, in the order
    /// in which they are told.
    pub(crate) fn explains(&self, key: &str, revision: i64) -> bool {
        let mut keys = self.keys();
        let Some(leaves) = keys.get_mut(key) else { return false };
        // Those before were missed.
        leaves.retain(|leave| leave.deleted_at.is_none_or(|at| at >= revision));
        let known = leaves.iter().position(|leave| leave.deleted_at == Some(revision));
        let found = known.or_else(|| leaves.iter().position(|leave| leave.deleted_at.is_none()));
        if let Some(index) = found {
            leaves.swap_remove(index);
        }
        if leaves.is_empty() {
            keys.remove(key);
        }
        found.is_some()
    }

    /// Nothing is told of a session any more.
    pub(crate) fn forget(&self, session: SessionId) {
        self.keys().retain(|key, _| lease_of(key) != Some(lease(session)));
    }
}

/// A deletion that is under way.
pub(crate) struct Departure<'a> {
    leaving: &'a Leaving,
    claim: ClaimId,
    key: &'a str,
}

impl Departure<'_> {
    /// It was deleted, at this revision.
    pub(crate) fn deleted(self, revision: i64) {
        let mut keys = self.leaving.keys();
        // What was told before it was answered is explained already.
        if let Some(leave) =
            keys.get_mut(self.key).into_iter().flatten().find(|leave| leave.claim == self.claim)
        {
            leave.deleted_at = Some(revision);
        }
    }
}

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        let mut keys = self.leaving.keys();
        let Some(leaves) = keys.get_mut(self.key) else { return };
        leaves.retain(|leave| leave.claim != self.claim || leave.deleted_at.is_some());
        if leaves.is_empty() {
            keys.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId::from_bits(7);
    const KEY: &str = "a/b/x-7-0";

    fn begin(leaving: &Leaving, claim: u128) -> Departure<'_> {
        leaving.begin(ClaimId::from_bits(claim), KEY)
    }

    fn is_empty(leaving: &Leaving) -> bool {
        leaving.keys().is_empty()
    }

    #[test]
    fn a_deletion_of_ours_is_told_before_or_after_its_answer() {
        let leaving = Leaving::default();
        let departure = begin(&leaving, 1);
        assert!(!leaving.explains("another", 5));
        assert!(leaving.explains(KEY, 5), "before");
        departure.deleted(5);
        assert!(is_empty(&leaving));

        begin(&leaving, 2).deleted(7);
        assert!(leaving.explains(KEY, 7), "after");
        assert!(!leaving.explains(KEY, 9), "that was another's doing");
        assert!(is_empty(&leaving));
    }

    #[test]
    fn an_eviction_is_none_of_ours_whatever_happened_to_the_key_before() {
        let leaving = Leaving::default();
        // Nothing was there, or nobody knows.
        drop(begin(&leaving, 1));
        assert!(!leaving.explains(KEY, 3));
        // Of this the watch has not told.
        begin(&leaving, 2).deleted(5);
        assert!(!leaving.explains(KEY, 7));
        assert!(is_empty(&leaving));
    }

    #[test]
    fn a_key_is_used_again_before_its_deletion_is_told() {
        let leaving = Leaving::default();
        begin(&leaving, 1).deleted(5);
        let departure = begin(&leaving, 2);
        assert!(leaving.explains(KEY, 5) && leaving.explains(KEY, 8));
        departure.deleted(8);
        assert!(!leaving.explains(KEY, 11));
        begin(&leaving, 3).deleted(12);
        leaving.forget(SESSION);
        assert!(is_empty(&leaving));
    }
}
