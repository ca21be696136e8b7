//! Connecting, and the handle of a blocking client.

use std::sync::Arc;

use distsync_core::{
    Capabilities, DynSync, Kind, LeaderOptions, LockOptions, Result, SyncOptions, Ticket,
};

use super::driver::{Driver, check_context};
use super::{Guard, Leader, Lock};

/// Connects to the store that `url` names, as [`connect`](crate::connect) does.
///
/// # Errors
/// As [`connect`](crate::connect), and [`Unsupported`](crate::ErrorKind::Unsupported) inside a
/// Tokio runtime.
pub fn connect(url: &str) -> Result<Sync> {
    connect_with(url, SyncOptions::new())
}

/// Connects with options of the program, as [`connect_with`](crate::connect_with) does.
///
/// # Errors
/// As [`connect`].
pub fn connect_with(url: &str, options: SyncOptions) -> Result<Sync> {
    check_context().map_err(|error| error.with_operation("connect"))?;
    let driver = Driver::start()?;
    let sync = driver.wait_for(crate::connect_with(url, options))??;
    Ok(Sync { sync, driver })
}

/// A connection to a store of locks and elections. Clones share it.
///
/// The name hides [`std::marker::Sync`] of the prelude. Write `blocking::Sync` instead of importing
/// it.
#[derive(Clone, Debug)]
pub struct Sync {
    sync: Arc<DynSync>,
    /// Below `sync`, because the last reference has to outlive everything that uses its thread.
    driver: Arc<Driver>,
}

impl Sync {
    /// Returns the lock, read-write lock or semaphore of this name. Does no I/O.
    ///
    /// # Errors
    /// As [`crate::Sync::lock`].
    pub fn lock(&self, name: &str, options: LockOptions) -> Result<Lock> {
        Ok(Lock::new(self.sync.lock(name, options)?, &self.driver))
    }

    /// Returns the election of this name. Does no I/O.
    ///
    /// # Errors
    /// As [`crate::Sync::leader`].
    pub fn leader(&self, name: &str, options: LeaderOptions) -> Result<Leader> {
        Ok(Leader::new(self.sync.leader(name, options)?, &self.driver))
    }

    /// Returns the name of the store, for instance `netlock` or `etcd`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.sync.name()
    }

    /// Returns what the store can do and what it promises.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.sync.capabilities()
    }

    /// Returns the names of `kind` that have a holder or a waiter and begin with `prefix`, in
    /// order.
    ///
    /// # Errors
    /// As [`crate::Sync::list`].
    pub fn list(&self, kind: Kind, prefix: &str) -> Result<Vec<String>> {
        self.driver.wait_for(self.sync.list(kind, prefix))?
    }

    /// Resumes a lock that was detached, in this process or another, and restarts its TTL.
    ///
    /// # Errors
    /// As [`crate::Sync::resume`].
    pub fn resume(&self, ticket: &Ticket) -> Result<Guard> {
        let guard = self.driver.wait_for(self.sync.resume(ticket))??;
        Ok(Guard::new(guard, &self.driver))
    }

    /// Releases every lock of this connection and cancels every waiting request.
    ///
    /// # Errors
    /// As [`crate::Sync::release_all`].
    pub fn release_all(&self) -> Result<()> {
        self.driver.wait_for(self.sync.release_all())?
    }

    /// Releases everything and ends the sessions. All guards are revoked. Idempotent.
    ///
    /// # Errors
    /// As [`crate::Sync::close`].
    pub fn close(&self) -> Result<()> {
        self.driver.wait_for(self.sync.close())?
    }

    pub(super) fn inner(&self) -> &DynSync {
        &*self.sync
    }

    pub(super) fn driver(&self) -> &Arc<Driver> {
        &self.driver
    }
}
