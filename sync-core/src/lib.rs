//! The core of distsync: the traits that a user holds, and all that is the same whatever the store.
//!
//! Three words carry everything. A **session** is a client's liveness in the store; when it ends, all that it held is
//! lost. A **claim** is one place in one name's queue, of one session, in a mode. A **token** is the fencing token of a
//! granted claim, greater for each later grant of the name. A lock is an exclusive claim, a read lock a shared one, a
//! semaphore's permit a claim among N, a leader the exclusive claim of a candidate. A store implements claims
//! ([`backend`]), and gets locks, elections, observation and revocation from here.

pub mod backend;
pub mod batch;
mod call;
mod capabilities;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod counted;
mod election;
mod error;
mod guard;
mod handle;
mod hold;
mod line;
mod lock;
mod mode;
mod mutex;
mod names;
mod nonce;
mod observe;
mod options;
pub mod order;
pub mod reread;
mod revocation;
mod session;
mod several;
mod store_url;
mod ticket;
pub mod tls;
mod token;
mod traits;

pub use backend::{Backend, ClaimId, Entry, Queue, Revision, VALUE_MAX, Withdrawn};
pub use capabilities::Capabilities;
pub use election::{LeaderStatus, Leadership};
pub use error::{Error, ErrorKind, Result};
pub use guard::{Guard, Release};
pub use handle::Handle;
pub use mode::Mode;
pub use mutex::locked;
pub use names::{Kind, LockName, NAME_MAX, NAMESPACE_MAX, Namespace};
pub use nonce::Secret;
pub use options::{
    LeaderOptions, LockOptions, Node, OnDisconnect, OnLost, OnWait, SyncOptions, Wait, Waiting,
    process_identity,
};
pub use revocation::{Loss, Revoked};
pub use session::Health;
pub use several::{Guards, lock_any, lock_each};
pub use store_url::StoreUrl;
pub use ticket::Ticket;
pub use tls::Tls;
pub use token::{Fence, Token};
pub use traits::{Elected, Leader, Lock, Sync};
