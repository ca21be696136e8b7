//! Settings of a lock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::options::checks::check_value;
use crate::types::error::Result;
use crate::types::mode::Mode;
use crate::types::queue::Entry;

/// The time for which a request waits in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// Waits until the request is granted. Cancel it by dropping the future.
    #[default]
    Forever,
    /// Does not wait.
    Never,
    /// Waits for this long, and then fails with [`ErrorKind::Timeout`](crate::ErrorKind::Timeout).
    For(Duration),
}

/// Settings of a lock.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # use distsync_core::{LockOptions, Wait};
/// let writer = LockOptions::new().with_wait(Wait::For(Duration::from_secs(10)));
/// let reader = LockOptions::shared();
/// let one_of_three_jobs = LockOptions::permit(3).with_wait(Wait::Never);
/// // Expires after a minute unless it is extended: against work that hangs.
/// let limited = LockOptions::new().with_ttl(Duration::from_secs(60));
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LockOptions {
    /// The mode: exclusive (the default), shared, or a permit.
    pub mode: Mode,
    /// The time to wait in the queue. Default: for ever.
    pub wait: Wait,
    /// The hold limit, after which the lock expires unless [`Guard::extend`](crate::Guard::extend)
    /// is called. It protects against work that hangs for ever. Default: none; the lock lives with
    /// the session, which is renewed automatically.
    pub ttl: Option<Duration>,
    /// A value for observers of the lock; at most 1 KiB. Default: empty.
    pub value: Bytes,
    /// The treatment of the lock when the connections of its holder have ended. Default: it is held
    /// until its TTL expires.
    pub on_disconnect: OnDisconnect,
    /// A callback that receives the position each time the request joins the queue. Default: none.
    pub on_wait: Option<OnWait>,
}

/// The position of a request that has to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// The number of claims ahead of the request, including holders.
    pub position: u32,
    /// The first holder, if the store reports it.
    pub holder: Option<Entry>,
}

/// A callback that receives the position of a request each time the request joins the queue. The
/// request continues after the callback returns, so the callback has to be quick.
#[derive(Clone)]
pub struct OnWait(Arc<dyn Fn(Waiting) + Send + std::marker::Sync>);

impl OnWait {
    pub(crate) fn tell(&self, waiting: Waiting) {
        (self.0)(waiting);
    }
}

impl fmt::Debug for OnWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnWait(..)")
    }
}

impl LockOptions {
    /// Returns the default options: exclusive, no wait limit, no hold limit, no value.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the options of a reader of a read-write lock.
    #[must_use]
    pub fn shared() -> Self {
        Self::new().with_mode(Mode::Shared)
    }

    /// Returns the options of one of `of` permits of a semaphore.
    #[must_use]
    pub fn permit(of: u16) -> Self {
        Self::new().with_mode(Mode::Permit { of })
    }

    /// Sets the mode.
    #[must_use]
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets the time to wait in the queue.
    #[must_use]
    pub fn with_wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Sets a hold limit.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Sets the callback that receives the position each time the request joins the queue.
    #[must_use]
    pub fn with_on_wait(
        mut self,
        told: impl Fn(Waiting) + Send + std::marker::Sync + 'static,
    ) -> Self {
        self.on_wait = Some(OnWait(Arc::new(told)));
        self
    }

    /// Sets what happens to the lock when the connections of its holder have ended.
    #[must_use]
    pub fn with_on_disconnect(mut self, on_disconnect: OnDisconnect) -> Self {
        self.on_disconnect = on_disconnect;
        self
    }

    /// Sets the value.
    #[must_use]
    pub fn with_value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = value.into();
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption) names the option.
    pub fn validated(self) -> Result<Self> {
        self.mode.validated()?;
        check_value(&self.value)?;
        Ok(self)
    }
}

/// The treatment of a lock when the connections of its holder to the store have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnDisconnect {
    /// Held until its TTL expires, so that the holder can reconnect.
    #[default]
    Hold,
    /// Released shortly after the holder's last connection closes. A crashed holder therefore does
    /// not block others for a full TTL, but a network failure also loses the lock. Only on stores
    /// that [can](crate::Capabilities::release_on_disconnect).
    Release,
    /// Held until its TTL expires, even after the handle is closed. Dropping or releasing the guard
    /// still releases it. The lock has a session of its own.
    Ignore,
}
