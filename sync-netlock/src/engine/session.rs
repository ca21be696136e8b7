//! One session: how long it lives, and what it has.

use distsync_core::spi::clock::Moment;
use distsync_core::spi::{ClaimId, Secret, SessionId};

use super::command::{Requester, Terms};
use super::line::{InSession, List, Slot};

#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) secret: Secret,
    pub(super) terms: Terms,
    pub(super) client: Box<str>,
    /// When it ends unless renewed.
    pub(super) expires: Moment,
    /// When the table looks next: `expires` or earlier, for a renewal moves only `expires`.
    pub(super) armed: Moment,
    pub(super) claims: List<InSession>,
    pub(super) claim_count: usize,
    /// Whose share it counts against, as a slot of the table's shares.
    pub(super) share: Option<Slot>,
    /// Held claims that others ended, not told yet. Bounded by the claims of the session.
    pub(super) evicted: Vec<ClaimId>,
    /// Who waits to be told.
    pub(super) listener: Option<Requester>,
    /// How its client can be isolated; empty: not at all.
    pub(super) isolation: Box<[u8]>,
    /// It has ended, and holds on until its client is isolated.
    pub(super) is_isolating: bool,
    /// Its connections.
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
            share: None,
            evicted: Vec::new(),
            listener: None,
            isolation: isolation.into(),
            is_isolating: false,
            connections: Vec::new(),
        }
    }
}
