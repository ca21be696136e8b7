//! The handle that `connect` returns: one backend, one keeper, one session for all that need none of their own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use crate::backend::{Backend, SessionId, SessionSpec};
use crate::call::{Call, patient};
use crate::capabilities::Capabilities;
use crate::election::Candidate;
use crate::error::{Error, ErrorKind, Result};
use crate::line::Wish;
use crate::lock::NamedLock;
use crate::names::{Kind, LockName, Namespace};
use crate::nonce::Secret;
use crate::options::{LeaderOptions, LockOptions, SyncOptions};
use crate::session::keeper::Keeper;
use crate::session::live::{LiveSession, locked};
use crate::traits::{Leader, Lock, Sync};

/// What a handle, its locks and its guards share. The last of them to go ends the keeper.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) keeper: Keeper,
    pub(crate) client: Arc<str>,
    name: &'static str,
    session_ttl: Duration,
    current: Mutex<Option<Arc<LiveSession>>>,
    /// One opens a session while the others wait for it.
    opening: tokio::sync::Mutex<()>,
}

impl Shared {
    pub(crate) fn backend_name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn call<'a>(&self, operation: &'static str, name: &'a LockName) -> Call<'a> {
        Call { backend: self.backend_name(), operation, name }
    }

    /// The session for all, opened again if it was lost.
    pub(crate) async fn session(&self) -> Result<Arc<LiveSession>> {
        if let Some(session) = self.current() {
            return Ok(session);
        }
        let _turn = self.opening.lock().await;
        if let Some(session) = self.current() {
            return Ok(session);
        }
        let session = self.open(self.session_ttl).await?;
        *locked(&self.current) = Some(session.clone());
        Ok(session)
    }

    pub(crate) fn current(&self) -> Option<Arc<LiveSession>> {
        locked(&self.current).as_ref().filter(|session| session.seems_live()).cloned()
    }

    /// A session of one's own.
    pub(crate) async fn open(&self, ttl: Duration) -> Result<Arc<LiveSession>> {
        if self.keeper.is_stopped() {
            return Err(Error::new(ErrorKind::Closed, "the handle was closed: connect again"));
        }
        let spec = SessionSpec {
            nonce: SessionId::random(),
            secret: Secret::random(),
            ttl,
            client: self.client.to_string(),
        };
        self.keeper.open(spec).await
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.keeper.stop();
    }
}

/// [`Sync`] over any backend.
#[derive(Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    namespace: Namespace,
}

impl Handle {
    /// Opens a session at the store, on a thread that renews it from then on.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for options that the store does not take, [`Unavailable`](ErrorKind::Unavailable) or
    /// [`Denied`](ErrorKind::Denied) if no session can be opened.
    ///
    /// # Cancel safety
    /// Safe: dropped, the thread closes what it opened and ends.
    pub async fn open(backend: Arc<dyn Backend>, options: SyncOptions) -> Result<Self> {
        let options = options.validated()?;
        let session_ttl = backend.capabilities().check_ttl(options.session_ttl)?;
        let shared = Arc::new(Shared {
            keeper: Keeper::start(backend.twin())?,
            name: backend.capabilities().backend,
            backend,
            client: options.client.into(),
            session_ttl,
            current: Mutex::new(None),
            opening: tokio::sync::Mutex::new(()),
        });
        shared.session().await.map_err(|error| error.during("connect").on(shared.backend_name()))?;
        Ok(Self { shared, namespace: options.namespace })
    }

    fn named(&self, kind: Kind, name: &str) -> Result<LockName> {
        LockName::new(&self.namespace, kind, name).map_err(|error| error.on(self.shared.backend_name()))
    }
}

#[async_trait]
impl Sync for Handle {
    fn lock(&self, name: &str, options: LockOptions) -> Result<Box<dyn Lock>> {
        let explain = |error: Error| error.during("lock").on(self.shared.backend_name()).of(name);
        let options = options.validated().map_err(explain)?;
        if let Some(ttl) = options.ttl {
            self.shared.backend.capabilities().check_ttl(ttl).map_err(explain)?;
        }
        let wish = Wish {
            operation: "acquire",
            name: self.named(Kind::Lock, name)?,
            mode: options.mode,
            ttl: options.ttl,
            value: options.value,
        };
        Ok(Box::new(NamedLock::new(self.shared.clone(), name, wish, options.wait)))
    }

    fn leader(&self, name: &str, options: LeaderOptions) -> Result<Box<dyn Leader>> {
        let explain = |error: Error| error.during("leader").on(self.shared.backend_name()).of(name);
        let wish = Wish {
            operation: "elect",
            name: self.named(Kind::Leader, name)?,
            mode: crate::mode::Mode::Exclusive,
            ttl: None,
            value: options.node.encode().map_err(explain)?,
        };
        Ok(Box::new(Candidate::new(self.shared.clone(), name, wish, options)))
    }

    fn name(&self) -> &'static str {
        self.shared.backend_name()
    }

    fn capabilities(&self) -> Capabilities {
        self.shared.backend.capabilities()
    }

    async fn list(&self, kind: Kind, prefix: &str) -> Result<Vec<String>> {
        let path = self.namespace.path_prefix(kind, prefix);
        let names = patient(self.shared.backend.list(&path))
            .await
            .map_err(|error| error.during("list").on(self.shared.backend_name()).of(prefix))?;
        Ok(names.iter().map(LockName::plain).collect())
    }

    async fn close(&self) -> Result<()> {
        self.shared.keeper.stopped().await;
        Ok(())
    }
}
