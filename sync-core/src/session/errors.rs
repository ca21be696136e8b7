//! Errors of sessions and of calls under them.

use std::time::Duration;

use crate::types::error::{Error, ErrorKind};

/// The error of who asks a handle that is closed.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the handle was closed: connect again")
}

/// The error of a client that is isolated, and has to end.
pub(crate) fn isolated() -> Error {
    let problem =
        "the store has this client isolated, for it did not renew what it held in time: end the process";
    Error::new(ErrorKind::Isolated, problem)
}

/// The error of who comes too late.
pub(crate) fn ticket_ended() -> Error {
    let problem =
        "the ticket's lock has ended: it was released, evicted, or its ttl ran out; acquire it anew";
    Error::new(ErrorKind::NotHeld, problem)
}

/// The error of a request that was not answered.
pub(crate) fn silent(patience: Duration) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("no answer within {patience:?}: is the store up and reachable?"),
    )
    .with_maybe_applied()
    .retryable()
}
