//! The reasons why a command fails, with their texts.

use std::fmt;
use std::time::Duration;

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
    /// Releases of all claims below a prefix that wait for earlier ones, or requests that wait for
    /// the end of one session.
    ReleasesAtOnce,
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
            Self::ReleasesAtOnce => "releases of all locks at once",
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
