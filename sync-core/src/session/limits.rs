//! The limits of one hold: the minimal and the maximal time for which its claim stays in the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::session::hold::Hold;
use crate::session::validity::stop_margin;
use crate::session::withdrawal::withdraw;
use crate::spi::backend::Backend;
use crate::spi::clock::{self, Moment};
use crate::types::loss::Loss;

/// The minimal hold lasts, and the guard still holds.
const KEPT: u8 = 0;
/// The guard was released before the minimal hold was over.
const RELEASED: u8 = 1;
/// The minimal hold is over, or there is none.
const OVER: u8 = 2;

/// The limits of a hold, counted from its grant.
#[derive(Debug)]
pub(crate) struct Limits {
    /// The moment until which the claim stays in the store, even if its guard is released before.
    keep_until: Option<Moment>,
    /// One of [`KEPT`], [`RELEASED`] and [`OVER`].
    minimal: AtomicU8,
    /// The moment of the revocation, which leaves the holder a margin to stop its work.
    revoke_at: Option<Moment>,
    /// The moment at which the keeper withdraws the claim.
    withdraw_at: Option<Moment>,
    /// Whether the claim has a session of its own.
    owns_session: bool,
    /// Whether the session outlives the handle even when the minimal hold is over.
    outlives_the_handle: bool,
    /// Cancelled when the guard has ended, so that a revoked claim is withdrawn without the margin.
    guard_ended: CancellationToken,
}

impl Limits {
    /// Returns the limits of a hold that is granted at `now`.
    pub(crate) fn starting_at(
        now: Moment,
        min: Option<Duration>,
        max: Option<Duration>,
        owns_session: bool,
        outlives_the_handle: bool,
    ) -> Self {
        Self {
            keep_until: min.map(|min| now.after(min)),
            minimal: AtomicU8::new(if min.is_some() { KEPT } else { OVER }),
            revoke_at: max.map(|max| now.after(max.saturating_sub(stop_margin(max)))),
            withdraw_at: max.map(|max| now.after(max)),
            owns_session,
            outlives_the_handle,
            guard_ended: CancellationToken::new(),
        }
    }

    /// Returns when the hold is revoked, whether it is renewed or not.
    pub(super) fn revoke_at(&self) -> Option<Moment> {
        self.revoke_at
    }

    /// Leaves the release to the keeper, if the minimal hold is not over at `now`. Returns whether
    /// it is left.
    fn defer(&self, now: Moment) -> bool {
        // The keeper's timer may be late.
        let is_over = self.keep_until.is_none_or(|until| now >= until);
        let next = if is_over { OVER } else { RELEASED };
        let changed =
            self.minimal
                .compare_exchange(KEPT, next, Ordering::AcqRel, Ordering::Acquire);
        changed.map_or_else(|state| state, |_| next) == RELEASED
    }

    /// Ends the minimal hold. Returns whether a release was left to the keeper.
    fn end_minimal(&self) -> bool {
        self.minimal.swap(OVER, Ordering::AcqRel) == RELEASED
    }
}

impl Hold {
    /// Leaves the release to the keeper, if the minimal hold is not over. Returns whether it is
    /// left.
    pub(crate) fn defer_release(&self) -> bool {
        self.limits()
            .is_some_and(|limits| limits.defer(clock::now()))
    }

    /// Records that the guard has ended.
    pub(crate) fn guard_ended(&self) {
        if let Some(limits) = self.limits() {
            limits.guard_ended.cancel();
        }
    }
}

/// Enforces the limits of a hold: a task of the keeper.
pub(super) async fn enforce(backend: Arc<dyn Backend>, hold: Arc<Hold>) {
    if let Some(limits) = hold.limits() {
        tokio::join!(keep(&hold, limits), bound(backend, &hold, limits));
    }
}

/// Waits until the minimal hold is over, and then releases the claim if its guard has ended.
async fn keep(hold: &Hold, limits: &Limits) {
    let Some(until) = limits.keep_until else {
        return;
    };
    let session = hold.session();
    if session.while_live(clock::sleep_until(until)).await.is_err() {
        return;
    }
    if limits.end_minimal() {
        session.end();
    } else if !limits.outlives_the_handle {
        session.end_with_the_handle();
    }
}

/// Revokes the hold and withdraws its claim when the maximal hold is over.
async fn bound(backend: Arc<dyn Backend>, hold: &Hold, limits: &Limits) {
    let (Some(revoke_at), Some(withdraw_at)) = (limits.revoke_at, limits.withdraw_at) else {
        return;
    };
    tokio::select! {
        biased;
        loss = hold.lost() => if loss != Loss::MaxHold { return },
        () = clock::sleep_until(revoke_at) => {}
    }
    let session = hold.session();
    if !session.revoke(hold.claim().id, Loss::MaxHold) {
        return;
    }
    let margin = async {
        tokio::select! {
            () = limits.guard_ended.cancelled() => {}
            () = clock::sleep_until(withdraw_at) => {}
        }
    };
    if session.while_live(margin).await.is_err() || limits.defer(clock::now()) {
        return;
    }
    if limits.owns_session {
        session.end();
    } else {
        withdraw(backend, hold.claim().clone(), session.clone(), hold.late()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn the_maximal_hold_includes_the_margin_to_stop_the_work() {
        let max = Some(Duration::from_secs(60));
        let limits = Limits::starting_at(at(1_000), None, max, false, false);
        assert_eq!(limits.revoke_at, Some(at(1_000 + 54_000)));
        assert_eq!(limits.withdraw_at, Some(at(1_000 + 60_000)));
        assert!(!limits.defer(at(1_000)), "there is no minimal hold");
    }

    #[test]
    fn one_of_guard_and_keeper_releases_whatever_the_order() {
        let min = Some(Duration::from_secs(1));
        let released_first = Limits::starting_at(at(0), min, None, true, false);
        assert!(released_first.defer(at(999)) && released_first.defer(at(1_000)));
        assert!(released_first.end_minimal(), "the keeper releases");
        let over_first = Limits::starting_at(at(0), min, None, true, false);
        assert!(!over_first.end_minimal());
        assert!(!over_first.defer(at(999)), "the guard releases");
        let late_keeper = Limits::starting_at(at(0), min, None, true, false);
        assert!(!late_keeper.defer(at(1_000)), "the guard releases");
        assert!(!late_keeper.end_minimal(), "the guard has released");
    }
}
