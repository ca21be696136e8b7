//! The interface for authors of stores: the trait that a backend implements, and the tools that all
//! backends share.
//!
//! [`Backend`] is the trait, [`Capabilities`] what a store promises. [docs/backends.md][guide]
//! leads through a small store, and says in which order to write one. The feature `conformance` has
//! the tests that every store passes.
//!
//! | tool | for |
//! |---|---|
//! | [`order`] | the holders and waiters of a queue, as pure functions |
//! | [`clock`] | the one module that reads a clock; [`clock::until`] waits for an event, or until a moment to look |
//! | [`home::Turns`] | one request connects while the others wait for its connection |
//! | [`home::Home`] | calls from several runtimes over one connection |
//! | [`race`] | several addresses of one server |
//! | [`batch`] | the requests of several tasks in one message |
//! | [`Joining`] | limits on a crowd that joins a queue |
//! | [`StoreUrl`], [`Tls`], [`Credential`], [`reread`] | what a user configures, and files that are read again |
//! | [`Entry::new`], [`Error::unanswered`](crate::Error::unanswered) | an entry for observers, the error of a request that may have been sent |
//!
//! [guide]: https://github.com/distsync/distsync/blob/main/docs/backends.md
//!
//! # Rules
//!
//! A backend implements *claims*. Locks, permits, elections, observation and revocation are the
//! core's. Rules for an implementation:
//!
//! 1. The core draws ids before any I/O. [`Backend::enqueue`] and [`Backend::withdraw`] are
//!    idempotent per claim id, so that a retry after a lost reply never makes a second holder and
//!    never touches another claim.
//! 2. One call is one logical round trip. A backend does not retry, sleep, spawn, read a clock or
//!    draw random numbers on its own account; the core does, once for all backends. Two exceptions:
//!    a connection may keep a task that carries its bytes, and [`Backend::granted`] may use a timer
//!    for an event that the store does not report, such as the end of a session.
//! 3. Contended, not held and already gone are outcomes, not errors. An error means that the store
//!    did not answer properly. It is [`retryable`](crate::Error::retryable) if the same request may
//!    succeed later, which decides whether the core repeats it: a broken connection, a time-out, a
//!    store without a leader. It is not retryable if the store understood the request and refused
//!    it. `maybe_applied` tells the caller whether the request may have taken effect; the core does
//!    not decide by it.
//! 4. Every call is cancel-safe: the core drops calls that take too long. A dropped call may have
//!    taken effect.
//! 5. [`Capabilities`] are tested both ways: what a store says that it cannot do must be refused.
//!
//! # Outcomes
//!
//! | call | claim holds | claim waits | claim was evicted | claim is unknown, or was withdrawn | session has ended |
//! |---|---|---|---|---|---|
//! | `enqueue` | `Granted`, same token | `Waiting` | as unknown, or `Gone(Evicted)` | enqueued anew: `Granted`, `Waiting` or `Busy` | `Gone(SessionLost)` |
//! | `granted` | `Granted` | waits | `Gone(Evicted)` | not called | `Gone(SessionLost)` |
//! | `update` | `true` | not called | `false` | `false` | `false` |
//! | `withdraw` | `Held` | `Waiting` | `Absent` | `Absent` | any outcome |
//! | `evict` | `Held` | `Waiting` | `Absent` | `Absent` | any outcome |
//!
//! `granted` is called only after `enqueue` has returned `Waiting`, on the same instance. If its
//! connection has broken since, it fails with a retryable error, and the core calls `enqueue`
//! again.
//!
//! All of them may be repeated. `open` may be repeated where the store lets the client choose the
//! id; elsewhere the session of a lost reply ends by its TTL. `renew`, `close`, `queue`, `changed`
//! and `list` may be repeated.
//!
//! A store need not remember an evicted waiter after it has reported it once, nor for longer than
//! the session lives. A request with a wrong [`Secret`] is answered as one for a session that has
//! ended, on stores that check secrets.

pub(crate) mod backend;
pub mod batch;
pub(crate) mod capabilities;
pub mod clock;
pub(crate) mod counted;
pub(crate) mod credential;
pub(crate) mod departure;
pub mod home;
pub(crate) mod joining;
pub(crate) mod mutex;
pub mod order;
pub mod race;
pub mod reread;
pub(crate) mod store_url;
#[cfg(feature = "metrics")]
pub(crate) mod timer;
pub mod tls;

pub use backend::{Backend, Claim, Gone, Renewal, Session, SessionSpec, Standing};
pub use capabilities::Capabilities;
pub use credential::Credential;
pub use departure::Departure;
pub use joining::{Joining, JoiningPermit};
pub use mutex::locked;
pub use store_url::StoreUrl;
pub use tls::Tls;

pub use async_trait::async_trait;
pub use bytes::{self, Bytes};

pub use crate::types::ids::{ClaimId, SessionId};
pub use crate::types::nonce::Secret;
pub use crate::types::queue::{Entry, Queue, Revision, VALUE_MAX, Withdrawn};
