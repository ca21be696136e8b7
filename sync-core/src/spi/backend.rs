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

use crate::spi::capabilities::Capabilities;
use crate::types::error::Result;
use crate::types::ids::ClaimId;
use crate::types::ids::SessionId;
use crate::types::mode::Mode;
use crate::types::names::LockName;
use crate::types::nonce::Secret;
use crate::types::queue::Entry;
use crate::types::queue::Queue;
use crate::types::queue::Revision;
use crate::types::queue::Withdrawn;
use crate::types::token::Token;

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

/// A store of sessions and claims. See the [module](self) for the rules.
#[async_trait]
pub trait Backend: Debug + Send + std::marker::Sync + 'static {
    /// What this store can do.
    fn capabilities(&self) -> Capabilities;

    /// A second instance for the same store, on a connection of its own, for the keeper's thread.
    fn for_keeper(&self) -> Arc<dyn Backend>;

    /// Limits how many calls of [`enqueue`](Self::enqueue) for this name are under way at the same time, for a store that cannot
    /// answer a crowd of them within the time that a request may take. The core waits for a permit first; that wait does not
    /// count as silence of the store.
    fn joining(&self, _name: &LockName) -> Option<&Semaphore> {
        None
    }

    /// A number that changes when the store may have forgotten what it acknowledged: with each new connection, where that can
    /// mean another server, or one that has restarted. Shared with [instances for the keeper](Self::for_keeper). After a renewal that finds it changed,
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
