//! The stores that tests run on, each started for the test and stopped after it.

mod memory;
mod netlock;

pub(crate) use memory::Memory;
pub(crate) use netlock::Netlock;
