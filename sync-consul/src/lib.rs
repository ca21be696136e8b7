//! The Consul store of distsync: a session is a Consul session, a claim a key that it locks, and
//! the order of a queue that of the creation of its keys.
//!
//! When a session ends, its keys are deleted (behaviour `delete`). With a lock-delay they stay
//! without a session (`release`) and keep their positions: a key that held cannot be locked by
//! others until the delay has passed, and the next claim then deletes it.
//!
//! The recipe, each step one transaction:
//!
//! ```text
//! acquire: lock KEY with SESSION, value = claim; read all keys below NAME/
//!          the first keys whose modes fit together hold; the token is the key's create index
//! wait:    blocking query on a key ahead, or on NAME/; then read again
//! release: delete KEY if its index is the one read, so that a later claim in the same slot stays
//! ```
//!
//! The HTTP client is our own, because the published crates lack transactions or are not
//! maintained.

mod backend;
mod config;
mod error;
mod held;
mod http;
mod keys;
mod locked;
mod queue;
mod settings;
mod watches;

pub use backend::Consul;
pub use config::Config;
