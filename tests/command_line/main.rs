//! The program `distsync`, run as a process against real stores.

mod arguments;
mod election;
mod environment;
mod exit_codes;
mod loss;
mod partition;
mod program;
mod running;
mod signals;
#[path = "../stores/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the conformance tests use the rest"
)]
mod stores;
mod terminal;
mod waiting;
