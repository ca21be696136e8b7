//! The guard of a held claim.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use crate::locks::context::Context;
use crate::locks::ticket::Ticket;
use crate::options::checks::check_value;
use crate::session::Health;
use crate::session::call::Call;
use crate::session::hold::Hold;
use crate::session::revocation::Revoked;
use crate::spi::clock::{self, Moment};
use crate::types::error::{Error, ErrorKind, Result};
use crate::types::ids::{ClaimId, SessionId};
use crate::types::loss::Loss;
use crate::types::mode::Mode;
use crate::types::names::LockName;
use crate::types::queue::Withdrawn;
use crate::types::token::Token;

/// What a release found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// It was held, and is free now.
    Done,
    /// It had been lost before: expired, evicted, or its session ended. Nothing was touched.
    AlreadyGone,
}

/// A held lock, read lock or permit.
///
/// Dropping it releases in the background and never blocks; [`release`](Self::release) tells you how it went.
#[must_use = "dropping the guard releases the lock"]
#[derive(Debug)]
pub struct Guard {
    hold: Arc<Hold>,
    context: Arc<Context>,
    /// Whether the claim has a session to itself, because it has a hold limit.
    owns_session: bool,
    outcome: OnceLock<Release>,
}

impl Guard {
    pub(crate) fn new(context: Arc<Context>, hold: Arc<Hold>, owns_session: bool) -> Self {
        Self { hold, context, owns_session, outcome: OnceLock::new() }
    }

    /// The fencing token, for the resource to check. Costs nothing, and does not look at the clock: see
    /// [`check`](Self::check).
    #[must_use]
    pub fn token(&self) -> Token {
        self.hold.token()
    }

    /// The claim's id, as observers see it.
    #[must_use]
    pub fn claim(&self) -> ClaimId {
        self.hold.claim().id
    }

    /// The session that it lives with.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.hold.claim().session.id
    }

    /// The name that is held.
    #[must_use]
    pub fn name(&self) -> &LockName {
        &self.hold.claim().name
    }

    /// In which company it is held.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.hold.claim().mode
    }

    /// A future that resolves with the reason when the claim is no longer held, before the store can grant it to
    /// another. It can be cloned, and outlives the guard.
    #[must_use]
    pub fn revoked(&self) -> Revoked {
        Revoked::of(&self.hold)
    }

    /// The token, if the claim is held now and for `min_remaining` more. Synchronous, and reads the clock itself: use it
    /// right before a side effect. A process that was stopped for longer than its TTL learns it here first.
    ///
    /// # Errors
    /// [`ErrorKind::SessionLost`], [`NotHeld`](ErrorKind::NotHeld) or [`Closed`](ErrorKind::Closed) if it is lost,
    /// [`Timeout`](ErrorKind::Timeout) if less time is left.
    pub fn check(&self, min_remaining: Duration) -> Result<Token> {
        self.hold.check(min_remaining).map_err(|error| error.with_backend(self.context.backend_name()))
    }

    /// Held, at risk because a renewal failed, or lost.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.hold.loss() {
            Some(loss) => Health::Lost(loss),
            None => self.hold.session().health(),
        }
    }

    /// Until when the claim is held if no renewal succeeds any more; `None` once it is lost.
    #[must_use]
    pub fn valid_until(&self) -> Option<Moment> {
        self.hold.valid_until()
    }

    /// The time until [`valid_until`](Self::valid_until); zero once it is lost.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.valid_until().map_or(Duration::ZERO, |until| until.since(clock::now()))
    }

    fn call(&self, operation: &'static str) -> Call<'_> {
        self.context.call(operation, &self.hold.claim().name)
    }

    fn lost(&self, operation: &'static str, loss: Loss) -> Error {
        self.call(operation).explain(self.hold.lost_error(loss))
    }

    /// Starts the TTL anew. A claim with a hold limit needs it to outlive the limit; any other is renewed anyway.
    /// Returns the new [`valid_until`](Self::valid_until). A failure releases nothing and creates nothing.
    ///
    /// # Errors
    /// [`ErrorKind::SessionLost`] if it came too late; [`Unavailable`](ErrorKind::Unavailable) if the store does not answer.
    ///
    /// # Cancel safety
    /// Safe: the TTL is extended or not.
    pub async fn extend(&self) -> Result<Moment> {
        if let Some(loss) = self.hold.loss() {
            return Err(self.lost("extend", loss));
        }
        self.call("extend").renew(&*self.context.backend, self.hold.session()).await?;
        self.valid_until().ok_or_else(|| self.lost("extend", self.hold.loss().unwrap_or(Loss::Expired)))
    }

    /// Changes the value that observers see.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for more than 1 KiB, [`SessionLost`](ErrorKind::SessionLost) or
    /// [`NotHeld`](ErrorKind::NotHeld) if the claim is lost.
    ///
    /// # Cancel safety
    /// The value may or may not have changed.
    pub async fn update(&self, value: impl Into<Bytes>) -> Result<()> {
        let value = value.into();
        check_value(&value).map_err(|error| self.call("update").explain(error))?;
        if let Some(loss) = self.hold.loss() {
            return Err(self.lost("update", loss));
        }
        let claim = self.hold.claim();
        let attempt = || self.context.backend.update(claim, value.clone());
        match self.call("update").persist(self.hold.session(), attempt).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => {
                self.hold.end(Loss::Evicted);
                Err(self.lost("update", self.hold.loss().unwrap_or(Loss::Evicted)))
            }
            Ok(Err(error)) => Err(error),
            Err(loss) => Err(self.lost("update", loss)),
        }
    }

    /// Releases, and says what was there to release. Again is fine, and answers the same.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the store does not answer within the TTL (5 s at most). The guard then stays as
    /// it was, revocation included: try again, or drop it, which tries until the session ends.
    ///
    /// # Cancel safety
    /// A release that has begun runs to its end in the background.
    pub async fn release(&self) -> Result<Release> {
        if let Some(outcome) = self.outcome.get() {
            return Ok(*outcome);
        }
        if !self.hold.seems_held() {
            return Ok(*self.outcome.get_or_init(|| Release::AlreadyGone));
        }
        self.hold.set_leaving(true);
        let unfinished = Unfinished(self);
        let claim = self.hold.claim();
        let withdrawn =
            self.call("release").persist(self.hold.session(), || self.context.backend.withdraw(claim)).await;
        std::mem::forget(unfinished);
        let outcome = match withdrawn {
            Ok(Ok(Withdrawn::Absent)) | Err(_) => Release::AlreadyGone,
            Ok(Ok(_)) => {
                if self.hold.has_arrived() {
                    self.hold.session().give_back(claim);
                }
                Release::Done
            }
            Ok(Err(error)) => {
                self.hold.set_leaving(false);
                return Err(error);
            }
        };
        self.finish();
        Ok(*self.outcome.get_or_init(|| outcome))
    }

    /// Gives the lock out of hand: it is held until its TTL has run out, whatever becomes of this process, and whoever has
    /// the ticket can [take it up again](crate::Sync::resume), to extend or release it. Costs no round trip.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if the lock shares the session of others: acquire it with
    /// [`LockOptions::with_ttl`](crate::LockOptions::with_ttl), which is how long it will be held.
    /// [`SessionLost`](ErrorKind::SessionLost) or [`NotHeld`](ErrorKind::NotHeld) if it is lost. The guard is dropped then,
    /// and what it held released.
    pub fn detach(self) -> Result<Ticket> {
        if !self.owns_session {
            let problem = "the lock shares a session with others, and cannot outlive it: acquire it with a ttl of its own";
            return Err(self.call("detach").explain(Error::new(ErrorKind::InvalidOption, problem)));
        }
        if let Some(loss) = self.hold.loss() {
            return Err(self.lost("detach", loss));
        }
        let claim = self.hold.claim();
        let ticket = Ticket {
            session: claim.session,
            claim: claim.id,
            mode: claim.mode,
            token: self.hold.token(),
            name: claim.name.clone(),
        };
        self.hold.session().let_go();
        self.outcome.get_or_init(|| Release::AlreadyGone);
        Ok(ticket)
    }

    /// Marks the claim as released, here.
    fn finish(&self) {
        self.hold.end(Loss::Released);
        if self.owns_session {
            self.hold.session().end();
        }
    }

    /// Leaves the release to the keeper.
    fn hand_over(&self) {
        if self.outcome.get().is_some() {
            return;
        }
        let held = self.hold.seems_held();
        self.hold.set_leaving(true);
        if held && !self.owns_session {
            let (claim, session) = (self.hold.claim().clone(), self.hold.session().clone());
            self.context.keeper.withdraw(claim, session, self.hold.has_arrived());
        }
        self.finish();
        self.outcome.get_or_init(|| if held { Release::Done } else { Release::AlreadyGone });
    }

    pub(crate) fn hold(&self) -> &Arc<Hold> {
        &self.hold
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.hand_over();
    }
}

/// A release under way; dropped with its future, it goes on in the background.
struct Unfinished<'a>(&'a Guard);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.hand_over();
    }
}
