//! The stores that tests run on, each started for the test and stopped after it.

mod consul;
mod etcd;
mod memory;
mod netlock;
mod program;
mod redis;

pub(crate) use consul::Consul;
pub(crate) use etcd::Etcd;
pub(crate) use memory::Memory;
pub(crate) use netlock::Netlock;
pub(crate) use program::free_port;
pub(crate) use redis::Redis;
