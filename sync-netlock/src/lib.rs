//! netlock: the lock server of distsync, its client, and the same lock table embedded in a process.
//!
//! - [`engine`]: the lock table, a pure state machine;
//! - [`Embedded`]: the table in this process, behind `memory:`;
//! - [`Server`]: the table on a port, as a library; `netlockd` is the program;
//! - [`Client`]: the backend behind `netlock:`;
//! - [`wire`]: frames and messages between them.

mod backend;
mod client;
mod embedded;
pub mod engine;
mod epoch;
#[cfg(feature = "program")]
pub mod program;
mod replies;
mod server;
mod storage;
mod stream;
pub mod wire;

pub use client::{Admin, Client, Config, DEFAULT_PORT};
pub use embedded::Embedded;
#[cfg(feature = "tls")]
pub use server::ServerTls;
pub use server::{
    Access, IsolationOptions, Observer, OnFailure, Permission, Server, ServerOptions, Verb, token_line,
};
pub use storage::{Durability, StorageOptions};
