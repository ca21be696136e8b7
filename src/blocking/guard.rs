//! A held lock of a blocking client.

use std::sync::Arc;
use std::time::Duration;

use distsync_core::spi::Bytes;
use distsync_core::spi::clock;
use distsync_core::{
    ClaimId, Health, LockName, Loss, Mode, Moment, Release, Result, Revoked, Ticket, Token,
};

use super::driver::Driver;

/// A held lock, read lock or permit. Dropping it releases the lock in the background.
#[must_use = "dropping the guard releases the lock"]
#[derive(Debug)]
pub struct Guard {
    guard: distsync_core::Guard,
    /// Below `guard`, whose end may need its thread.
    driver: Arc<Driver>,
}

impl Guard {
    pub(super) fn new(guard: distsync_core::Guard, driver: &Arc<Driver>) -> Self {
        let driver = driver.clone();
        Self { guard, driver }
    }

    /// Returns the fencing token, for the resource to check.
    #[must_use]
    pub fn token(&self) -> Token {
        self.guard.token()
    }

    /// Returns the id of the claim, as observers see it.
    #[must_use]
    pub fn claim(&self) -> ClaimId {
        self.guard.claim()
    }

    /// Returns the name of the lock.
    #[must_use]
    pub fn name(&self) -> &LockName {
        self.guard.name()
    }

    /// Returns the mode of the claim.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.guard.mode()
    }

    /// Returns the token if the claim is held now and for `min_remaining` more. Works everywhere,
    /// also inside a Tokio runtime.
    ///
    /// # Errors
    /// As [`crate::Guard::check`].
    pub fn check(&self, min_remaining: Duration) -> Result<Token> {
        self.guard.check(min_remaining)
    }

    /// Returns whether the claim is held, at risk because a renewal failed, or lost.
    #[must_use]
    pub fn health(&self) -> Health {
        self.guard.health()
    }

    /// Returns whether the claim is no longer held. It is `true` before the store can grant the
    /// name to another claim. Works everywhere, also inside a Tokio runtime.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(self.guard.health(), Health::Lost(_))
    }

    /// Waits until the claim is no longer held, at most for `timeout`. Returns the reason, or
    /// `None` if the claim is still held.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) inside a Tokio runtime.
    pub fn wait_lost(&self, timeout: Duration) -> Result<Option<Loss>> {
        wait_lost(&self.driver, self.guard.revoked(), timeout)
    }

    /// Returns the time for which the claim is held if no further renewal succeeds; zero once it is
    /// lost.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.guard.remaining()
    }

    /// Restarts the TTL and returns the moment until which the claim is held.
    ///
    /// # Errors
    /// As [`crate::Guard::extend`].
    pub fn extend(&self) -> Result<Moment> {
        self.driver.wait_for(self.guard.extend())?
    }

    /// Changes the value that observers see.
    ///
    /// # Errors
    /// As [`crate::Guard::update`].
    pub fn update(&self, value: impl Into<Bytes>) -> Result<()> {
        self.driver.wait_for(self.guard.update(value))?
    }

    /// Releases the claim and returns the outcome. Idempotent.
    ///
    /// # Errors
    /// As [`crate::Guard::release`].
    pub fn release(&self) -> Result<Release> {
        self.driver.wait_for(self.guard.release())?
    }

    /// Detaches the lock from this process. Anyone with the ticket can
    /// [resume](super::Sync::resume) it.
    ///
    /// # Errors
    /// As [`crate::Guard::detach`].
    pub fn detach(self) -> Result<Ticket> {
        self.guard.detach()
    }
}

/// Waits for a loss, at most for `timeout`.
pub(super) fn wait_lost(
    driver: &Driver,
    revoked: Revoked,
    timeout: Duration,
) -> Result<Option<Loss>> {
    driver.wait_for(clock::until(clock::now().after(timeout), revoked))
}
