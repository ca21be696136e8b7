//! The request of a lock or an election, and the outcome of one attempt at it.

use std::time::Duration;

use bytes::Bytes;

use crate::locks::guard::Guard;
use crate::options::{OnDisconnect, OnWait};
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
    pub(crate) mode: Mode,
    pub(crate) ttl: Option<Duration>,
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
        self.has_hold_limit() || self.outlives_the_handle()
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
