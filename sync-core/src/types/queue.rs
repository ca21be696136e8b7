//! What observers see of a name: its claims in order.

use std::time::Duration;

use bytes::Bytes;

use crate::types::ids::{ClaimId, SessionId};
use crate::types::mode::Mode;
use crate::types::token::Token;

/// The longest value of a claim, in bytes.
pub const VALUE_MAX: usize = 1024;

/// What a withdrawal found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawn {
    /// The claim held, and has released.
    Held,
    /// The claim was in line, and has left.
    Waiting,
    /// There was no such claim.
    Absent,
}

/// The state of a name's queue, always newer after a change. Comparable within one name only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// One claim in a queue, as observers see it. Two are equal if they say the same of the claim, whenever they were read.
#[derive(Clone, Debug, Eq)]
pub struct Entry {
    /// Its id.
    pub claim: ClaimId,
    /// The session that it lives with, where the store tells.
    pub session: Option<SessionId>,
    /// Its token, if it holds.
    pub token: Option<Token>,
    /// For how long it has held, or waited, where the store tells.
    pub age: Option<Duration>,
    /// Its session has ended, and it holds on until its client is isolated.
    pub is_isolating: bool,
    /// Its mode.
    pub mode: Mode,
    /// Who it is, in the words of its own [`SessionSpec::client`](crate::spi::SessionSpec::client).
    pub client: String,
    /// Its value.
    pub value: Bytes,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        let Self { claim, session, token, age: _, is_isolating, mode, client, value } = self;
        (*claim, *token, *is_isolating, *mode) == (other.claim, other.token, other.is_isolating, other.mode)
            && (session, client, value) == (&other.session, &other.client, &other.value)
    }
}

/// The claims of a name in order of arrival: holders first, then waiters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// All of them.
    pub entries: Vec<Entry>,
    /// The revision at which it was read.
    pub revision: Revision,
}

impl Queue {
    /// Those that hold.
    pub fn holders(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.token.is_some())
    }

    /// Those that wait, the next one first.
    pub fn waiters(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.token.is_none())
    }
}
