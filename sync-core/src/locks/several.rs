//! Acquiring all of several names, or any one of them.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::locks::guard::{Guard, Release};
use crate::locks::traits::{Lock, Sync};
use crate::options::{LockOptions, Wait};
use crate::spi::clock;
use crate::types::error::{Error, ErrorKind, Result};
use crate::types::loss::Loss;
use crate::types::token::Token;

/// The guards of several locks that [`lock_all`] acquired together. Dropping them releases all
/// locks in the background.
#[must_use = "dropping the guards releases the locks"]
#[derive(Debug)]
pub struct Guards {
    /// The names, sorted.
    names: Vec<String>,
    /// The guards: one for each name, or one for all of them.
    guards: Vec<Guard>,
}

impl Guards {
    /// Returns the names that are held, sorted.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Resolves with the reason when the first of the locks is no longer held.
    ///
    /// # Cancel safety
    /// Safe: dropping it changes nothing.
    pub async fn revoked(&self) -> Loss {
        let mut revocations: FuturesUnordered<_> = self.guards.iter().map(Guard::revoked).collect();
        match revocations.next().await {
            Some(loss) => loss,
            // Without locks there is nothing to lose.
            None => std::future::pending().await,
        }
    }

    /// Returns the tokens in the order of the names, if all are held now and for `min_remaining`
    /// more.
    ///
    /// # Errors
    /// As [`Guard::check`], of the first that fails.
    pub fn check(&self, min_remaining: Duration) -> Result<Vec<Token>> {
        let tokens: Vec<_> = self
            .guards
            .iter()
            .map(|guard| guard.check(min_remaining))
            .collect::<Result<_>>()?;
        // A guard of all names has one token.
        Ok(tokens
            .iter()
            .cycle()
            .take(self.names.len())
            .copied()
            .collect())
    }

    /// Releases all locks, the last one first. Returns [`Release::Done`] if all were held.
    ///
    /// # Errors
    /// As [`Guard::release`], for the first that fails. The others are released nevertheless.
    ///
    /// # Cancel safety
    /// Locks that have not been released are released in the background.
    pub async fn release(&self) -> Result<Release> {
        let mut outcome = Ok(Release::Done);
        for guard in self.guards.iter().rev() {
            match (guard.release().await, &outcome) {
                (Ok(Release::Done), _) | (_, Err(_)) => {}
                (Ok(Release::Deferred), Ok(Release::AlreadyGone)) => {}
                (other, Ok(_)) => outcome = other,
            }
        }
        outcome
    }
}

/// Acquires the locks of all the given names, or none. Duplicate names are ignored.
///
/// A store that [can](crate::Capabilities::several_at_once) grants all names in one step, when all
/// are free at once, and the request holds none of them while it waits. On other stores every
/// caller acquires the names one after the other in sorted order, so that no two callers wait for
/// each other. While such a request waits for a later name it holds the earlier ones, and it
/// releases them, the last one first, if a name cannot be acquired. [`Wait::For`] limits the time
/// for all names together.
///
/// # Errors
/// As [`Lock::acquire`], for the first name that cannot be acquired.
///
/// # Cancel safety
/// Safe: when the future is dropped, the acquired locks are released.
///
/// # Examples
/// ```
/// # use distsync_core::{DynSync, LockOptions, Result, lock_all};
/// async fn transfer(sync: &DynSync) -> Result<()> {
///     let guards = lock_all(sync, ["account 1", "account 2"], LockOptions::new()).await?;
///     guards.release().await?;
///     Ok(())
/// }
/// ```
pub async fn lock_all<'a>(
    sync: &dyn Sync,
    names: impl IntoIterator<Item = &'a str>,
    options: LockOptions,
) -> Result<Guards> {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    let mut taken = Guards {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        guards: Vec::with_capacity(names.len()),
    };
    if names.len() > 1 && sync.capabilities().several_at_once {
        taken.guards.push(sync.acquire_all(&names, options).await?);
        return Ok(taken);
    }
    let deadline = match options.wait {
        Wait::For(patience) => Some(clock::now().after(patience)),
        Wait::Forever | Wait::Never => None,
    };
    for name in names {
        let mut options = options.clone();
        if let Some(deadline) = deadline {
            options.wait = Wait::For(deadline.since(clock::now()));
        }
        let acquired = match sync.lock(name, options) {
            Ok(lock) => lock.acquire().await,
            Err(error) => Err(error),
        };
        match acquired {
            Ok(guard) => taken.guards.push(guard),
            Err(error) => {
                // Locks whose release fails now are released in the background.
                let _ = taken.release().await;
                return Err(error);
            }
        }
    }
    Ok(taken)
}

/// Acquires the lock of any one of the given names: the first that is free, in the given order,
/// otherwise the first that becomes free.
///
/// The request waits in the queues of all names at once. A store that
/// [can](crate::Capabilities::several_at_once) grants exactly one of them. On other stores a
/// request that is granted two names at the same moment releases one of them at once.
///
/// # Errors
/// [`ErrorKind::InvalidOption`] without a name; as [`Lock::acquire`] if none can be acquired.
///
/// # Cancel safety
/// Safe: when the future is dropped, the request leaves all queues.
///
/// # Examples
/// ```
/// # use distsync_core::{DynSync, LockOptions, Result, lock_any};
/// async fn use_a_printer(sync: &DynSync) -> Result<()> {
///     let guard = lock_any(sync, ["printer 1", "printer 2"], LockOptions::new()).await?;
///     println!("printing on {}", guard.name());
///     guard.release().await?;
///     Ok(())
/// }
/// ```
pub async fn lock_any<'a>(
    sync: &dyn Sync,
    names: impl IntoIterator<Item = &'a str>,
    options: LockOptions,
) -> Result<Guard> {
    let names: Vec<&str> = names.into_iter().collect();
    if names.len() > 1 && sync.capabilities().several_at_once {
        return sync.acquire_any(&names, options).await;
    }
    let locks: Vec<Box<dyn Lock>> = names
        .into_iter()
        .map(|name| sync.lock(name, options.clone()))
        .collect::<Result<_>>()?;
    if locks.is_empty() {
        return Err(no_names()
            .with_operation("lock any")
            .with_backend(sync.name()));
    }
    for lock in &locks {
        if let Some(guard) = lock.try_acquire().await? {
            return Ok(guard);
        }
    }
    let mut waiting: FuturesUnordered<_> = locks.iter().map(|lock| lock.acquire()).collect();
    let mut failure = None;
    while let Some(acquired) = waiting.next().await {
        match acquired {
            // Dropping the others removes them from their queues, and releases one that was granted
            // meanwhile.
            Ok(guard) => return Ok(guard),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or_else(|| Error::new(ErrorKind::Contended, "none of the names is free")))
}

/// Returns the error of a request without names.
pub(crate) fn no_names() -> Error {
    Error::new(
        ErrorKind::InvalidOption,
        "no names were given: give at least one",
    )
}
