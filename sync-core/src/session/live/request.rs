//! A request under a session.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use super::{BEATS, LiveSession};
use crate::session::waiters::Waiter;
use crate::types::loss::Loss;

impl LiveSession {
    /// Runs one request until it completes or the session is lost. Returns `Ok(None)` after
    /// [`request_patience`](Self::request_patience).
    ///
    /// Uses no timer of its own, because there are too many requests for one each.
    pub(crate) fn request<F: Future + Unpin>(&self, future: F) -> RequestUnder<'_, F> {
        RequestUnder {
            session: self,
            future,
            waiter: self.pulse.waiter(),
            last_beat: self.beats.load(Ordering::Relaxed) + BEATS,
        }
    }
}

/// A request under a session. A type of its own, because an `async fn` would store the request
/// twice, in each of thousands of tasks.
#[derive(Debug)]
pub(crate) struct RequestUnder<'a, F> {
    session: &'a LiveSession,
    future: F,
    waiter: Waiter<'a>,
    last_beat: u64,
}

impl<F: Future + Unpin> Future for RequestUnder<'_, F> {
    type Output = Result<Option<F::Output>, Loss>;

    /// Does not read the clock: the keeper does, and wakes the waiters.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Poll::Ready(output) = Pin::new(&mut this.future).poll(cx) {
            return Poll::Ready(Ok(Some(output)));
        }
        this.waiter.register(cx);
        if !this.session.seems_live() {
            return Poll::Ready(Err(this.session.loss().unwrap_or(Loss::Expired)));
        }
        if this.session.beats.load(Ordering::Relaxed) > this.last_beat {
            return Poll::Ready(Ok(None));
        }
        Poll::Pending
    }
}
