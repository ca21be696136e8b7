//! Tools for the tests of applications (the feature `testing`).

mod faults;
mod layer;

pub use faults::Faults;
