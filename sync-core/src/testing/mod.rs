//! Tools for the tests of applications (the feature `testing`).

mod faults;
mod layer;

pub use crate::spi::clock::TestClock;
pub use faults::Faults;
