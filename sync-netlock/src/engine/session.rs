//! The state of one session.

use std::sync::Arc;

use distsync_core::spi::clock::Moment;
use distsync_core::spi::{ClaimId, Secret, SessionId};

use super::command::{Requester, Terms};
use super::queue::{InSession, List, Slot};

#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) secret: Secret,
    pub(super) terms: Terms,
    pub(super) client: Arc<str>,
    /// When the session ends unless it is renewed.
    pub(super) expires: Moment,
    /// When the table checks the session next: at `expires` or earlier, because a renewal changes
    /// only `expires`.
    pub(super) armed: Moment,
    pub(super) claims: List<InSession>,
    pub(super) claim_count: usize,
    /// The number of claims that are held.
    pub(super) held_count: usize,
    /// The share that the session counts against.
    pub(super) share: Option<Slot>,
    /// Held claims that were evicted and are not reported yet. Bounded by the claims of the
    /// session.
    pub(super) evicted: Vec<ClaimId>,
    /// The request that waits for evictions.
    pub(super) listener: Option<Requester>,
    /// How the client can be isolated. Empty: not at all.
    pub(super) isolation: Box<[u8]>,
    /// The session has ended, but keeps its held claims until its client is isolated.
    pub(super) is_isolating: bool,
    /// The session has ended, and its claims are being removed. Nobody can find it any more.
    pub(super) is_dead: bool,
    /// Requests to close the session, which are answered when all its claims are removed.
    pub(super) closers: Vec<Requester>,
    /// The connections attached to the session.
    pub(super) connections: Vec<u64>,
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        secret: Secret,
        terms: Terms,
        client: &str,
        isolation: &[u8],
        now: Moment,
    ) -> Self {
        let expires = now.after(terms.ttl);
        Self {
            id,
            secret,
            terms,
            client: client.into(),
            expires,
            armed: expires,
            claims: List::new(),
            claim_count: 0,
            held_count: 0,
            share: None,
            evicted: Vec::new(),
            listener: None,
            isolation: isolation.into(),
            is_isolating: false,
            is_dead: false,
            closers: Vec::new(),
            connections: Vec::new(),
        }
    }
}
