//! Several processes as one lock service.

mod conformance;
mod disturbed;
mod faults;
mod kills;
pub(crate) mod members;
mod network;
