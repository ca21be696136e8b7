//! What this client deletes itself: the end of such a key is no eviction.
//!
//! The watch tells of a deletion before or after its answer comes, and by its key only, which the session uses again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sync_core::backend::{Claim, ClaimId, SessionId};

/// By session, and by key.
#[derive(Debug, Default)]
pub(crate) struct Leaving(Mutex<HashMap<SessionId, HashMap<String, Vec<Leave>>>>);

#[derive(Debug)]
struct Leave {
    claim: ClaimId,
    /// The revision of the deletion, once it is known.
    deleted_at: Option<i64>,
}

impl Leaving {
    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, HashMap<String, Vec<Leave>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A claim's key is about to be deleted: from now on, and unless it [was](Departure::deleted) until this is dropped.
    pub(crate) fn begin(&self, claim: &Claim, key: String) -> Departure<'_> {
        let leave = Leave { claim: claim.id, deleted_at: None };
        let mut sessions = self.sessions();
        sessions.entry(claim.session.id).or_default().entry(key.clone()).or_default().push(leave);
        Departure { leaving: self, session: claim.session.id, claim: claim.id, key }
    }

    /// Whether the deletion of a key at a revision is one that this client has asked for. Each is explained once, in the order
    /// in which they are told.
    pub(crate) fn explains(&self, session: SessionId, key: &str, revision: i64) -> bool {
        let mut sessions = self.sessions();
        let Some(keys) = sessions.get_mut(&session) else { return false };
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
        self.sessions().remove(&session);
    }
}

/// A deletion that is under way.
pub(crate) struct Departure<'a> {
    leaving: &'a Leaving,
    session: SessionId,
    claim: ClaimId,
    key: String,
}

impl Departure<'_> {
    /// It was deleted, at this revision.
    pub(crate) fn deleted(self, revision: i64) {
        let mut sessions = self.leaving.sessions();
        let leaves = sessions.get_mut(&self.session).and_then(|keys| keys.get_mut(&self.key));
        // What was told before it was answered is explained already.
        if let Some(leave) = leaves.into_iter().flatten().find(|leave| leave.claim == self.claim) {
            leave.deleted_at = Some(revision);
        }
    }
}

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        let mut sessions = self.leaving.sessions();
        let Some(keys) = sessions.get_mut(&self.session) else { return };
        if let Some(leaves) = keys.get_mut(&self.key) {
            leaves.retain(|leave| leave.claim != self.claim || leave.deleted_at.is_some());
            if leaves.is_empty() {
                keys.remove(&self.key);
            }
        }
        if keys.is_empty() {
            sessions.remove(&self.session);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use sync_core::backend::Session;
    use sync_core::{Kind, LockName, Mode, Namespace, Secret};

    use super::*;

    const SESSION: SessionId = SessionId::from_bits(7);
    const KEY: &str = "a/b/x-7-0";

    fn claim(id: u128) -> Claim {
        Claim {
            id: ClaimId::from_bits(id),
            session: Session { id: SESSION, secret: Secret::default(), ttl: Duration::from_secs(1) },
            name: LockName::new(&Namespace::default(), Kind::Lock, "a").unwrap(),
            also: Vec::new(),
            any: false,
            mode: Mode::Exclusive,
            waits: true,
            client: "".into(),
            value: Bytes::new(),
            token: None,
        }
    }

    fn is_empty(leaving: &Leaving) -> bool {
        leaving.sessions().values().all(HashMap::is_empty)
    }

    #[test]
    fn a_deletion_of_ours_is_told_before_or_after_its_answer() {
        let leaving = Leaving::default();
        let departure = leaving.begin(&claim(1), KEY.to_owned());
        assert!(!leaving.explains(SESSION, "another", 5));
        assert!(leaving.explains(SESSION, KEY, 5), "before");
        departure.deleted(5);
        assert!(is_empty(&leaving));

        leaving.begin(&claim(2), KEY.to_owned()).deleted(7);
        assert!(leaving.explains(SESSION, KEY, 7), "after");
        assert!(!leaving.explains(SESSION, KEY, 9), "that was another's doing");
        assert!(is_empty(&leaving));
    }

    #[test]
    fn an_eviction_is_none_of_ours_whatever_happened_to_the_key_before() {
        let leaving = Leaving::default();
        // Nothing was there, or nobody knows.
        drop(leaving.begin(&claim(1), KEY.to_owned()));
        assert!(!leaving.explains(SESSION, KEY, 3));
        // Of this the watch has not told.
        leaving.begin(&claim(2), KEY.to_owned()).deleted(5);
        assert!(!leaving.explains(SESSION, KEY, 7));
        assert!(is_empty(&leaving));
    }

    #[test]
    fn a_key_is_used_again_before_its_deletion_is_told() {
        let leaving = Leaving::default();
        leaving.begin(&claim(1), KEY.to_owned()).deleted(5);
        let departure = leaving.begin(&claim(2), KEY.to_owned());
        assert!(leaving.explains(SESSION, KEY, 5) && leaving.explains(SESSION, KEY, 8));
        departure.deleted(8);
        assert!(!leaving.explains(SESSION, KEY, 11));
        leaving.begin(&claim(3), KEY.to_owned()).deleted(12);
        leaving.forget(SESSION);
        assert!(is_empty(&leaving));
    }
}
