//! What the table tells whoever keeps its state: each change, in order. Applied to an empty table
//! in the same order, they make the same table again.

use std::fmt::Debug;

use distsync_core::spi::{ClaimId, Secret, SessionId};
use distsync_core::{Mode, Token};

use super::command::Terms;

/// Hears of every change. Renewals are none: after a restart every session lives for its whole TTL
/// again.
pub trait Journal: Debug {
    /// A change has happened.
    fn record(&mut self, change: Change<'_>);
}

/// Keeps nothing, and costs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoJournal;

impl Journal for NoJournal {
    fn record(&mut self, _: Change<'_>) {}
}

/// One change of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A session has begun.
    Opened {
        /// The session.
        session: SessionId,
        /// Its secret.
        secret: Secret,
        /// How it lives and ends.
        terms: Terms,
        /// Who it is.
        client: &'a str,
        /// How its client can be isolated; empty: not at all.
        isolation: &'a [u8],
        /// Whose share it counts against; [`NO_PRINCIPAL`](super::NO_PRINCIPAL): nobody's.
        principal: u64,
    },
    /// A session has ended, and all its claims with it.
    Closed {
        /// The session.
        session: SessionId,
    },
    /// A claim has come to the end of a line. One of several names does so once in each of their
    /// lines, and is granted, updated and ended in all of them at once.
    Arrived {
        /// The session it lives with.
        session: SessionId,
        /// The claim.
        claim: ClaimId,
        /// Whose line.
        name: &'a str,
        /// In which company.
        mode: Mode,
        /// Seen by observers.
        value: &'a [u8],
        /// Its token, if it held at once.
        token: Option<Token>,
        /// Of several lines, any one is enough.
        any: bool,
    },
    /// A claim that any of several names is enough for holds one now, and has left the other lines.
    Chosen {
        /// The claim.
        claim: ClaimId,
        /// What it holds.
        name: &'a str,
        /// Its token.
        token: Token,
    },
    /// The next claim of a line holds now.
    Granted {
        /// The claim.
        claim: ClaimId,
        /// Its token.
        token: Token,
    },
    /// A claim has a new value.
    Updated {
        /// The claim.
        claim: ClaimId,
        /// Seen by observers.
        value: &'a [u8],
    },
    /// A claim has ended.
    Left {
        /// The claim.
        claim: ClaimId,
    },
}
