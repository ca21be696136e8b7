//! The queue of a name as observers see it.

use std::time::Duration;

use bytes::Bytes;

use crate::types::ids::{ClaimId, SessionId};
use crate::types::mode::Mode;
use crate::types::token::Token;

/// The longest value of a claim, in bytes.
pub const VALUE_MAX: usize = 1024;

/// The state in which a withdrawal or an eviction found the claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawn {
    /// The claim was held and has been released.
    Held,
    /// The claim was waiting and has been removed from the queue.
    Waiting,
    /// The claim did not exist.
    Absent,
}

/// The revision of a name's queue, which increases with each change.
///
/// Revisions are comparable within one name only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// One claim in a queue, as observers see it.
///
/// Equality ignores [`age`](Self::age), so that two reads of an unchanged claim are equal.
#[derive(Clone, Debug, Eq)]
pub struct Entry {
    /// The id of the claim.
    pub claim: ClaimId,
    /// The session of the claim, if the store reports it.
    pub session: Option<SessionId>,
    /// The fencing token, if the claim is held.
    pub token: Option<Token>,
    /// The time for which the claim has been held or has waited, if the store reports it.
    pub age: Option<Duration>,
    /// Whether the session has ended and the claim is kept only until its client is isolated.
    pub is_isolating: bool,
    /// The mode of the claim.
    pub mode: Mode,
    /// The name of the client, as the [claim](crate::spi::Claim::client) gives it.
    pub client: String,
    /// The value of the claim.
    pub value: Bytes,
}

impl Entry {
    /// Returns the entry of a claim that waits, without client, value, session and age.
    #[must_use]
    pub fn new(claim: ClaimId, mode: Mode) -> Self {
        Self {
            claim,
            session: None,
            token: None,
            age: None,
            is_isolating: false,
            mode,
            client: String::new(),
            value: Bytes::new(),
        }
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            claim,
            session,
            token,
            age: _,
            is_isolating,
            mode,
            client,
            value,
        } = self;
        (*claim, *token, *is_isolating, *mode)
            == (other.claim, other.token, other.is_isolating, other.mode)
            && (session, client, value) == (&other.session, &other.client, &other.value)
    }
}

/// The claims of a name in order of arrival: holders first, then waiters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// The claims, in order of arrival.
    pub entries: Vec<Entry>,
    /// The revision at which the queue was read.
    pub revision: Revision,
}

impl Queue {
    /// Returns the claims that are held.
    pub fn holders(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.token.is_some())
    }

    /// Returns the claims that wait, the next one first.
    pub fn waiters(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.token.is_none())
    }
}
