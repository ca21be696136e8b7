//! netlock: the lock server of distsync, its client, and the same lock table embedded in a process.
//!
//! - [`engine`]: the lock table, a pure state machine;
//! - [`Embedded`]: the table in this process, behind `memory:`.

mod backend;
mod embedded;
pub mod engine;
mod epoch;
mod replies;

pub use embedded::Embedded;
