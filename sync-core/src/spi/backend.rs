//! The trait that a backend implements, and the values that it takes and returns.
//!
//! Its rules are in the docs of [`spi`](crate::spi).

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::spi::capabilities::Capabilities;
use crate::spi::departure::Departure;
use crate::spi::joining::Joining;
use crate::types::error::{Error, ErrorKind, Result};
use crate::types::ids::{ClaimId, SessionId};
use crate::types::mode::Mode;
use crate::types::names::LockName;
use crate::types::nonce::Secret;
use crate::types::queue::{Entry, Queue, Revision, Withdrawn};
use crate::types::token::Token;

/// The properties of a session that the core opens.
#[derive(Clone, Debug)]
pub struct SessionSpec {
    /// A fresh id, for stores that let the client choose the id.
    pub nonce: SessionId,
    /// A fresh secret, for stores that require one before a second connection may use the session.
    pub secret: Secret,
    /// The requested TTL. The store may grant another.
    pub ttl: Duration,
    /// The name of the client, for observers.
    pub client: String,
    /// Whether the session ends soon after its last connection has closed, instead of by its TTL.
    /// Only on stores that [can](Capabilities::release_on_disconnect).
    pub release_on_disconnect: bool,
    /// The information with which the client can be isolated if the session expires while it holds
    /// a lock. Empty: the client is not isolated. Only on stores that
    /// [can](Capabilities::isolates).
    pub isolation: Bytes,
}

/// An open session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The id of the session in the store.
    pub id: SessionId,
    /// The secret that proves ownership, on stores that check it.
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
    /// The session has ended, and all its claims with it.
    Expired,
    /// The session expired while it held a lock, and its client is or will be isolated.
    Isolated,
}

/// A request for a name, and its entry in the queue of the name.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The id of the claim, drawn before any I/O.
    pub id: ClaimId,
    /// The session that the claim lives with.
    pub session: Session,
    /// The requested name.
    pub name: LockName,
    /// Further names of the same request. Unless `any` is set, the claim is granted when all names
    /// are free at once, and holds none before. Empty unless the store [grants several at
    /// once](Capabilities::several_at_once).
    pub also: Vec<LockName>,
    /// Whether any one of the names is enough: the first free one in this order, otherwise the
    /// first that becomes free.
    pub any: bool,
    /// The mode of the claim.
    pub mode: Mode,
    /// Whether the claim waits if the name is taken. `false` makes it a try, which leaves nothing
    /// in the queue when the name is busy.
    pub waits: bool,
    /// The name of the client, for observers.
    pub client: Arc<str>,
    /// The value for observers; at most [`VALUE_MAX`](crate::VALUE_MAX) bytes.
    pub value: Bytes,
    /// The token of the claim, once it is known to be granted. A store can then release the claim
    /// without reading the queue.
    pub token: Option<Token>,
}

/// The state of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The claim holds the name.
    Granted {
        /// The fencing token of the claim.
        token: Token,
    },
    /// The claim asked for [any](Claim::any) of several names and holds one. It has left the other
    /// queues.
    GrantedAny {
        /// The fencing token of the claim.
        token: Token,
        /// The name that the claim holds.
        name: LockName,
    },
    /// The claim is in the queue.
    Waiting {
        /// The number of claims ahead, including holders.
        position: u32,
        /// The holder, if the store reports it.
        holder: Option<Box<Entry>>,
    },
    /// The name is taken, and the claim does not wait. It left nothing in the queue.
    Busy {
        /// The holder, if the store reports it.
        holder: Option<Box<Entry>>,
    },
    /// The claim was in the queue and no longer is.
    Gone {
        /// The reason.
        why: Gone,
    },
}

/// The reason why a claim left the queue without an action of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The session of the claim ended.
    SessionLost,
    /// An operator evicted the claim, or another program removed its key.
    Evicted,
    /// The claim was withdrawn while it waited.
    Withdrawn,
}

/// A store of sessions and claims. The [module](crate::spi) has the rules and a table of all
/// outcomes.
#[async_trait]
pub trait Backend: Debug + Send + std::marker::Sync + 'static {
    /// Returns what this store can do. Constant.
    fn capabilities(&self) -> Capabilities;

    /// Returns a second instance for the same store, on a connection of its own. It is used on the
    /// keeper's thread only, so its connection is made and driven on the runtime of that thread.
    fn for_keeper(&self) -> Arc<dyn Backend>;

    /// Returns limits on how many calls of [`enqueue`](Self::enqueue) are under way at a time, for
    /// one name and for all.
    ///
    /// For a store that cannot answer a crowd of them within the time of a request. The core
    /// acquires a permit before it enqueues a claim that waits; that wait does not count towards
    /// the time of the request. Default: no limit.
    fn joining(&self) -> Option<&Joining> {
        None
    }

    /// Returns a number that changes when the store may have forgotten what it acknowledged.
    ///
    /// On a store that can forget, it changes with each connection that may lead to another server
    /// or to a restarted one. It is shared with [the instance for the keeper](Self::for_keeper).
    /// After a renewal that finds it changed, the core checks that the store still has what the
    /// session holds. Default: constant.
    fn incarnation(&self) -> u64 {
        0
    }

    /// Opens a session. Idempotent per [nonce](SessionSpec::nonce) where the store lets the client
    /// choose the id.
    ///
    /// # Errors
    /// [`Denied`](crate::ErrorKind::Denied) for bad credentials,
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and retryable if the store is out of reach.
    async fn open(&self, spec: &SessionSpec) -> Result<Session>;

    /// Renews a session. Never opens one, and never revives one that has ended.
    ///
    /// # Errors
    /// Retryable if the store is out of reach. An ended session is an outcome, not an error.
    async fn renew(&self, session: &Session) -> Result<Renewal>;

    /// Ends a session and all its claims. Idempotent.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    async fn close(&self, session: &Session) -> Result<()>;

    /// Forgets what this backend, and the one whose [keeper instance](Self::for_keeper) it is, know
    /// about a session. The core calls it on the keeper's instance when a session has ended, by
    /// [`close`](Self::close) or otherwise. Requests about the session may follow.
    ///
    /// Default: nothing.
    fn forget(&self, _session: &Session) {}

    /// Adds a claim to its queue, or finds it there, and returns its state. Idempotent per claim
    /// id.
    ///
    /// # Errors
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption) if the queue has permits of another
    /// number ([`Mode::contradicts`]), with the number in use in the message; otherwise as
    /// [`renew`](Self::renew).
    async fn enqueue(&self, claim: &Claim) -> Result<Standing>;

    /// Waits until a claim in the queue is granted or gone, and returns its state.
    ///
    /// A grant is confirmed at the store, not concluded from an event that may be out of date.
    ///
    /// # Errors
    /// Retryable if the connection broke: the core then asks [`enqueue`](Self::enqueue) for the
    /// state.
    async fn granted(&self, claim: &Claim) -> Result<Standing>;

    /// Changes the value of a claim that holds. Returns `false` if it does not hold.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    async fn update(&self, claim: &Claim, value: Bytes) -> Result<bool>;

    /// Ends this claim, held or waiting, and no other. Returns what it was. Idempotent.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    async fn withdraw(&self, claim: &Claim) -> Result<Withdrawn>;

    /// Withdraws the claim of a dropped guard, without a caller that waits for it.
    ///
    /// Never blocks, and may be called outside of any runtime. A backend sends the request if it
    /// can do so at once on the connection of its other requests, keeps the departure until the
    /// store answers, and [confirms](Departure::confirm) it then. In all other cases it drops it:
    /// the core then withdraws the claim by [`withdraw`](Self::withdraw), on the instance for the
    /// keeper. Default: drops it.
    fn depart(&self, departure: Departure) {
        drop(departure);
    }

    /// Drops all departures that the store has not confirmed, because the core does not want to
    /// wait for them any longer. Default: nothing, for a store that keeps none.
    fn give_back_departures(&self) {}

    /// Ends the claim of another client, for an operator. Returns what it was.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if the [capability](Capabilities::evict) says
    /// no, as the default does; otherwise as [`renew`](Self::renew).
    async fn evict(&self, _name: &LockName, _claim: ClaimId) -> Result<Withdrawn> {
        Err(unsupported("evict", self.capabilities()))
    }

    /// Waits until others have ended claims of `session`, and returns their ids. Each is reported
    /// once, so that a call without news waits. One that ended while no call was under way is
    /// reported by the next call.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if the
    /// [capability](Capabilities::reports_evictions) says no, as the default does; otherwise as
    /// [`renew`](Self::renew).
    async fn evictions(&self, _session: &Session) -> Result<Vec<ClaimId>> {
        Err(unsupported("report evictions", self.capabilities()))
    }

    /// Returns the holders and waiters of a name.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    async fn queue(&self, name: &LockName) -> Result<Queue>;

    /// Waits until the queue is newer than `after`, and returns it. May return early with an equal
    /// queue.
    ///
    /// Every change raises the revision, the end of a session included.
    ///
    /// # Errors
    /// As [`granted`](Self::granted); the core then reads the queue again.
    async fn changed(&self, name: &LockName, after: Revision) -> Result<Queue>;

    /// Returns the names that have a claim and whose path begins with `prefix`, in order. The
    /// prefix is literal: it has no wildcards.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    async fn list(&self, prefix: &str) -> Result<Vec<LockName>>;
}

/// Returns the error of an optional method that a backend does not have.
fn unsupported(operation: &'static str, capabilities: Capabilities) -> Error {
    let problem = "this store cannot: check its capabilities first";
    Error::new(ErrorKind::Unsupported, problem)
        .with_operation(operation)
        .with_backend(capabilities.backend)
}
