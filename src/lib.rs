#![doc = include_str!("../README.md")]

mod connect;

pub use connect::{backend, connect};
#[cfg(feature = "consul")]
pub use sync_consul as consul;
pub use sync_core::*;
#[cfg(feature = "etcd")]
pub use sync_etcd as etcd;
#[cfg(feature = "netlock")]
pub use sync_netlock as netlock;
#[cfg(feature = "redis")]
pub use sync_redis as redis;
