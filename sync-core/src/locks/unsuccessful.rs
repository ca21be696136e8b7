//! The errors of an acquire that was not granted, and the state that a waiter collects for them.

use std::sync::Arc;
use std::time::Duration;

use crate::session::Health;
use crate::session::live::LiveSession;
use crate::spi::backend::Backend;
use crate::spi::clock::{self, Moment};
use crate::types::error::{Error, ErrorKind, Result};
use crate::types::loss::Loss;
use crate::types::names::LockName;
use crate::types::queue::Entry;

/// The time for which a wait that has timed out may ask the store for the holder.
const LOOK: Duration = Duration::from_millis(300);

/// The last answers and failures that a waiter has received.
#[derive(Default)]
pub(super) struct Progress {
    holder: Option<Box<Entry>>,
    /// The time at which the store named the holder.
    at: Moment,
    session: Option<Arc<LiveSession>>,
    /// Whether the wait can time out, and the session is needed for the error.
    can_time_out: bool,
    /// The error of the last request; `None` if it succeeded.
    failure: Option<Error>,
}

impl Progress {
    /// Returns the progress of a wait that can time out.
    pub(super) fn for_timeout() -> Self {
        Self {
            can_time_out: true,
            ..Self::default()
        }
    }

    /// Records that an attempt begins under `session`.
    pub(super) fn begin(&mut self, session: &Arc<LiveSession>) {
        if self.can_time_out {
            self.session = Some(session.clone());
        }
    }

    /// Records an answer of the store.
    pub(super) fn answered(&mut self, holder: Option<Box<Entry>>) {
        (self.holder, self.failure, self.at) = (holder, None, clock::now());
    }

    /// Records that a request failed.
    pub(super) fn failed(&mut self, error: Error) {
        self.failure = Some(error);
    }

    fn is_out_of_reach(&self) -> bool {
        let is_healthy = |session: &Arc<LiveSession>| session.health() == Health::Held;
        self.failure.is_some()
            || self
                .session
                .as_ref()
                .is_some_and(|session| !is_healthy(session))
    }

    /// Returns the error of a wait of `patience`. It says that the store is unreachable, or names
    /// the holder.
    pub(super) async fn timed_out(
        mut self,
        backend: &dyn Backend,
        name: &LockName,
        patience: Duration,
    ) -> Error {
        if self.is_out_of_reach() {
            let why = self
                .failure
                .as_ref()
                .map_or("its session is not renewed", Error::message);
            let problem =
                format!("not granted within {patience:?}, and the store is out of reach: {why}");
            let error = Error::new(ErrorKind::Timeout, problem);
            return match self.failure {
                Some(failure) => error.with_source(failure),
                None => error,
            };
        }
        if let Some(age) = self.holder.as_mut().and_then(|holder| holder.age.as_mut()) {
            *age += clock::now().since(self.at);
        }
        if self.holder.is_none() {
            // Not every store names the holder to a waiter.
            let queue = tokio::time::timeout(LOOK, backend.queue(name)).await;
            let holder = queue
                .ok()
                .and_then(Result::ok)
                .and_then(|queue| queue.holders().next().cloned());
            self.holder = holder.map(Box::new);
        }
        let held_by = HeldBy(&self.holder);
        let problem =
            format!("not granted within {patience:?}{held_by}: wait longer, or try later");
        Error::new(ErrorKind::Timeout, problem)
    }
}

/// Formats as `, held by X for 3.0s` if the holder is known, and as nothing otherwise.
struct HeldBy<'a>(&'a Option<Box<Entry>>);

impl std::fmt::Display for HeldBy<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(entry) = self.0 else { return Ok(()) };
        write!(f, ", held by {}", entry.client.escape_debug())?;
        if let Some(age) = entry.age {
            write!(f, " for {age:.1?}")?;
        }
        if entry.is_isolating {
            f.write_str(", whose client is being isolated")
        } else {
            Ok(())
        }
    }
}

/// Returns the error of a request that does not wait for a name that is taken.
pub(super) fn contended(holder: &Option<Box<Entry>>) -> Error {
    Error::new(
        ErrorKind::Contended,
        format!("taken{}: wait, or try later", HeldBy(holder)),
    )
}

/// Returns the error of a request whose session has ended and that is not made again.
pub(super) fn session_ended(loss: Loss) -> Error {
    match loss {
        Loss::Closed => Error::new(
            ErrorKind::Closed,
            "the handle was closed, or released everything: connect or acquire again",
        ),
        loss => Error::new(
            ErrorKind::SessionLost,
            format!("the session ended ({loss}): try again"),
        )
        .retryable(),
    }
}

/// Returns the error of a waiter that an operator has removed.
pub(super) fn evicted() -> Error {
    Error::new(
        ErrorKind::NotHeld,
        "an operator removed this request from the queue: ask the operator, or acquire again",
    )
}
