//! A claim that is held, as its guard, its revocation and its session share it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;

use crate::session::live::LiveSession;
use crate::spi::backend::Claim;
use crate::spi::clock::{self, Moment};
use crate::types::error::{Error, ErrorKind, Result};
use crate::types::loss::Loss;
use crate::types::token::Token;

#[derive(Debug)]
pub(crate) struct Hold {
    claim: Claim,
    token: Token,
    session: Arc<LiveSession>,
    /// Whether the store has answered all that asked for it.
    arrived: bool,
    /// Whether its release is under way: it may be gone from the store before it is gone here.
    leaving: AtomicBool,
    /// Set once, with the first reason.
    loss: OnceLock<Loss>,
    lost: Notify,
}

impl Hold {
    /// Begins to hold; `None` if the session is lost by now, and the claim with it.
    pub(crate) fn begin(
        claim: Claim,
        token: Token,
        session: Arc<LiveSession>,
        arrived: bool,
    ) -> Option<Arc<Self>> {
        let hold = Arc::new(Self {
            claim: Claim { token: Some(token), ..claim },
            token,
            session: session.clone(),
            arrived,
            leaving: AtomicBool::new(false),
            loss: OnceLock::new(),
            lost: Notify::new(),
        });
        session.adopt(&hold);
        hold.valid_until().map(|_| hold)
    }

    pub(crate) fn claim(&self) -> &Claim {
        &self.claim
    }

    pub(crate) fn has_arrived(&self) -> bool {
        self.arrived
    }

    /// Its release begins, or has failed.
    pub(crate) fn set_leaving(&self, leaving: bool) {
        self.leaving.store(leaving, Ordering::Release);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    pub(crate) fn token(&self) -> Token {
        self.token
    }

    pub(crate) fn session(&self) -> &Arc<LiveSession> {
        &self.session
    }

    /// Ends it, from the store's side or its holder's.
    pub(crate) fn lose(&self, loss: Loss) {
        if self.loss.set(loss).is_ok() {
            self.lost.notify_waiters();
        }
    }

    /// Ends it and takes it off its session's list.
    pub(crate) fn end(&self, loss: Loss) {
        self.session.forget(self.claim.id);
        self.lose(loss);
    }

    /// Until when it may be believed held; `None` once lost. Reads the clock itself.
    pub(crate) fn valid_until(&self) -> Option<Moment> {
        if self.loss.get().is_some() { None } else { self.session.valid_until() }
    }

    /// Whether anybody has seen it lost so far. Does not read the clock.
    pub(crate) fn seems_held(&self) -> bool {
        self.loss.get().is_none() && self.session.seems_live()
    }

    pub(crate) fn loss(&self) -> Option<Loss> {
        self.loss.get().copied().or_else(|| if self.session.is_live() { None } else { self.session.loss() })
    }

    /// Resolves when it is lost.
    pub(crate) async fn lost(&self) -> Loss {
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

    /// The token, if it is held and will be for `min_remaining`.
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
                        "{left:?} are left, {min_remaining:?} were asked for: extend, or do less under the lock"
                    ),
                )
            }
            None => self.lost_error(self.loss().unwrap_or(Loss::Expired)),
        };
        Err(error.with_operation("check").with_name(&self.claim.name.plain()))
    }

    pub(crate) fn lost_error(&self, loss: Loss) -> Error {
        let kind = match loss {
            Loss::Released | Loss::Evicted | Loss::Detached => ErrorKind::NotHeld,
            Loss::Closed => ErrorKind::Closed,
            Loss::Isolated => ErrorKind::Isolated,
            Loss::Expired | Loss::SessionLost => ErrorKind::SessionLost,
        };
        Error::new(kind, format!("no longer held ({loss}): stop the work, and acquire again"))
    }
}
