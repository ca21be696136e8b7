//! The store that a report is about, with its metrics.

#[cfg(feature = "metrics")]
use super::metrics::StoreMetrics;

/// The store that a report is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Store {
    pub(super) name: &'static str,
    #[cfg(feature = "metrics")]
    pub(super) metrics: &'static StoreMetrics,
}

impl Store {
    /// Returns the store of this name. Its metrics are registered at the first call.
    pub(crate) fn of(name: &'static str) -> Self {
        Self {
            name,
            #[cfg(feature = "metrics")]
            metrics: StoreMetrics::of(name),
        }
    }
}
