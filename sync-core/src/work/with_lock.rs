//! Acquiring a lock for the time of some work.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use tracing::debug;

use crate::locks::guard::Guard;
use crate::locks::traits::Lock;
use crate::types::error::Result;
use crate::work::bounded::while_held;

/// Acquires a lock, runs `work` while it is held, and releases it. Returns the output of the work.
///
/// The lock is released when the work returns a value, returns an error of its own, or panics. The
/// output is the inner value, so an error of the work and the loss of the lock cannot be confused.
///
/// If the lock is lost, the work is dropped at the revocation, before another client can be
/// granted the lock. Dropping a future stops it at its current `.await`. Code that blocks a thread,
/// and tasks that the work has spawned, continue: present the [token](Guard::token) to the
/// resource. `Ok` means that the lock was held until the work ended.
///
/// The work gets the guard, for its token and to [check](Guard::check) it. The guard may be cloned
/// into spawned tasks. When this function returns, every clone has ended.
///
/// If the store does not answer the release, the keeper continues it in the background. That is no
/// error.
///
/// # Errors
/// As [`Lock::acquire`]. As [`Guard::check`], if the lock was lost before the work ended. The work
/// may then be done completely, partly, or not at all.
///
/// # Cancel safety
/// When the future is dropped, the request leaves the queue, or the work is dropped and the lock is
/// released in the background.
///
/// # Examples
/// ```
/// # use distsync_core::{DynSync, LockOptions, Result, Token, with_lock};
/// # async fn send_invoices(_: Token) -> std::io::Result<u32> { Ok(3) }
/// async fn bill(sync: &DynSync) -> Result<()> {
///     let lock = sync.lock("billing", LockOptions::new())?;
///     match with_lock(&*lock, async |guard| send_invoices(guard.token()).await).await? {
///         Ok(sent) => println!("{sent} invoices sent"),
///         Err(error) => eprintln!("the work failed, and the lock is released: {error}"),
///     }
///     Ok(())
/// }
/// ```
pub async fn with_lock<W: Future>(
    lock: &dyn Lock,
    work: impl FnOnce(Arc<Guard>) -> W,
) -> Result<W::Output> {
    let guard = Arc::new(lock.acquire().await?);
    let _released = ReleasedAtTheEnd(&guard);
    let ended = {
        let work = pin!(work(guard.clone()));
        while_held(guard.hold(), work).await
    };
    if let Err(error) = guard.release().await {
        debug!(name = %guard.name(), %error, "cannot release yet: the keeper continues");
    }
    ended.map_err(|loss| guard.lost("run", loss))
}

/// Releases the lock in the background when it is dropped, even if the work has kept the guard.
struct ReleasedAtTheEnd<'a>(&'a Guard);

impl Drop for ReleasedAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.hand_over();
    }
}
