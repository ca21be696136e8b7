//! Every law of the design, on every store: `cargo test --test conformance -- --list` names the
//! cases. Beside them: stores that are broken on purpose.
//!
//! All of it needs the feature `full` (`--all-features`). Without it the cases of a store that is
//! not built fail.

mod broken;
mod harness;
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
