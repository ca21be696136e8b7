//! The program `distsync`, run as a process against real stores.

mod arguments;
mod bench;
mod check;
mod election;
mod environment;
mod exit_codes;
mod loss;
mod observation;
mod pages;
mod partition;
mod program;
mod pty;
mod running;
mod serve;
mod signals;
mod steps;
#[path = "../stores/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the conformance tests use the rest"
)]
mod stores;
mod terminal;
mod tickets;
mod waiting;
