//! How a holder learns that it no longer holds.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;

use crate::hold::Hold;

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

/// Resolves when the claim is no longer held, with the reason; before the store can grant it to another. Every clone
/// resolves.
///
/// # Cancel safety
/// Safe: dropping it changes nothing.
pub struct Revoked {
    hold: Arc<Hold>,
    lost: BoxFuture<'static, Loss>,
}

impl Revoked {
    pub(crate) fn of(hold: &Arc<Hold>) -> Self {
        let waiting = hold.clone();
        Self { hold: hold.clone(), lost: Box::pin(async move { waiting.lost().await }) }
    }
}

impl Clone for Revoked {
    fn clone(&self) -> Self {
        Self::of(&self.hold)
    }
}

impl Future for Revoked {
    type Output = Loss;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Loss> {
        self.lost.as_mut().poll(cx)
    }
}

impl fmt::Debug for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revoked").field("claim", &self.hold.claim().id).finish_non_exhaustive()
    }
}
