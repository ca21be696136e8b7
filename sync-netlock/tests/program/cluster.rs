//! Several processes as one lock service.

mod conformance;
mod disturbed;
mod faults;
mod kills;
mod members;
mod network;
