//! Redis behind distsync: sessions, lines and grants by Lua scripts, waiters told by publish and subscribe.
//!
//! Redis has no sessions, so they are kept in a hash with their expiry, on the server's clock; a claim counts while its
//! session does. Best effort where Redis replicates: see `docs/semantics.md`.

mod backend;
mod config;
mod connection;
mod error;
mod inbox;
mod scripts;
mod steps;
mod topology;

pub use backend::Redis;
pub use config::Config;
