//! Settings of a lock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::options::checks::check_value;
use crate::types::error::{Error, ErrorKind, Result};
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
    /// The minimal hold: the store keeps the claim for at least this long after the grant, even if
    /// the guard is released before or this process ends. Default: none.
    pub min_hold: Option<Duration>,
    /// The maximal hold: the lock is renewed automatically, but revoked and released when it was
    /// held for this long. Default: none; the lock is held until it is released.
    pub max_hold: Option<Duration>,
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

    /// Sets a minimal hold: the store keeps the claim for at least this long after the grant.
    ///
    /// It is meant for scheduled jobs that start on several machines at the same time by their own
    /// clocks. A job that is shorter than the difference of the clocks would otherwise run twice.
    ///
    /// A release before that ends the guard at once, and returns
    /// [`Release::Deferred`](crate::Release::Deferred). The keeper then releases the claim when the
    /// minimal hold is over. If the handle is closed or the process ends before that, the claim
    /// remains until its TTL expires. The lock therefore has a session of its own, whose TTL is the
    /// greater of the session's TTL and the minimal hold. That is also how long a crashed holder
    /// blocks others at worst.
    ///
    /// [`validated`](Self::validated) rejects it with [`OnDisconnect::Release`], with a shorter
    /// `max_hold`, and with a shorter `ttl`.
    #[must_use]
    pub fn with_min_hold(mut self, min: Duration) -> Self {
        self.min_hold = Some(min);
        self
    }

    /// Sets a maximal hold: the lock is renewed automatically, but never held for longer than this.
    ///
    /// The guard is revoked with [`Loss::MaxHold`](crate::Loss::MaxHold) a margin before the time
    /// is over, in which the holder stops its work: 10 % of the maximal hold, at least 250 ms and
    /// at most a third of it. The claim is released when the guard ends, and when the maximal hold
    /// is over at the latest. If the store cannot be reached then, the claim remains until the
    /// store can be reached or the session has expired.
    ///
    /// Use it against work that hangs, where [`with_ttl`](Self::with_ttl) would need calls of
    /// [`Guard::extend`](crate::Guard::extend). [`validated`](Self::validated) rejects both
    /// together.
    #[must_use]
    pub fn with_max_hold(mut self, max: Duration) -> Self {
        self.max_hold = Some(max);
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
        self.check_holds()?;
        Ok(self)
    }

    /// Checks that the minimal hold, the maximal hold and the TTL do not contradict each other.
    fn check_holds(&self) -> Result<()> {
        let problem = match (self.min_hold, self.max_hold, self.ttl) {
            (_, Some(Duration::ZERO), _) => {
                "a maximal hold of 0 allows no work: give a longer one".to_owned()
            }
            (_, Some(_), Some(_)) => {
                "`ttl` and `max_hold` both limit the hold: give `ttl` if you extend the lock \
                 yourself, otherwise `max_hold`"
                    .to_owned()
            }
            (Some(min), Some(max), _) if min > max => format!(
                "the minimal hold of {min:?} exceeds the maximal hold of {max:?}: exchange them"
            ),
            (Some(min), _, Some(ttl)) if min > ttl => format!(
                "the minimal hold of {min:?} exceeds the ttl of {ttl:?}: give a longer ttl"
            ),
            (Some(_), _, _) if self.on_disconnect == OnDisconnect::Release => {
                "`min_hold` keeps the lock after this process has ended, and `OnDisconnect::Release` \
                 does not: give one of them"
                    .to_owned()
            }
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::InvalidOption, problem))
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
