//! Remembers the keys that this client deletes itself, so that their deletion is not reported as an
//! eviction.
//!
//! The watch may report a deletion before or after the reply to the delete request arrives. It
//! reports only the key, which the session reuses for later claims.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use distsync_core::spi::{ClaimId, SessionId, locked};

use crate::keys::{lease, lease_of};

/// The deletions of this client that the watch has not reported yet, by key.
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

    /// Registers a deletion before its request is sent. The registration ends when the returned
    /// value is dropped, unless the deletion was [confirmed](Departure::deleted).
    pub(crate) fn begin<'a>(&'a self, claim: ClaimId, key: &'a str) -> Departure<'a> {
        self.keys().entry(key.to_owned()).or_default().push(Leave {
            claim,
            deleted_at: None,
        });
        Departure {
            leaving: self,
            claim,
            key,
        }
    }

    /// Returns whether this client requested the deletion of a key at a revision. Each registration
    /// explains one deletion. Deletions have to be passed in the order in which the watch reports
    /// them.
    pub(crate) fn explains(&self, key: &str, revision: i64) -> bool {
        let mut keys = self.keys();
        let Some(leaves) = keys.get_mut(key) else {
            return false;
        };
        // The watch has missed earlier deletions, and will not report them any more.
        leaves.retain(|leave| leave.deleted_at.is_none_or(|at| at >= revision));
        let known = leaves
            .iter()
            .position(|leave| leave.deleted_at == Some(revision));
        let found = known.or_else(|| leaves.iter().position(|leave| leave.deleted_at.is_none()));
        if let Some(index) = found {
            leaves.swap_remove(index);
        }
        if leaves.is_empty() {
            keys.remove(key);
        }
        found.is_some()
    }

    /// Drops the registrations of a session whose evictions are no longer reported.
    pub(crate) fn forget(&self, session: SessionId) {
        self.keys()
            .retain(|key, _| lease_of(key) != Some(lease(session)));
    }
}

/// A deletion whose reply has not arrived.
pub(crate) struct Departure<'a> {
    leaving: &'a Leaving,
    claim: ClaimId,
    key: &'a str,
}

impl Departure<'_> {
    /// Confirms that the key was deleted at this revision.
    pub(crate) fn deleted(self, revision: i64) {
        let mut keys = self.leaving.keys();
        // There is no registration any more if the watch reported the deletion before the reply
        // came.
        if let Some(leave) = keys
            .get_mut(self.key)
            .into_iter()
            .flatten()
            .find(|leave| leave.claim == self.claim)
        {
            leave.deleted_at = Some(revision);
        }
    }
}

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        let mut keys = self.leaving.keys();
        let Some(leaves) = keys.get_mut(self.key) else {
            return;
        };
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
    fn own_deletion_is_reported_before_or_after_its_reply() {
        let leaving = Leaving::default();
        let departure = begin(&leaving, 1);
        assert!(!leaving.explains("another", 5));
        assert!(leaving.explains(KEY, 5), "before");
        departure.deleted(5);
        assert!(is_empty(&leaving));

        begin(&leaving, 2).deleted(7);
        assert!(leaving.explains(KEY, 7), "after");
        assert!(!leaving.explains(KEY, 9), "deleted by another client");
        assert!(is_empty(&leaving));
    }

    #[test]
    fn eviction_is_not_explained_by_earlier_deletions() {
        let leaving = Leaving::default();
        // The key did not exist, or the reply was lost.
        drop(begin(&leaving, 1));
        assert!(!leaving.explains(KEY, 3));
        // The watch never reports this deletion.
        begin(&leaving, 2).deleted(5);
        assert!(!leaving.explains(KEY, 7));
        assert!(is_empty(&leaving));
    }

    #[test]
    fn key_is_reused_before_its_deletion_is_reported() {
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
