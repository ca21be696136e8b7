//! Distributed locks and leader election, with one API for etcd, Consul, Redis and the lock server
//! of this project.
//!
//! ```toml
//! [dependencies]
//! distsync = { version = "0.1", features = ["redis"] } # or etcd, consul, netlock (default), full
//! ```
//!
//! # A lock
//!
//! ```
//! use distsync::{LockOptions, connect};
//!
//! # #[tokio::main]
//! # async fn main() -> distsync::Result<()> {
//! // Or netlock://HOST, etcd://HOST, consul://HOST, redis://HOST.
//! let sync = connect("memory:").await?;
//! let lock = sync.lock("nightly report", LockOptions::new())?;
//! let guard = lock.acquire().await?; // waits in the queue; cancel by dropping the future
//! println!("held with the fencing token {}", guard.token());
//! guard.release().await?;
//! sync.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # A leader
//!
//! ```
//! use distsync::{LeaderOptions, Node, connect};
//!
//! # async fn lead() {}
//! # #[tokio::main]
//! # async fn main() -> distsync::Result<()> {
//! let sync = connect("memory:").await?;
//! let leader = sync.leader("scheduler", LeaderOptions::new(Node::new("node-1")))?;
//! let elected = leader.elect().await?;
//! tokio::select! {
//!     () = lead() => { elected.resign().await?; }
//!     loss = elected.revoked() => eprintln!("no longer leader: {loss}"),
//! }
//! # sync.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Stores
//!
//! | store | feature | in the URL |
//! |---|---|---|
//! | in this process | `memory` (default) | `memory:` |
//! | netlock, the lock server of this project | `netlock` (default), with TLS `netlock-tls` | `netlock:`, `netlocks:` |
//! | etcd | `etcd` | `etcd:`, `etcds:` |
//! | Consul | `consul` | `consul:`, `consuls:` |
//! | Redis, with Sentinels or as a cluster | `redis` | `redis:`, `rediss:`, `redis+sentinel:`, `redis+cluster:` |
//!
//! [`connect`] documents the URLs, and [`connect_with`] takes options of the program too.
//! [`Capabilities`] describe what a store promises.
//!
//! # Where to start
//!
//! [`connect`] returns a [`Sync`]. [`Sync::lock`] makes a [`Lock`], whose
//! [`acquire`](Lock::acquire) returns a [`Guard`]; [`Sync::leader`] makes a [`Leader`], whose
//! [`elect`](Leader::elect) returns an [`Elected`]. [`with_lock`] and [`run_as_leader`] run work
//! for as long as a lock or a leadership is held. [`Fence`] shows how a resource rejects a former
//! holder. [`lock_all`] and [`lock_any`] acquire several names. A [`Ticket`] moves a lock to
//! another process. The module [`spi`] is for authors of stores.
//!
//! The feature `blocking` adds the module `blocking`, the same API without async. The feature
//! `testing` adds the module `testing`, faults for the tests of an application.

#[cfg(feature = "blocking")]
pub mod blocking;
mod connect;

pub use connect::{connect, connect_with};
#[cfg(feature = "consul")]
pub use distsync_consul as consul;
pub use distsync_core::{
    Capabilities, ClaimId, DynSync, Elected, Entry, Error, ErrorKind, Fence, Fenced, Guard, Guards,
    Handle, Health, Kind, Leader, LeaderOptions, LeaderStatus, Leadership, Lock, LockName,
    LockOptions, Loss, Mode, Moment, NAME_MAX, NAMESPACE_MAX, Namespace, Node, OnDisconnect,
    OnLost, OnWait, Queue, Release, Result, Revision, Revoked, StopReason, Sync, SyncOptions, Term,
    Ticket, Token, VALUE_MAX, Wait, Waiting, Withdrawn, lock_all, lock_any, process_identity,
    run_as_leader, with_lock,
};
#[cfg(feature = "etcd")]
pub use distsync_etcd as etcd;
#[cfg(any(feature = "memory", feature = "netlock"))]
pub use distsync_netlock as netlock;
#[cfg(feature = "redis")]
pub use distsync_redis as redis;

#[cfg(feature = "testing")]
pub mod testing;

pub mod spi {
    //! The interface for authors of stores: the trait that a backend implements, and the tools that
    //! all backends share.

    #[cfg(feature = "conformance")]
    pub use distsync_core::conformance;
    pub use distsync_core::spi::*;

    pub use crate::connect::{backend, register};
}

/// Compiles the examples of the README with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Compiles the examples of the guide with the tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/leader-election.md")]
struct LeaderElection;

/// Compiles and runs the examples of the page about tests.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../docs/testing.md")]
struct Testing;
