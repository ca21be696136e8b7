//! The core of distsync: the traits that applications use, and everything that does not depend on
//! the store.
//!
//! There are three concepts. A **session** is a client's liveness in the store; when it ends, all
//! of its claims are lost. A **claim** is one position in the queue of one name; it belongs to a
//! session and has a mode. A **token** is the fencing token of a granted claim, greater for each
//! later grant of the name. A lock is an exclusive claim, a read lock a shared claim, a semaphore's
//! permit one of up to N claims, and a leader the exclusive claim of a candidate. A store
//! implements claims ([`spi`]); locks, elections, observation and revocation are built on them
//! here.

#[cfg(feature = "conformance")]
pub mod conformance;
mod locks;
mod options;
mod session;
pub mod spi;
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
mod types;
mod work;

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
pub use types::fenced::Fenced;
pub use types::ids::ClaimId;
pub use types::loss::Loss;
pub use types::mode::Mode;
pub use types::names::{Kind, LockName, NAME_MAX, NAMESPACE_MAX, Namespace};
pub use types::queue::{Entry, Queue, Revision, VALUE_MAX, Withdrawn};
pub use types::token::{Fence, Token};
pub use work::run_as_leader::run_as_leader;
pub use work::term::{StopReason, Term};
pub use work::with_lock::with_lock;
