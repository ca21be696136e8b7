//! Handles that are used from several runtimes, one after the other or at the same time, and calls
//! outside a runtime.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use distsync::{
    Error, ErrorKind, Kind, LeaderOptions, LockOptions, Node, Result, Sync, Wait, connect,
    lock_all, lock_any,
};
use distsync_core::spi::clock;
use futures_util::StreamExt;
use tokio::runtime::{Builder, Runtime};

use crate::stores::{Consul, Etcd, Netlock, Redis};

/// The longest time that a step may take on a machine that is busy with other tests.
const LONG: Duration = Duration::from_secs(30);

fn started() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Acquires, watches, waits and releases on this runtime.
fn used_from(runtime: &Runtime, sync: &Arc<dyn Sync>) {
    let all = async {
        let lock = sync.lock("a", LockOptions::new()).unwrap();
        // First, because another request would connect again from this runtime.
        lock.acquire().await.unwrap().release().await.unwrap();
        let mut watch = lock.watch();
        watch.next().await.unwrap().unwrap();
        let guard = lock.acquire().await.unwrap();
        let waiting = sync.lock("a", LockOptions::new()).unwrap();
        let (next, _) = tokio::join!(waiting.acquire(), async {
            while lock.inspect().await.unwrap().entries.len() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            guard.release().await.unwrap()
        });
        next.unwrap().release().await.unwrap();
    };
    runtime
        .block_on(async { tokio::time::timeout(LONG, all).await })
        .expect("the handle works on this runtime");
}

/// Uses a handle after its runtime has ended, like a handle in a `static` that several
/// `#[tokio::test]`s use.
fn outlives_its_runtimes(url: &str) {
    let first = started();
    let sync = first.block_on(connect(url)).unwrap();
    used_from(&first, &sync);
    drop(first);
    for _ in 0..2 {
        used_from(&started(), &sync);
    }
}

/// Uses a handle from two runtimes. The runtime that connected exists, but is not always driven.
fn is_used_beside_its_first_runtime(url: &str) {
    let (first, second) = (started(), started());
    let sync = first.block_on(connect(url)).unwrap();
    for runtime in [&first, &second, &first, &second] {
        used_from(runtime, &sync);
    }
}

/// Runs a future without any runtime.
fn outside<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let (mut future, deadline) = (pin!(future), clock::now().after(LONG));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let left = deadline.since(clock::now());
        assert!(!left.is_zero(), "a call outside of a runtime does not end");
        std::thread::park_timeout(left);
    }
}

fn needs_a_runtime<T>(call: &str, answer: Result<T, Error>) {
    let error = answer.map(drop).expect_err(call);
    assert_eq!(error.kind(), ErrorKind::NoRuntime, "{call}: {error}");
    assert!(
        error.to_string().contains("Tokio runtime") && error.backend().is_some(),
        "{call}: {error}"
    );
}

/// Asserts that calls outside a runtime work or return an error that says that they need one.
fn says_that_a_runtime_is_needed(url: &str) {
    needs_a_runtime("connect", outside(connect(url)));
    let runtime = started();
    let sync = runtime.block_on(connect(url)).unwrap();
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    let leader = sync
        .leader("b", LeaderOptions::new(Node::new("node")))
        .unwrap();
    let guard = runtime.block_on(lock.acquire()).unwrap();
    let office = runtime.block_on(leader.elect()).unwrap();
    let detached = sync
        .lock("c", LockOptions::new().with_ttl(Duration::from_secs(20)))
        .unwrap();
    let detached = runtime.block_on(detached.acquire()).unwrap();

    for wait in [Wait::Forever, Wait::Never, Wait::For(LONG)] {
        let other = sync
            .lock("other", LockOptions::new().with_wait(wait))
            .unwrap();
        needs_a_runtime("acquire", outside(other.acquire()));
    }
    needs_a_runtime("try", outside(lock.try_acquire()));
    needs_a_runtime("inspect", outside(lock.inspect()));
    needs_a_runtime("evict", outside(lock.evict(guard.claim())));
    needs_a_runtime("watch", outside(lock.watch().next()).expect("an error"));
    needs_a_runtime("elect", outside(leader.elect()).map(drop));
    needs_a_runtime("leader", outside(leader.leader()));
    needs_a_runtime("inspect", outside(leader.inspect()));
    needs_a_runtime("watch", outside(leader.watch().next()).expect("an error"));
    needs_a_runtime("proclaim", outside(office.proclaim("x")));
    needs_a_runtime("resign", outside(office.resign()));
    needs_a_runtime("list", outside(sync.list(Kind::Lock, "")));
    needs_a_runtime("all", outside(sync.acquire_all(&["x"], LockOptions::new())));
    needs_a_runtime("any", outside(sync.acquire_any(&["x"], LockOptions::new())));
    needs_a_runtime(
        "each",
        outside(lock_all(&*sync, ["x", "y"], LockOptions::new())),
    );
    needs_a_runtime(
        "any",
        outside(lock_any(&*sync, ["x", "y"], LockOptions::new())),
    );
    needs_a_runtime("extend", outside(guard.extend()));
    needs_a_runtime("update", outside(guard.update("x")));
    needs_a_runtime("release", outside(guard.release()));
    let ticket = detached.detach().expect("detached");
    needs_a_runtime("resume", outside(sync.resume(&ticket)));

    // The guard is unchanged, and these calls need no runtime of the caller.
    guard.check(Duration::ZERO).expect("still held");
    runtime.block_on(guard.release()).expect("released");
    outside(guard.revoked());
    outside(sync.release_all()).expect("the keeper has a runtime of its own");
    outside(office.revoked());
    outside(sync.close()).expect("the keeper has a runtime of its own");
}

/// Defines a module with the same tests for a store.
macro_rules! on_store {
    ($store:ident, $start:expr) => {
        mod $store {
            use super::*;

            #[test]
            fn a_handle_outlives_its_runtimes() {
                let (_store, url) = $start;
                outlives_its_runtimes(&url);
            }

            #[test]
            fn a_handle_is_used_beside_its_first_runtime() {
                let (_store, url) = $start;
                is_used_beside_its_first_runtime(&url);
            }

            #[test]
            fn calls_outside_of_a_runtime_say_that_they_need_one() {
                let (_store, url) = $start;
                says_that_a_runtime_is_needed(&url);
            }
        }
    };
}

/// Returns a server and its URL.
fn at<S>(server: S, url: impl Fn(&S) -> String) -> (S, String) {
    let url = url(&server);
    (server, url)
}

on_store!(memory, ((), "memory:".to_owned()));
on_store!(netlock, at(Netlock::start(), |netlock| netlock.url()));
on_store!(
    redis,
    at(Redis::start(), |redis| format!(
        "redis://127.0.0.1:{}",
        redis.port()
    ))
);
on_store!(
    etcd,
    at(Etcd::start(), |etcd| format!(
        "etcd://127.0.0.1:{}",
        etcd.port()
    ))
);
on_store!(
    consul,
    at(Consul::start(), |consul| format!(
        "consul://127.0.0.1:{}",
        consul.port()
    ))
);
