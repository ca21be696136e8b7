//! The reason why a claim is no longer held.

use std::fmt;

/// The reason why a claim is no longer held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Loss {
    /// No renewal succeeded in time, because the network, the store or this process stalled; or the
    /// hold limit was reached.
    Expired,
    /// The store reports that the session no longer exists.
    SessionLost,
    /// An operator evicted the claim, or its key was removed from the store.
    Evicted,
    /// The holder released the claim.
    Released,
    /// The handle was closed.
    Closed,
    /// The session was not renewed in time, and the store has isolated this client: end the
    /// process.
    Isolated,
    /// The maximal hold of the options was reached.
    MaxHold,
    /// The guard was detached, and its ticket now represents the claim.
    Detached,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "not renewed in time",
            Self::SessionLost => "the store ended the session",
            Self::Evicted => "evicted by an operator",
            Self::Released => "released",
            Self::Closed => "the handle was closed",
            Self::Isolated => "isolated by the store",
            Self::MaxHold => "held for the maximal time",
            Self::Detached => "detached",
        })
    }
}
