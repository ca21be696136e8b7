//! The held claims of a client, and whether the store still has them.
//!
//! Consul reports a key that was deleted under a living session only by a blocking query for each
//! key. A client with many locks cannot afford those, so it reads all that it holds from time to
//! time, many keys in one transaction.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use distsync_core::spi::{Claim, ClaimId, SessionId, locked};

use crate::error::Failure;
use crate::http::{Http, Step};
use crate::keys::key;

/// How often the held keys are read.
pub(crate) const LOOK: Duration = Duration::from_secs(2);

/// The held claims of all sessions of one client, by key.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<HashMap<SessionId, HashMap<String, ClaimId>>>);

impl Held {
    /// Adds a claim that was granted.
    pub(crate) fn add(&self, claim: &Claim) {
        locked(&self.0)
            .entry(claim.session.id)
            .or_default()
            .insert(key(claim), claim.id);
    }

    /// Removes a claim that this client is about to end.
    pub(crate) fn remove(&self, claim: &Claim) {
        self.take(claim.session.id, &(key(claim), claim.id));
    }

    /// Removes the claims of a session that has ended.
    pub(crate) fn forget(&self, session: SessionId) {
        locked(&self.0).remove(&session);
    }

    /// Removes and returns the claims of a session that the store no longer has.
    pub(crate) async fn missing(
        &self,
        http: &Http,
        session: SessionId,
        uuid: &str,
        at_once: usize,
    ) -> Result<Vec<ClaimId>, Failure> {
        let keys: Vec<_> = locked(&self.0)
            .get(&session)
            .into_iter()
            .flatten()
            .map(copy)
            .collect();
        let mut missing = Vec::new();
        for keys in keys.chunks(at_once) {
            if has_all(http, keys, uuid).await? {
                continue;
            }
            for one in keys {
                if !has_all(http, std::slice::from_ref(one), uuid).await? && self.take(session, one)
                {
                    missing.push(one.1);
                }
            }
        }
        Ok(missing)
    }

    /// Removes a claim, and returns whether it was there: this client may have ended it meanwhile.
    fn take(&self, session: SessionId, (key, claim): &(String, ClaimId)) -> bool {
        let mut all = locked(&self.0);
        let Some(held) = all.get_mut(&session) else {
            return false;
        };
        held.get(key) == Some(claim) && held.remove(key).is_some()
    }
}

fn copy((key, claim): (&String, &ClaimId)) -> (String, ClaimId) {
    (key.clone(), *claim)
}

/// Returns whether the session still has all of these keys locked.
async fn has_all(http: &Http, keys: &[(String, ClaimId)], uuid: &str) -> Result<bool, Failure> {
    let steps: Vec<_> = keys
        .iter()
        .map(|(key, _)| Step::check_session(key, uuid))
        .collect();
    match http.transact(&steps).await {
        Ok(_) => Ok(true),
        Err(Failure::RolledBack(_)) => Ok(false),
        Err(failure) => Err(failure),
    }
}
