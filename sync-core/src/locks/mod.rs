//! Locks and elections: the traits that applications use, and their implementation.
//!
//! Start with `traits`, the API, and `handle`, which implements it over a backend. `acquire` turns
//! a request into a guard.

pub(crate) mod acquire;
pub(crate) mod context;
pub(crate) mod election;
pub(crate) mod guard;
pub(crate) mod handle;
pub(crate) mod leadership;
pub(crate) mod local_queue;
pub(crate) mod lock;
pub(crate) mod observe;
mod queued_claim;
pub(crate) mod request;
mod resume;
pub(crate) mod several;
pub(crate) mod ticket;
pub(crate) mod traits;
mod unsuccessful;
