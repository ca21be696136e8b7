//! etcd behind distsync: a session is a lease, a claim a key under it, the order of a line that of the keys' creation.
//!
//! Not the server-side Lock and Election services: their unlock is an unguarded delete, and a campaign returns without
//! looking whether its own key is still there.

mod backend;
mod config;
mod connection;
mod error;
mod fence;
mod keys;
mod leaving;
mod members;
mod queue;
mod tls;
mod watch;

pub use backend::Etcd;
pub use config::Config;
/// The client that this backend speaks through, for transactions with a [`fence`] of one's own.
pub use etcd_client;
pub use fence::fence;
