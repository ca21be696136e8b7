//! Cases that run on every store. Each test starts a store of its own.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use distsync::{Handle, Sync, SyncOptions, connect};
use distsync_core::conformance::{Faulty, Network};
use distsync_core::spi::clock;

use crate::stores::{Consul, Etcd, Netlock, Redis};

/// The deadline for a step that takes a few round trips, on a machine that is busy with other
/// tests.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A running store.
pub(crate) struct Store {
    url: String,
    /// A short TTL that the store grants.
    pub(crate) ttl: Duration,
    /// The server, which stops when it is dropped.
    _server: Box<dyn Any + Send + std::marker::Sync>,
}

impl Store {
    fn new<S: Send + std::marker::Sync + 'static>(
        server: S,
        url: impl Fn(&S) -> String,
        ttl_ms: u64,
    ) -> Self {
        Self {
            url: url(&server),
            ttl: Duration::from_millis(ttl_ms),
            _server: Box::new(server),
        }
    }

    /// Returns a new client, as if it were another process.
    pub(crate) async fn client(&self) -> Arc<dyn Sync> {
        let url = format!("{}?ttl={}ms", self.url, self.ttl.as_millis());
        connect(&url).await.expect("connect")
    }

    /// Returns a new client of which only one request waits for a name in the store.
    pub(crate) async fn client_with_a_local_queue(&self) -> Arc<dyn Sync> {
        let (backend, _) = distsync::spi::backend(&self.url).expect("a URL");
        let options = SyncOptions::new()
            .with_session_ttl(self.ttl)
            .with_local_queue(true);
        Arc::new(Handle::open(backend, options).await.expect("connect"))
    }

    /// Returns a new client whose network can be cut.
    pub(crate) async fn client_with_network(&self) -> (Arc<dyn Sync>, Network) {
        let (backend, _) = distsync::spi::backend(&self.url).expect("a URL");
        let network = Network::default();
        let backend = Arc::new(Faulty::new(backend, network.clone()));
        let options = SyncOptions::new().with_session_ttl(self.ttl);
        let handle = Handle::open(backend, options).await.expect("connect");
        (Arc::new(handle), network)
    }

    pub(crate) fn memory() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let table = NEXT.fetch_add(1, Ordering::Relaxed);
        Self::new((), |()| format!("memory:every-store-{table}"), 2_000)
    }

    pub(crate) fn netlock() -> Self {
        Self::new(Netlock::start(), |netlock| netlock.url(), 2_000)
    }

    pub(crate) fn redis() -> Self {
        let url = |redis: &Arc<Redis>| format!("redis://127.0.0.1:{}", redis.port());
        Self::new(Redis::start(), url, 2_000)
    }

    pub(crate) fn etcd() -> Self {
        let url = |etcd: &Arc<Etcd>| format!("etcd://127.0.0.1:{}", etcd.port());
        Self::new(Etcd::start(), url, 2_000)
    }

    pub(crate) fn consul() -> Self {
        let url = |consul: &Arc<Consul>| format!("consul://127.0.0.1:{}", consul.port());
        Self::new(Consul::start(), url, 10_000)
    }
}

/// Waits until `condition` holds; panics if it does not in time.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = clock::now().after(SOON);
    while !condition().await {
        assert!(clock::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Defines a module for each store, with a test for each case: an `async fn(&Store)`.
macro_rules! on_every_store {
    ($($case:ident),* $(,)?) => {
        $crate::every_store::on_every_store!(@memory $($case)*);
        $crate::every_store::on_every_store!(@netlock $($case)*);
        $crate::every_store::on_every_store!(@redis $($case)*);
        $crate::every_store::on_every_store!(@etcd $($case)*);
        $crate::every_store::on_every_store!(@consul $($case)*);
    };
    (@$store:ident $($case:ident)*) => {
        mod $store {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$case(&$crate::every_store::Store::$store()).await;
                }
            )*
        }
    };
}
pub(crate) use on_every_store;
