//! Tools for the tests of an application (feature `testing`).
//!
//! [`faults`] connects to any store through a layer in which a test can delay requests, make them
//! fail, lose their replies, and expire sessions. `memory:` needs no server.
//!
//! [`TestClock`] lets hours pass at once, for clients of `memory:`.
//!
//! ```
//! use std::time::Duration;
//!
//! use distsync::testing::TestClock;
//! use distsync::{LockOptions, Loss, connect};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> distsync::Result<()> {
//! let clock = TestClock::install();
//! let sync = connect("memory:").await?;
//! // Against work that hangs: the lock expires unless it is extended.
//! let options = LockOptions::new().with_ttl(Duration::from_secs(3_600));
//! let guard = sync.lock("nightly report", options)?.acquire().await?;
//! clock.advance(Duration::from_secs(3_600));
//! assert_eq!(guard.revoked().await, Loss::Expired);
//! # sync.close().await
//! # }
//! ```

use std::sync::Arc;

use distsync_core::{DynSync, Result, SyncOptions};

pub use distsync_core::testing::{Faults, TestClock};

/// Connects as [`connect`](crate::connect) does, and returns the faults between the client and its
/// store. There are none at first.
///
/// # Errors
/// As [`connect`](crate::connect).
///
/// # Cancel safety
/// As [`connect`](crate::connect).
///
/// # Examples
/// ```
/// use distsync::{LockOptions, Loss, testing};
///
/// # #[tokio::main]
/// # async fn main() -> distsync::Result<()> {
/// let (sync, faults) = testing::faults("memory:").await?;
/// let lock = sync.lock("nightly report", LockOptions::new())?;
/// let guard = lock.acquire().await?;
///
/// // The reply to the release is lost. The release has taken effect nevertheless.
/// faults.lose_replies();
/// assert!(guard.release().await.unwrap_err().maybe_applied());
/// faults.heal();
///
/// let guard = lock.acquire().await?;
/// faults.expire_sessions().await?;
/// assert_eq!(guard.revoked().await, Loss::SessionLost);
/// # sync.close().await?;
/// # Ok(())
/// # }
/// ```
pub async fn faults(url: &str) -> Result<(Arc<DynSync>, Faults)> {
    faults_with(url, SyncOptions::new()).await
}

/// Connects as [`connect_with`](crate::connect_with) does, and returns the faults between the
/// client and its store.
///
/// # Errors
/// As [`connect_with`](crate::connect_with).
///
/// # Cancel safety
/// As [`connect_with`](crate::connect_with).
pub async fn faults_with(url: &str, options: SyncOptions) -> Result<(Arc<DynSync>, Faults)> {
    let (backend, options) = crate::connect::configured(url, options)?;
    let (handle, faults) = Faults::open(backend, options).await?;
    Ok((Arc::new(handle), faults))
}
