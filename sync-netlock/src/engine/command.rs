//! The commands to the engine, as plain data.

use std::time::Duration;

use distsync_core::Mode;
use distsync_core::spi::{ClaimId, Revision, Secret, SessionId};

/// The destination of a reply. The engine does not interpret it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requester {
    /// The number of the connection, chosen by the host.
    pub connection: u64,
    /// The id of the request, unique on its connection.
    pub request: u64,
}

impl Requester {
    /// The host itself, which needs no reply. Its connections have other numbers.
    pub const HOST: Self = Self {
        connection: 0,
        request: 0,
    };
}

/// The principal of clients that are not authenticated. It has no limits of its own.
pub const NO_PRINCIPAL: u64 = 0;

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long the session lives without renewal.
    pub ttl: Duration,
    /// Whether the session ends soon after its last connection is closed.
    pub release_on_disconnect: bool,
}

impl Terms {
    /// Returns terms for a session that ends only by its TTL.
    #[must_use]
    pub const fn lasting(ttl: Duration) -> Self {
        Self {
            ttl,
            release_on_disconnect: false,
        }
    }
}

/// A command to the table. The host checks before that the requester may use the session.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// Opens a session and attaches the connection to it. If a session with the same id and secret
    /// exists, only attaches. Reply: `Reply::Opened`.
    Open {
        /// The id: 128 random bits, chosen by the client.
        session: SessionId,
        /// The secret, which authorizes other connections to attach.
        secret: Secret,
        /// How the session ends.
        terms: Terms,
        /// The name of the client, for observers.
        client: &'a str,
        /// How the client can be isolated, if the session ends while it holds claims. Empty: not
        /// at all.
        isolation: &'a [u8],
    },
    /// Attaches the connection to a session, after checking the secret. Reply:
    /// `Reply::Attached`.
    Attach {
        /// The session.
        session: SessionId,
        /// Its secret.
        secret: Secret,
    },
    /// Detaches the connection from a session. Reply: `Reply::Detached`.
    Detach {
        /// The session.
        session: SessionId,
    },
    /// Renews a session. Reply: `Reply::Renewed`, or `Refusal::SessionUnknown` if it has ended.
    Renew {
        /// The session.
        session: SessionId,
    },
    /// Ends a session and all its claims. Reply: `Reply::Closed`, also if it has ended before.
    Close {
        /// The session.
        session: SessionId,
    },
    /// Adds a claim to the queue of a name. If it is queued already, only reports its state. Reply:
    /// `Reply::Granted`, `Reply::Busy`, or `Reply::Waiting` and later a second reply,
    /// `Reply::Granted` or `Reply::Gone`.
    Enqueue {
        /// The session of the claim.
        session: SessionId,
        /// The id of the claim.
        claim: ClaimId,
        /// The name, which has to be UTF-8. Only a new name is checked, because most names exist.
        name: &'a [u8],
        /// The mode.
        mode: Mode,
        /// Whether the claim waits if the name is taken.
        waits: bool,
        /// The value that observers see.
        value: &'a [u8],
    },
    /// Adds one claim to the queues of all given names. It holds none of them while it waits. It is
    /// granted when all are free, with one token for all. With `any`, it is granted as soon as one
    /// name is free, leaves the other queues, and the reply is `Reply::GrantedAny`. Otherwise
    /// the replies are those of [`Enqueue`](Self::Enqueue). Duplicate names are ignored.
    EnqueueAll {
        /// The session of the claim.
        session: SessionId,
        /// The id of the claim.
        claim: ClaimId,
        /// The names.
        names: &'a [&'a str],
        /// Whether one of the names is enough. If more than one is free, the first in the given
        /// order is granted.
        any: bool,
        /// The mode for each name.
        mode: Mode,
        /// Whether the claim waits if it cannot be granted at once.
        waits: bool,
        /// The value that observers of each name see.
        value: &'a [u8],
    },
    /// Sets the value of a held claim. Reply: `Reply::Updated`.
    Update {
        /// The session of the claim.
        session: SessionId,
        /// The claim.
        claim: ClaimId,
        /// The value that observers see.
        value: &'a [u8],
    },
    /// Releases a held claim, or removes a waiting one. Reply: `Reply::Withdrawn`.
    Withdraw {
        /// The session of the claim.
        session: SessionId,
        /// The claim.
        claim: ClaimId,
    },
    /// Ends a claim of any session. Reply: `Reply::Withdrawn`.
    Evict {
        /// A name of the claim.
        name: &'a str,
        /// The claim.
        claim: ClaimId,
    },
    /// Waits until claims that the session held are evicted. Reply: `Reply::Evictions`.
    Evictions {
        /// The session.
        session: SessionId,
    },
    /// Reads the queue of a name. Reply: `Reply::Queue`.
    Inspect {
        /// The name.
        name: &'a str,
    },
    /// Waits until the revision of a queue is higher than `after`. Reply: `Reply::Queue`.
    Changed {
        /// The name.
        name: &'a str,
        /// The revision that the requester knows.
        after: Revision,
    },
    /// Lists names that have holders or waiters. Reply: `Reply::Names`.
    List {
        /// The prefix of the names.
        prefix: &'a str,
        /// Only names after this one; empty for the first page.
        after: &'a str,
    },
    /// Ends any session, for an operator. Reply: `Reply::Closed`, or
    /// `Refusal::SessionUnknown` if there is none.
    EndSession {
        /// The session.
        session: SessionId,
    },
    /// Confirms that a client was isolated, which releases its claims. Reply: `Reply::Closed`, or
    /// `Refusal::SessionUnknown` if no such client is being isolated.
    ConfirmIsolated {
        /// The session of the client.
        session: SessionId,
    },
    /// Ends all claims of the names that begin with a prefix. Reply: `Reply::Released`.
    ReleaseAll {
        /// The prefix of the names.
        prefix: &'a str,
    },
    /// Lists the open sessions. Reply: `Reply::Sessions`.
    Sessions {
        /// Only sessions after this one; 0 for the first page.
        after: SessionId,
    },
    /// Cancels a request that waits for an event. No reply.
    Forget {
        /// A request of the same connection.
        request: u64,
    },
    /// Sets the principal of the connection. Sessions that the connection opens count against the
    /// principal's share. No reply.
    Introduce {
        /// The number of the principal. The host chooses a number that is not [`NO_PRINCIPAL`] and
        /// stays the same over restarts.
        principal: u64,
    },
    /// The connection was closed. No reply.
    Disconnected,
    /// Only advances the time. No reply.
    Tick,
}
