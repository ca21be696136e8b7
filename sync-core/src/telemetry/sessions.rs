//! The records of renewals.

use std::time::Duration;

use tracing::trace;

use super::Store;
use crate::types::ids::SessionId;

/// Reports a renewal that succeeded. `lag` is the time from the moment at which it was due until
/// its answer.
pub(crate) fn renewed(store: Store, session: SessionId, lag: Duration) {
    trace!(store = store.name, %session, ?lag, "session renewed");
    #[cfg(feature = "metrics")]
    store.metrics.renewal_lag.record(lag);
}
