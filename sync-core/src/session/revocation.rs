//! The notification of a holder that it no longer holds its claim.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;

use crate::session::hold::Hold;
use crate::types::loss::Loss;

/// A future that resolves with the reason when the claim is no longer held.
///
/// It resolves before the store can grant the name to another claim. Every clone resolves.
///
/// # Cancel safety
/// Cancel-safe: dropping it changes nothing.
pub struct Revoked {
    hold: Arc<Hold>,
    lost: BoxFuture<'static, Loss>,
}

impl Revoked {
    pub(crate) fn of(hold: &Arc<Hold>) -> Self {
        let waiting = hold.clone();
        Self {
            hold: hold.clone(),
            lost: Box::pin(async move { waiting.lost().await }),
        }
    }
}

impl Revoked {
    /// Returns the reason if the claim is no longer held, without waiting. Reads the clock.
    #[must_use]
    pub fn loss(&self) -> Option<Loss> {
        self.hold.loss()
    }

    pub(crate) fn hold(&self) -> &Arc<Hold> {
        &self.hold
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
        f.debug_struct("Revoked")
            .field("claim", &self.hold.claim().id)
            .finish_non_exhaustive()
    }
}
