//! Elections of a blocking client.

use std::sync::Arc;
use std::time::Duration;

use distsync_core::{
    ClaimId, LeaderStatus, Leadership, Loss, Queue, Release, Result, Token, Withdrawn,
};

use super::Watch;
use super::driver::Driver;
use super::guard::wait_lost;

/// An election, as one of its candidates uses it.
#[derive(Debug)]
pub struct Leader {
    leader: Box<dyn distsync_core::Leader>,
    driver: Arc<Driver>,
}

impl Leader {
    pub(super) fn new(leader: Box<dyn distsync_core::Leader>, driver: &Arc<Driver>) -> Self {
        let driver = driver.clone();
        Self { leader, driver }
    }

    /// Returns the name of the election.
    #[must_use]
    pub fn id(&self) -> &str {
        self.leader.id()
    }

    /// Returns the current leader and its term; `None` if there is no leader.
    ///
    /// # Errors
    /// As [`crate::Leader::leader`].
    pub fn leader(&self) -> Result<Option<Leadership>> {
        self.driver.wait_for(self.leader.leader())?
    }

    /// Campaigns until elected, or for as long as the options say.
    ///
    /// # Errors
    /// As [`crate::Leader::elect`], and [`Unsupported`](crate::ErrorKind::Unsupported) inside a
    /// Tokio runtime.
    pub fn elect(&self) -> Result<Elected> {
        let elected = self.driver.wait_for(self.leader.elect())??;
        Ok(Elected {
            elected,
            driver: self.driver.clone(),
        })
    }

    /// Returns the status of this candidate.
    #[must_use]
    pub fn status(&self) -> LeaderStatus {
        self.leader.status()
    }

    /// Returns an iterator of the leader: the current one, and a new item after each change.
    #[must_use]
    pub fn watch(&self) -> Watch<Option<Leadership>> {
        Watch::new(self.leader.watch(), &self.driver)
    }

    /// Returns the leader and the waiting candidates.
    ///
    /// # Errors
    /// As [`crate::Leader::inspect`].
    pub fn inspect(&self) -> Result<Queue> {
        self.driver.wait_for(self.leader.inspect())?
    }

    /// Ends the candidacy or leadership of another client. For operators.
    ///
    /// # Errors
    /// As [`crate::Leader::evict`].
    pub fn evict(&self, claim: ClaimId) -> Result<Withdrawn> {
        self.driver.wait_for(self.leader.evict(claim))?
    }
}

/// The leadership of an elected candidate. Dropping it resigns in the background.
#[must_use = "dropping the leadership resigns"]
#[derive(Debug)]
pub struct Elected {
    elected: Box<dyn distsync_core::Elected>,
    /// Below `elected`, whose end may need its thread.
    driver: Arc<Driver>,
}

impl Elected {
    /// Returns the term, which is the fencing token.
    #[must_use]
    pub fn token(&self) -> Token {
        self.elected.token()
    }

    /// Returns the term if the leadership is held now and for `min_remaining` more. Works
    /// everywhere, also inside a Tokio runtime.
    ///
    /// # Errors
    /// As [`crate::Elected::check`].
    pub fn check(&self, min_remaining: Duration) -> Result<Token> {
        self.elected.check(min_remaining)
    }

    /// Returns whether the leadership is lost. It is `true` before another candidate can be
    /// elected. Works everywhere, also inside a Tokio runtime.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.elected.check(Duration::ZERO).is_err()
    }

    /// Waits until the leadership is lost, at most for `timeout`. Returns the reason, or `None` if
    /// it is still held.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) inside a Tokio runtime.
    pub fn wait_lost(&self, timeout: Duration) -> Result<Option<Loss>> {
        wait_lost(&self.driver, self.elected.revoked(), timeout)
    }

    /// Changes the value of the node that observers see.
    ///
    /// # Errors
    /// As [`crate::Elected::proclaim`].
    pub fn proclaim(&self, value: &str) -> Result<()> {
        self.driver.wait_for(self.elected.proclaim(value))?
    }

    /// Gives the leadership up.
    ///
    /// # Errors
    /// As [`crate::Elected::resign`].
    pub fn resign(&self) -> Result<Release> {
        self.driver.wait_for(self.elected.resign())?
    }
}
