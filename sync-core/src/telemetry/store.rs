//! The store that a report is about, with its metrics.

#[cfg(feature = "metrics")]
use super::metrics::StoreMetrics;
use crate::spi::clock::{self, Moment};

/// The store that a report is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Store {
    pub(super) name: &'static str,
    #[cfg(feature = "metrics")]
    pub(super) metrics: &'static StoreMetrics,
}

impl Store {
    /// Returns the store of this name. Its metrics are registered at the first call, and once more
    /// at the first call after a recorder was installed.
    pub(crate) fn of(name: &'static str) -> Self {
        Self {
            name,
            #[cfg(feature = "metrics")]
            metrics: StoreMetrics::of(name),
        }
    }

    /// Returns whether somebody listens to reports about this store.
    pub(crate) fn is_observed(self) -> bool {
        self.is_recorded() || tracing::enabled!(tracing::Level::DEBUG)
    }

    /// Returns the current moment if somebody listens.
    pub(super) fn start(self) -> Option<Moment> {
        self.is_observed().then(clock::now)
    }

    #[cfg(feature = "metrics")]
    fn is_recorded(self) -> bool {
        self.metrics.is_recorded
    }

    #[cfg(not(feature = "metrics"))]
    #[expect(
        clippy::unused_self,
        reason = "without the feature, no store has metrics"
    )]
    fn is_recorded(self) -> bool {
        false
    }
}
