//! Redis behind distsync: sessions, lines and grants by Lua scripts, waiters told by publish and subscribe.
//!
//! Redis has no sessions, so they are kept in a hash with their expiry, on the server's clock; a claim counts while its
//! session does. Best effort where Redis replicates: see `docs/semantics.md`.

mod backend;
mod config;
mod connection;
mod dial;
mod error;
mod inbox;
mod resp;
mod scripts;
mod steps;
mod topology;
mod wire;

pub use backend::Redis;
pub use config::Config;
