//! The stores that tests run on, each started for the test and stopped after it.

mod etcd;
mod memory;
mod netlock;
mod program;
mod redis;

pub(crate) use etcd::Etcd;
pub(crate) use memory::Memory;
pub(crate) use netlock::Netlock;
pub(crate) use redis::Redis;
