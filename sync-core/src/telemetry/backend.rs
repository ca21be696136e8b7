//! A backend that counts errors and measures requests.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use metrics::{Histogram, histogram};

use super::metrics::StoreMetrics;
use super::since;
use crate::spi::backend::{Backend, Claim, Renewal, Session, SessionSpec, Standing};
use crate::spi::capabilities::Capabilities;
use crate::spi::clock;
use crate::spi::departure::Departure;
use crate::spi::joining::Joining;
use crate::spi::timer::Timer;
use crate::types::error::{ErrorKind, Result};
use crate::types::ids::ClaimId;
use crate::types::names::LockName;
use crate::types::queue::{Queue, Revision, Withdrawn};

/// A backend whose requests are measured. Calls that wait for an event are not timed.
#[derive(Debug)]
struct Observed {
    inner: Arc<dyn Backend>,
    store: &'static str,
    /// How long the requests take, by [`Operation`].
    durations: Arc<[Histogram]>,
}

/// The operations that are timed.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Open,
    Renew,
    Close,
    Enqueue,
    Update,
    Withdraw,
    Evict,
    Queue,
    List,
}

impl Operation {
    /// All operations, in the order of their numbers.
    const ALL: [Self; 9] = [
        Self::Open,
        Self::Renew,
        Self::Close,
        Self::Enqueue,
        Self::Update,
        Self::Withdraw,
        Self::Evict,
        Self::Queue,
        Self::List,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Renew => "renew",
            Self::Close => "close",
            Self::Enqueue => "enqueue",
            Self::Update => "update",
            Self::Withdraw => "withdraw",
            Self::Evict => "evict",
            Self::Queue => "queue",
            Self::List => "list",
        }
    }
}

/// Returns a backend whose requests are measured, or `backend` itself if no recorder is installed.
pub(crate) fn observed(backend: Arc<dyn Backend>) -> Arc<dyn Backend> {
    if StoreMetrics::of(backend.capabilities().backend).is_recorded {
        Arc::new(Observed::new(backend))
    } else {
        backend
    }
}

impl Observed {
    fn new(inner: Arc<dyn Backend>) -> Self {
        let store = inner.capabilities().backend;
        let duration = |operation: Operation| {
            histogram!(
                "distsync_request_seconds",
                "store" => store,
                "operation" => operation.name(),
            )
        };
        Self {
            inner,
            store,
            durations: Operation::ALL.map(duration).into(),
        }
    }

    /// Measures a request.
    async fn timed<T>(
        &self,
        operation: Operation,
        request: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let start = clock::now();
        let answer = self.counted(operation.name(), request).await;
        self.durations[operation as usize].record(since(start));
        answer
    }

    /// Counts the error of a request, if it fails.
    async fn counted<T>(
        &self,
        operation: &'static str,
        request: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let answer = request.await;
        if let Err(error) = &answer {
            metrics::counter!(
                "distsync_store_errors_total",
                "store" => self.store,
                "operation" => operation,
                "error" => label(error.kind()),
            )
            .increment(1);
        }
        answer
    }
}

/// Returns the label of a kind of errors.
fn label(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Timeout => "timeout",
        ErrorKind::Contended => "contended",
        ErrorKind::NotHeld => "not_held",
        ErrorKind::SessionLost => "session_lost",
        ErrorKind::Isolated => "isolated",
        ErrorKind::InvalidName => "invalid_name",
        ErrorKind::InvalidOption => "invalid_option",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Denied => "denied",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Closed => "closed",
        ErrorKind::Protocol => "protocol",
        ErrorKind::Store => "store",
        ErrorKind::NoRuntime => "no_runtime",
    }
}

#[async_trait]
impl Backend for Observed {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn for_keeper(&self) -> Arc<dyn Backend> {
        Arc::new(Self {
            inner: self.inner.for_keeper(),
            store: self.store,
            durations: self.durations.clone(),
        })
    }

    fn joining(&self) -> Option<&Joining> {
        self.inner.joining()
    }

    fn incarnation(&self) -> u64 {
        self.inner.incarnation()
    }

    async fn open(&self, spec: &SessionSpec) -> Result<Session> {
        self.timed(Operation::Open, self.inner.open(spec)).await
    }

    async fn renew(&self, session: &Session) -> Result<Renewal> {
        self.timed(Operation::Renew, self.inner.renew(session))
            .await
    }

    async fn close(&self, session: &Session) -> Result<()> {
        self.timed(Operation::Close, self.inner.close(session))
            .await
    }

    fn forget(&self, session: &Session) {
        self.inner.forget(session);
    }

    async fn enqueue(&self, claim: &Claim) -> Result<Standing> {
        self.timed(Operation::Enqueue, self.inner.enqueue(claim))
            .await
    }

    async fn granted(&self, claim: &Claim) -> Result<Standing> {
        self.counted("granted", self.inner.granted(claim)).await
    }

    async fn update(&self, claim: &Claim, value: Bytes) -> Result<bool> {
        self.timed(Operation::Update, self.inner.update(claim, value))
            .await
    }

    async fn withdraw(&self, claim: &Claim) -> Result<Withdrawn> {
        self.timed(Operation::Withdraw, self.inner.withdraw(claim))
            .await
    }

    fn depart(&self, mut departure: Departure) {
        let duration = &self.durations[Operation::Withdraw as usize];
        departure.time(Timer::start(duration.clone()));
        self.inner.depart(departure);
    }

    fn give_back_departures(&self) {
        self.inner.give_back_departures();
    }

    async fn evict(&self, name: &LockName, claim: ClaimId) -> Result<Withdrawn> {
        self.timed(Operation::Evict, self.inner.evict(name, claim))
            .await
    }

    async fn evictions(&self, session: &Session) -> Result<Vec<ClaimId>> {
        self.counted("evictions", self.inner.evictions(session))
            .await
    }

    async fn queue(&self, name: &LockName) -> Result<Queue> {
        self.timed(Operation::Queue, self.inner.queue(name)).await
    }

    async fn changed(&self, name: &LockName, after: Revision) -> Result<Queue> {
        self.counted("changed", self.inner.changed(name, after))
            .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<LockName>> {
        self.timed(Operation::List, self.inner.list(prefix)).await
    }
}
