//! The records of renewals.

use std::time::Duration;

use tracing::trace;

use crate::types::ids::SessionId;

/// Reports a renewal that succeeded. `lag` is the time from the moment at which it was due until
/// its answer.
pub(crate) fn renewed(store: &'static str, session: SessionId, lag: Duration) {
    trace!(store, %session, ?lag, "session renewed");
    #[cfg(feature = "metrics")]
    metrics::histogram!("distsync_renewal_lag_seconds", "store" => store).record(lag);
}
