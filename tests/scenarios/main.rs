//! Processes and real servers under faults, load and configuration: tests that the conformance
//! suite does not contain. `cargo test --all-features --test scenarios -- --list` lists them.
#![cfg(feature = "full")]

mod batches;
#[cfg(feature = "blocking")]
mod blocking;
mod clocks;
mod consul;
mod consul_crowds;
mod consul_leader;
mod consul_lock_delay;
mod credentials;
mod crowds;
mod drops;
mod etcd;
mod every_store;
mod examples;
mod fail_over;
#[cfg(feature = "testing")]
mod faults;
mod fencing;
mod foreign_keys;
mod ghosts;
mod holds;
mod local_queue;
mod members;
mod microservice;
#[cfg(all(feature = "blocking", feature = "testing"))]
mod moved_clock;
mod outages;
mod processes;
mod programs;
mod redis;
mod rights;
mod round_trips;
mod runtimes;
mod silence;
mod steps;
#[path = "../stores/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the conformance tests use the rest"
)]
mod stores;
mod tls;
mod urls;
mod watchers;
mod work_of_a_leader;
mod work_under_a_lock;
