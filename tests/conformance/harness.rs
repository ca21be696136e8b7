//! Tests of the harness: the cases that run at the same time, and the default methods of a backend.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use distsync_core::conformance::{Harness, cases, run, run_alone};
use distsync_core::spi::{
    Backend, Bytes, Capabilities, Claim, Queue, Renewal, Revision, Session, SessionSpec, Standing,
    Withdrawn, async_trait,
};
use distsync_core::{LockName, Result};

use super::stores::Memory;

/// One store for all cases, like a server that is always running.
struct Shared(Arc<Memory>);

#[async_trait]
impl Harness for Shared {
    async fn backend(&self) -> Arc<dyn Backend> {
        self.0.backend().await
    }

    fn ttl(&self) -> Duration {
        self.0.ttl()
    }

    async fn restart(&self) {
        self.0.restart().await;
    }
}

#[test]
fn a_case_that_restarts_a_shared_store_runs_by_itself() {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    let memory = Memory::start();
    let harness = || async { Arc::new(Shared(memory.clone())) };
    std::thread::scope(|scope| {
        for thread in 0..6 {
            scope.spawn(move || {
                for _ in 0..5 {
                    if thread < 2 {
                        run_alone(harness(), |_| async {
                            for expected in [0, 1] {
                                let others = RUNNING.swap(1, Ordering::SeqCst);
                                assert_eq!(others, expected, "another case runs beside this one");
                                tokio::time::sleep(Duration::from_millis(10)).await;
                            }
                            RUNNING.store(0, Ordering::SeqCst);
                        });
                    } else {
                        run(harness(), |_| async {
                            RUNNING.fetch_add(1, Ordering::SeqCst);
                            tokio::time::sleep(Duration::from_millis(10)).await;
                            RUNNING.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                }
            });
        }
    });
}

/// A backend with the required methods only, on a store without evictions.
#[derive(Debug)]
struct Plain(Arc<dyn Backend>);

#[async_trait]
impl Backend for Plain {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.0.capabilities();
        (capabilities.evict, capabilities.reports_evictions) = (false, false);
        capabilities.several_at_once = false;
        capabilities
    }

    fn for_keeper(&self) -> Arc<dyn Backend> {
        Arc::new(Self(self.0.for_keeper()))
    }

    async fn open(&self, spec: &SessionSpec) -> Result<Session> {
        self.0.open(spec).await
    }

    async fn renew(&self, session: &Session) -> Result<Renewal> {
        self.0.renew(session).await
    }

    async fn close(&self, session: &Session) -> Result<()> {
        self.0.close(session).await
    }

    async fn enqueue(&self, claim: &Claim) -> Result<Standing> {
        self.0.enqueue(claim).await
    }

    async fn granted(&self, claim: &Claim) -> Result<Standing> {
        self.0.granted(claim).await
    }

    async fn update(&self, claim: &Claim, value: Bytes) -> Result<bool> {
        self.0.update(claim, value).await
    }

    async fn withdraw(&self, claim: &Claim) -> Result<Withdrawn> {
        self.0.withdraw(claim).await
    }

    async fn queue(&self, name: &LockName) -> Result<Queue> {
        self.0.queue(name).await
    }

    async fn changed(&self, name: &LockName, after: Revision) -> Result<Queue> {
        self.0.changed(name, after).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<LockName>> {
        self.0.list(prefix).await
    }
}

struct PlainHarness(Arc<Memory>);

#[async_trait]
impl Harness for PlainHarness {
    async fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(Plain(self.0.backend().await))
    }

    fn ttl(&self) -> Duration {
        self.0.ttl()
    }

    async fn restart(&self) {
        self.0.restart().await;
    }

    fn is_shared() -> bool {
        false
    }
}

#[test]
fn a_store_without_evictions_needs_no_methods_for_them() {
    let harness = || async { Arc::new(PlainHarness(Memory::start())) };
    run(harness(), cases::api_an_operator_can_evict);
    run(harness(), cases::spi_an_eviction_is_reported_once);
    run(harness(), cases::law_03_first_come_first_served);
}
