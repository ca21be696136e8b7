//! Settings of a lock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::options::checks::check_value;
use crate::types::error::Result;
use crate::types::mode::Mode;
use crate::types::queue::Entry;

/// How long to stand in line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Until granted. Cancel by dropping the future.
    #[default]
    Forever,
    /// Not at all: a try.
    Never,
    /// This long, then [`ErrorKind::Timeout`].
    For(Duration),
}

/// Settings of a lock.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LockOptions {
    /// Exclusive (the default), shared, or a permit.
    pub mode: Mode,
    /// How long to stand in line. Default: for ever.
    pub wait: Wait,
    /// Unset (the default): the claim lives with the session, which is renewed for you. Set: a hold limit that runs out
    /// unless [`Guard::extend`](crate::Guard::extend) is called, against work that hangs for ever.
    pub ttl: Option<Duration>,
    /// Seen by those who inspect the lock; at most 1 KiB. Default: empty.
    pub value: Bytes,
    /// What becomes of it when its holder's connections are gone. Default: it is held until the TTL.
    pub on_disconnect: OnDisconnect,
    /// Told each time it stands in line. Default: nobody.
    pub on_wait: Option<OnWait>,
}

/// Where a claim stands that has to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// How many claims are ahead of it, holders included.
    pub position: u32,
    /// The first holder, where the store tells.
    pub holder: Option<Entry>,
}

/// Hears where a claim stands, once it is in line, and again if it had to go to the end of the line. To be quick: the acquire
/// that it belongs to goes on afterwards.
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
    /// The defaults: exclusive, wait for ever, renewed with the session, no value.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A reader of a read-write lock.
    #[must_use]
    pub fn shared() -> Self {
        Self::new().with_mode(Mode::Shared)
    }

    /// One of `of` permits of a semaphore.
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

    /// Sets how long to stand in line.
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

    /// Sets who is told each time it stands in line.
    #[must_use]
    pub fn with_on_wait(mut self, told: impl Fn(Waiting) + Send + std::marker::Sync + 'static) -> Self {
        self.on_wait = Some(OnWait(Arc::new(told)));
        self
    }

    /// Sets what becomes of it when its holder's connections are gone.
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

    /// Checks what the types do not.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] names the option.
    pub fn validated(self) -> Result<Self> {
        self.mode.validated()?;
        check_value(&self.value)?;
        Ok(self)
    }
}

/// What becomes of a lock when its holder's connections to the store are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnDisconnect {
    /// It is held until the TTL, so that the holder can come back.
    #[default]
    Hold,
    /// It is released as soon as the last connection is gone, a short grace apart: a crashed holder blocks nobody for its
    /// TTL, and a broken network costs the lock. Only on stores that
    /// [can](crate::Capabilities::release_on_disconnect).
    Release,
    /// It is held until its TTL, also when the handle is closed in peace. Dropping or releasing the guard still releases.
    /// The lock has a session to itself.
    Ignore,
}
