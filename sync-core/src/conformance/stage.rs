//! The environment of a case: clients of one store, names that no other case uses, and conditions
//! with deadlines.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{BreakAt, Breaking, Faulty, Harness, Network, bare};
use crate::locks::guard::Guard;
use crate::locks::handle::Handle;
use crate::locks::traits::{Lock, Sync};
use crate::options::{LockOptions, SyncOptions};
use crate::spi::backend::{Backend, Claim, Session};
use crate::spi::capabilities::Capabilities;
use crate::spi::clock::{self, Moment};
use crate::types::error::Result;
use crate::types::ids::ClaimId;
use crate::types::names::{Kind, LockName, Namespace};
use crate::types::queue::Queue;

/// The environment of one case: its store, its namespace and its TTL.
#[derive(Clone)]
pub struct Stage {
    harness: Arc<dyn Harness>,
    namespace: Namespace,
    capabilities: Capabilities,
    ttl: Duration,
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// The deadline for a step that takes a few round trips and does not wait for a TTL, on a machine
/// that is busy with other tests.
pub(super) const SOON: Duration = Duration::from_secs(5);

impl Stage {
    pub(super) async fn new<H: Harness>(harness: Arc<H>) -> Self {
        let capabilities = harness.backend().await.capabilities();
        let ttl = harness.ttl();
        let namespace =
            Namespace::new(&format!("case-{}", ClaimId::random())).expect("a valid namespace");
        Self {
            harness,
            namespace,
            capabilities,
            ttl,
        }
    }

    /// Returns the session TTL.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    pub(super) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Returns the time within which the claims of a crashed client are removed.
    pub(super) fn freed_by(&self) -> Duration {
        self.capabilities.freed_within(self.ttl)
    }

    pub(super) async fn backend(&self) -> Arc<dyn Backend> {
        self.harness.backend().await
    }

    pub(super) async fn restart(&self) {
        self.harness.restart().await;
    }

    /// Returns a new client with its own connections, as if it were another process.
    pub(super) async fn client(&self, name: &str) -> Client {
        self.client_on(name, self.backend().await).await
    }

    /// Returns a new client whose connection breaks once.
    pub(super) async fn client_that_breaks(&self, name: &str, at: BreakAt) -> (Breaking, Client) {
        let breaking = self.harness.breaking(at).await;
        let client = self.client_on(name, breaking.backend.clone()).await;
        (breaking, client)
    }

    async fn client_on(&self, name: &str, backend: Arc<dyn Backend>) -> Client {
        let network = Network::default();
        let options = SyncOptions::new()
            .with_namespace(self.namespace.clone())
            .with_session_ttl(self.ttl)
            .with_client(name);
        let options = self.harness.options(options);
        let handle = Handle::open(Arc::new(Faulty::new(backend, network.clone())), options).await;
        Client {
            sync: Arc::new(handle.unwrap_or_else(|error| panic!("connect: {error}"))),
            network,
        }
    }

    /// Opens a session in the store directly, without the core.
    pub(super) async fn session(&self, backend: &Arc<dyn Backend>) -> Session {
        backend
            .open(&bare::spec(self.ttl))
            .await
            .expect("a session")
    }

    /// Returns an exclusive claim that waits, for requests without the core.
    pub(super) fn claim(&self, session: Session, name: &str) -> Claim {
        bare::claim(
            session,
            LockName::new(&self.namespace, Kind::Lock, name).expect("a name"),
        )
    }
}

/// A client and its network.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) sync: Arc<Handle>,
    pub(super) network: Network,
}

impl Client {
    pub(super) fn lock(&self, name: &str) -> Box<dyn Lock> {
        self.lock_with(name, LockOptions::new())
    }

    pub(super) fn lock_with(&self, name: &str, options: LockOptions) -> Box<dyn Lock> {
        self.sync.lock(name, options).expect("a valid lock")
    }

    pub(super) async fn close(&self) {
        self.sync.close().await.expect("close");
    }

    /// Begins to acquire in a new task, and returns once it is queued behind `ahead` other claims.
    pub(super) async fn queue_up(&self, name: &str, options: LockOptions, ahead: usize) -> Waiter {
        let lock = self.lock_with(name, options);
        let observer = self.lock(name);
        let task = spawn(async move {
            let guard = lock.acquire().await;
            (guard, clock::now())
        });
        eventually(SOON, "the waiter is queued", || async {
            observer.inspect().await.expect("inspect").entries.len() > ahead
        })
        .await;
        Waiter { task }
    }
}

/// An acquire in progress.
#[derive(Debug)]
pub(super) struct Waiter {
    task: JoinSet<(Result<Guard>, Moment)>,
}

impl Waiter {
    /// Waits for the grant, and returns the guard and the time of the grant.
    pub(super) async fn granted(mut self, within: Duration) -> (Guard, Moment) {
        let ended = tokio::time::timeout(within, self.task.join_next()).await;
        let (guard, at) = ended
            .unwrap_or_else(|_| panic!("not granted within {within:?}"))
            .expect("one task")
            .expect("no panic");
        (guard.expect("granted"), at)
    }

    /// Returns the result, if the acquire has ended.
    pub(super) fn try_result(&mut self) -> Option<Result<Guard>> {
        self.task
            .try_join_next()
            .map(|ended| ended.expect("no panic").0)
    }

    pub(super) fn cancel(mut self) {
        self.task.abort_all();
    }
}

/// Spawns a task that is aborted when the returned set is dropped.
pub(super) fn spawn<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> JoinSet<T> {
    let mut set = JoinSet::new();
    set.spawn(future);
    set
}

/// Waits until `condition` holds; panics if it does not within `limit`.
pub(super) async fn eventually<F: Future<Output = bool>>(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    let deadline = clock::now().after(limit);
    while !condition().await {
        assert!(clock::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Returns the queue of a lock.
pub(super) async fn queue_of(client: &Client, name: &str) -> Queue {
    client.lock(name).inspect().await.expect("inspect")
}
