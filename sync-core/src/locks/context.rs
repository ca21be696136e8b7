//! The state that a handle, its locks and its guards share: the backend, the keeper, and the shared
//! sessions.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::locks::local_queue::LocalQueue;
use crate::options::{OnDisconnect, SyncOptions};
use crate::session::call::{Call, with_retries};
use crate::session::errors::{closed, isolated};
use crate::session::keeper::Keeper;
use crate::session::live::LiveSession;
use crate::session::timeouts::Timeouts;
use crate::spi::backend::{Backend, Renewal, SessionSpec};
use crate::spi::home::Turns;
use crate::spi::mutex::locked;
use crate::telemetry;
use crate::types::error::Result;
use crate::types::ids::SessionId;
use crate::types::loss::Loss;
use crate::types::names::LockName;
use crate::types::nonce::Secret;

/// The state that a handle, its locks and its guards share. Dropping the last reference ends the
/// keeper.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) keeper: Keeper,
    pub(crate) client: Arc<str>,
    name: &'static str,
    pub(crate) telemetry: telemetry::Store,
    isolation: Bytes,
    session_ttl: Duration,
    pub(crate) timeouts: Timeouts,
    current: SessionSlot,
    /// The session of locks that are released when the last connection closes.
    current_to_release: SessionSlot,
    /// Present if the options ask for it.
    pub(super) local_queue: Option<LocalQueue>,
    /// Ensures that only one caller at a time opens a session.
    opening: Turns,
}

/// A slot for a session that many locks share.
type SessionSlot = Mutex<Option<Arc<LiveSession>>>;

impl Context {
    /// Starts the keeper. No session is open yet.
    pub(crate) fn start(
        backend: Arc<dyn Backend>,
        options: &SyncOptions,
        session_ttl: Duration,
    ) -> Result<Self> {
        let timeouts = Timeouts::of(options);
        Ok(Self {
            keeper: Keeper::start(backend.for_keeper(), options.on_lost, timeouts)?,
            timeouts,
            name: backend.capabilities().backend,
            telemetry: telemetry::Store::of(backend.capabilities().backend),
            isolation: options.isolation.clone(),
            backend,
            client: options.client.as_str().into(),
            session_ttl,
            current: Mutex::new(None),
            current_to_release: Mutex::new(None),
            local_queue: options.local_queue.then(LocalQueue::default),
            opening: Turns::default(),
        })
    }

    /// Cancels the requests that wait in the local queue.
    pub(crate) fn cancel_local_waiters(&self) {
        if let Some(queue) = &self.local_queue {
            queue.cancel();
        }
    }

    pub(crate) fn backend_name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn call<'a>(&self, operation: &'static str, name: &'a LockName) -> Call<'a> {
        Call {
            backend: self.backend_name(),
            operation,
            name,
            timeout: self.timeouts.request(),
        }
    }

    /// Returns the shared session, and opens a new one if it was lost.
    pub(crate) async fn session(&self, on_disconnect: OnDisconnect) -> Result<Arc<LiveSession>> {
        if let Some(session) = self.current(on_disconnect) {
            return Ok(session);
        }
        let _turn = self.opening.turn().await?;
        if let Some(session) = self.current(on_disconnect) {
            return Ok(session);
        }
        self.check_isolation(on_disconnect).await?;
        let session = self.open(self.session_ttl, on_disconnect).await?;
        *locked(self.slot(on_disconnect)) = Some(session.clone());
        Ok(session)
    }

    /// Fails if the client is isolated: it must not continue under a new session.
    ///
    /// Asks the store if the previous session was lost for a reason that may include isolation.
    async fn check_isolation(&self, on_disconnect: OnDisconnect) -> Result<()> {
        let previous = locked(self.slot(on_disconnect)).clone();
        let Some(previous) = previous.filter(|_| !self.isolation.is_empty()) else {
            return Ok(());
        };
        match previous.loss() {
            Some(Loss::Isolated) => Err(isolated()),
            Some(Loss::Expired | Loss::SessionLost) => {
                let timeout = self.timeouts.request();
                match with_retries(timeout, || self.backend.renew(previous.session())).await? {
                    Renewal::Isolated => Err(isolated()),
                    Renewal::Renewed { .. } | Renewal::Expired => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn slot(&self, on_disconnect: OnDisconnect) -> &SessionSlot {
        match on_disconnect {
            OnDisconnect::Release => &self.current_to_release,
            OnDisconnect::Hold | OnDisconnect::Ignore => &self.current,
        }
    }

    pub(crate) fn current(&self, on_disconnect: OnDisconnect) -> Option<Arc<LiveSession>> {
        locked(self.slot(on_disconnect))
            .as_ref()
            .filter(|session| session.seems_live())
            .cloned()
    }

    /// Returns the default TTL of sessions.
    pub(crate) fn session_ttl(&self) -> Duration {
        self.session_ttl
    }

    /// Opens a session that is not shared.
    pub(crate) async fn open(
        &self,
        ttl: Duration,
        on_disconnect: OnDisconnect,
    ) -> Result<Arc<LiveSession>> {
        if self.keeper.is_stopped() {
            return Err(closed());
        }
        let spec = SessionSpec {
            nonce: SessionId::random(),
            secret: Secret::random(),
            ttl,
            client: self.client.to_string(),
            release_on_disconnect: on_disconnect == OnDisconnect::Release,
            isolation: self.isolation.clone(),
        };
        self.keeper.open(spec).await
    }
}

/// The longest time for which dropping a handle waits for its sessions to be closed. One round trip
/// is enough while the store is available.
const DROP_TIMEOUT: Duration = Duration::from_millis(500);

impl Drop for Context {
    /// Waits for the keeper to close its sessions. If the process ended right after this, the
    /// keeper's thread would end too, and the locks would remain held until their TTL expires.
    /// Returns at once after [`Sync::close`](crate::Sync::close).
    fn drop(&mut self) {
        self.keeper.stop(DROP_TIMEOUT);
    }
}
