//! The stores that tests run on, each started for the test and stopped after it.

#[cfg(feature = "full")]
mod certificates;
#[cfg(feature = "consul")]
mod consul;
#[cfg(feature = "etcd")]
mod etcd;
mod memory;
mod netlock;
#[cfg(any(feature = "consul", feature = "etcd", feature = "redis"))]
mod program;
#[cfg(feature = "redis")]
mod redis;

#[cfg(feature = "full")]
pub(crate) use certificates::Certificates;
#[cfg(feature = "consul")]
pub(crate) use consul::Consul;
#[cfg(feature = "full")]
pub(crate) use consul::ConsulCluster;
#[cfg(feature = "etcd")]
pub(crate) use etcd::Etcd;
#[cfg(feature = "full")]
pub(crate) use etcd::{EtcdCluster, EtcdTls};
pub(crate) use memory::Memory;
pub(crate) use netlock::Netlock;
#[cfg(feature = "full")]
pub(crate) use program::free_port;
#[cfg(feature = "redis")]
pub(crate) use redis::Redis;
#[cfg(feature = "full")]
pub(crate) use redis::{RedisCluster, RedisSentinels, RedisTls};
