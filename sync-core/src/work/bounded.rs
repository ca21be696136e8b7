//! Polling work up to a bound: the loss of a claim, or a moment.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use crate::session::hold::Hold;
use crate::spi::clock::{self, Moment};
use crate::types::loss::Loss;

/// Polls `work` until it ends, or until the claim is lost.
///
/// `Ok` means that the claim was held when the work ended.
pub(super) async fn while_held<F: Future>(
    hold: &Hold,
    work: Pin<&mut F>,
) -> Result<F::Output, Loss> {
    bounded(work, hold.lost(), || hold.loss()).await
}

/// Polls `work` until it ends, or until `deadline`.
pub(super) async fn before<F: Future>(deadline: Moment, work: Pin<&mut F>) -> Option<F::Output> {
    let is_over = || (clock::now() >= deadline).then_some(());
    bounded(work, clock::sleep_until(deadline), is_over)
        .await
        .ok()
}

/// Polls `work` until it ends, or until the bound is reached. `reached` resolves then, and
/// `is_reached` returns it without waiting.
///
/// The work is not polled once the bound is reached, even if this process was stopped meanwhile and
/// its timers are late. A last poll that takes until after the bound does not count as a success.
async fn bounded<F: Future, B>(
    mut work: Pin<&mut F>,
    reached: impl Future<Output = B>,
    is_reached: impl Fn() -> Option<B>,
) -> Result<F::Output, B> {
    let mut reached = pin!(reached);
    poll_fn(|cx| {
        if let Some(bound) = is_reached() {
            return Poll::Ready(Err(bound));
        }
        if let Poll::Ready(bound) = reached.as_mut().poll(cx) {
            return Poll::Ready(Err(bound));
        }
        let Poll::Ready(output) = work.as_mut().poll(cx) else {
            return Poll::Pending;
        };
        Poll::Ready(is_reached().map_or(Ok(output), Err))
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn work_is_not_polled_after_the_bound() {
        let polled = Cell::new(false);
        let work = pin!(async { polled.set(true) });
        let ended = bounded(work, pending(), || Some("lost")).await;
        assert_eq!((ended, polled.get()), (Err("lost"), false));
    }

    #[tokio::test]
    async fn a_last_poll_that_passes_the_bound_is_no_success() {
        let lost = Cell::new(None);
        let work = pin!(async { lost.set(Some("lost")) });
        assert_eq!(bounded(work, pending(), || lost.get()).await, Err("lost"));
    }

    #[tokio::test]
    async fn work_that_ends_in_time_returns_its_output() {
        let work = pin!(ready(7));
        assert_eq!(bounded(work, pending::<()>(), || None).await, Ok(7));
    }
}
