//! A claim that is held: the state that its guard, its revocation and its session share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::session::arrivals::Late;
use crate::session::first::{First, Numbered};
use crate::session::limits::Limits;
use crate::session::live::LiveSession;
use crate::spi::backend::Claim;
use crate::spi::clock::{self, Moment};
use crate::telemetry::HoldRecord;
use crate::types::error::{Error, ErrorKind, Result};
use crate::types::loss::Loss;
use crate::types::token::Token;

#[derive(Debug)]
pub(crate) struct Hold {
    claim: Claim,
    token: Token,
    session: Arc<LiveSession>,
    /// The requests that enqueue the claim and may still arrive.
    late: Late,
    /// The minimal and the maximal hold, if the options give any.
    limits: Option<Box<Limits>>,
    /// Whether its release is in progress. The store may then have released the claim already.
    releasing: AtomicBool,
    record: HoldRecord,
    loss: First<Loss>,
    lost: Notify,
    /// Whether a task waits, or has waited, for the loss. Nearly no hold has such a task, and a
    /// notification takes a mutex.
    is_awaited: AtomicBool,
}

impl Numbered for Loss {
    const ALL: &'static [Self] = &[
        Self::Expired,
        Self::SessionLost,
        Self::Evicted,
        Self::Released,
        Self::Closed,
        Self::Isolated,
        Self::MaxHold,
        Self::Detached,
    ];

    fn index(self) -> u8 {
        match self {
            Self::Expired => 0,
            Self::SessionLost => 1,
            Self::Evicted => 2,
            Self::Released => 3,
            Self::Closed => 4,
            Self::Isolated => 5,
            Self::MaxHold => 6,
            Self::Detached => 7,
        }
    }
}

impl Hold {
    /// Registers a granted claim with its session.
    ///
    /// # Errors
    /// The loss of the session, and of the claim with it, if it has been lost meanwhile.
    pub(crate) fn begin(
        claim: Claim,
        token: Token,
        session: Arc<LiveSession>,
        late: Late,
        limits: Option<Box<Limits>>,
    ) -> Result<Arc<Self>, Loss> {
        let record = HoldRecord::begin(session.store(), &claim.name);
        let hold = Arc::new(Self {
            claim: Claim {
                token: Some(token),
                ..claim
            },
            token,
            session,
            late,
            limits,
            releasing: AtomicBool::new(false),
            record,
            loss: First::default(),
            lost: Notify::new(),
            is_awaited: AtomicBool::new(false),
        });
        hold.session.register(&hold);
        match hold.valid_until() {
            Some(_) => Ok(hold),
            None => Err(hold.session.loss().unwrap_or(Loss::Expired)),
        }
    }

    pub(crate) fn claim(&self) -> &Claim {
        &self.claim
    }

    pub(crate) fn late(&self) -> Late {
        self.late
    }

    pub(crate) fn has_limits(&self) -> bool {
        self.limits.is_some()
    }

    pub(super) fn limits(&self) -> Option<&Limits> {
        self.limits.as_deref()
    }

    /// Records that a release begins (`true`) or has failed (`false`).
    pub(crate) fn set_releasing(&self, releasing: bool) {
        self.releasing.store(releasing, Ordering::Release);
    }

    pub(crate) fn is_releasing(&self) -> bool {
        self.releasing.load(Ordering::Acquire)
    }

    pub(crate) fn token(&self) -> Token {
        self.token
    }

    pub(crate) fn session(&self) -> &Arc<LiveSession> {
        &self.session
    }

    /// Records the loss or release of the claim, and notifies its holder. Only the first call
    /// counts.
    pub(crate) fn lose(&self, loss: Loss) {
        if self.loss.set(loss).is_ok() {
            // Sequentially consistent, as the loss is: either this sees that a task waits, or the
            // task sees the loss.
            if self.is_awaited.load(Ordering::SeqCst) {
                self.lost.notify_waiters();
            }
            self.record.end(&self.claim.name, self.token, loss);
        }
    }

    /// Ends the hold, and removes it from its session.
    pub(crate) fn end(&self, loss: Loss) {
        self.session.forget(self.claim.id);
        self.lose(loss);
    }

    /// Returns until when the claim is known to be held, or `None` once it is lost. Reads the
    /// clock.
    pub(crate) fn valid_until(&self) -> Option<Moment> {
        if self.loss.get().is_some() {
            return None;
        }
        let until = self.session.valid_until()?;
        match self.limits().and_then(Limits::revoke_at) {
            None => Some(until),
            Some(limit) if clock::now() < limit => Some(until.min(limit)),
            Some(_) => None,
        }
    }

    /// Returns the moment until which the store certainly keeps a claim that was lost: past now
    /// only if its renewals failed.
    pub(crate) fn kept_until(&self, loss: Loss) -> Moment {
        match loss {
            Loss::Expired => self.session.lease_end(),
            _ => clock::now(),
        }
    }

    /// Returns whether no loss has been observed so far. Does not read the clock.
    pub(crate) fn seems_held(&self) -> bool {
        self.loss.get().is_none() && self.session.seems_live()
    }

    pub(crate) fn loss(&self) -> Option<Loss> {
        self.loss.get().or_else(|| {
            if !self.session.is_live() {
                return self.session.loss();
            }
            let limit = self.limits().and_then(Limits::revoke_at)?;
            (clock::now() >= limit).then_some(Loss::MaxHold)
        })
    }

    /// Resolves when the claim is lost.
    pub(crate) async fn lost(&self) -> Loss {
        self.is_awaited.store(true, Ordering::SeqCst);
        loop {
            let notified = self.lost.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Some(loss) = self.loss() {
                return loss;
            }
            notified.await;
        }
    }

    /// Returns the token if the claim is held for at least `min_remaining` longer.
    pub(crate) fn check(&self, min_remaining: Duration) -> Result<Token> {
        let error = match self.valid_until() {
            Some(until) => {
                let left = until.since(clock::now());
                if left >= min_remaining && !left.is_zero() {
                    return Ok(self.token);
                }
                Error::new(
                    ErrorKind::Timeout,
                    format!(
                        "{left:?} are left, but {min_remaining:?} are required: extend the lock, or do less work under it"
                    ),
                )
            }
            None => self.lost_error(self.loss().unwrap_or(Loss::Expired)),
        };
        Err(error
            .with_operation("check")
            .with_name(&self.claim.name.plain()))
    }

    pub(crate) fn lost_error(&self, loss: Loss) -> Error {
        let kind = match loss {
            Loss::Released | Loss::Evicted | Loss::Detached | Loss::MaxHold => ErrorKind::NotHeld,
            Loss::Closed => ErrorKind::Closed,
            Loss::Isolated => ErrorKind::Isolated,
            Loss::Expired | Loss::SessionLost => ErrorKind::SessionLost,
        };
        Error::new(
            kind,
            format!("no longer held ({loss}): stop the work and acquire again"),
        )
    }
}
