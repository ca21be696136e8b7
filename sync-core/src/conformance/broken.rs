//! Backends that are broken on purpose, to prove that the suite detects their faults.
//!
//! Each is a correct backend with one fault, and at least one case must fail on it.

mod fault;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::Harness;
use crate::spi::backend::{Backend, Claim, Gone, Renewal, Session, SessionSpec, Standing};
use crate::spi::capabilities::Capabilities;
use crate::spi::mutex::locked;
use crate::types::error::{Error, ErrorKind, Result};
use crate::types::ids::{ClaimId, SessionId};
use crate::types::mode::Mode;
use crate::types::names::{Kind, LockName, Namespace};
use crate::types::nonce::Secret;
use crate::types::queue::{Queue, Revision, Withdrawn};
use crate::types::token::Token;

pub use fault::Fault;

/// A backend with a fault.
#[derive(Debug)]
pub struct Broken {
    inner: Arc<dyn Backend>,
    fault: Fault,
    evicted: tokio::sync::Mutex<Vec<ClaimId>>,
    /// The session that was opened last.
    opened: Mutex<Option<SessionId>>,
    waited: AtomicU64,
}

impl Broken {
    /// Wraps `inner`, adding `fault`.
    #[must_use]
    pub fn new(inner: Arc<dyn Backend>, fault: Fault) -> Self {
        Self {
            inner,
            fault,
            evicted: tokio::sync::Mutex::default(),
            opened: Mutex::default(),
            waited: AtomicU64::default(),
        }
    }

    /// Returns the queue as an observer sees it.
    fn seen(&self, mut queue: Queue) -> Queue {
        if self.has(Fault::CoarseRevisions) {
            queue.revision.0 &= !0xF;
        }
        queue
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn name(&self, name: &LockName) -> LockName {
        let renamed = |kind, plain: &str| {
            let namespace = name.path().split('/').next().unwrap_or_default();
            Namespace::new(namespace).and_then(|namespace| LockName::new(&namespace, kind, plain))
        };
        match self.fault {
            Fault::SharesNames => {
                let plain = name.plain();
                let start = plain
                    .split('/')
                    .find(|part| !part.is_empty())
                    .unwrap_or("/")
                    .to_owned();
                renamed(name.kind(), &start).unwrap_or_else(|_| name.clone())
            }
            Fault::MixesKinds => {
                renamed(Kind::Lock, &name.plain()).unwrap_or_else(|_| name.clone())
            }
            _ => name.clone(),
        }
    }

    fn claim(&self, claim: &Claim) -> Claim {
        let also = claim.also.iter().map(|name| self.name(name)).collect();
        let mut claim = Claim {
            name: self.name(&claim.name),
            also,
            ..claim.clone()
        };
        match (self.fault, claim.mode) {
            (Fault::TakesOnlyTheFirst, _) => claim.also.clear(),
            (Fault::TryStays, _) => claim.waits = true,
            (Fault::RepeatsClaims, _) => claim.id = ClaimId::random(),
            (Fault::OnePermitTooMany, Mode::Permit { of }) => {
                claim.mode = Mode::Permit { of: of + 1 }
            }
            _ => {}
        }
        claim
    }

    fn standing(&self, claim: &Claim, standing: Standing) -> Standing {
        let forged = Standing::Granted { token: Token::MAX };
        match (self.fault, standing) {
            (Fault::GrantsTwice, Standing::Waiting { .. } | Standing::Busy { .. }) => forged,
            (Fault::ReadersBarge, Standing::Waiting { .. } | Standing::Busy { .. })
                if claim.mode == Mode::Shared =>
            {
                forged
            }
            (
                Fault::GrantsEndedSessions,
                Standing::Gone {
                    why: Gone::SessionLost,
                },
            ) => forged,
            (Fault::TryStays, Standing::Waiting { holder, .. }) if !claim.waits => {
                Standing::Busy { holder }
            }
            (Fault::RepeatsTokens, Standing::Granted { .. }) => forged,
            (Fault::TokensFall, Standing::Granted { token }) => {
                let token = Token::new(Token::MAX.get() - token.get()).unwrap_or(Token::MAX);
                Standing::Granted { token }
            }
            (_, standing) => standing,
        }
    }

    /// Returns the secret that is used with the wrapped backend.
    fn secret(&self, secret: Secret) -> Secret {
        match self.fault {
            Fault::IgnoresSecrets => Secret::from_bits(1),
            _ => secret,
        }
    }

    /// Returns the TTL that is requested from the wrapped backend.
    fn ttl(&self, ttl: Duration) -> Duration {
        match self.fault {
            Fault::NeverExpires => Duration::from_secs(86_400),
            Fault::ExpiresEarly => ttl / 2,
            _ => ttl,
        }
    }
}

#[async_trait]
impl Backend for Broken {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.inner.capabilities();
        capabilities.checks_secrets |= self.has(Fault::IgnoresSecrets);
        capabilities
    }

    fn for_keeper(&self) -> Arc<dyn Backend> {
        Arc::new(Self::new(self.inner.for_keeper(), self.fault))
    }

    fn incarnation(&self) -> u64 {
        self.inner.incarnation()
    }

    async fn open(&self, spec: &SessionSpec) -> Result<Session> {
        let spec_to_use = SessionSpec {
            ttl: self.ttl(spec.ttl),
            secret: self.secret(spec.secret),
            release_on_disconnect: spec.release_on_disconnect
                && !self.has(Fault::HoldsAfterDisconnect),
            ..spec.clone()
        };
        let before = locked(&self.opened).replace(spec.nonce);
        if self.has(Fault::OpensOnce) && before == Some(spec.nonce) {
            return Err(Error::new(ErrorKind::Store, "the session exists already"));
        }
        Ok(Session {
            ttl: spec.ttl,
            secret: spec.secret,
            ..self.inner.open(&spec_to_use).await?
        })
    }

    async fn renew(&self, session: &Session) -> Result<Renewal> {
        let session_to_use = Session {
            secret: self.secret(session.secret),
            ..*session
        };
        Ok(match self.inner.renew(&session_to_use).await? {
            Renewal::Renewed { .. } => Renewal::Renewed { ttl: session.ttl },
            Renewal::Expired if self.has(Fault::RevivesSessions) => {
                Renewal::Renewed { ttl: session.ttl }
            }
            other => other,
        })
    }

    async fn close(&self, session: &Session) -> Result<()> {
        if self.has(Fault::IgnoresClose) {
            return Ok(());
        }
        self.inner.close(session).await
    }

    fn forget(&self, session: &Session) {
        self.inner.forget(session);
    }

    async fn enqueue(&self, claim: &Claim) -> Result<Standing> {
        let was_free = self.has(Fault::DecidesOnStaleState)
            && self.inner.queue(&claim.name).await?.entries.is_empty();
        if was_free {
            tokio::task::yield_now().await;
        }
        let standing = match self.inner.enqueue(&self.claim(claim)).await {
            Err(error)
                if self.has(Fault::AcceptsOtherPermits)
                    && error.kind() == ErrorKind::InvalidOption =>
            {
                Standing::Granted { token: Token::MAX }
            }
            answer => answer?,
        };
        if was_free && matches!(standing, Standing::Waiting { .. } | Standing::Busy { .. }) {
            let newest = self.inner.queue(&claim.name).await?.revision.0;
            let token = Token::new(newest).unwrap_or(Token::MAX);
            return Ok(Standing::Granted { token });
        }
        Ok(match self.standing(claim, standing) {
            Standing::Waiting { holder, .. } if self.has(Fault::MiscountsPositions) => {
                Standing::Waiting {
                    position: 1,
                    holder,
                }
            }
            standing => standing,
        })
    }

    async fn granted(&self, claim: &Claim) -> Result<Standing> {
        if self.has(Fault::HidesGrants) {
            return std::future::pending().await;
        }
        let is_first = self.waited.fetch_add(1, Ordering::Relaxed) == 0;
        if self.has(Fault::ShufflesWaiters) && is_first {
            // Move to the end as soon as two claims are behind.
            loop {
                let entries = self.inner.queue(&claim.name).await?.entries;
                let own = entries.iter().position(|entry| entry.claim == claim.id);
                if own.is_some_and(|own| entries.len() > own + 2) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            self.inner.withdraw(claim).await?;
            self.inner.enqueue(claim).await?;
        }
        let standing = self.inner.granted(claim).await?;
        Ok(self.standing(claim, standing))
    }

    async fn update(&self, claim: &Claim, value: Bytes) -> Result<bool> {
        if self.has(Fault::DropsValues) {
            return Ok(true);
        }
        self.inner.update(claim, value).await
    }

    async fn withdraw(&self, claim: &Claim) -> Result<Withdrawn> {
        if self.has(Fault::IgnoresReleases) {
            return Ok(Withdrawn::Held);
        }
        let name = self.name(&claim.name);
        let queue = self.inner.queue(&name).await?;
        if self.has(Fault::KeepsRacingGrants)
            && queue.waiters().any(|entry| entry.claim == claim.id)
        {
            tokio::task::yield_now().await;
            if self
                .inner
                .queue(&name)
                .await?
                .holders()
                .any(|entry| entry.claim == claim.id)
            {
                return Ok(Withdrawn::Waiting);
            }
        }
        if self.has(Fault::KeepsCancelledWaiters)
            && queue.waiters().any(|entry| entry.claim == claim.id)
        {
            return Ok(Withdrawn::Waiting);
        }
        if self.has(Fault::ReleasesAnyHolder)
            && let Some(holder) = queue.holders().next()
        {
            return self.inner.evict(&name, holder.claim).await;
        }
        let withdrawn = self.inner.withdraw(claim).await?;
        if self.has(Fault::MisreportsWithdrawals) && withdrawn == Withdrawn::Waiting {
            return Ok(Withdrawn::Held);
        }
        Ok(withdrawn)
    }

    async fn evict(&self, name: &LockName, claim: ClaimId) -> Result<Withdrawn> {
        if self.has(Fault::IgnoresEvictions) {
            return Ok(Withdrawn::Waiting);
        }
        self.inner.evict(&self.name(name), claim).await
    }

    async fn evictions(&self, session: &Session) -> Result<Vec<ClaimId>> {
        if self.has(Fault::HidesEvictions) {
            return std::future::pending().await;
        }
        if self.has(Fault::MissesEvictions) {
            let missed = self.inner.evictions(session);
            let _ = tokio::time::timeout(Duration::from_millis(20), missed).await;
        }
        let reported = self.inner.evictions(session);
        if !self.has(Fault::RepeatsEvictions) {
            return reported.await;
        }
        let mut last = self.evicted.lock().await;
        if last.is_empty() {
            *last = reported.await?;
        }
        Ok(last.clone())
    }

    async fn queue(&self, name: &LockName) -> Result<Queue> {
        self.inner
            .queue(&self.name(name))
            .await
            .map(|queue| self.seen(queue))
    }

    async fn changed(&self, name: &LockName, after: Revision) -> Result<Queue> {
        let mut after = after;
        loop {
            let queue = self.inner.changed(&self.name(name), after).await?;
            if self.has(Fault::HidesVacancy) && queue.entries.is_empty() {
                after = queue.revision;
                continue;
            }
            return Ok(self.seen(queue));
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<LockName>> {
        if self.has(Fault::ListsStrangers) && !prefix.ends_with('/') {
            return self.inner.list(&prefix[..prefix.len() - 1]).await;
        }
        self.inner.list(prefix).await
    }
}

/// A harness whose backends have a fault.
#[derive(Debug)]
pub struct BrokenHarness<H> {
    /// The harness of the correct backend.
    pub inner: H,
    /// The fault.
    pub fault: Fault,
}

#[async_trait]
impl<H: Harness> Harness for BrokenHarness<H> {
    async fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(Broken::new(self.inner.backend().await, self.fault))
    }

    fn ttl(&self) -> Duration {
        self.inner.ttl()
    }

    async fn restart(&self) {
        self.inner.restart().await;
    }

    fn is_shared() -> bool {
        H::is_shared()
    }
}
