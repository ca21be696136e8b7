//! The handle that `connect` returns: one backend, one keeper, one session for all that need none of their own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::backend::{Backend, Renewal, SessionId, SessionSpec};
use crate::call::{Call, patiently};
use crate::capabilities::Capabilities;
use crate::election::Candidate;
use crate::error::{Error, ErrorKind, Result};
use crate::guard::Guard;
use crate::line::{self, Wish};
use crate::lock::NamedLock;
use crate::mutex::locked;
use crate::names::{Kind, LockName, Namespace};
use crate::nonce::Secret;
use crate::options::{LeaderOptions, LockOptions, OnDisconnect, SyncOptions};
use crate::revocation::Loss;
use crate::session::keeper::{Keeper, closed, isolated};
use crate::session::live::LiveSession;
use crate::several;
use crate::ticket::Ticket;
use crate::traits::{Leader, Lock, Sync};

/// What a handle, its locks and its guards share. The last of them to go ends the keeper.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) keeper: Keeper,
    pub(crate) client: Arc<str>,
    name: &'static str,
    isolation: Bytes,
    session_ttl: Duration,
    current: Shelf,
    /// The session of what is to be released when the last connection is gone.
    current_to_release: Shelf,
    /// One opens a session while the others wait for it.
    opening: tokio::sync::Mutex<()>,
}

/// A place for a session that many use.
type Shelf = Mutex<Option<Arc<LiveSession>>>;

impl Shared {
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
        let _turn = self.opening.lock().await;
        if let Some(session) = self.current(on_disconnect) {
            return Ok(session);
        }
        self.check_isolation(on_disconnect).await?;
        let session = self.open(self.session_ttl, on_disconnect).await?;
        *locked(self.shelf(on_disconnect)) = Some(session.clone());
        Ok(session)
    }

    /// A client that is isolated does not go on under another session, and learns it here if not before.
    async fn check_isolation(&self, on_disconnect: OnDisconnect) -> Result<()> {
        let former = locked(self.shelf(on_disconnect)).clone();
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

    fn shelf(&self, on_disconnect: OnDisconnect) -> &Shelf {
        match on_disconnect {
            OnDisconnect::Release => &self.current_to_release,
            OnDisconnect::Hold | OnDisconnect::Ignore => &self.current,
        }
    }

    pub(crate) fn current(&self, on_disconnect: OnDisconnect) -> Option<Arc<LiveSession>> {
        locked(self.shelf(on_disconnect)).as_ref().filter(|session| session.seems_live()).cloned()
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

impl Drop for Shared {
    /// Waits for the keeper to close its sessions: a process that ends right after this would end the keeper's thread as well, and
    /// leave what it held to its TTL. Returns at once after [`Sync::close`].
    fn drop(&mut self) {
        self.keeper.stop(PARTING);
    }
}

/// [`Sync`] over any backend.
///
/// When the handle and all its locks and guards are dropped, its sessions are closed, and with them all that they held. That drop
/// blocks until the store has answered, at most for 500 ms, so that a process can end right after it. `close().await` waits for as
/// long as it takes, without blocking a thread.
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
        let capabilities = backend.capabilities();
        if !options.isolation.is_empty() && !capabilities.isolates {
            let problem = "this store isolates nobody: leave the option out, and see `on_lost`";
            return Err(Error::new(ErrorKind::Unsupported, problem)
                .during("connect")
                .on(capabilities.backend));
        }
        let session_ttl = capabilities.check_ttl(options.session_ttl)?;
        let shared = Arc::new(Shared {
            keeper: Keeper::start(backend.twin(), options.on_lost)?,
            name: capabilities.backend,
            isolation: options.isolation,
            backend,
            client: options.client.into(),
            session_ttl,
            current: Mutex::new(None),
            current_to_release: Mutex::new(None),
            opening: tokio::sync::Mutex::new(()),
        });
        shared
            .session(OnDisconnect::Hold)
            .await
            .map_err(|error| error.during("connect").on(shared.backend_name()))?;
        Ok(Self { shared, namespace: options.namespace })
    }

    /// The lock of some names: all of them, or any.
    fn lock_of(&self, names: &[&str], any: bool, options: LockOptions) -> Result<NamedLock> {
        let mut given: Vec<&str> = Vec::with_capacity(names.len());
        for name in names {
            if !given.contains(name) {
                given.push(name);
            }
        }
        let Some((&name, also)) = given.split_first() else {
            return Err(several::no_names().on(self.shared.backend_name()));
        };
        let explain = |error: Error| error.during("lock").on(self.shared.backend_name()).of(name);
        let options = options.validated().map_err(explain)?;
        let capabilities = self.shared.backend.capabilities();
        if let Some(ttl) = options.ttl {
            capabilities.check_ttl(ttl).map_err(explain)?;
        }
        let unsupported = |problem: &'static str| Err(explain(Error::new(ErrorKind::Unsupported, problem)));
        if options.on_disconnect == OnDisconnect::Release && !capabilities.release_on_disconnect {
            return unsupported(
                "this store does not see its clients' connections, and cannot release when they end: leave the option out, \
                 and set a short session ttl",
            );
        }
        if !also.is_empty() && !capabilities.several_at_once {
            return unsupported(
                "this store does not grant several names at once: use `lock_each` or `lock_any`",
            );
        }
        let also = also.iter().map(|name| self.named(Kind::Lock, name)).collect::<Result<_>>()?;
        let wish = Wish {
            operation: "acquire",
            name: self.named(Kind::Lock, name)?,
            also,
            any,
            mode: options.mode,
            ttl: options.ttl,
            on_disconnect: options.on_disconnect,
            value: options.value,
            on_wait: options.on_wait,
        };
        Ok(NamedLock::new(self.shared.clone(), name, wish, options.wait))
    }

    fn named(&self, kind: Kind, name: &str) -> Result<LockName> {
        LockName::new(&self.namespace, kind, name).map_err(|error| error.on(self.shared.backend_name()))
    }
}

#[async_trait]
impl Sync for Handle {
    fn lock(&self, name: &str, options: LockOptions) -> Result<Box<dyn Lock>> {
        Ok(Box::new(self.lock_of(&[name], false, options)?))
    }

    async fn acquire_all(&self, names: &[&str], options: LockOptions) -> Result<Guard> {
        self.lock_of(names, false, options)?.acquire().await
    }

    async fn acquire_any(&self, names: &[&str], options: LockOptions) -> Result<Guard> {
        self.lock_of(names, true, options)?.acquire().await
    }

    fn leader(&self, name: &str, options: LeaderOptions) -> Result<Box<dyn Leader>> {
        let explain = |error: Error| error.during("leader").on(self.shared.backend_name()).of(name);
        let wish = Wish {
            operation: "elect",
            name: self.named(Kind::Leader, name)?,
            also: Vec::new(),
            any: false,
            mode: crate::mode::Mode::Exclusive,
            ttl: None,
            on_disconnect: OnDisconnect::Hold,
            value: options.node.encode().map_err(explain)?,
            on_wait: None,
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
        let names = patiently(|| self.shared.backend.list(&path))
            .await
            .map_err(|error| error.during("list").on(self.shared.backend_name()).of(prefix))?;
        Ok(names.iter().map(LockName::plain).collect())
    }

    async fn resume(&self, ticket: &Ticket) -> Result<Guard> {
        line::resume(&self.shared, ticket).await
    }

    async fn release_all(&self) -> Result<()> {
        self.shared.keeper.release_all().await.map_err(|error| error.during("release all").on(self.name()))
    }

    async fn close(&self) -> Result<()> {
        self.shared.keeper.stopped().await;
        Ok(())
    }
}
