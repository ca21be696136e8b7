//! Consul behind distsync: a session, a claim a key locked by it, the order of a line that of the keys' creation.
//!
//! A session's keys go with it (behaviour `delete`). With a lock-delay they stay (`release`) and keep their places: what held cannot
//! be locked by others until the delay is over, and whoever comes next then sweeps it out of the line.
//!
//! Spoken over the HTTP API by a small client of our own: the published crates lack transactions or are
//! not kept up.

mod backend;
mod config;
mod error;
mod held;
mod http;
mod keys;
mod line;
mod locked;
mod watches;

pub use backend::Consul;
pub use config::Config;
