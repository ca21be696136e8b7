//! Every law of the design, on every store: `cargo test --all-features --test conformance -- --list` names the cases. Beside
//! them: stores that are broken on purpose, stores that have a bad day, and whole processes.
//!
//! Without features only what needs no other server is here.

#[cfg(feature = "full")]
mod bad_days;
mod broken;
#[cfg(feature = "full")]
mod fail_over;
mod processes;
#[cfg(feature = "full")]
mod round_trips;
mod stores;
#[cfg(feature = "full")]
mod tls;
#[cfg(feature = "full")]
mod together;

use stores::{Memory, Netlock};

sync_core::conformance!(memory, async { Memory::start() });
sync_core::conformance!(netlock, async { Netlock::start() });
sync_core::conformance!(netlock_with_a_folder, async { Netlock::with_a_folder() });
#[cfg(feature = "redis")]
sync_core::conformance!(redis, async { super::stores::Redis::start() });
#[cfg(feature = "etcd")]
sync_core::conformance!(etcd, async { super::stores::Etcd::start() });
#[cfg(feature = "consul")]
sync_core::conformance!(consul, async { super::stores::Consul::start() });
