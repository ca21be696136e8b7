//! Every law of the design, on every store: `cargo test --test conformance -- --list` names the
//! cases. Beside them: stores that are broken on purpose, stores that have a bad day, and whole
//! processes.
//!
//! All of it wants the feature `full` (`--all-features`). Without it, what needs that is not here,
//! and the cases of a store that is not built fail.

#[cfg(feature = "full")]
mod bad_days;
mod broken;
#[cfg(feature = "full")]
mod clocks;
#[cfg(feature = "full")]
mod consul_crowds;
#[cfg(feature = "full")]
mod crowds;
#[cfg(feature = "full")]
mod fail_over;
#[cfg(feature = "full")]
mod ghosts;
#[cfg(feature = "full")]
mod lock_delay;
#[cfg(feature = "full")]
mod members;
#[cfg(feature = "full")]
mod processes;
#[cfg(feature = "full")]
mod round_trips;
#[cfg(feature = "full")]
mod runtimes;
mod stores;
#[cfg(feature = "full")]
mod tls;
#[cfg(feature = "full")]
mod together;
#[cfg(feature = "full")]
mod watchers;

use stores::{Consul, Etcd, Memory, Netlock, Redis};

distsync_core::conformance!(memory, async { Memory::start() });
distsync_core::conformance!(netlock, async { Netlock::start() });
distsync_core::conformance!(netlock_with_a_folder, async { Netlock::with_a_folder() });
distsync_core::conformance!(redis, async { Redis::start() });
distsync_core::conformance!(etcd, async { Etcd::start() });
distsync_core::conformance!(consul, async { Consul::start() });
