//! Consul behind distsync: a session with behaviour `delete`, a claim a key locked by it, the order of a line that of the
//! keys' creation.
//!
//! Spoken over the HTTP API by a small client of our own: the published crates lack transactions or are
//! not kept up.

mod backend;
mod config;
mod error;
mod http;
mod keys;

pub use backend::Consul;
pub use config::Config;
