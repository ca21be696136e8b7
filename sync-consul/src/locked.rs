//! The keys that each session may have locked.
//!
//! With a lock-delay, keys that remain when a session ends cannot be locked by others for a while.
//! A client that closes its session does not want that, and Consul does not tell which keys a
//! session has locked.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use distsync_core::spi::{SessionId, locked};

/// The keys of all sessions of one client.
#[derive(Debug, Default)]
pub(crate) struct LockedKeys(Mutex<HashMap<SessionId, HashSet<String>>>);

impl LockedKeys {
    pub(crate) fn add(&self, session: SessionId, key: &str) {
        locked(&self.0)
            .entry(session)
            .or_default()
            .insert(key.to_owned());
    }

    pub(crate) fn remove(&self, session: SessionId, key: &str) {
        if let Some(keys) = locked(&self.0).get_mut(&session) {
            keys.remove(key);
        }
    }

    /// Returns the keys that a session may have locked.
    pub(crate) fn of(&self, session: SessionId) -> Vec<String> {
        let all = locked(&self.0);
        all.get(&session).into_iter().flatten().cloned().collect()
    }

    /// Removes a session that has ended.
    pub(crate) fn forget(&self, session: SessionId) {
        locked(&self.0).remove(&session);
    }
}
