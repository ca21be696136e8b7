//! The API, as object-safe traits: what a user holds, whatever the store behind it.

use std::fmt::Debug;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::locks::guard::{Guard, Release};
use crate::locks::leadership::{LeaderStatus, Leadership};
use crate::locks::ticket::Ticket;
use crate::options::{LeaderOptions, LockOptions};
use crate::session::revocation::Revoked;
use crate::spi::capabilities::Capabilities;
use crate::types::error::Result;
use crate::types::ids::ClaimId;
use crate::types::names::Kind;
use crate::types::queue::{Queue, Withdrawn};
use crate::types::token::Token;

/// A connection to a store of locks and elections.
///
/// It shares its name with [`std::marker::Sync`]; where both are meant, write that one in full.
#[async_trait]
pub trait Sync: Debug + Send + std::marker::Sync {
    /// A lock, read-write lock or semaphore of this name. Does no I/O.
    ///
    /// # Errors
    /// [`InvalidName`](crate::ErrorKind::InvalidName) or [`InvalidOption`](crate::ErrorKind::InvalidOption).
    fn lock(&self, name: &str, options: LockOptions) -> Result<Box<dyn Lock>>;

    /// Acquires all of these names at once: granted when all of them are free, and holding none while it waits; who comes later
    /// for one of them waits behind it, even if that one is free. The guard is for all of them, with one token; whatever ends it ends it for all. Names given twice count once.
    ///
    /// See [`lock_all`](crate::lock_all), which works on every store.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) on a store that cannot
    /// ([`several_at_once`](Capabilities::several_at_once)), unless there is one name only; else as [`Lock::acquire`].
    ///
    /// # Cancel safety
    /// Safe, as [`Lock::acquire`].
    async fn acquire_all(&self, names: &[&str], options: LockOptions) -> Result<Guard>;

    /// Acquires any one of these names: the first that is free, in the order given, else the first that becomes free. It stands in
    /// all their lines at a time, and leaves the others with the grant. [`Guard::name`] tells which it is.
    ///
    /// See [`lock_any`](crate::lock_any), which works on every store.
    ///
    /// # Errors
    /// As [`acquire_all`](Self::acquire_all).
    ///
    /// # Cancel safety
    /// Safe, as [`Lock::acquire`].
    async fn acquire_any(&self, names: &[&str], options: LockOptions) -> Result<Guard>;

    /// An election of this name. Does no I/O. A lock of the same name is a stranger to it.
    ///
    /// # Errors
    /// [`InvalidName`](crate::ErrorKind::InvalidName) or [`InvalidOption`](crate::ErrorKind::InvalidOption).
    fn leader(&self, name: &str, options: LeaderOptions) -> Result<Box<dyn Leader>>;

    /// The store's name: `netlock`, `etcd`.
    fn name(&self) -> &'static str;

    /// What the store can do and promises.
    fn capabilities(&self) -> Capabilities;

    /// The names of `kind` in this handle's namespace that somebody holds or waits for, and that begin with `prefix`,
    /// in order.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the store does not answer.
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    async fn list(&self, kind: Kind, prefix: &str) -> Result<Vec<String>>;

    /// Takes up a lock that was [detached](Guard::detach), here or in another process, and starts its TTL anew. As with any
    /// hold limit, it runs out unless [extended](Guard::extend). Who resumes a ticket twice has two guards of one lock.
    ///
    /// # Errors
    /// [`NotHeld`](crate::ErrorKind::NotHeld) if the lock has ended; [`Unavailable`](crate::ErrorKind::Unavailable) if the
    /// store does not answer.
    ///
    /// # Cancel safety
    /// Safe: the lock is as it was, with a new TTL or the old one.
    async fn resume(&self, ticket: &Ticket) -> Result<Guard>;

    /// Releases everything that this handle holds and leaves every line. All its guards are revoked. The handle goes on.
    /// Waits until the store has answered, for 5 s at most; what it does not answer ends by its TTL.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) after [`close`](Self::close).
    ///
    /// # Cancel safety
    /// Once begun it runs to its end in the background.
    async fn release_all(&self) -> Result<()>;

    /// Releases everything and ends the session. All guards of this handle are revoked. Again is fine.
    ///
    /// # Errors
    /// None today.
    ///
    /// # Cancel safety
    /// Once begun it runs to its end in the background.
    async fn close(&self) -> Result<()>;
}

/// A connection to any store, as [`connect`](https://docs.rs/distsync/latest/distsync/fn.connect.html) returns it.
///
/// Its methods can be called without an import of [`Sync`], whose name hides the one of the prelude.
pub type DynSync = dyn Sync;

/// A lock, read-write lock or semaphore. Several tasks may acquire through one object: each stands in line for itself.
#[async_trait]
pub trait Lock: Debug + Send + std::marker::Sync {
    /// The name.
    fn id(&self) -> &str;

    /// Stands in line until granted, or as long as the options say.
    ///
    /// If the session is lost while it waits, it starts again at the end of the line, under a new session.
    ///
    /// # Errors
    /// [`Timeout`](crate::ErrorKind::Timeout), [`Contended`](crate::ErrorKind::Contended) if the options say not to wait,
    /// [`NotHeld`](crate::ErrorKind::NotHeld) if an operator ended the wait,
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption) if a semaphore of this name has another number of permits,
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the store does not answer.
    ///
    /// # Cancel safety
    /// Safe: dropped, it leaves the line within a round trip, at the latest with its session.
    async fn acquire(&self) -> Result<Guard>;

    /// Acquires if that needs no wait; `None` if the name is taken. Leaves nothing behind then.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), but for time-outs and contention.
    ///
    /// # Cancel safety
    /// Safe, as [`acquire`](Self::acquire).
    async fn try_acquire(&self) -> Result<Option<Guard>>;

    /// Who holds and who waits.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the store does not answer.
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    async fn inspect(&self) -> Result<Queue>;

    /// The queue now, and again after each change. Changes in quick succession may be seen as one. Faults that pass
    /// are waited out; an error ends it.
    fn watch(&self) -> BoxStream<'static, Result<Queue>>;

    /// Ends another's claim: an operator's break. Its holder is told at once where the store can
    /// ([`Capabilities::reports_evictions`]), and fenced off in any case.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported), [`Denied`](crate::ErrorKind::Denied),
    /// [`Unavailable`](crate::ErrorKind::Unavailable).
    ///
    /// # Cancel safety
    /// The claim may or may not have ended.
    async fn evict(&self, claim: ClaimId) -> Result<Withdrawn>;
}

/// A candidate of an election.
#[async_trait]
pub trait Leader: Debug + Send + std::marker::Sync {
    /// The name of the election.
    fn id(&self) -> &str;

    /// Who leads now, and in which term; `None` if nobody does.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the store does not answer.
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    async fn leader(&self) -> Result<Option<Leadership>>;

    /// Stands for election until elected, or as long as the options say.
    ///
    /// # Errors
    /// As [`Lock::acquire`].
    ///
    /// # Cancel safety
    /// Safe: dropped, it stands no more within a round trip, at the latest when its session ends.
    async fn elect(&self) -> Result<Box<dyn Elected>>;

    /// What this candidate is now. No I/O.
    fn status(&self) -> LeaderStatus;

    /// The leader now, and again after each change, `None` when there is nobody. Terms never go back. Faults that pass
    /// are waited out; an error ends it.
    fn watch(&self) -> BoxStream<'static, Result<Option<Leadership>>>;

    /// The leader and the candidates in line.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the store does not answer.
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    async fn inspect(&self) -> Result<Queue>;

    /// Ends another's candidacy or leadership: an operator's break.
    ///
    /// # Errors
    /// As [`Lock::evict`].
    ///
    /// # Cancel safety
    /// It may or may not have ended.
    async fn evict(&self, claim: ClaimId) -> Result<Withdrawn>;
}

/// A leader in office. Dropping it resigns in the background.
#[async_trait]
pub trait Elected: Debug + Send + std::marker::Sync {
    /// The term, which is the fencing token.
    fn token(&self) -> Token;

    /// Resolves with the reason when the office is lost, before anybody else can be elected.
    fn revoked(&self) -> Revoked;

    /// The term, if the office is held now and for `min_remaining` more. Synchronous; reads the clock itself.
    ///
    /// # Errors
    /// As [`Guard::check`].
    fn check(&self, min_remaining: std::time::Duration) -> Result<Token>;

    /// Tells observers something new: the same node with another value.
    ///
    /// # Errors
    /// As [`Guard::update`].
    ///
    /// # Cancel safety
    /// The value may or may not have changed.
    async fn proclaim(&self, value: &str) -> Result<()>;

    /// Leaves the office.
    ///
    /// # Errors
    /// As [`Guard::release`].
    ///
    /// # Cancel safety
    /// A resignation that has begun runs to its end in the background.
    async fn resign(&self) -> Result<Release>;
}
