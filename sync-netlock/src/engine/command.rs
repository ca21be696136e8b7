//! The input and output of the engine: commands and replies, as plain data.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use distsync_core::spi::{ClaimId, Entry, Gone, Queue, Revision, Secret, SessionId, Withdrawn};
use distsync_core::{Mode, Token};

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
    /// exists, only attaches. Reply: [`Reply::Opened`].
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
    /// [`Reply::Attached`].
    Attach {
        /// The session.
        session: SessionId,
        /// Its secret.
        secret: Secret,
    },
    /// Detaches the connection from a session. Reply: [`Reply::Detached`].
    Detach {
        /// The session.
        session: SessionId,
    },
    /// Renews a session. Reply: [`Reply::Renewed`], or [`Refusal::SessionUnknown`] if it has ended.
    Renew {
        /// The session.
        session: SessionId,
    },
    /// Ends a session and all its claims. Reply: [`Reply::Closed`], also if it has ended before.
    Close {
        /// The session.
        session: SessionId,
    },
    /// Adds a claim to the queue of a name. If it is queued already, only reports its state. Reply:
    /// [`Reply::Granted`], [`Reply::Busy`], or [`Reply::Waiting`] and later a second reply,
    /// [`Reply::Granted`] or [`Reply::Gone`].
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
    /// name is free, leaves the other queues, and the reply is [`Reply::GrantedAny`]. Otherwise
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
    /// Sets the value of a held claim. Reply: [`Reply::Updated`].
    Update {
        /// The session of the claim.
        session: SessionId,
        /// The claim.
        claim: ClaimId,
        /// The value that observers see.
        value: &'a [u8],
    },
    /// Releases a held claim, or removes a waiting one. Reply: [`Reply::Withdrawn`].
    Withdraw {
        /// The session of the claim.
        session: SessionId,
        /// The claim.
        claim: ClaimId,
    },
    /// Ends a claim of any session. Reply: [`Reply::Withdrawn`].
    Evict {
        /// A name of the claim.
        name: &'a str,
        /// The claim.
        claim: ClaimId,
    },
    /// Waits until claims that the session held are evicted. Reply: [`Reply::Evictions`].
    Evictions {
        /// The session.
        session: SessionId,
    },
    /// Reads the queue of a name. Reply: [`Reply::Queue`].
    Inspect {
        /// The name.
        name: &'a str,
    },
    /// Waits until the revision of a queue is higher than `after`. Reply: [`Reply::Queue`].
    Changed {
        /// The name.
        name: &'a str,
        /// The revision that the requester knows.
        after: Revision,
    },
    /// Lists names that have holders or waiters. Reply: [`Reply::Names`].
    List {
        /// The prefix of the names.
        prefix: &'a str,
        /// Only names after this one; empty for the first page.
        after: &'a str,
    },
    /// Ends any session, for an operator. Reply: [`Reply::Closed`], or
    /// [`Refusal::SessionUnknown`] if there is none.
    EndSession {
        /// The session.
        session: SessionId,
    },
    /// Confirms that a client was isolated, which releases its claims. Reply: [`Reply::Closed`], or
    /// [`Refusal::SessionUnknown`] if no such client is being isolated.
    ConfirmIsolated {
        /// The session of the client.
        session: SessionId,
    },
    /// Ends all claims of the names that begin with a prefix. Reply: [`Reply::Released`].
    ReleaseAll {
        /// The prefix of the names.
        prefix: &'a str,
    },
    /// Lists the open sessions. Reply: [`Reply::Sessions`].
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

/// A reply to an earlier command.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// The destination of the reply.
    pub to: Requester,
    /// The reply.
    pub reply: Reply,
}

/// A reply of the table.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The session is open.
    Opened {
        /// The TTL of the session.
        ttl: Duration,
    },
    /// The connection is attached to the session.
    Attached,
    /// The connection is detached from the session.
    Detached,
    /// The session is renewed.
    Renewed {
        /// The TTL of the session.
        ttl: Duration,
    },
    /// The session has ended.
    Closed,
    /// The claim is held.
    Granted {
        /// The fencing token.
        token: Token,
    },
    /// The claim for any one of its names is held.
    GrantedAny {
        /// The fencing token.
        token: Token,
        /// The name that was granted.
        name: Box<str>,
    },
    /// The claim waits.
    Waiting {
        /// The number of claims ahead.
        position: u32,
        /// The first holder.
        holder: Option<Box<Entry>>,
    },
    /// A name is taken, and the claim is not queued.
    Busy {
        /// The first holder.
        holder: Option<Box<Entry>>,
    },
    /// The claim is no longer in the queue.
    Gone {
        /// The reason.
        why: Gone,
    },
    /// The result of an update.
    Updated {
        /// Whether the claim is held, and so has the new value.
        held: bool,
    },
    /// The state of the claim before it was withdrawn or evicted.
    Withdrawn(Withdrawn),
    /// Held claims that were evicted.
    Evictions(Vec<ClaimId>),
    /// The queue of a name.
    Queue(Arc<Queue>),
    /// Names, in ascending order.
    Names {
        /// One page of the list.
        names: Vec<String>,
        /// Whether there are more after the last one.
        more: bool,
    },
    /// The result of [`Command::ReleaseAll`].
    Released {
        /// The number of claims that were ended.
        claims: u64,
    },
    /// Sessions, in ascending order of their ids.
    Sessions {
        /// One page of the list.
        sessions: Vec<SessionEntry>,
        /// Whether there are more after the last one.
        more: bool,
    },
    /// The command failed and had no effect.
    Refused(Refusal),
}

/// An open session, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEntry {
    /// The id.
    pub session: SessionId,
    /// The name of the client, as the client gave it.
    pub client: String,
    /// The time until the session ends, unless it is renewed.
    pub left: Duration,
    /// The number of claims, held and waiting.
    pub claims: u64,
    /// The number of attached connections.
    pub connections: u32,
}

/// Why a command failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The session has ended or never existed, or the secret is wrong. These cases are not told
    /// apart, so that secrets cannot be probed.
    SessionUnknown,
    /// The id of the claim is in use for another session, or for other names.
    ClaimTaken,
    /// The semaphore of this name has another number of permits.
    PermitsDiffer {
        /// The number of permits of the semaphore.
        of: u16,
    },
    /// The TTL is out of range.
    TtlOutOfRange {
        /// The shortest accepted TTL.
        min: Duration,
        /// The longest accepted TTL.
        max: Duration,
    },
    /// The name is empty, too long, not UTF-8, or contains control characters.
    NameInvalid,
    /// The number of permits is not between 1 and 65,535, or the mode is unknown.
    NoPermits,
    /// The value, the name of the client or the isolation data is too long.
    TooLong {
        /// The maximum length, in bytes.
        max: usize,
    },
    /// A limit of the table is reached.
    TooMany {
        /// The limit that is reached.
        what: Bound,
        /// The value of the limit.
        max: usize,
    },
    /// The table is in the [grace period](super::Freeze::Grace) after a restart.
    Settling {
        /// The rest of the grace period.
        left: Duration,
    },
    /// The disk of the server is full, so a grant could not be stored.
    StorageFull,
    /// The principal lacks the permission.
    Denied,
    /// The session ended while it held claims, and its client was or is being isolated.
    Isolated,
}

/// The limit that [`Refusal::TooMany`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// [`Limits::names`](super::Limits::names).
    Names,
    /// [`Limits::sessions`](super::Limits::sessions).
    Sessions,
    /// [`Limits::claims_per_session`](super::Limits::claims_per_session).
    ClaimsPerSession,
    /// [`Limits::claims_per_name`](super::Limits::claims_per_name).
    ClaimsPerName,
    /// [`Limits::watches_per_connection`](super::Limits::watches_per_connection).
    WatchesPerConnection,
    /// [`Limits::names_per_claim`](super::Limits::names_per_claim).
    NamesPerClaim,
    /// The server's limit of sessions attached to one connection.
    SessionsPerConnection,
    /// [`Limits::sessions_per_principal`](super::Limits::sessions_per_principal).
    SessionsPerPrincipal,
    /// [`Limits::claims_per_principal`](super::Limits::claims_per_principal).
    ClaimsPerPrincipal,
    /// [`Limits::watches_per_principal`](super::Limits::watches_per_principal).
    WatchesPerPrincipal,
    /// [`Limits::claims_per_name_and_principal`](super::Limits::claims_per_name_and_principal).
    ClaimsPerNameAndPrincipal,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Names => "names",
            Self::Sessions => "sessions",
            Self::ClaimsPerSession => "claims per session",
            Self::ClaimsPerName => "claims per name",
            Self::WatchesPerConnection => "watches per connection",
            Self::NamesPerClaim => "names per claim",
            Self::SessionsPerConnection => "sessions per connection",
            Self::SessionsPerPrincipal => "sessions per principal",
            Self::ClaimsPerPrincipal => "claims per principal",
            Self::WatchesPerPrincipal => "watches per principal",
            Self::ClaimsPerNameAndPrincipal => "claims per name and principal",
        })
    }
}

impl Refusal {
    /// Returns a name of the refusal for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::SessionUnknown => "session_unknown",
            Self::ClaimTaken => "claim_taken",
            Self::PermitsDiffer { .. } => "permits_differ",
            Self::TtlOutOfRange { .. } => "ttl_out_of_range",
            Self::NameInvalid => "name_invalid",
            Self::NoPermits => "no_permits",
            Self::TooLong { .. } => "too_long",
            Self::TooMany { .. } => "too_many",
            Self::Settling { .. } => "settling",
            Self::StorageFull => "storage_full",
            Self::Denied => "denied",
            Self::Isolated => "isolated",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SessionUnknown => f.write_str("the server does not know this session: open a new one"),
            Self::ClaimTaken => f.write_str("this claim id is in use for another session or name: draw a new random id"),
            Self::PermitsDiffer { of } => {
                write!(
                    f,
                    "the semaphore of this name has {of} permits: use the same number"
                )
            }
            Self::TtlOutOfRange { min, max } => {
                write!(f, "the TTL is out of range: use {min:?} to {max:?}")
            }
            Self::NameInvalid => f.write_str("the name is empty, too long, not UTF-8, or has control characters: choose another name"),
            Self::NoPermits => {
                f.write_str("invalid mode or number of permits: a semaphore has 1 to 65535 permits")
            }
            Self::TooLong { max } => write!(f, "a value or a client name is too long: use at most {max} bytes"),
            Self::TooMany { what, max } => {
                write!(f, "the server's limit of {max} {what} is reached: try later, or raise it")
            }
            Self::Settling { left } => {
                write!(
                    f,
                    "the server has restarted, and earlier locks may still be held for {left:?}: wait in the queue, or \
                     try later"
                )
            }
            Self::Isolated => f.write_str(
                "this client was isolated, because it did not renew its session in time while it held: end the process",
            ),
            Self::Denied => f.write_str(
                "this principal lacks the permission for this name: ask the server's operator for it",
            ),
            Self::StorageFull => {
                f.write_str("the server's disk is full, so it grants nothing: make room in its data folder")
            }
        }
    }
}
