//! The withdrawal of a claim whose guard was dropped, in the hands of a backend.

use std::fmt::Debug;
use std::sync::Arc;

use crate::spi::backend::Claim;
use crate::types::queue::Withdrawn;

/// The core's side of a departure.
pub(crate) trait Departing: Debug + Send + std::marker::Sync {
    fn claim(&self) -> &Claim;

    /// Ends the departure. `None`: the store has not confirmed it.
    fn departed(&self, confirmed: Option<Withdrawn>);
}

/// The withdrawal of a claim whose guard was dropped, in the hands of a
/// [backend](crate::spi::Backend::depart).
///
/// The backend confirms it when the store has answered. A departure that is dropped without a
/// confirmation is repeated by the core, until the store confirms it or the session ends.
#[must_use = "a departure that is dropped is repeated by the core"]
#[derive(Debug)]
pub struct Departure {
    /// `None` once it is confirmed.
    departing: Option<Arc<dyn Departing>>,
    #[cfg(feature = "metrics")]
    timer: Option<crate::spi::timer::Timer>,
}

impl Departure {
    pub(crate) fn new(departing: Arc<dyn Departing>) -> Self {
        Self {
            departing: Some(departing),
            #[cfg(feature = "metrics")]
            timer: None,
        }
    }

    /// Returns the claim to withdraw. `None` only once the departure is confirmed.
    #[must_use]
    pub fn claim(&self) -> Option<&Claim> {
        self.departing.as_ref().map(|departing| departing.claim())
    }

    /// Ends the departure with the answer of the store.
    pub fn confirm(mut self, withdrawn: Withdrawn) {
        if let Some(departing) = self.departing.take() {
            departing.departed(Some(withdrawn));
        }
        #[cfg(feature = "metrics")]
        if let Some(timer) = self.timer.take() {
            timer.stop();
        }
    }

    /// Measures the time until the confirmation.
    #[cfg(feature = "metrics")]
    pub(crate) fn time(&mut self, timer: crate::spi::timer::Timer) {
        self.timer = Some(timer);
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        if let Some(departing) = self.departing.take() {
            departing.departed(None);
        }
    }
}
