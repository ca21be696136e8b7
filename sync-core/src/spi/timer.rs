//! The time of a request that no caller waits for.

use metrics::Histogram;

use crate::spi::clock::{self, Moment};

#[derive(Debug)]
pub(crate) struct Timer {
    histogram: Histogram,
    start: Moment,
}

impl Timer {
    /// Starts now.
    pub(crate) fn start(histogram: Histogram) -> Self {
        Self {
            histogram,
            start: clock::now(),
        }
    }

    /// Records the time since the start.
    pub(crate) fn stop(self) {
        self.histogram.record(clock::now().since(self.start));
    }
}
