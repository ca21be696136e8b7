//! netlock: the lock server of distsync, its client, and the same lock table embedded in a process.
//!
//! - [`engine`]: the lock table, a pure state machine;
//! - [`Client`]: the backend behind `netlock:`;
//! - [`wire`]: frames and messages between client and server;
//! - `Embedded` (feature `embedded`): the table in this process, behind `memory:`;
//! - `Server` (feature `server`): the table on a port, as a library. `netlockd` (feature `program`)
//!   is the program.

mod backend;
mod client;
#[cfg(feature = "cluster")]
#[doc(hidden)]
pub mod cluster;
#[cfg(feature = "embedded")]
mod embedded;
pub mod engine;
#[cfg(any(feature = "embedded", feature = "server"))]
mod epoch;
#[cfg(all(feature = "server", feature = "tls"))]
mod pem;
#[cfg(feature = "program")]
pub mod program;
mod replies;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "server")]
mod storage;
mod stream;
pub mod wire;

pub use client::{Admin, Client, Config, DEFAULT_PORT};
#[cfg(feature = "embedded")]
pub use embedded::Embedded;
#[cfg(all(feature = "server", feature = "tls"))]
pub use server::ServerTls;
#[cfg(feature = "server")]
pub use server::{
    Access, IsolationOptions, Observer, OnFailure, Permission, Server, ServerOptions, Verb,
    token_line,
};
#[cfg(feature = "server")]
pub use storage::{Durability, StorageOptions};
