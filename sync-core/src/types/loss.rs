//! Why a claim is no longer held.

use std::fmt;

/// Why a claim is no longer held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Loss {
    /// No renewal succeeded in time (network, store or this process stood still), or the hold limit ran out.
    Expired,
    /// The store says that the session is gone.
    SessionLost,
    /// An operator ended the claim, or somebody removed its key.
    Evicted,
    /// The holder released it.
    Released,
    /// The handle was closed.
    Closed,
    /// It was not renewed in time, and the store has this client isolated: end the process.
    Isolated,
    /// It was given out of hand: who has the ticket holds it.
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
            Self::Detached => "detached",
        })
    }
}
