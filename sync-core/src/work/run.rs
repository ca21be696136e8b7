//! Work under a guard that is held already.

use std::future::Future;
use std::pin::pin;

use crate::locks::guard::Guard;
use crate::types::error::Result;
use crate::work::bounded::while_held;

impl Guard {
    /// Runs `work` while the claim is held, and drops it at the revocation. Returns the output of
    /// the work. The claim is not released.
    ///
    /// `Ok` means that the claim was held until the work ended. The work is not polled after the
    /// deadline, even if this process was stopped for longer than its TTL. Dropping a future stops
    /// it at its current `.await`. Code that blocks a thread, and tasks that the work has spawned,
    /// continue: present the [token](Self::token) to the resource.
    ///
    /// # Errors
    /// As [`check`](Self::check), if the claim was lost or released before the work ended. The work
    /// may be done completely, partly, or not at all.
    ///
    /// # Cancel safety
    /// As cancel-safe as `work`, which is dropped. The claim stays held.
    ///
    /// # Examples
    /// ```
    /// # use distsync_core::{DynSync, LockOptions, Result};
    /// # async fn rebuild_index() -> u64 { 0 }
    /// async fn index(sync: &DynSync) -> Result<()> {
    ///     let guard = sync.lock("index", LockOptions::new())?.acquire().await?;
    ///     let documents = guard.run(rebuild_index()).await?;
    ///     println!("{documents} documents indexed");
    ///     guard.release().await?;
    ///     Ok(())
    /// }
    /// ```
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let work = pin!(work);
        while_held(self.hold(), work)
            .await
            .map_err(|loss| self.lost("run", loss))
    }
}
