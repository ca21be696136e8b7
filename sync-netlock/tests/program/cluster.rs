//! Several processes as one lock service.

mod conformance;
mod disturbed;
mod faults;
mod hung_disk;
mod isolation;
mod kills;
pub(crate) mod members;
mod network;
