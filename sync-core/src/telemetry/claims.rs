//! The records of requests, waits and holds. Each reports its end when it is dropped or ended.

use tracing::{Span, debug, debug_span, warn};

use super::{kind, since, start};
use crate::spi::clock::Moment;
use crate::types::error::{Error, ErrorKind};
use crate::types::loss::Loss;
use crate::types::mode::Mode;
use crate::types::names::LockName;
use crate::types::token::Token;

/// Returns the span of a request, which contains the events until its grant.
pub(crate) fn acquire_span(store: &'static str, name: &LockName, mode: Mode) -> Span {
    debug_span!("acquire", store, kind = kind(name.kind()), %name, %mode)
}

/// A request of a caller, from its start to its answer. A request that is dropped before counts as
/// cancelled.
#[derive(Debug)]
pub(crate) struct AcquireRecord<'a> {
    store: &'static str,
    name: &'a LockName,
    started: Option<Moment>,
    outcome: &'static str,
}

impl<'a> AcquireRecord<'a> {
    pub(crate) fn begin(store: &'static str, name: &'a LockName) -> Self {
        Self {
            store,
            name,
            started: start(),
            outcome: "cancelled",
        }
    }

    pub(crate) fn granted(mut self, token: Token) {
        self.outcome = "granted";
        if let Some(started) = self.started {
            debug!(name = %self.name, %token, waited = ?since(started), "granted");
        }
    }

    pub(crate) fn busy(mut self) {
        self.outcome = "busy";
        debug!(name = %self.name, "busy");
    }

    pub(crate) fn failed(mut self, error: &Error) {
        self.outcome = match error.kind() {
            ErrorKind::Timeout => "timed_out",
            ErrorKind::Contended => "busy",
            _ => "failed",
        };
        debug!(name = %self.name, %error, "not granted");
    }
}

impl Drop for AcquireRecord<'_> {
    fn drop(&mut self) {
        let Some(started) = self.started else { return };
        if self.outcome == "cancelled" {
            debug!(name = %self.name, "cancelled");
        }
        #[cfg(feature = "metrics")]
        metrics::histogram!(
            "distsync_acquire_seconds",
            "store" => self.store,
            "kind" => kind(self.name.kind()),
            "outcome" => self.outcome,
        )
        .record(since(started));
        #[cfg(not(feature = "metrics"))]
        let _ = (started, self.store);
    }
}

/// A claim that waits in the queue, until it is dropped.
#[derive(Debug)]
pub(crate) struct WaitRecord {
    #[cfg(feature = "metrics")]
    waiters: metrics::Gauge,
}

impl WaitRecord {
    pub(crate) fn begin(store: &'static str, name: &LockName, position: u32) -> Self {
        debug!(store, %name, position, "waiting");
        Self {
            #[cfg(feature = "metrics")]
            waiters: {
                let waiters = metrics::gauge!(
                    "distsync_waiters",
                    "store" => store,
                    "kind" => kind(name.kind()),
                );
                waiters.increment(1);
                waiters
            },
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
    store: &'static str,
    since: Option<Moment>,
}

impl HoldRecord {
    pub(crate) fn begin(store: &'static str, name: &LockName) -> Self {
        #[cfg(feature = "metrics")]
        Self::held(store, name).increment(1);
        #[cfg(not(feature = "metrics"))]
        let _ = name;
        Self {
            store,
            since: start(),
        }
    }

    /// Reports the end of the hold. Called once.
    pub(crate) fn end(&self, name: &LockName, token: Token, loss: Loss) {
        let held = self.since.map(since);
        let shown = held.map(tracing::field::debug);
        let is_lost = match loss {
            Loss::Released | Loss::Closed | Loss::Detached => {
                debug!(store = self.store, %name, %token, held = shown, %loss, "no longer held");
                false
            }
            _ => {
                warn!(store = self.store, %name, %token, held = shown, %loss, "lost");
                true
            }
        };
        #[cfg(feature = "metrics")]
        {
            Self::held(self.store, name).decrement(1);
            let kind = kind(name.kind());
            if let Some(held) = held {
                metrics::histogram!("distsync_hold_seconds", "store" => self.store, "kind" => kind)
                    .record(held);
            }
            if is_lost {
                metrics::counter!(
                    "distsync_losses_total",
                    "store" => self.store,
                    "kind" => kind,
                    "reason" => reason(loss),
                )
                .increment(1);
            }
        }
        #[cfg(not(feature = "metrics"))]
        let _ = is_lost;
    }

    #[cfg(feature = "metrics")]
    fn held(store: &'static str, name: &LockName) -> metrics::Gauge {
        metrics::gauge!("distsync_held", "store" => store, "kind" => kind(name.kind()))
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
