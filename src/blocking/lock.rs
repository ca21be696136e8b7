//! A lock, read-write lock or semaphore of a blocking client.

use std::sync::Arc;

use distsync_core::{ClaimId, Queue, Result, Withdrawn};

use super::driver::Driver;
use super::{Guard, Watch};

/// A lock, read-write lock or semaphore. Several threads may acquire through one object.
#[derive(Debug)]
pub struct Lock {
    lock: Box<dyn distsync_core::Lock>,
    driver: Arc<Driver>,
}

impl Lock {
    pub(super) fn new(lock: Box<dyn distsync_core::Lock>, driver: &Arc<Driver>) -> Self {
        let driver = driver.clone();
        Self { lock, driver }
    }

    /// Returns the name.
    #[must_use]
    pub fn id(&self) -> &str {
        self.lock.id()
    }

    /// Acquires the lock: joins the queue and waits until granted, or for as long as the options
    /// say.
    ///
    /// # Errors
    /// As [`crate::Lock::acquire`], and [`Unsupported`](crate::ErrorKind::Unsupported) inside a
    /// Tokio runtime.
    pub fn acquire(&self) -> Result<Guard> {
        let guard = self.driver.wait_for(self.lock.acquire())??;
        Ok(Guard::new(guard, &self.driver))
    }

    /// Acquires the lock if that needs no wait. Returns `None` if the name is taken.
    ///
    /// # Errors
    /// As [`crate::Lock::try_acquire`].
    pub fn try_acquire(&self) -> Result<Option<Guard>> {
        let guard = self.driver.wait_for(self.lock.try_acquire())??;
        Ok(guard.map(|guard| Guard::new(guard, &self.driver)))
    }

    /// Returns the holders and the waiters.
    ///
    /// # Errors
    /// As [`crate::Lock::inspect`].
    pub fn inspect(&self) -> Result<Queue> {
        self.driver.wait_for(self.lock.inspect())?
    }

    /// Returns an iterator of the queue: its current state, and a new item after each change.
    #[must_use]
    pub fn watch(&self) -> Watch<Queue> {
        Watch::new(self.lock.watch(), &self.driver)
    }

    /// Ends the claim of another client, held or waiting. For operators.
    ///
    /// # Errors
    /// As [`crate::Lock::evict`].
    pub fn evict(&self, claim: ClaimId) -> Result<Withdrawn> {
        self.driver.wait_for(self.lock.evict(claim))?
    }
}
