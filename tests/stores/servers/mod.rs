//! Stores that run as separate server programs, single or in clusters.

mod certificates;
mod consul;
mod etcd;
mod program;
mod redis;

pub(crate) use certificates::Certificates;
pub(crate) use consul::{Consul, ConsulCluster};
pub(crate) use etcd::{Etcd, EtcdCluster, EtcdTls};
pub(crate) use program::free_port;
pub(crate) use redis::{JumpingRedis, Redis, RedisCluster, RedisSentinels, RedisTls};
