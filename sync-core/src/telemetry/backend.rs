//! A backend that counts errors and measures requests.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::since;
use crate::spi::backend::{Backend, Claim, Renewal, Session, SessionSpec, Standing};
use crate::spi::capabilities::Capabilities;
use crate::spi::clock;
use crate::spi::joining::Joining;
use crate::types::error::{ErrorKind, Result};
use crate::types::ids::ClaimId;
use crate::types::names::LockName;
use crate::types::queue::{Queue, Revision, Withdrawn};

/// A backend whose requests are measured. Calls that wait for an event are not timed.
#[derive(Debug)]
pub(crate) struct Observed {
    inner: Arc<dyn Backend>,
    store: &'static str,
}

impl Observed {
    pub(crate) fn new(inner: Arc<dyn Backend>) -> Self {
        let store = inner.capabilities().backend;
        Self { inner, store }
    }

    /// Measures a request.
    async fn timed<T>(
        &self,
        operation: &'static str,
        request: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let start = clock::now();
        let answer = self.counted(operation, request).await;
        metrics::histogram!(
            "distsync_request_seconds",
            "store" => self.store,
            "operation" => operation,
        )
        .record(since(start));
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
        })
    }

    fn joining(&self) -> Option<&Joining> {
        self.inner.joining()
    }

    fn incarnation(&self) -> u64 {
        self.inner.incarnation()
    }

    async fn open(&self, spec: &SessionSpec) -> Result<Session> {
        self.timed("open", self.inner.open(spec)).await
    }

    async fn renew(&self, session: &Session) -> Result<Renewal> {
        self.timed("renew", self.inner.renew(session)).await
    }

    async fn close(&self, session: &Session) -> Result<()> {
        self.timed("close", self.inner.close(session)).await
    }

    async fn enqueue(&self, claim: &Claim) -> Result<Standing> {
        self.timed("enqueue", self.inner.enqueue(claim)).await
    }

    async fn granted(&self, claim: &Claim) -> Result<Standing> {
        self.counted("granted", self.inner.granted(claim)).await
    }

    async fn update(&self, claim: &Claim, value: Bytes) -> Result<bool> {
        self.timed("update", self.inner.update(claim, value)).await
    }

    async fn withdraw(&self, claim: &Claim) -> Result<Withdrawn> {
        self.timed("withdraw", self.inner.withdraw(claim)).await
    }

    async fn evict(&self, name: &LockName, claim: ClaimId) -> Result<Withdrawn> {
        self.timed("evict", self.inner.evict(name, claim)).await
    }

    async fn evictions(&self, session: &Session) -> Result<Vec<ClaimId>> {
        self.counted("evictions", self.inner.evictions(session))
            .await
    }

    async fn queue(&self, name: &LockName) -> Result<Queue> {
        self.timed("queue", self.inner.queue(name)).await
    }

    async fn changed(&self, name: &LockName, after: Revision) -> Result<Queue> {
        self.counted("changed", self.inner.changed(name, after))
            .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<LockName>> {
        self.timed("list", self.inner.list(prefix)).await
    }
}
