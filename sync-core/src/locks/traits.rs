//! The API for applications: object-safe traits that are the same for every store.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::locks::guard::{Guard, Release};
use crate::locks::leadership::{LeaderStatus, Leadership};
use crate::locks::ticket::Ticket;
use crate::options::{LeaderOptions, LockOptions};
use crate::session::Health;
use crate::session::revocation::Revoked;
use crate::spi::capabilities::Capabilities;
use crate::spi::clock::Moment;
use crate::types::error::Result;
use crate::types::ids::ClaimId;
use crate::types::names::Kind;
use crate::types::queue::{Queue, Withdrawn};
use crate::types::token::Token;

/// A connection to a store of locks and elections.
///
/// The name hides [`std::marker::Sync`] of the prelude. [`DynSync`] needs no import of this trait,
/// because the methods of a `dyn` type are always in scope.
///
/// # Examples
/// ```
/// # use distsync_core::{DynSync, Kind, LockOptions, Result};
/// async fn report(sync: &DynSync) -> Result<()> {
///     let guard = sync.lock("nightly report", LockOptions::new())?.acquire().await?;
///     println!("locked now: {:?}", sync.list(Kind::Lock, "nightly").await?);
///     guard.release().await?;
///     Ok(())
/// }
/// ```
#[async_trait]
pub trait Sync: Debug + Send + std::marker::Sync {
    /// Returns the lock, read-write lock or semaphore of this name. Does no I/O.
    ///
    /// # Errors
    /// [`InvalidName`](crate::ErrorKind::InvalidName) or
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption).
    fn lock(&self, name: &str, options: LockOptions) -> Result<Box<dyn Lock>>;

    /// Acquires all the given names atomically, on a store that
    /// [can](Capabilities::several_at_once).
    ///
    /// [`lock_all`](crate::lock_all) calls it, and works on every store.
    ///
    /// The request holds none of the names while it waits and is granted when all are free at once.
    /// It is queued on every name, so a later request for any one of them waits behind it. The
    /// returned guard covers all names with one token; releasing or losing it releases them all.
    /// Duplicate names are ignored.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for several names on a store that cannot;
    /// otherwise as [`Lock::acquire`].
    ///
    /// # Cancel safety
    /// Safe, as [`Lock::acquire`].
    #[doc(hidden)]
    async fn acquire_all(&self, names: &[&str], options: LockOptions) -> Result<Guard>;

    /// Acquires any one of the given names, on a store that [can](Capabilities::several_at_once).
    ///
    /// [`lock_any`](crate::lock_any) calls it, and works on every store.
    ///
    /// The first free name in the given order is granted, otherwise the first that becomes free.
    /// The request is queued on all names at once and leaves the other queues when it is granted.
    /// [`Guard::name`] returns the granted name.
    ///
    /// # Errors
    /// As [`acquire_all`](Self::acquire_all).
    ///
    /// # Cancel safety
    /// Safe, as [`Lock::acquire`].
    #[doc(hidden)]
    async fn acquire_any(&self, names: &[&str], options: LockOptions) -> Result<Guard>;

    /// Returns the election of this name. Does no I/O. An election and a lock of the same name are
    /// independent.
    ///
    /// # Errors
    /// [`InvalidName`](crate::ErrorKind::InvalidName) or
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption).
    fn leader(&self, name: &str, options: LeaderOptions) -> Result<Box<dyn Leader>>;

    /// Returns the read lock of this name: [`lock`](Self::lock) with the options of a reader.
    ///
    /// Readers hold at the same time and exclude [writers](Self::write). A reader that arrives
    /// after a waiting writer waits behind it.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    ///
    /// # Examples
    /// ```
    /// # use distsync_core::{DynSync, Result};
    /// async fn read(sync: &DynSync) -> Result<()> {
    ///     sync.read("configuration")?.acquire().await?.release().await?;
    ///     Ok(())
    /// }
    /// ```
    fn read(&self, name: &str) -> Result<Box<dyn Lock>> {
        self.lock(name, LockOptions::shared())
    }

    /// Returns the write lock of this name, which is its exclusive lock with the default options.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    fn write(&self, name: &str) -> Result<Box<dyn Lock>> {
        self.lock(name, LockOptions::new())
    }

    /// Returns the semaphore of this name: up to `permits` holders at the same time. Every user of
    /// the name has to give the same number.
    ///
    /// # Errors
    /// As [`lock`](Self::lock), and [`InvalidOption`](crate::ErrorKind::InvalidOption) for 0
    /// permits.
    fn semaphore(&self, name: &str, permits: u16) -> Result<Box<dyn Lock>> {
        self.lock(name, LockOptions::permit(permits))
    }

    /// Returns the name of the store, for instance `netlock` or `etcd`.
    fn name(&self) -> &'static str;

    /// Returns what the store can do and what it promises.
    fn capabilities(&self) -> Capabilities;

    /// Returns the names of `kind` that have a holder or a waiter and begin with `prefix`, in
    /// order. Only names in the namespace of this handle are returned.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the store does not answer.
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    async fn list(&self, kind: Kind, prefix: &str) -> Result<Vec<String>>;

    /// Resumes a lock that was [detached](Guard::detach), in this process or another, and restarts
    /// its TTL.
    ///
    /// The lock then expires unless it is [extended](Guard::extend). Resuming a ticket twice makes
    /// two guards of one lock.
    ///
    /// # Errors
    /// [`NotHeld`](crate::ErrorKind::NotHeld) if the lock has ended;
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the store does not answer.
    ///
    /// # Cancel safety
    /// Safe: the lock stays held, with its TTL restarted or not.
    async fn resume(&self, ticket: &Ticket) -> Result<Guard>;

    /// Releases every lock of this handle and cancels every waiting request. All its guards are
    /// revoked. The handle can be used afterwards.
    ///
    /// Waits until the store has answered, for 5 s at most. Locks whose release the store has not
    /// answered by then end by their TTL.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) after [`close`](Self::close).
    ///
    /// # Cancel safety
    /// Once begun it runs to its end in the background.
    async fn release_all(&self) -> Result<()>;

    /// Releases everything and ends the sessions of this handle. All its guards are revoked.
    /// Idempotent.
    ///
    /// # Errors
    /// None today.
    ///
    /// # Cancel safety
    /// Once begun it runs to its end in the background.
    async fn close(&self) -> Result<()>;
}

/// A connection to any store, as `distsync::connect` returns it.
///
/// Its methods can be called without an import of [`Sync`], whose name hides the one of the
/// prelude.
pub type DynSync = dyn Sync;

/// A lock, read-write lock or semaphore.
///
/// Several tasks may acquire through one object: each call is a request of its own.
///
/// # Examples
/// ```
/// # use distsync_core::{DynSync, LockOptions, Result};
/// # async fn refresh_cache() {}
/// async fn fill_cache_once(sync: &DynSync) -> Result<()> {
///     let lock = sync.lock("cache of prices", LockOptions::new())?;
///     // One process fills the cache; the others go on without it.
///     if let Some(guard) = lock.try_acquire().await? {
///         refresh_cache().await;
///         guard.release().await?;
///     }
///     Ok(())
/// }
/// ```
#[async_trait]
pub trait Lock: Debug + Send + std::marker::Sync {
    /// Returns the name.
    fn id(&self) -> &str;

    /// Acquires the lock: joins the queue and waits until granted, or for as long as the options
    /// say.
    ///
    /// If the session is lost while the request waits, it joins the queue again at its end, under a
    /// new session.
    ///
    /// # Errors
    /// [`Timeout`](crate::ErrorKind::Timeout), [`Contended`](crate::ErrorKind::Contended) if the
    /// options say not to wait, [`NotHeld`](crate::ErrorKind::NotHeld) if an operator removed the
    /// request from the queue, [`InvalidOption`](crate::ErrorKind::InvalidOption) if a semaphore of
    /// this name has another number of permits, [`Unavailable`](crate::ErrorKind::Unavailable) if
    /// the store does not answer.
    ///
    /// # Cancel safety
    /// Safe: when the future is dropped, the request leaves the queue within a round trip, at the
    /// latest with its session.
    async fn acquire(&self) -> Result<Guard>;

    /// Acquires the lock if that needs no wait. Returns `None` if the name is taken, and leaves
    /// nothing in the queue then.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), except for `Timeout` and `Contended`.
    ///
    /// # Cancel safety
    /// Safe, as [`acquire`](Self::acquire).
    async fn try_acquire(&self) -> Result<Option<Guard>>;

    /// Returns the holders and the waiters.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the store does not answer.
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    async fn inspect(&self) -> Result<Queue>;

    /// Returns a stream of the queue: its current state, and a new item after each change.
    ///
    /// Changes in quick succession may be one item. Passing faults are waited out; any other error
    /// is the last item.
    fn watch(&self) -> BoxStream<'static, Result<Queue>>;

    /// Ends the claim of another client, held or waiting. For operators.
    ///
    /// The holder is notified at once where the store can ([`Capabilities::reports_evictions`]).
    /// Its token is outdated from the next grant on, so a fenced resource refuses it in any case.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported), [`Denied`](crate::ErrorKind::Denied),
    /// [`Unavailable`](crate::ErrorKind::Unavailable).
    ///
    /// # Cancel safety
    /// The claim may or may not have ended.
    async fn evict(&self, claim: ClaimId) -> Result<Withdrawn>;
}

/// An election, as one of its candidates uses it.
///
/// # Examples
/// ```
/// # use distsync_core::{DynSync, LeaderOptions, Node, Result};
/// # async fn schedule() {}
/// async fn campaign(sync: &DynSync) -> Result<()> {
///     let leader = sync.leader("scheduler", LeaderOptions::new(Node::new("node-1")))?;
///     loop {
///         let elected = leader.elect().await?;
///         tokio::select! {
///             () = schedule() => { elected.resign().await?; return Ok(()) }
///             loss = elected.revoked() => eprintln!("no longer leader: {loss}"),
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait Leader: Debug + Send + std::marker::Sync {
    /// Returns the name of the election.
    fn id(&self) -> &str;

    /// Returns the current leader and its term; `None` if there is no leader.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the store does not answer.
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    async fn leader(&self) -> Result<Option<Leadership>>;

    /// Campaigns until elected, or for as long as the options say.
    ///
    /// # Errors
    /// As [`Lock::acquire`].
    ///
    /// # Cancel safety
    /// Safe: when the future is dropped, the candidacy ends within a round trip, at the latest with
    /// its session.
    async fn elect(&self) -> Result<Box<dyn Elected>>;

    /// Returns the status of this candidate. Does no I/O.
    fn status(&self) -> LeaderStatus;

    /// Returns a stream of the leader: the current one, and a new item after each change, `None`
    /// when there is no leader.
    ///
    /// Terms never go back, unless the store was emptied or restored. Passing faults are waited
    /// out; any other error is the last item.
    fn watch(&self) -> BoxStream<'static, Result<Option<Leadership>>>;

    /// Returns the leader and the waiting candidates.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the store does not answer.
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    async fn inspect(&self) -> Result<Queue>;

    /// Ends the candidacy or leadership of another client. For operators.
    ///
    /// # Errors
    /// As [`Lock::evict`].
    ///
    /// # Cancel safety
    /// The candidacy or leadership may or may not have ended.
    async fn evict(&self, claim: ClaimId) -> Result<Withdrawn>;
}

/// The leadership of an elected candidate. Dropping it resigns in the background.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # use distsync_core::{Elected, Result};
/// # async fn write(_: &str, _: distsync_core::Token) {}
/// async fn step(elected: &dyn Elected) -> Result<()> {
///     // Checked right before a side effect: the leadership lasts for at least one more second.
///     let token = elected.check(Duration::from_secs(1))?;
///     write("schedule", token).await;
///     elected.proclaim("10.0.0.1:8080, ready").await
/// }
/// ```
#[async_trait]
pub trait Elected: Debug + Send + std::marker::Sync {
    /// Returns the term, which is the fencing token.
    fn token(&self) -> Token;

    /// Returns a future that resolves with the reason when the leadership is lost, before another
    /// candidate can be elected.
    fn revoked(&self) -> Revoked;

    /// Returns the term if the leadership is held now and for `min_remaining` more. Synchronous;
    /// reads the clock itself.
    ///
    /// # Errors
    /// As [`Guard::check`].
    fn check(&self, min_remaining: Duration) -> Result<Token>;

    /// Returns whether the leadership is held, at risk because a renewal failed, or lost.
    fn health(&self) -> Health;

    /// Returns the moment until which the leadership is held if no further renewal succeeds; `None`
    /// once it is lost.
    fn valid_until(&self) -> Option<Moment>;

    /// Returns the time until [`valid_until`](Self::valid_until); zero once it is lost.
    fn remaining(&self) -> Duration;

    /// Changes the value of the node that observers see.
    ///
    /// # Errors
    /// As [`Guard::update`].
    ///
    /// # Cancel safety
    /// The value may or may not have changed.
    async fn proclaim(&self, value: &str) -> Result<()>;

    /// Gives the leadership up.
    ///
    /// # Errors
    /// As [`Guard::release`].
    ///
    /// # Cancel safety
    /// A resignation that has begun runs to its end in the background.
    async fn resign(&self) -> Result<Release>;

    /// Leaves the resignation to the keeper, as a drop does. Idempotent.
    #[doc(hidden)]
    fn resign_in_the_background(&self);
}
