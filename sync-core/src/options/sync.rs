//! Settings of a connection to a store.

use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;

use crate::options::checks::check_label;
use crate::options::identity::host;
use crate::types::error::{Error, ErrorKind, Result};
use crate::types::names::Namespace;

/// Settings of a connection to a store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SyncOptions {
    /// Keeps this application's names apart from others' in the same store. Default: `distsync`.
    pub namespace: Namespace,
    /// How long the store waits for a sign of life before it frees what a client holds. Default: 15 s, so a
    /// crashed holder blocks others for 15 s at worst (Consul: 30 s), and a network fault of up to 13.3 s costs no lock.
    pub session_ttl: Duration,
    /// Who this client is, for those who inspect a lock. Default: `host:pid`.
    pub client: String,
    /// What happens when a lock is lost that was held. Default: its holder is notified, and has to stop by himself.
    pub on_lost: OnLost,
    /// How the store's operator can isolate this client (end its process, cut its connections) if it does not renew in time what
    /// it holds; its locks go to others afterwards. At most 4 KiB, and what it means is between you and the operator:
    /// [`process_identity`] is a start. Only on stores that [can](crate::Capabilities::isolates). Default: not at all.
    pub isolation: Bytes,
}

impl SyncOptions {
    /// The defaults.
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

    /// Sets the client's name.
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

    /// Sets what happens when a lock is lost that was held.
    #[must_use]
    pub fn with_on_lost(mut self, on_lost: OnLost) -> Self {
        self.on_lost = on_lost;
        self
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] names the option.
    pub fn validated(self) -> Result<Self> {
        check_label(&self.client, "client")?;
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
        }
    }
}

/// What a client does to itself when a lock is lost while it is held: it was not renewed in time, the store ended its
/// session, or an operator its claim. Not when it is released or detached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLost {
    /// Guards are revoked: [`Guard::revoked`](crate::Guard::revoked) resolves, [`Guard::check`](crate::Guard::check) fails.
    #[default]
    Notify,
    /// The process is aborted (SIGABRT), from the keeper's thread and before the store can grant the lock to another: also
    /// if the code that holds it hangs.
    Abort,
    /// The process exits with this code, in the same way.
    Exit(u8),
}

impl FromStr for OnLost {
    type Err = Error;

    /// `notify`, `abort`, or `exit:CODE`.
    fn from_str(text: &str) -> Result<Self> {
        let code = |text: &str| text.strip_prefix("exit:").and_then(|code| code.parse().ok());
        match text {
            "notify" => Ok(Self::Notify),
            "abort" => Ok(Self::Abort),
            text => code(text).map(Self::Exit).ok_or_else(|| {
                let problem = "a client can `notify`, `abort` or `exit:CODE` (0 to 255) when it loses a lock";
                Error::new(ErrorKind::InvalidOption, problem)
            }),
        }
    }
}
