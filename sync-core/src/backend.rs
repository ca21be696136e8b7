//! The SPI: what a store has to offer so that the core can make locks and elections of it.
//!
//! A backend implements *claims*, once; exclusive and shared locks, permits, elections, observation and revocation
//! are the core's. Rules for an implementation:
//!
//! 1. The core draws ids before any I/O. [`Backend::enqueue`] and [`Backend::withdraw`] are idempotent per claim id, so that
//!    a retry after a lost reply can never make two holders or touch another claim.
//! 2. One call is one logical round trip: no retry, sleep, task, clock or randomness. Those live once, in the core.
//!    (A connection may keep a task that carries its bytes.)
//! 3. Contended, not held, already gone are outcomes. `Err` means that the store did not answer properly, and says whether
//!    the request may have been applied.
//! 4. Every call is cancel-safe: the core drops calls that take too long.
//! 5. [`Capabilities`] are tested both ways.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::capabilities::Capabilities;
use crate::error::Result;
use crate::mode::Mode;
use crate::names::LockName;
use crate::nonce::{Secret, nonce};
use crate::order;
use crate::token::Token;

/// A 128-bit name for a session in its store: a lease id, a session UUID, or a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u128);

/// A 128-bit nonce that names one claim: the owner of a place in a queue. Never the session, process or object. (96 bits of it,
/// where the store has [seats](Capabilities::seats).)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimId(u128);

macro_rules! id {
    ($name:ident) => {
        impl $name {
            /// A new random id.
            #[must_use]
            pub fn random() -> Self {
                Self(nonce())
            }

            /// The id of these bits.
            #[must_use]
            pub const fn from_bits(bits: u128) -> Self {
                Self(bits)
            }

            /// The bits of this id.
            #[must_use]
            pub const fn bits(self) -> u128 {
                self.0
            }

            /// The id as it is written: 32 hexadecimal digits.
            #[must_use]
            pub fn digits(self) -> [u8; 32] {
                digits(self.0)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(str::from_utf8(&self.digits()).map_err(|_| std::fmt::Error)?)
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                u128::from_str_radix(text, 16).map(Self)
            }
        }
    };
}

id!(SessionId);
id!(ClaimId);

/// Faster than the formatting of a number.
fn digits(bits: u128) -> [u8; 32] {
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bits.to_be_bytes()) {
        pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    digits
}

impl ClaimId {
    /// A new id, random but for its seat.
    pub(crate) fn seated(seat: u32) -> Self {
        Self(nonce() & !u128::from(u32::MAX) | u128::from(seat))
    }

    /// Where the store has [seats](Capabilities::seats): a small number that no other claim of this session at this name
    /// has, as long as anything of this one can be on its way to the store. Random elsewhere.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the lowest 32 bits are meant")]
    pub const fn seat(self) -> u32 {
        self.0 as u32
    }
}

/// What the core asks of a new session.
#[derive(Clone, Debug)]
pub struct SessionSpec {
    /// A fresh id, for stores that let the client choose.
    pub nonce: SessionId,
    /// A fresh secret, for stores that ask for one before a second connection may use the session.
    pub secret: Secret,
    /// The TTL asked for; the store may grant another.
    pub ttl: Duration,
    /// Who this is, for observers.
    pub client: String,
    /// End it soon after its last connection is gone, instead of by its TTL. Only asked of stores that
    /// [can](Capabilities::release_on_disconnect).
    pub release_on_disconnect: bool,
    /// How its client can be isolated, if it ends by itself while it holds; empty: not at all. Only asked of stores that
    /// [can](Capabilities::isolates).
    pub isolation: Bytes,
}

/// An open session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id in the store.
    pub id: SessionId,
    /// What proves that it is ours, where the store asks.
    pub secret: Secret,
    /// The TTL that the store granted.
    pub ttl: Duration,
}

/// The answer to a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The session lives for `ttl` from the moment at which the store saw the request.
    Renewed {
        /// The TTL from now on.
        ttl: Duration,
    },
    /// The session is gone, and all that it held with it.
    Expired,
    /// The session ended by itself while it held, and its client was isolated, or is about to be.
    Isolated,
}

/// One place in one name's queue.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Its identity, drawn before any I/O.
    pub id: ClaimId,
    /// The session it lives with.
    pub session: Session,
    /// What it wants.
    pub name: LockName,
    /// What it wants at the same time: granted when all of the names are free, and holding none before. Empty, unless the
    /// store [grants several at once](Capabilities::several_at_once).
    pub also: Vec<LockName>,
    /// Any one of the names is enough: the first that is free, in this order, else the first that becomes free.
    pub any: bool,
    /// In which company.
    pub mode: Mode,
    /// Whether it stands in line if the name is taken. `false`: a try, which leaves nothing behind when it is busy.
    pub waits: bool,
    /// Who this is, for observers.
    pub client: Arc<str>,
    /// Seen by observers; at most [`VALUE_MAX`] bytes.
    pub value: Bytes,
    /// Its token, once it is known to hold. A store may end such a claim with less reading.
    pub token: Option<Token>,
}

/// The longest value of a claim, in bytes.
pub const VALUE_MAX: usize = 1024;

/// Where a claim stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds.
    Granted {
        /// Its fencing token.
        token: Token,
    },
    /// It wanted [any](Claim::any) of several names, and holds one; it stands in no other line any more.
    GrantedAny {
        /// The fencing token.
        token: Token,
        /// What it holds.
        name: LockName,
    },
    /// It is in line.
    Waiting {
        /// How many claims are ahead, holders included.
        position: u32,
        /// The holder, where the store tells.
        holder: Option<Box<Entry>>,
    },
    /// A try found the name taken, and left nothing behind.
    Busy {
        /// The holder, where the store tells.
        holder: Option<Box<Entry>>,
    },
    /// It was in line, and is no more.
    Gone {
        /// Why.
        why: Gone,
    },
}

/// Why a claim ended by another's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Its session ended.
    SessionLost,
    /// An operator ended it, or somebody removed its key.
    Evicted,
    /// It was withdrawn while it stood in line.
    Withdrawn,
}

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

/// What became of a claim that has been taken out of its line, from where it stood there.
impl<I> From<order::Place<I>> for Withdrawn {
    fn from(place: order::Place<I>) -> Self {
        match place {
            order::Place::Granted => Self::Held,
            order::Place::Behind { .. } => Self::Waiting,
            order::Place::Absent => Self::Absent,
        }
    }
}

/// The state of a name's queue, always newer after a change. Comparable within one name only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// One claim in a queue, as observers see it. Two are equal if they say the same of the claim, whenever they were read.
#[derive(Clone, Debug, Eq)]
pub struct Entry {
    /// Its id.
    pub claim: ClaimId,
    /// Its token, if it holds.
    pub token: Option<Token>,
    /// For how long it has held, or waited, where the store tells.
    pub age: Option<Duration>,
    /// Its session has ended, and it holds on until its client is isolated.
    pub is_isolating: bool,
    /// Its mode.
    pub mode: Mode,
    /// Who it is, in the words of its own [`SessionSpec::client`].
    pub client: String,
    /// Its value.
    pub value: Bytes,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        let Self { claim, token, age: _, is_isolating, mode, client, value } = self;
        (*claim, *token, *is_isolating, *mode) == (other.claim, other.token, other.is_isolating, other.mode)
            && (client, value) == (&other.client, &other.value)
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

/// A store of sessions and claims. See the [module](self) for the rules.
#[async_trait]
pub trait Backend: Debug + Send + std::marker::Sync + 'static {
    /// What this store can do.
    fn capabilities(&self) -> Capabilities;

    /// A second instance for the same store, on a connection of its own, for the keeper's thread.
    fn twin(&self) -> Arc<dyn Backend>;

    /// Limits how many calls of [`enqueue`](Self::enqueue) for this name are under way at the same time, for a store that cannot
    /// answer a crowd of them within the time that a request may take. The core waits for a permit first; that wait does not
    /// count as silence of the store.
    fn joining(&self, _name: &LockName) -> Option<&Semaphore> {
        None
    }

    /// A number that changes when the store may have forgotten what it acknowledged: with each new connection, where that can
    /// mean another server, or one that has restarted. Shared with [twins](Self::twin). After a renewal that finds it changed,
    /// the core looks whether what the session holds is still there. Constant where the store does not forget.
    fn incarnation(&self) -> u64 {
        0
    }

    /// Opens a session. Idempotent per nonce where the store lets the client choose the id; else an orphan of a lost
    /// reply ends by its TTL.
    async fn open(&self, spec: &SessionSpec) -> Result<Session>;

    /// Renews a session. Never opens one.
    async fn renew(&self, session: &Session) -> Result<Renewal>;

    /// Ends a session and all its claims. Ending one that is gone is fine.
    async fn close(&self, session: &Session) -> Result<()>;

    /// Puts a claim in line, or finds it there.
    async fn enqueue(&self, claim: &Claim) -> Result<Standing>;

    /// Resolves when a claim in line is granted, or gone; re-checked at the store where the store can be out of date.
    async fn granted(&self, claim: &Claim) -> Result<Standing>;

    /// A holder's new value. `false`: the claim does not hold.
    async fn update(&self, claim: &Claim, value: Bytes) -> Result<bool>;

    /// Releases, or leaves the line. Ends exactly this claim or nothing.
    async fn withdraw(&self, claim: &Claim) -> Result<Withdrawn>;

    /// Ends another's claim: an operator's break.
    async fn evict(&self, name: &LockName, claim: ClaimId) -> Result<Withdrawn>;

    /// Resolves with the claims of `session` that others ended; [`ErrorKind::Unsupported`](crate::ErrorKind) if the
    /// capability says no.
    async fn evictions(&self, session: &Session) -> Result<Vec<ClaimId>>;

    /// Who holds and who waits.
    async fn queue(&self, name: &LockName) -> Result<Queue>;

    /// Resolves when the queue is newer than `after`, with the newer one. May resolve early with an equal one.
    async fn changed(&self, name: &LockName, after: Revision) -> Result<Queue>;

    /// All names that have a claim and whose path begins with `prefix`, in order.
    async fn list(&self, prefix: &str) -> Result<Vec<LockName>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_32_digits_and_read_back() {
        for bits in [0, 1, 0xabc, u128::MAX, 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978] {
            let id = ClaimId::from_bits(bits);
            assert_eq!(id.to_string(), format!("{bits:032x}"));
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn a_seat_is_kept_and_the_rest_is_random() {
        let (one, two) = (ClaimId::seated(7), ClaimId::seated(7));
        assert_eq!((one.seat(), two.seat()), (7, 7));
        assert_ne!(one, two);
    }
}
