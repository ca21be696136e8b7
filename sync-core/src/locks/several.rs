//! Several names at once: all of them, or any one.

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

/// Several held locks, which are good for something only together. Dropping them releases all in the background.
#[must_use = "dropping the guards releases the locks"]
#[derive(Debug)]
pub struct Guards {
    /// In order.
    names: Vec<String>,
    /// One for each name, or one for all of them.
    guards: Vec<Guard>,
}

impl Guards {
    /// What is held, in order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Resolves when the first of the locks is no longer held, with the reason.
    ///
    /// # Cancel safety
    /// Safe: dropping it changes nothing.
    pub async fn revoked(&self) -> Loss {
        let mut revocations: FuturesUnordered<_> = self.guards.iter().map(Guard::revoked).collect();
        match revocations.next().await {
            Some(loss) => loss,
            // There are no locks: there is nothing to lose.
            None => std::future::pending().await,
        }
    }

    /// The tokens in the order of the names, if all are held now and for `min_remaining` more.
    ///
    /// # Errors
    /// As [`Guard::check`], of the first that fails.
    pub fn check(&self, min_remaining: Duration) -> Result<Vec<Token>> {
        let tokens: Vec<_> =
            self.guards.iter().map(|guard| guard.check(min_remaining)).collect::<Result<_>>()?;
        // One that is for all of them has one token.
        Ok(tokens.iter().cycle().take(self.names.len()).copied().collect())
    }

    /// Releases all, the last one first. [`Release::Done`] if all were held.
    ///
    /// # Errors
    /// As [`Guard::release`], of the first that fails; the others are released all the same.
    ///
    /// # Cancel safety
    /// What has not been released is released in the background.
    pub async fn release(&self) -> Result<Release> {
        let mut outcome = Ok(Release::Done);
        for guard in self.guards.iter().rev() {
            match (guard.release().await, &outcome) {
                (Ok(Release::Done), _) | (_, Err(_)) => {}
                (other, Ok(_)) => outcome = other,
            }
        }
        outcome
    }
}

/// Takes the locks of all these names, or none. Names given twice count once.
///
/// A store that [can](crate::Capabilities::several_at_once) grants them at once, when all of them are free, and lets nobody hold
/// some while it waits for others: see [`Sync::acquire_all`]. On other stores everybody takes them one after the other in
/// the order of their names, so that no two wait for each other; what was taken is given back, the last one first, if one cannot be had.
/// While it waits for a later name it holds the earlier ones. [`Wait::For`] is for all of them together.
///
/// # Errors
/// As [`Lock::acquire`], of the first name that cannot be had.
///
/// # Cancel safety
/// Safe: dropped, it gives back what it has.
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
                // What cannot be given back now is given back in the background.
                let _ = taken.release().await;
                return Err(error);
            }
        }
    }
    Ok(taken)
}

/// Takes the lock of any one of these names: the first that is free, in the order given, else the first that becomes free. Waits in
/// all their lines at a time. A store that [can](crate::Capabilities::several_at_once) grants one and no more; on others who is granted
/// two at one moment gives one back at once.
///
/// # Errors
/// [`ErrorKind::InvalidOption`] without a name; as [`Lock::acquire`] if none can be had.
///
/// # Cancel safety
/// Safe: dropped, it leaves all lines.
pub async fn lock_any<'a>(
    sync: &dyn Sync,
    names: impl IntoIterator<Item = &'a str>,
    options: LockOptions,
) -> Result<Guard> {
    let names: Vec<&str> = names.into_iter().collect();
    if names.len() > 1 && sync.capabilities().several_at_once {
        return sync.acquire_any(&names, options).await;
    }
    let locks: Vec<Box<dyn Lock>> =
        names.into_iter().map(|name| sync.lock(name, options.clone())).collect::<Result<_>>()?;
    if locks.is_empty() {
        return Err(no_names().with_operation("lock any").with_backend(sync.name()));
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
            // Those that are still in line leave it, and whoever was granted at the same moment gives back.
            Ok(guard) => return Ok(guard),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or_else(|| Error::new(ErrorKind::Contended, "none of the names is free")))
}

/// The error of who asks for none.
pub(crate) fn no_names() -> Error {
    Error::new(ErrorKind::InvalidOption, "no names were given: give at least one")
}
