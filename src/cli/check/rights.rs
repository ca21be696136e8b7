//! The operations that need a permission, each tried once.

use std::time::Duration;

use distsync::{DynSync, ErrorKind, Guard, Kind, LeaderOptions, LockOptions, Node, Result, Wait};
use futures_util::StreamExt;
use tokio::sync::watch;

/// The longest time for which the check waits in a queue. It waits for its own lock only.
const PATIENCE: Duration = Duration::from_secs(5);

/// An operation, and whether this client may do it.
#[derive(Debug)]
pub(super) struct Right {
    pub(super) operation: &'static str,
    /// Whether locks and elections need it. Observers and operators need the others.
    pub(super) is_needed: bool,
    pub(super) outcome: Outcome,
}

/// The result of trying an operation.
#[derive(Debug)]
pub(super) enum Outcome {
    Works,
    /// The store denies it, with this message.
    Denied(String),
    /// The store does not have it.
    Unsupported,
    /// It could not be tried, because an operation before it was denied.
    Untested,
}

impl Outcome {
    /// Returns the state in one word, and what there is to say about it.
    pub(super) fn words(&self) -> (&'static str, Option<String>) {
        match self {
            Self::Works => ("works", None),
            Self::Denied(message) => ("denied", Some(message.clone())),
            Self::Unsupported => ("unsupported", None),
            Self::Untested => ("untested", None),
        }
    }

    /// Splits a result into its value and its outcome. Fails for an error that does not concern
    /// permissions.
    fn of<T>(result: Result<T>) -> Result<(Option<T>, Self)> {
        match result {
            Ok(value) => Ok((Some(value), Self::Works)),
            Err(error) if error.kind() == ErrorKind::Denied => {
                Ok((None, Self::Denied(error.message().to_owned())))
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok((None, Self::Unsupported)),
            Err(error) => Err(error),
        }
    }
}

/// Tries each operation on a lock and an election of this name, which nobody else uses.
pub(super) async fn probe(sync: &DynSync, name: &str) -> Result<Vec<Right>> {
    let mut rights = Vec::new();
    let mut note = |operation, is_needed, outcome| {
        rights.push(Right {
            operation,
            is_needed,
            outcome,
        });
    };
    let lock = sync.lock(name, LockOptions::new().with_wait(Wait::Never))?;
    let (guard, outcome) = Outcome::of(lock.acquire().await)?;
    note("acquire", true, outcome);
    let (queued, update, evict) = match &guard {
        Some(guard) => {
            let update = Outcome::of(guard.update("check").await)?.1;
            let (queued, evict) = queue_and_evict(sync, name, guard).await?;
            (queued, update, evict)
        }
        None => (Outcome::Untested, Outcome::Untested, Outcome::Untested),
    };
    note("queue", true, queued);
    note("update", true, update);
    note("campaign", true, campaign(sync, name).await?);
    note("inspect", false, Outcome::of(lock.inspect().await)?.1);
    let first = lock.watch().next().await;
    note("watch", false, Outcome::of(first.transpose())?.1);
    let listed = sync.list(Kind::Lock, name).await;
    note("list", false, Outcome::of(listed)?.1);
    note("break", false, evict);
    Ok(rights)
}

/// Queues behind a guard, ends the claim of the guard as an operator does, and waits until the
/// queued request is granted. Returns the outcomes of the queueing and of the eviction.
async fn queue_and_evict(sync: &DynSync, name: &str, guard: &Guard) -> Result<(Outcome, Outcome)> {
    let (tell, mut told) = watch::channel(false);
    let options = LockOptions::new()
        .with_wait(Wait::For(PATIENCE))
        .with_on_wait(move |_| {
            tell.send_replace(true);
        });
    let next = sync.lock(name, options)?;
    let mut acquiring = next.acquire();
    tokio::select! {
        // The request ends without a place in the queue if the store denies it.
        early = &mut acquiring => return Ok((Outcome::of(early)?.1, Outcome::Untested)),
        _ = told.wait_for(|is_queued| *is_queued) => {}
    }
    let (_, evicted) = Outcome::of(next.evict(guard.claim()).await)?;
    if !matches!(evicted, Outcome::Works) {
        guard.release().await?;
    }
    let (granted, queued) = Outcome::of(acquiring.await)?;
    if let Some(granted) = granted {
        granted.release().await?;
    }
    Ok((queued, evicted))
}

async fn campaign(sync: &DynSync, name: &str) -> Result<Outcome> {
    let options = LeaderOptions::new(Node::new("check")).with_wait(Wait::Never);
    let (elected, outcome) = Outcome::of(sync.leader(name, options)?.elect().await)?;
    if let Some(elected) = elected {
        elected.resign().await?;
    }
    Ok(outcome)
}
