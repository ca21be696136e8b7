//! The stores that tests run on, each started for the test and stopped after it.

// Each test program uses its own part of these.
#![allow(dead_code)]

mod memory;
mod netlock;

pub use memory::Memory;
pub use netlock::Netlock;
