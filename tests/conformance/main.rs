//! The conformance suite on every store, and tests of the suite on stores that are broken on
//! purpose. `cargo test --test conformance -- --list` lists the cases.
//!
//! The cases of Redis, etcd and Consul need the feature `full` (`--all-features`). Without it they
//! fail.

mod broken;
mod harness;
mod local_queue;
#[path = "../stores/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the scenarios use the rest")]
mod stores;

use stores::{Consul, Etcd, Memory, Netlock, Redis};

distsync_core::conformance!(memory, async { Memory::start() });
distsync_core::conformance!(netlock, async { Netlock::start() });
distsync_core::conformance!(netlock_with_a_folder, async { Netlock::with_a_folder() });
distsync_core::conformance!(redis, async { Redis::start() });
distsync_core::conformance!(etcd, async { Etcd::start() });
distsync_core::conformance!(consul, async { Consul::start() });
