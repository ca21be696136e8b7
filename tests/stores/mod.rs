//! The stores that tests run on, each started for a test and stopped after it.

mod memory;
mod netlock;
#[cfg(not(feature = "full"))]
mod not_built;
mod proxy;
#[cfg(feature = "full")]
mod servers;

pub(crate) use memory::Memory;
pub(crate) use netlock::Netlock;
#[cfg(not(feature = "full"))]
pub(crate) use not_built::{NotBuilt as Consul, NotBuilt as Etcd, NotBuilt as Redis};
#[cfg(feature = "full")]
pub(crate) use servers::*;
