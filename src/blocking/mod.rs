//! The API for programs without async (feature `blocking`).
//!
//! The types have the names of the async API, and their methods wait instead of returning futures.
//! A request that waits in a queue is limited by [`Wait::For`](crate::Wait::For).
//!
//! A [`Sync`] has one thread that drives the connections to the store, beside the thread that
//! renews its sessions. Both end when the `Sync` and everything that it made are dropped.
//!
//! Do not call these methods inside an async task or another place with a Tokio runtime, such as
//! `spawn_blocking`. They would block a thread that other tasks need, and fail with
//! [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) instead. Drops never fail.
//!
//! # Examples
//! ```
//! use std::time::Duration;
//!
//! use distsync::{LockOptions, Wait, blocking};
//!
//! fn main() -> distsync::Result<()> {
//!     // Or netlock://HOST, etcd://HOST, consul://HOST, redis://HOST.
//!     let sync = blocking::connect("memory:")?;
//!     let options = LockOptions::new().with_wait(Wait::For(Duration::from_secs(10)));
//!     let guard = sync.lock("nightly report", options)?.acquire()?;
//!     println!("held with the fencing token {}", guard.token());
//!     // Right before a side effect: is it still held?
//!     guard.check(Duration::from_secs(1))?;
//!     guard.release()?;
//!     sync.close()
//! }
//! ```

mod driver;
mod election;
mod guard;
mod lock;
mod several;
mod sync;
mod watch;

pub use election::{Elected, Leader};
pub use guard::Guard;
pub use lock::Lock;
pub use several::{Guards, lock_all, lock_any};
pub use sync::{Sync, connect, connect_with};
pub use watch::Watch;
