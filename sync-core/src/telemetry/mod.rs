//! Reports about locks and sessions: events through `tracing`, and with the feature `metrics` also
//! metrics through the facade of that name.
//!
//! Names are reported, and secrets never. Without a listener, nothing is measured: a clock is read
//! only if an event of this level is enabled, or if a recorder of metrics was installed before the
//! handle was opened.

#[cfg(feature = "metrics")]
mod backend;
mod claims;
#[cfg(feature = "metrics")]
mod metrics;
mod sessions;
mod store;

#[cfg(feature = "metrics")]
pub(crate) use backend::observed;
pub(crate) use claims::{AcquireRecord, HoldRecord, WaitRecord, acquire_span};
pub(crate) use sessions::renewed;
pub(crate) use store::Store;

use std::time::Duration;

use crate::spi::clock::{self, Moment};
use crate::types::names::Kind;

fn since(start: Moment) -> Duration {
    clock::now().since(start)
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Lock => "lock",
        Kind::Leader => "leader",
    }
}
