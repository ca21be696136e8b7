//! The core of distsync: the traits that a user holds, and all that is the same whatever the store.
//!
//! Three words carry everything. A **session** is a client's liveness in the store; when it ends, all that it held is
//! lost. A **claim** is one place in one name's queue, of one session, in a mode. A **token** is the fencing token of a
//! granted claim, greater for each later grant of the name. A lock is an exclusive claim, a read lock a shared one, a
//! semaphore's permit a claim among N, a leader the exclusive claim of a candidate. A store implements claims
//! ([`spi`]), and gets locks, elections, observation and revocation from here.

#[cfg(feature = "conformance")]
pub mod conformance;
mod locks;
mod options;
mod session;
pub mod spi;
mod types;

pub use locks::guard::{Guard, Release};
pub use locks::handle::Handle;
pub use locks::leadership::{LeaderStatus, Leadership};
pub use locks::several::{Guards, lock_all, lock_any};
pub use locks::ticket::Ticket;
pub use locks::traits::{DynSync, Elected, Leader, Lock, Sync};
pub use options::{
    LeaderOptions, LockOptions, Node, OnDisconnect, OnLost, OnWait, SyncOptions, Wait, Waiting,
    process_identity,
};
pub use session::Health;
pub use session::revocation::Revoked;
pub use spi::capabilities::Capabilities;
pub use spi::clock::Moment;
pub use types::error::{Error, ErrorKind, Result};
pub use types::ids::ClaimId;
pub use types::loss::Loss;
pub use types::mode::Mode;
pub use types::names::{Kind, LockName, NAME_MAX, NAMESPACE_MAX, Namespace};
pub use types::queue::{Entry, Queue, Revision, VALUE_MAX, Withdrawn};
pub use types::token::{Fence, Token};
