//! Acquiring all of several names, or any one of them.

use std::sync::Arc;
use std::time::Duration;

use distsync_core::{LockOptions, Loss, Release, Result, Token};

use super::driver::Driver;
use super::{Guard, Sync};

/// The guards of several locks that [`lock_all`] acquired together. Dropping them releases all
/// locks in the background.
#[must_use = "dropping the guards releases the locks"]
#[derive(Debug)]
pub struct Guards {
    guards: distsync_core::Guards,
    /// Below `guards`, whose end may need its thread.
    driver: Arc<Driver>,
}

impl Guards {
    /// Returns the names that are held, sorted.
    #[must_use]
    pub fn names(&self) -> &[String] {
        self.guards.names()
    }

    /// Waits until the first of the locks is no longer held, at most for `timeout`. Returns the
    /// reason, or `None` if all are still held.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) inside a Tokio runtime.
    pub fn wait_lost(&self, timeout: Duration) -> Result<Option<Loss>> {
        use distsync_core::spi::clock;

        let over = clock::now().after(timeout);
        self.driver
            .wait_for(clock::until(over, self.guards.revoked()))
    }

    /// Returns the tokens in the order of the names, if all are held now and for `min_remaining`
    /// more.
    ///
    /// # Errors
    /// As [`crate::Guards::check`].
    pub fn check(&self, min_remaining: Duration) -> Result<Vec<Token>> {
        self.guards.check(min_remaining)
    }

    /// Releases all locks, the last one first.
    ///
    /// # Errors
    /// As [`crate::Guards::release`].
    pub fn release(&self) -> Result<Release> {
        self.driver.wait_for(self.guards.release())?
    }
}

/// Acquires the locks of all the given names, or none, as [`lock_all`](crate::lock_all) does.
///
/// # Errors
/// As [`lock_all`](crate::lock_all), and [`Unsupported`](crate::ErrorKind::Unsupported) inside a
/// Tokio runtime.
pub fn lock_all<'a>(
    sync: &Sync,
    names: impl IntoIterator<Item = &'a str>,
    options: LockOptions,
) -> Result<Guards> {
    let all = distsync_core::lock_all(sync.inner(), names, options);
    let guards = sync.driver().wait_for(all)??;
    let driver = sync.driver().clone();
    Ok(Guards { guards, driver })
}

/// Acquires any one of the given names, as [`lock_any`](crate::lock_any) does.
///
/// # Errors
/// As [`lock_all`].
pub fn lock_any<'a>(
    sync: &Sync,
    names: impl IntoIterator<Item = &'a str>,
    options: LockOptions,
) -> Result<Guard> {
    let any = distsync_core::lock_any(sync.inner(), names, options);
    let guard = sync.driver().wait_for(any)??;
    Ok(Guard::new(guard, sync.driver()))
}
