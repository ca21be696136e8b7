//! The records of requests, waits and holds. Each reports its end when it is dropped or ended.

use tracing::{Span, debug, debug_span, warn};

use super::{Store, kind, since};
use crate::spi::clock::{self, Moment};
use crate::types::error::{Error, ErrorKind};
use crate::types::loss::Loss;
use crate::types::mode::Mode;
use crate::types::names::LockName;
use crate::types::token::Token;

/// Returns the span of a request, which contains the events until its grant.
pub(crate) fn acquire_span(store: Store, name: &LockName, mode: Mode) -> Span {
    debug_span!("acquire", store = store.name, kind = kind(name.kind()), %name, %mode)
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Granted,
    Busy,
    TimedOut,
    Failed,
    Cancelled,
}

/// A request of a caller, from its start to its answer. A request that is dropped before counts as
/// cancelled.
#[derive(Debug)]
pub(crate) struct AcquireRecord<'a> {
    #[cfg(feature = "metrics")]
    store: Store,
    name: &'a LockName,
    started: Moment,
    outcome: Outcome,
}

impl<'a> AcquireRecord<'a> {
    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "a label"))]
    pub(crate) fn begin(store: Store, name: &'a LockName) -> Self {
        Self {
            #[cfg(feature = "metrics")]
            store,
            name,
            started: clock::now(),
            outcome: Outcome::Cancelled,
        }
    }

    pub(crate) fn granted(mut self, token: Token) {
        self.outcome = Outcome::Granted;
        debug!(name = %self.name, %token, waited = ?since(self.started), "granted");
    }

    pub(crate) fn busy(mut self) {
        self.outcome = Outcome::Busy;
        debug!(name = %self.name, "busy");
    }

    pub(crate) fn failed(mut self, error: &Error) {
        self.outcome = match error.kind() {
            ErrorKind::Timeout => Outcome::TimedOut,
            ErrorKind::Contended => Outcome::Busy,
            _ => Outcome::Failed,
        };
        debug!(name = %self.name, %error, "not granted");
    }
}

impl Drop for AcquireRecord<'_> {
    fn drop(&mut self) {
        if self.outcome == Outcome::Cancelled {
            debug!(name = %self.name, "cancelled");
        }
        #[cfg(feature = "metrics")]
        {
            let metrics = self.store.metrics.kind(self.name.kind());
            let histogram = match self.outcome {
                Outcome::Granted => &metrics.granted,
                Outcome::Busy => &metrics.busy,
                Outcome::TimedOut => &metrics.timed_out,
                Outcome::Failed => &metrics.failed,
                Outcome::Cancelled => &metrics.cancelled,
            };
            histogram.record(since(self.started));
        }
    }
}

/// A claim that waits in the queue, until it is dropped.
#[derive(Debug)]
pub(crate) struct WaitRecord {
    #[cfg(feature = "metrics")]
    waiters: &'static metrics::Gauge,
}

impl WaitRecord {
    pub(crate) fn begin(store: Store, name: &LockName, position: u32) -> Self {
        debug!(store = store.name, %name, position, "waiting");
        #[cfg(feature = "metrics")]
        store.metrics.kind(name.kind()).waiters.increment(1);
        Self {
            #[cfg(feature = "metrics")]
            waiters: &store.metrics.kind(name.kind()).waiters,
        }
    }
}

#[cfg(feature = "metrics")]
impl Drop for WaitRecord {
    fn drop(&mut self) {
        self.waiters.decrement(1);
    }
}

/// A claim that is held, from its grant to its loss or release.
#[derive(Debug)]
pub(crate) struct HoldRecord {
    store: Store,
    since: Option<Moment>,
}

impl HoldRecord {
    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "a label"))]
    pub(crate) fn begin(store: Store, name: &LockName) -> Self {
        #[cfg(feature = "metrics")]
        store.metrics.kind(name.kind()).held.increment(1);
        Self {
            store,
            since: store.start(),
        }
    }

    /// Reports the end of the hold. Called once.
    pub(crate) fn end(&self, name: &LockName, token: Token, loss: Loss) {
        let held = self.since.map(since);
        let shown = held.map(tracing::field::debug);
        let store = self.store.name;
        let is_lost = !matches!(loss, Loss::Released | Loss::Closed | Loss::Detached);
        if is_lost {
            warn!(store, %name, %token, held = shown, %loss, "lost");
        } else {
            debug!(store, %name, %token, held = shown, %loss, "no longer held");
        }
        #[cfg(feature = "metrics")]
        {
            let metrics = self.store.metrics.kind(name.kind());
            metrics.held.decrement(1);
            if let Some(held) = held {
                metrics.hold.record(held);
            }
            if is_lost {
                metrics::counter!(
                    "distsync_losses_total",
                    "store" => store,
                    "kind" => kind(name.kind()),
                    "reason" => reason(loss),
                )
                .increment(1);
            }
        }
    }
}

/// Returns the label of a loss.
#[cfg(feature = "metrics")]
fn reason(loss: Loss) -> &'static str {
    match loss {
        Loss::Expired => "expired",
        Loss::SessionLost => "session_lost",
        Loss::Evicted => "evicted",
        Loss::Released => "released",
        Loss::Closed => "closed",
        Loss::Isolated => "isolated",
        Loss::MaxHold => "max_hold",
        Loss::Detached => "detached",
    }
}
