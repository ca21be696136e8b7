//! What goes into the engine and what comes out: plain data, that a wire or a log can carry.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use distsync_core::spi::{ClaimId, Entry, Gone, Queue, Revision, Secret, SessionId, Withdrawn};
use distsync_core::{Mode, Token};

/// Where a reply goes. The engine only carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requester {
    /// The connection, as its host numbers it.
    pub connection: u64,
    /// The request, as its connection numbers it.
    pub request: u64,
}

impl Requester {
    /// Where no reply goes: the host itself asks. Its connections have other numbers.
    pub const NOBODY: Self = Self {
        connection: 0,
        request: 0,
    };
}

/// The principal of clients that are not authenticated: it has no limits of its own.
pub const NO_PRINCIPAL: u64 = 0;

/// How a session lives and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// For how long it lives without renewal.
    pub ttl: Duration,
    /// Whether it ends soon after its last connection is gone.
    pub release_on_disconnect: bool,
}

impl Terms {
    /// Ends by its TTL alone.
    #[must_use]
    pub const fn lasting(ttl: Duration) -> Self {
        Self {
            ttl,
            release_on_disconnect: false,
        }
    }
}

/// What is asked of the table. Whether the requester may speak for the session is for its host to
/// know.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// Opens a session, or finds the one of the same id and secret. Answered [`Reply::Opened`].
    Open {
        /// Chosen by the client, 128 random bits.
        session: SessionId,
        /// What proves later that it is the same client.
        secret: Secret,
        /// How it lives and ends.
        terms: Terms,
        /// Who this is, for observers.
        client: &'a str,
        /// How its client can be isolated, if the session ends by itself while it holds; empty: not
        /// at all.
        isolation: &'a [u8],
    },
    /// Proves that the requester may speak for a session, whose connection it is from now on.
    /// Answered [`Reply::Attached`].
    Attach {
        /// The session.
        session: SessionId,
        /// Its secret.
        secret: Secret,
    },
    /// The requester's connection is none of the session's any more. Answered [`Reply::Detached`].
    Detach {
        /// The session.
        session: SessionId,
    },
    /// Answered [`Reply::Renewed`], or refused as unknown if the session is gone.
    Renew {
        /// The session.
        session: SessionId,
    },
    /// Ends a session and all its claims. Answered [`Reply::Closed`], also if it is gone.
    Close {
        /// The session.
        session: SessionId,
    },
    /// Puts a claim in line, or finds it there. Answered [`Reply::Granted`], [`Reply::Busy`], or
    /// [`Reply::Waiting`], and after the latter once more: [`Reply::Granted`] or [`Reply::Gone`].
    Enqueue {
        /// The session it lives with.
        session: SessionId,
        /// Its id.
        claim: ClaimId,
        /// What it wants, as UTF-8. Looked at only if the name is new: nearly all are not.
        name: &'a [u8],
        /// In which company.
        mode: Mode,
        /// Whether it stands in line if the name is taken.
        waits: bool,
        /// Seen by observers.
        value: &'a [u8],
    },
    /// As [`Enqueue`](Self::Enqueue), for several names at a time: the claim stands in all their
    /// lines. It is granted when all of them are free, and holds nothing before, with one token for
    /// all; or any one of them, leaves the other lines, and is answered [`Reply::GrantedAny`].
    /// Names given twice count once.
    EnqueueAll {
        /// The session it lives with.
        session: SessionId,
        /// Its id.
        claim: ClaimId,
        /// What it wants.
        names: &'a [&'a str],
        /// Whether any one of them is enough: the first that is free, in this order, else the first
        /// that becomes free.
        any: bool,
        /// In which company, for each of them.
        mode: Mode,
        /// Whether it stands in line if any name is taken.
        waits: bool,
        /// Seen by observers of each.
        value: &'a [u8],
    },
    /// A holder's new value. Answered [`Reply::Updated`].
    Update {
        /// The claim's session.
        session: SessionId,
        /// The claim.
        claim: ClaimId,
        /// Seen by observers.
        value: &'a [u8],
    },
    /// Releases, or leaves the line. Answered [`Reply::Withdrawn`].
    Withdraw {
        /// The claim's session.
        session: SessionId,
        /// The claim.
        claim: ClaimId,
    },
    /// Ends another's claim. Answered [`Reply::Withdrawn`].
    Evict {
        /// The name it stands for.
        name: &'a str,
        /// The claim.
        claim: ClaimId,
    },
    /// Answered [`Reply::Evictions`] once others have ended claims that the session held.
    Evictions {
        /// The session.
        session: SessionId,
    },
    /// Answered [`Reply::Queue`].
    Inspect {
        /// The name.
        name: &'a str,
    },
    /// Answered [`Reply::Queue`] once the queue is newer than `after`.
    Changed {
        /// The name.
        name: &'a str,
        /// The revision known.
        after: Revision,
    },
    /// Answered [`Reply::Names`].
    List {
        /// The start of the names.
        prefix: &'a str,
        /// Only names after this one; empty for the first page.
        after: &'a str,
    },
    /// Ends a session that is not one's own: an operator's break. Answered [`Reply::Closed`], or
    /// refused as unknown if there is none.
    EndSession {
        /// The session.
        session: SessionId,
    },
    /// A client that was to be isolated can do nothing more. Answered [`Reply::Closed`], or refused
    /// as unknown if no such client is being isolated.
    ConfirmIsolated {
        /// Its session.
        session: SessionId,
    },
    /// Ends all claims of the names that begin in one way. Answered [`Reply::Released`].
    ReleaseAll {
        /// The start of the names.
        prefix: &'a str,
    },
    /// Answered [`Reply::Sessions`].
    Sessions {
        /// Only sessions after this one; 0 for the first page.
        after: SessionId,
    },
    /// The requester's connection does not wait for the answer to `request` any more. Not answered.
    Forget {
        /// A request of the same connection.
        request: u64,
    },
    /// Says which principal the requester's connection belongs to, from now until it is gone.
    /// Sessions that it opens count against the principal's share. Not answered.
    Introduce {
        /// The principal, as a number that its host chose, stays the same over restarts, and is not
        /// [`NO_PRINCIPAL`].
        principal: u64,
    },
    /// The requester's connection is gone. Not answered.
    Disconnected,
    /// Time has passed. Not answered.
    Tick,
}

/// An answer, and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// Whose.
    pub to: Requester,
    /// The answer.
    pub reply: Reply,
}

/// What the table answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The session is open, with this TTL.
    Opened {
        /// Without renewal it ends after this time.
        ttl: Duration,
    },
    /// The secret is right.
    Attached,
    /// The session does without this connection.
    Detached,
    /// The session lives on.
    Renewed {
        /// Without renewal it ends after this time.
        ttl: Duration,
    },
    /// The session is gone.
    Closed,
    /// The claim holds.
    Granted {
        /// Its fencing token.
        token: Token,
    },
    /// The claim, which any of several names is enough for, holds one.
    GrantedAny {
        /// Its fencing token.
        token: Token,
        /// What it holds.
        name: Box<str>,
    },
    /// The claim is in line.
    Waiting {
        /// How many are ahead.
        position: u32,
        /// The first holder.
        holder: Option<Box<Entry>>,
    },
    /// The name is taken; nothing was left behind.
    Busy {
        /// The first holder.
        holder: Option<Box<Entry>>,
    },
    /// The claim is in line no more.
    Gone {
        /// Why.
        why: Gone,
    },
    /// Whether the claim holds, and has the new value.
    Updated {
        /// It does.
        held: bool,
    },
    /// What the withdrawal or eviction found.
    Withdrawn(Withdrawn),
    /// Claims that were held, and that others ended.
    Evictions(Vec<ClaimId>),
    /// A name's queue.
    Queue(Arc<Queue>),
    /// Names, in order.
    Names {
        /// One page of them.
        names: Vec<String>,
        /// There are more after the last one.
        more: bool,
    },
    /// How many claims a release of all has ended.
    Released {
        /// So many.
        claims: u64,
    },
    /// Sessions, in order of their ids.
    Sessions {
        /// One page of them.
        sessions: Vec<SessionEntry>,
        /// There are more after the last one.
        more: bool,
    },
    /// It was not done.
    Refused(Refusal),
}

/// One session, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEntry {
    /// Its id.
    pub session: SessionId,
    /// Who it is, in its own words.
    pub client: String,
    /// When it ends unless it is renewed.
    pub left: Duration,
    /// Its claims, held and waiting.
    pub claims: u64,
    /// Its connections.
    pub connections: u32,
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The session is gone, was never there, or its secret is another: not told apart.
    SessionUnknown,
    /// The claim's id is in use for another session, or other names.
    ClaimTaken,
    /// A semaphore of this name has another number of permits.
    PermitsDiffer {
        /// The number in force.
        of: u16,
    },
    /// The TTL is out of range.
    TtlOutOfRange {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// The name is empty, too long, or has control characters.
    NameInvalid,
    /// The number of permits is not within 1 to 65,535, or the mode is unknown.
    NoPermits,
    /// The value, or the client's name, is too long.
    TooLong {
        /// The longest, in bytes.
        max: usize,
    },
    /// A limit of the server is reached.
    TooMany {
        /// Of what.
        what: Bound,
        /// The limit.
        max: usize,
    },
    /// After a restart, grants of before may not have ended yet.
    Settling {
        /// For how long that can still be so.
        left: Duration,
    },
    /// The server's disk is full, and a grant could not be remembered.
    StorageFull,
    /// The requester may not do this.
    Denied,
    /// The session ended by itself while it held, and its client was isolated, or is about to be.
    Isolated,
}

/// What there can be too many of.
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
    /// The server's bound on the sessions attached to one connection.
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
    /// One word for those who count.
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
            Self::SessionUnknown => f.write_str("the server does not know this session: it has ended"),
            Self::ClaimTaken => f.write_str("this claim id is in use for another session or name"),
            Self::PermitsDiffer { of } => {
                write!(
                    f,
                    "a semaphore of {of} permits is in use under this name: all have to agree on the number"
                )
            }
            Self::TtlOutOfRange { min, max } => {
                write!(f, "the ttl is out of range: the server grants {min:?} to {max:?}")
            }
            Self::NameInvalid => f.write_str("the name is empty, too long, or has control characters"),
            Self::NoPermits => {
                f.write_str("a semaphore has 1 to 65535 permits, and a mode is exclusive, shared or permit")
            }
            Self::TooLong { max } => write!(f, "longer than the {max} bytes that the server takes"),
            Self::TooMany { what, max } => {
                write!(f, "the server's limit of {max} {what} is reached: try later, or raise it")
            }
            Self::Settling { left } => {
                write!(
                    f,
                    "the server has restarted, and locks of before may still be held for {left:?}: wait in line, or \
                     try later"
                )
            }
            Self::Isolated => f.write_str(
                "this client was isolated, for it did not renew what it held in time: end the process",
            ),
            Self::Denied => f.write_str(
                "this principal may not do that to this name: ask the server's operator for a permission",
            ),
            Self::StorageFull => {
                f.write_str("the server's disk is full, so it grants nothing: make room in its data folder")
            }
        }
    }
}
