//! The journal: the sequence of changes of a table. Applied in order to an empty table, they create
//! the same table again.

use std::fmt::Debug;

use distsync_core::spi::{ClaimId, Secret, SessionId};
use distsync_core::{Mode, Token};

use super::command::Terms;
use super::table::Reason;

/// Receives every change of a table. Renewals are not changes, because a restored session starts
/// with its whole TTL.
pub trait Journal: Debug {
    /// Records a change.
    fn record(&mut self, change: Change<'_>);

    /// Records an arrival that a dump in slices, which is underway, will emit too.
    fn record_undumped(&mut self, change: Change<'_>) {
        self.record(change);
    }
}

/// A journal that discards all changes.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoJournal;

impl Journal for NoJournal {
    fn record(&mut self, _: Change<'_>) {}
}

/// One change of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A session was opened.
    Opened {
        /// The session.
        session: SessionId,
        /// Its secret.
        secret: Secret,
        /// How it ends.
        terms: Terms,
        /// The name of its client.
        client: &'a str,
        /// How its client can be isolated. Empty: not at all.
        isolation: &'a [u8],
        /// The principal that it counts against, or [`NO_PRINCIPAL`](super::NO_PRINCIPAL).
        principal: u64,
    },
    /// A session has ended for its client, which has to be isolated. It keeps its held claims until
    /// it is closed.
    Isolating {
        /// The session.
        session: SessionId,
        /// Why the client is isolated.
        reason: Reason,
    },
    /// The client of a session that has ended was isolated. Part of dumps only.
    Isolated {
        /// The session.
        session: SessionId,
    },
    /// A session has ended, and all its claims with it.
    Closed {
        /// The session.
        session: SessionId,
    },
    /// A claim was added to the end of a queue. A claim for more than one name arrives once in each
    /// queue. It is granted, updated and ended in all of them by one change.
    Arrived {
        /// The session of the claim.
        session: SessionId,
        /// The claim.
        claim: ClaimId,
        /// The name of the queue.
        name: &'a str,
        /// The mode.
        mode: Mode,
        /// The value that observers see.
        value: &'a [u8],
        /// The token, if the claim was granted at once.
        token: Option<Token>,
        /// The claim waits in more than one queue, and is granted in any one of them.
        any: bool,
    },
    /// A claim for any one of its names was granted one, and has left the other queues.
    Chosen {
        /// The claim.
        claim: ClaimId,
        /// The name that was granted.
        name: &'a str,
        /// The token.
        token: Token,
    },
    /// A waiting claim was granted.
    Granted {
        /// The claim.
        claim: ClaimId,
        /// The token.
        token: Token,
    },
    /// A claim has a new value.
    Updated {
        /// The claim.
        claim: ClaimId,
        /// The value that observers see.
        value: &'a [u8],
    },
    /// A claim has ended.
    Left {
        /// The claim.
        claim: ClaimId,
    },
}
