//! The handle that `connect` returns: the API over a backend.

use std::sync::{Arc, Once};
use std::time::Duration;

use async_trait::async_trait;
use tracing::warn;

use crate::locks::context::Context;
use crate::locks::election::Candidate;
use crate::locks::guard::Guard;
use crate::locks::lock::NamedLock;
use crate::locks::request::AcquireRequest;
use crate::locks::resume::resume;
use crate::locks::several;
use crate::locks::ticket::Ticket;
use crate::locks::traits::{Leader, Lock, Sync};
use crate::options::{LeaderOptions, LockOptions, OnDisconnect, SyncOptions};
use crate::session::call::with_retries;
use crate::spi::backend::Backend;
use crate::spi::capabilities::Capabilities;
use crate::spi::home::runtime;
use crate::types::error::{Error, ErrorKind, Result};
use crate::types::mode::Mode;
use crate::types::names::{Kind, LockName, Namespace};

/// Implements [`Sync`] over any backend.
///
/// When the handle and all its locks and guards are dropped, its sessions are closed, which
/// releases all that they held. That last drop blocks until the store has answered, at most for 500
/// ms, so that a process can end right after it. `close().await` waits without blocking a thread.
#[derive(Debug)]
pub struct Handle {
    context: Arc<Context>,
    namespace: Namespace,
    /// Warns once of hold limits that the store raises, because a program may set the same limit
    /// for each lock.
    warned_of_limit: Once,
}

impl Handle {
    /// Opens a session at the store, and starts a thread that renews it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for options that the store does not take,
    /// [`Unavailable`](ErrorKind::Unavailable) or [`Denied`](ErrorKind::Denied) if no session can
    /// be opened.
    ///
    /// # Cancel safety
    /// Safe: when the future is dropped, the thread closes what it opened and ends.
    pub async fn open(backend: Arc<dyn Backend>, options: SyncOptions) -> Result<Self> {
        let options = options.validated()?;
        #[cfg(feature = "metrics")]
        let backend = crate::telemetry::observed(backend);
        let capabilities = backend.capabilities();
        runtime().map_err(|error| {
            error
                .with_operation("connect")
                .with_backend(capabilities.backend)
        })?;
        if !options.isolation.is_empty() && !capabilities.isolates {
            let problem = "this store isolates nobody: leave the option out, and see `on_lost`";
            return Err(Error::new(ErrorKind::Unsupported, problem)
                .with_operation("connect")
                .with_backend(capabilities.backend));
        }
        let session_ttl = capabilities.check_ttl(options.session_ttl)?;
        if let Some(timeout) = options.request_timeout
            && timeout > session_ttl / 3
        {
            let problem = format!(
                "a request_timeout of {timeout:?} is more than a third of the ttl of \
                 {session_ttl:?}: give at most {:?}, or a longer ttl",
                session_ttl / 3
            );
            return Err(Error::new(ErrorKind::InvalidOption, problem)
                .with_operation("connect")
                .with_backend(capabilities.backend));
        }
        let context = Arc::new(Context::start(backend, &options, session_ttl)?);
        let session = context.session(OnDisconnect::Hold).await.map_err(|error| {
            error
                .with_operation("connect")
                .with_backend(context.backend_name())
        })?;
        // A server can be configured with a smallest TTL of its own. Rounding up to a whole second
        // is documented, and no reason for a warning.
        let granted = session.ttl();
        if session_ttl > options.session_ttl
            || granted >= session_ttl.saturating_add(Duration::from_secs(1))
        {
            warn_of_longer_ttl(context.backend_name(), "ttl", options.session_ttl, granted);
        }
        Ok(Self {
            context,
            namespace: options.namespace,
            warned_of_limit: Once::new(),
        })
    }

    /// Returns the lock of some names: of all of them, or of any one.
    fn lock_of(&self, names: &[&str], any: bool, options: LockOptions) -> Result<NamedLock> {
        let mut given: Vec<&str> = Vec::with_capacity(names.len());
        for name in names {
            if !given.contains(name) {
                given.push(name);
            }
        }
        let Some((&name, also)) = given.split_first() else {
            return Err(several::no_names().with_backend(self.context.backend_name()));
        };
        let explain = |error: Error| {
            error
                .with_operation("lock")
                .with_backend(self.context.backend_name())
                .with_name(name)
        };
        let options = options.validated().map_err(explain)?;
        let capabilities = self.context.backend.capabilities();
        let ttl = options.ttl.map(|ttl| capabilities.check_ttl(ttl));
        let ttl = ttl.transpose().map_err(explain)?;
        if let (Some(given), Some(raised)) = (options.ttl, ttl)
            && raised > given
        {
            let name = self.context.backend_name();
            self.warned_of_limit
                .call_once(|| warn_of_longer_ttl(name, "hold limit", given, raised));
        }
        if let Some(min) = options.min_hold.filter(|min| *min > capabilities.ttl_max) {
            let problem = format!(
                "a minimal hold of {min:?} exceeds the longest ttl of the store: give {:?} at most",
                capabilities.ttl_max
            );
            return Err(explain(Error::new(ErrorKind::InvalidOption, problem)));
        }
        check_on_disconnect(options.on_disconnect, &capabilities).map_err(explain)?;
        if !also.is_empty() && !capabilities.several_at_once {
            let problem =
                "this store does not grant several names at once: use `lock_all` or `lock_any`";
            return Err(explain(Error::new(ErrorKind::Unsupported, problem)));
        }
        let has_several = !also.is_empty();
        let also = also
            .iter()
            .map(|name| self.named(Kind::Lock, name))
            .collect::<Result<_>>()?;
        let request = AcquireRequest {
            operation: "acquire",
            name: self.named(Kind::Lock, name)?,
            also,
            any,
            queues_locally: options.mode == Mode::Exclusive && !has_several,
            mode: options.mode,
            ttl,
            min_hold: options.min_hold,
            max_hold: options.max_hold,
            on_disconnect: options.on_disconnect,
            value: options.value,
            on_wait: options.on_wait,
        };
        Ok(NamedLock::new(
            self.context.clone(),
            name,
            request,
            options.wait,
        ))
    }

    fn named(&self, kind: Kind, name: &str) -> Result<LockName> {
        LockName::new(&self.namespace, kind, name)
            .map_err(|error| error.with_backend(self.context.backend_name()))
    }
}

/// Warns that the store grants a longer TTL than the one that was given.
fn warn_of_longer_ttl(backend: &str, option: &str, given: Duration, granted: Duration) {
    warn!(
        backend,
        option,
        ?given,
        ?granted,
        "the store grants no ttl this short: a crashed holder blocks others for the granted ttl"
    );
}

/// Checks that the store can treat a claim in this way.
fn check_on_disconnect(on_disconnect: OnDisconnect, capabilities: &Capabilities) -> Result<()> {
    if on_disconnect != OnDisconnect::Release || capabilities.release_on_disconnect {
        return Ok(());
    }
    let problem = "this store does not see its clients' connections, and cannot release when they end: leave the option out, \
                   and set a short session ttl";
    Err(Error::new(ErrorKind::Unsupported, problem))
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
        let explain = |error: Error| {
            error
                .with_operation("leader")
                .with_backend(self.context.backend_name())
                .with_name(name)
        };
        check_on_disconnect(options.on_disconnect, &self.capabilities()).map_err(explain)?;
        let request = AcquireRequest {
            operation: "elect",
            name: self.named(Kind::Leader, name)?,
            also: Vec::new(),
            any: false,
            queues_locally: false,
            mode: Mode::Exclusive,
            ttl: None,
            min_hold: None,
            max_hold: None,
            on_disconnect: options.on_disconnect,
            value: options.node.encode().map_err(explain)?,
            on_wait: None,
        };
        Ok(Box::new(Candidate::new(
            self.context.clone(),
            name,
            request,
            options,
        )))
    }

    fn name(&self) -> &'static str {
        self.context.backend_name()
    }

    fn capabilities(&self) -> Capabilities {
        self.context.backend.capabilities()
    }

    async fn list(&self, kind: Kind, prefix: &str) -> Result<Vec<String>> {
        let path = self.namespace.path_prefix(kind, prefix);
        let timeout = self.context.timeouts.request();
        let names = with_retries(timeout, || self.context.backend.list(&path))
            .await
            .map_err(|error| {
                error
                    .with_operation("list")
                    .with_backend(self.context.backend_name())
                    .with_name(prefix)
            })?;
        Ok(names.iter().map(LockName::plain).collect())
    }

    async fn resume(&self, ticket: &Ticket) -> Result<Guard> {
        resume(&self.context, ticket).await
    }

    async fn release_all(&self) -> Result<()> {
        self.context.cancel_local_waiters();
        self.context.keeper.release_all().await.map_err(|error| {
            error
                .with_operation("release all")
                .with_backend(self.name())
        })
    }

    async fn close(&self) -> Result<()> {
        self.context.cancel_local_waiters();
        self.context.keeper.stopped().await;
        Ok(())
    }
}
