//! The guard of a held claim.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::locks::context::Context;
use crate::locks::ticket::Ticket;
use crate::options::checks::check_value;
use crate::session::Health;
use crate::session::arrivals::Late;
use crate::session::call::Call;
use crate::session::first::{First, Numbered};
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

/// The outcome of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Release {
    /// The lock was held, and is released now.
    Done,
    /// The lock was held, and the guard has ended. The store keeps the claim until its [minimal
    /// hold](crate::LockOptions::with_min_hold) is over.
    Deferred,
    /// The lock had been lost before: expired, evicted, or its session ended. Nothing was changed.
    AlreadyGone,
}

impl Numbered for Release {
    const ALL: &'static [Self] = &[Self::Done, Self::Deferred, Self::AlreadyGone];

    fn index(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Deferred => 1,
            Self::AlreadyGone => 2,
        }
    }
}

/// A held lock, read lock or permit.
///
/// Dropping it releases the lock in the background and never blocks. [`release`](Self::release)
/// waits for the store and returns the outcome.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # use distsync_core::{DynSync, LockOptions, Result};
/// # async fn charge(_: u32, _: distsync_core::Token) {}
/// async fn bill(sync: &DynSync) -> Result<()> {
///     let guard = sync.lock("billing", LockOptions::new())?.acquire().await?;
///     for customer in 0..3 {
///         // Fails if the lock was lost, or if less than a second is left.
///         let token = guard.check(Duration::from_secs(1))?;
///         charge(customer, token).await;
///     }
///     guard.release().await?;
///     Ok(())
/// }
/// ```
#[must_use = "dropping the guard releases the lock"]
#[derive(Debug)]
pub struct Guard {
    hold: Arc<Hold>,
    context: Arc<Context>,
    /// Whether the claim has a session of its own.
    owns_session: bool,
    outcome: First<Release>,
}

impl Guard {
    pub(crate) fn new(context: Arc<Context>, hold: Arc<Hold>, owns_session: bool) -> Self {
        Self {
            hold,
            context,
            owns_session,
            outcome: First::default(),
        }
    }

    /// Returns the fencing token, for the resource to check. Does not read the clock: see
    /// [`check`](Self::check).
    #[must_use]
    pub fn token(&self) -> Token {
        self.hold.token()
    }

    /// Returns the id of the claim, as observers see it.
    #[must_use]
    pub fn claim(&self) -> ClaimId {
        self.hold.claim().id
    }

    /// Returns the session that the claim lives with.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.hold.claim().session.id
    }

    /// Returns the name of the lock.
    #[must_use]
    pub fn name(&self) -> &LockName {
        &self.hold.claim().name
    }

    /// Returns the mode of the claim.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.hold.claim().mode
    }

    /// Returns a future that resolves with the reason when the claim is no longer held, before the
    /// store can grant it to another. It can be cloned, and it may outlive the guard.
    #[must_use]
    pub fn revoked(&self) -> Revoked {
        Revoked::of(&self.hold)
    }

    /// Returns the token if the claim is held now and for `min_remaining` more. Synchronous; reads
    /// the clock itself.
    ///
    /// Call it right before a side effect. A process that was stopped for longer than its TTL
    /// learns it here first.
    ///
    /// # Errors
    /// [`ErrorKind::SessionLost`], [`NotHeld`](ErrorKind::NotHeld) or [`Closed`](ErrorKind::Closed)
    /// if it is lost, [`Timeout`](ErrorKind::Timeout) if less time is left.
    pub fn check(&self, min_remaining: Duration) -> Result<Token> {
        self.hold
            .check(min_remaining)
            .map_err(|error| error.with_backend(self.context.backend_name()))
    }

    /// Returns whether the claim is held, at risk because a renewal failed, or lost.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.hold.loss() {
            Some(loss) => Health::Lost(loss),
            None => self.hold.session().health(),
        }
    }

    /// Returns the moment until which the claim is held if no further renewal succeeds; `None` once
    /// it is lost.
    #[must_use]
    pub fn valid_until(&self) -> Option<Moment> {
        self.hold.valid_until()
    }

    /// Returns the time until [`valid_until`](Self::valid_until); zero once it is lost.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.valid_until()
            .map_or(Duration::ZERO, |until| until.since(clock::now()))
    }

    fn call(&self, operation: &'static str) -> Call<'_> {
        self.context.call(operation, &self.hold.claim().name)
    }

    pub(crate) fn lost(&self, operation: &'static str, loss: Loss) -> Error {
        self.call(operation).explain(self.hold.lost_error(loss))
    }

    /// Restarts the TTL and returns the new [`valid_until`](Self::valid_until).
    ///
    /// A claim with a hold limit expires without it; any other claim is renewed anyway. A failure
    /// releases nothing and creates nothing.
    ///
    /// # Errors
    /// [`ErrorKind::SessionLost`] if it came too late; [`Unavailable`](ErrorKind::Unavailable) if
    /// the store does not answer.
    ///
    /// # Cancel safety
    /// Safe: the TTL is extended or not.
    pub async fn extend(&self) -> Result<Moment> {
        if let Some(loss) = self.hold.loss() {
            return Err(self.lost("extend", loss));
        }
        self.call("extend")
            .renew(&*self.context.backend, self.hold.session())
            .await?;
        self.valid_until()
            .ok_or_else(|| self.lost("extend", self.hold.loss().unwrap_or(Loss::Expired)))
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
        match self
            .call("update")
            .persist(self.hold.session(), attempt)
            .await
        {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => {
                self.hold.end(Loss::Evicted);
                Err(self.lost("update", self.hold.loss().unwrap_or(Loss::Evicted)))
            }
            Ok(Err(error)) => Err(error),
            Err(loss) => Err(self.lost("update", loss)),
        }
    }

    /// Releases the claim and returns the outcome. Idempotent: a second call returns the same
    /// outcome.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the store does not answer within the TTL (5 s at most). The
    /// guard then is as before, revocation included: call `release` again, or drop the guard, which
    /// retries until the session ends.
    ///
    /// # Cancel safety
    /// A release that has begun runs to its end in the background.
    pub async fn release(&self) -> Result<Release> {
        if let Some(outcome) = self.outcome.get() {
            return Ok(outcome);
        }
        if !self.hold.seems_held() {
            self.hold.guard_ended();
            return Ok(self.outcome.get_or_set(Release::AlreadyGone));
        }
        if self.hold.defer_release() {
            self.hold.end(Loss::Released);
            self.hold.guard_ended();
            return Ok(self.outcome.get_or_set(Release::Deferred));
        }
        self.hold.set_releasing(true);
        let unfinished = Unfinished(self);
        let claim = self.hold.claim();
        let withdrawn = self
            .call("release")
            .persist(self.hold.session(), || self.context.backend.withdraw(claim))
            .await;
        std::mem::forget(unfinished);
        let outcome = match withdrawn {
            Ok(Ok(Withdrawn::Absent)) | Err(_) => Release::AlreadyGone,
            Ok(Ok(_)) => {
                if self.hold.late() == Late::None {
                    self.hold.session().release_key_slot(claim);
                }
                Release::Done
            }
            Ok(Err(error)) => {
                self.hold.set_releasing(false);
                return Err(error);
            }
        };
        if self.hold.late() != Late::None {
            self.withdraw_in_the_background();
        }
        self.finish();
        Ok(self.outcome.get_or_set(outcome))
    }

    /// Detaches the lock from this process. It stays held until its TTL expires, even if this
    /// process ends, and anyone with the ticket can [resume](crate::Sync::resume) it, to extend or
    /// release it. Needs no round trip.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if the lock shares the session of others: acquire it with
    /// [`LockOptions::with_ttl`](crate::LockOptions::with_ttl), which is how long it stays held.
    /// [`SessionLost`](ErrorKind::SessionLost) or [`NotHeld`](ErrorKind::NotHeld) if it is lost. On
    /// an error the guard is dropped, and what it held is released.
    pub fn detach(self) -> Result<Ticket> {
        if !self.owns_session {
            let problem = "the lock shares a session with others, and cannot outlive it: acquire it with a ttl of its own";
            return Err(self
                .call("detach")
                .explain(Error::new(ErrorKind::InvalidOption, problem)));
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
        self.hold.session().detach();
        self.outcome.get_or_set(Release::AlreadyGone);
        Ok(ticket)
    }

    /// Marks the claim as released in this process.
    fn finish(&self) {
        self.hold.end(Loss::Released);
        self.hold.guard_ended();
        if self.owns_session && !self.hold.defer_release() {
            self.hold.session().end();
        }
    }

    /// Lets the claim be withdrawn without waiting for it. A session of its own ends the claim.
    fn withdraw_in_the_background(&self) {
        let (context, hold) = (&self.context, &self.hold);
        if self.owns_session {
            return;
        }
        if hold.late() == Late::None {
            let departures = hold.session().departures();
            departures.begin(&context.backend, hold.clone());
        } else {
            let (claim, session) = (hold.claim().clone(), hold.session().clone());
            context.keeper.withdraw(claim, session, hold.late());
        }
    }

    /// Releases in the background. Idempotent.
    pub(crate) fn hand_over(&self) {
        if self.outcome.get().is_some() {
            return;
        }
        let held = self.hold.seems_held();
        self.hold.set_releasing(true);
        if held {
            self.withdraw_in_the_background();
        }
        self.finish();
        self.outcome.get_or_set(if held {
            Release::Done
        } else {
            Release::AlreadyGone
        });
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

/// A release that is under way. If its future is dropped, it goes on in the background.
struct Unfinished<'a>(&'a Guard);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.hand_over();
    }
}
