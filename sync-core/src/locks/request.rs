//! The request of a lock or an election, and the outcome of one attempt at it.

use std::time::Duration;

use bytes::Bytes;

use crate::locks::guard::Guard;
use crate::options::{OnDisconnect, OnWait};
use crate::session::limits::Limits;
use crate::spi::clock;
use crate::types::mode::Mode;
use crate::types::names::LockName;
use crate::types::queue::Entry;

/// The properties of each acquire of a lock, or of each campaign of a candidate.
#[derive(Clone, Debug)]
pub(crate) struct AcquireRequest {
    pub(crate) operation: &'static str,
    pub(crate) name: LockName,
    /// The other names of a request for several.
    pub(crate) also: Vec<LockName>,
    /// Whether any one of the names is enough.
    pub(crate) any: bool,
    /// Whether a wait uses the local queue, if the handle has one.
    pub(crate) queues_locally: bool,
    pub(crate) mode: Mode,
    pub(crate) ttl: Option<Duration>,
    pub(crate) min_hold: Option<Duration>,
    pub(crate) max_hold: Option<Duration>,
    pub(crate) on_disconnect: OnDisconnect,
    pub(crate) value: Bytes,
    pub(crate) on_wait: Option<OnWait>,
}

/// The outcome of an attempt.
#[derive(Debug)]
pub(crate) enum Attempt {
    Held(Guard),
    /// The name is taken and the request does not wait. Contains the holder, if the store reports
    /// it.
    Busy(Option<Box<Entry>>),
}

impl AcquireRequest {
    /// Whether each claim has a session of its own.
    pub(super) fn owns_session(&self) -> bool {
        self.has_hold_limit() || self.outlives_the_handle() || self.min_hold.is_some()
    }

    /// Returns the TTL of a session of the claim's own, where `shared` is the TTL of shared ones.
    ///
    /// With a minimal hold it is at least that long, so that the store keeps the claim for that
    /// time even if this process ends.
    pub(super) fn own_ttl(&self, shared: Duration) -> Duration {
        self.ttl
            .unwrap_or_else(|| shared.max(self.min_hold.unwrap_or_default()))
    }

    /// Returns the limits of a hold that is granted now.
    pub(super) fn limits(&self) -> Option<Box<Limits>> {
        if self.min_hold.is_none() && self.max_hold.is_none() {
            return None;
        }
        Some(Box::new(Limits::starting_at(
            clock::now(),
            self.min_hold,
            self.max_hold,
            self.owns_session(),
            self.outlives_the_handle(),
        )))
    }

    /// Whether the session of a claim expires unless it is extended.
    pub(super) fn has_hold_limit(&self) -> bool {
        self.ttl.is_some()
    }

    /// Whether a claim is left to its TTL when the handle is closed.
    pub(super) fn outlives_the_handle(&self) -> bool {
        self.on_disconnect == OnDisconnect::Ignore
    }
}
