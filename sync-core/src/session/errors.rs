//! Errors of sessions, and of requests under a session.

use std::time::Duration;

use crate::types::error::{Error, ErrorKind};

/// Returns the error of a call on a closed handle.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the handle was closed: connect again")
}

/// Returns the error of a client that is isolated and has to end its process.
pub(crate) fn isolated() -> Error {
    let problem = "the store has isolated this client, because it did not renew its session in time while it held: end the process";
    Error::new(ErrorKind::Isolated, problem)
}

/// Returns the error of a ticket whose lock is no longer held.
pub(crate) fn ticket_ended() -> Error {
    let problem =
        "the ticket's lock is no longer held (released, evicted or expired): acquire it again";
    Error::new(ErrorKind::NotHeld, problem)
}

/// Returns the error of a request that got no reply.
pub(crate) fn silent(patience: Duration) -> Error {
    Error::unanswered(format!(
        "no answer within {patience:?}: is the store up and reachable?"
    ))
}
