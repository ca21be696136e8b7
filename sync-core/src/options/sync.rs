//! Settings of a connection to a store.

use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;

use crate::options::checks::check_label;
use crate::options::identity::host;
use crate::types::error::{Error, ErrorKind, Result};
use crate::types::names::Namespace;

/// Settings of a connection to a store.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # use distsync_core::{Namespace, OnLost, SyncOptions};
/// let options = SyncOptions::new()
///     .with_namespace(Namespace::new("shop")?)
///     .with_session_ttl(Duration::from_secs(10))
///     .with_on_lost(OnLost::Abort);
/// # Ok::<(), distsync_core::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SyncOptions {
    /// The namespace, which separates the names of this application from those of others in the
    /// same store. Default: `distsync`.
    pub namespace: Namespace,
    /// The TTL of the session: the time without a renewal after which the store releases what the
    /// client holds. Default: 15 s. A crashed holder then blocks others for about 15 s at worst
    /// (Consul: 30 s), and a network fault loses no lock if a renewal succeeds within 13.3 s of the
    /// one before.
    pub session_ttl: Duration,
    /// The name of this client, for observers of a lock. Default: `host:pid`.
    pub client: String,
    /// The reaction to the loss of a held lock. Default: the guard is revoked, and the holder has
    /// to stop its work.
    pub on_lost: OnLost,
    /// The information with which the operator of the store can isolate this client (end its
    /// process, cut its connections) if it does not renew in time. Its locks are granted to others
    /// only afterwards. Known elsewhere as node fencing (STONITH).
    ///
    /// At most 4 KiB. Its meaning is up to the operator's program:
    /// [`process_identity`](crate::process_identity) is a start. Only on stores that
    /// [can](crate::Capabilities::isolates). Default: empty, which isolates nothing.
    pub isolation: Bytes,
    /// The time limit of one attempt to reach the store: to connect, to encrypt, to log in. 10 ms
    /// to 60 s. Default: that of the store, 2 s (etcd: 3 s). A silent address then costs `connect`
    /// at most 4 s (etcd: 6 s), because it makes two attempts.
    pub connect_timeout: Option<Duration>,
    /// The time limit of one request, including a new connection if the last one has broken. 10 ms
    /// to a third of [`session_ttl`](Self::session_ttl). Default: a third of the TTL, at most 5 s.
    /// A store that falls silent then blocks a call for at most 5 s.
    ///
    /// The renewals of sessions have a limit of their own: a third of the TTL. A wait in a queue is
    /// limited by [`Wait`](crate::Wait).
    pub request_timeout: Option<Duration>,
    /// Whether only one request of this handle waits for a name in the store. Default: `false`. See
    /// [`with_local_queue`](Self::with_local_queue).
    pub local_queue: bool,
}

/// The limits of both timeouts.
const TIMEOUT_MIN: Duration = Duration::from_millis(10);
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(60);

impl SyncOptions {
    /// Returns the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the namespace.
    #[must_use]
    pub fn with_namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = namespace;
        self
    }

    /// Sets the session TTL.
    #[must_use]
    pub fn with_session_ttl(mut self, ttl: Duration) -> Self {
        self.session_ttl = ttl;
        self
    }

    /// Sets the name of the client.
    #[must_use]
    pub fn with_client(mut self, client: impl Into<String>) -> Self {
        self.client = client.into();
        self
    }

    /// Sets how this client can be isolated.
    #[must_use]
    pub fn with_isolation(mut self, isolation: impl Into<Bytes>) -> Self {
        self.isolation = isolation.into();
        self
    }

    /// Sets whether only one request of this handle waits for a name in the store.
    ///
    /// With `true`, further requests for the same exclusive lock wait in this process, in the order
    /// of their arrival. The next one joins the store's queue when the one before it is granted. A
    /// crowd of tasks then costs the store as much as one, and the processes take turns. In return,
    /// a request that waits locally can be overtaken by a later request of another process. Tries,
    /// shared locks, permits, several names and elections are not affected.
    #[must_use]
    pub fn with_local_queue(mut self, local_queue: bool) -> Self {
        self.local_queue = local_queue;
        self
    }

    /// Sets what happens when a held lock is lost.
    #[must_use]
    pub fn with_on_lost(mut self, on_lost: OnLost) -> Self {
        self.on_lost = on_lost;
        self
    }

    /// Sets the time limit of one attempt to reach the store.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// Sets the time limit of one request.
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = Some(timeout);
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] names the option.
    pub fn validated(self) -> Result<Self> {
        check_label(&self.client, "client")?;
        let bad = |problem| Err(Error::new(ErrorKind::InvalidOption, problem));
        if let Some(timeout) = self.connect_timeout
            && !(TIMEOUT_MIN..=CONNECT_TIMEOUT_MAX).contains(&timeout)
        {
            return bad(format!(
                "a connect_timeout of {timeout:?} is out of range: give {TIMEOUT_MIN:?} to \
                 {CONNECT_TIMEOUT_MAX:?}"
            ));
        }
        if let Some(timeout) = self.request_timeout
            && timeout < TIMEOUT_MIN
        {
            return bad(format!(
                "a request_timeout of {timeout:?} is too short: give {TIMEOUT_MIN:?} to a third \
                 of the ttl"
            ));
        }
        Ok(self)
    }
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            namespace: Namespace::default(),
            session_ttl: Duration::from_secs(15),
            client: format!("{}:{}", host(), std::process::id()),
            on_lost: OnLost::default(),
            isolation: Bytes::new(),
            connect_timeout: None,
            request_timeout: None,
            local_queue: false,
        }
    }
}

/// The reaction of a client to the loss of a held lock: it was not renewed in time, the store ended
/// its session, an operator evicted it, or its maximal hold was reached. A release or a detachment
/// is no loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnLost {
    /// The guards are revoked: [`Guard::revoked`](crate::Guard::revoked) resolves, and
    /// [`Guard::check`](crate::Guard::check) fails.
    #[default]
    Notify,
    /// The process is aborted (SIGABRT) before the store can grant the lock to another. The
    /// keeper's thread does it, so it also works if the code that holds the lock hangs.
    Abort,
    /// The process exits with this code before the store can grant the lock to another, in the same
    /// way as for `Abort`.
    Exit(u8),
}

impl FromStr for OnLost {
    type Err = Error;

    /// Parses `notify`, `abort`, or `exit:CODE`.
    fn from_str(text: &str) -> Result<Self> {
        let code = |text: &str| {
            text.strip_prefix("exit:")
                .and_then(|code| code.parse().ok())
        };
        match text {
            "notify" => Ok(Self::Notify),
            "abort" => Ok(Self::Abort),
            text => code(text).map(Self::Exit).ok_or_else(|| {
                let problem =
                    "a client can `notify`, `abort` or `exit:CODE` (0 to 255) when it loses a lock";
                Error::new(ErrorKind::InvalidOption, problem)
            }),
        }
    }
}
