//! A backend whose requests meet the faults of a test.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::locks::handle::Handle;
use crate::options::SyncOptions;
use crate::spi::backend::{Backend, Claim, Renewal, Session, SessionSpec, Standing};
use crate::spi::capabilities::Capabilities;
use crate::spi::joining::Joining;
use crate::testing::faults::Faults;
use crate::types::error::Result;
use crate::types::ids::ClaimId;
use crate::types::names::LockName;
use crate::types::queue::{Queue, Revision, Withdrawn};

impl Faults {
    /// Opens a handle on a store whose requests pass through the returned faults. There are none
    /// at first.
    ///
    /// # Errors
    /// As [`Handle::open`].
    ///
    /// # Cancel safety
    /// As [`Handle::open`].
    pub async fn open(store: Arc<dyn Backend>, options: SyncOptions) -> Result<(Handle, Self)> {
        let faults = Self::of(store.clone());
        let layer = FaultLayer::new(store, faults.clone());
        Ok((Handle::open(Arc::new(layer), options).await?, faults))
    }
}

#[derive(Debug)]
struct FaultLayer {
    inner: Arc<dyn Backend>,
    faults: Faults,
}

impl FaultLayer {
    fn new(inner: Arc<dyn Backend>, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

#[async_trait]
impl Backend for FaultLayer {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn for_keeper(&self) -> Arc<dyn Backend> {
        Arc::new(Self::new(self.inner.for_keeper(), self.faults.clone()))
    }

    fn joining(&self) -> Option<&Joining> {
        self.inner.joining()
    }

    fn incarnation(&self) -> u64 {
        self.inner.incarnation()
    }

    async fn open(&self, spec: &SessionSpec) -> Result<Session> {
        let open = async {
            // Recorded before a fault can lose the reply.
            self.inner
                .open(spec)
                .await
                .inspect(|session| self.faults.opened(*session))
        };
        self.faults.carry(open).await
    }

    async fn renew(&self, session: &Session) -> Result<Renewal> {
        let renew = async {
            if self.faults.has_expired(session.id) {
                return Ok(Renewal::Expired);
            }
            self.inner.renew(session).await
        };
        self.faults.carry(renew).await
    }

    async fn close(&self, session: &Session) -> Result<()> {
        let close = async {
            self.inner.close(session).await?;
            self.faults.closed(session.id);
            Ok(())
        };
        self.faults.carry(close).await
    }

    fn forget(&self, session: &Session) {
        self.inner.forget(session);
    }

    async fn enqueue(&self, claim: &Claim) -> Result<Standing> {
        self.faults.carry(self.inner.enqueue(claim)).await
    }

    async fn granted(&self, claim: &Claim) -> Result<Standing> {
        self.faults.carry(self.inner.granted(claim)).await
    }

    async fn update(&self, claim: &Claim, value: Bytes) -> Result<bool> {
        self.faults.carry(self.inner.update(claim, value)).await
    }

    async fn withdraw(&self, claim: &Claim) -> Result<Withdrawn> {
        self.faults.carry(self.inner.withdraw(claim)).await
    }

    async fn evict(&self, name: &LockName, claim: ClaimId) -> Result<Withdrawn> {
        self.faults.carry(self.inner.evict(name, claim)).await
    }

    async fn evictions(&self, session: &Session) -> Result<Vec<ClaimId>> {
        // An expiry first: the store may report it as an eviction of each claim.
        tokio::select! {
            biased;
            error = self.faults.expiry(session.id) => Err(error),
            evicted = self.faults.carry(self.inner.evictions(session)) => evicted,
        }
    }

    async fn queue(&self, name: &LockName) -> Result<Queue> {
        self.faults.carry(self.inner.queue(name)).await
    }

    async fn changed(&self, name: &LockName, after: Revision) -> Result<Queue> {
        self.faults.carry(self.inner.changed(name, after)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<LockName>> {
        self.faults.carry(self.inner.list(prefix)).await
    }
}
