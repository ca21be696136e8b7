//! What a handle, its locks and its guards share: one backend, one keeper, and the sessions that many locks use.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::options::{OnDisconnect, SyncOptions};
use crate::session::call::{Call, patiently};
use crate::session::errors::{closed, isolated};
use crate::session::keeper::Keeper;
use crate::session::live::LiveSession;
use crate::spi::backend::{Backend, Renewal, SessionSpec};
use crate::spi::home::Turns;
use crate::spi::mutex::locked;
use crate::types::error::Result;
use crate::types::ids::SessionId;
use crate::types::loss::Loss;
use crate::types::names::LockName;
use crate::types::nonce::Secret;

/// What a handle, its locks and its guards share. The last of them to go ends the keeper.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) keeper: Keeper,
    pub(crate) client: Arc<str>,
    name: &'static str,
    isolation: Bytes,
    session_ttl: Duration,
    current: SessionSlot,
    /// The session of what is to be released when the last connection is gone.
    current_to_release: SessionSlot,
    /// One opens a session while the others wait for it.
    opening: Turns,
}

/// Holds a session that many locks share.
type SessionSlot = Mutex<Option<Arc<LiveSession>>>;

impl Context {
    /// Starts the keeper. No session is open yet.
    pub(crate) fn start(
        backend: Arc<dyn Backend>,
        options: &SyncOptions,
        session_ttl: Duration,
    ) -> Result<Self> {
        Ok(Self {
            keeper: Keeper::start(backend.for_keeper(), options.on_lost)?,
            name: backend.capabilities().backend,
            isolation: options.isolation.clone(),
            backend,
            client: options.client.as_str().into(),
            session_ttl,
            current: Mutex::new(None),
            current_to_release: Mutex::new(None),
            opening: Turns::default(),
        })
    }

    pub(crate) fn backend_name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn call<'a>(&self, operation: &'static str, name: &'a LockName) -> Call<'a> {
        Call { backend: self.backend_name(), operation, name }
    }

    /// The session for all, opened again if it was lost.
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

    /// A client that is isolated does not go on under another session, and learns it here if not before.
    async fn check_isolation(&self, on_disconnect: OnDisconnect) -> Result<()> {
        let former = locked(self.slot(on_disconnect)).clone();
        let Some(former) = former.filter(|_| !self.isolation.is_empty()) else { return Ok(()) };
        match former.loss() {
            Some(Loss::Isolated) => Err(isolated()),
            Some(Loss::Expired | Loss::SessionLost) => {
                match patiently(|| self.backend.renew(former.session())).await? {
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
        locked(self.slot(on_disconnect)).as_ref().filter(|session| session.seems_live()).cloned()
    }

    /// The TTL of sessions, unless told otherwise.
    pub(crate) fn session_ttl(&self) -> Duration {
        self.session_ttl
    }

    /// A session of one's own.
    pub(crate) async fn open(&self, ttl: Duration, on_disconnect: OnDisconnect) -> Result<Arc<LiveSession>> {
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

/// The longest that the drop of a handle waits for its sessions to be closed. A round trip is enough, while the store answers.
const PARTING: Duration = Duration::from_millis(500);

impl Drop for Context {
    /// Waits for the keeper to close its sessions: a process that ends right after this would end the keeper's thread as well, and
    /// leave what it held to its TTL. Returns at once after [`Sync::close`].
    fn drop(&mut self) {
        self.keeper.stop(PARTING);
    }
}
