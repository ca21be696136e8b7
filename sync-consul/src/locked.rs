//! The keys that each session may have locked.
//!
//! With a lock-delay, what is left when a session ends keeps others away. A client that ends its session on purpose wants
//! nobody kept away, and Consul does not say which keys a session has locked.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use distsync_core::spi::SessionId;
use distsync_core::spi::locked;

/// The keys of all sessions of one client.
#[derive(Debug, Default)]
pub(crate) struct LockedKeys(Mutex<HashMap<SessionId, HashSet<String>>>);

impl LockedKeys {
    pub(crate) fn add(&self, session: SessionId, key: &str) {
        locked(&self.0).entry(session).or_default().insert(key.to_owned());
    }

    pub(crate) fn remove(&self, session: SessionId, key: &str) {
        if let Some(keys) = locked(&self.0).get_mut(&session) {
            keys.remove(key);
        }
    }

    /// A session has ended, or is about to: what it has locked.
    pub(crate) fn take(&self, session: SessionId) -> Vec<String> {
        locked(&self.0).remove(&session).unwrap_or_default().into_iter().collect()
    }
}
