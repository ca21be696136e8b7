//! Every law of the design, on every store: `cargo test --test conformance -- --list` names the cases. Beside them: stores
//! that are broken on purpose, stores that have a bad day, and whole processes.

mod bad_days;
mod broken;
mod processes;
mod round_trips;
mod stores;

use stores::{Consul, Etcd, Memory, Netlock, Redis};

sync_core::conformance!(memory, async { Memory::start() });
sync_core::conformance!(netlock, async { Netlock::start().await });
sync_core::conformance!(redis, async { Redis::start() });
sync_core::conformance!(etcd, async { Etcd::start() });
sync_core::conformance!(consul, async { Consul::start() });
