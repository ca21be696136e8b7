//! Guards that are dropped instead of released, on netlock: the release goes over the connection of
//! the caller, and the keeper takes it over if that connection fails.

use std::net::SocketAddr;
use std::time::Duration;

use distsync::{LockOptions, Sync, Wait, connect};
use distsync_core::conformance::{BreakAt, Proxy};
use futures_util::FutureExt;
use tokio::runtime::{Builder, Runtime};

use crate::stores::Netlock;

/// The longest time that a step may take on a machine that is busy with other tests. Less than the
/// TTL, so that the end of a session does not release the lock.
const LONG: Duration = Duration::from_secs(20);

fn started() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

async fn take_and_drop(sync: &dyn Sync, name: &str) {
    let lock = sync.lock(name, LockOptions::new()).unwrap();
    drop(lock.acquire().await.unwrap());
}

/// Waits until another client can have the lock.
async fn is_free_soon(url: &str, name: &str) {
    let other = connect(url).await.unwrap();
    let options = LockOptions::new().with_wait(Wait::For(LONG));
    let lock = other.lock(name, options).unwrap();
    lock.acquire().await.unwrap().release().await.unwrap();
    other.close().await.unwrap();
}

#[tokio::test]
async fn a_drop_arrives_before_the_next_request_of_its_handle() {
    let netlock = Netlock::start();
    let sync = connect(&netlock.url()).await.unwrap();
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    for round in 0..200 {
        let taken = lock.try_acquire().await.unwrap();
        drop(taken.unwrap_or_else(|| panic!("round {round}: the lock is still held")));
    }
    sync.close().await.unwrap();
}

/// An acquire that is cancelled after some polls, before its request is written, before the reply
/// arrives, and before the reply is read.
#[tokio::test]
async fn an_acquire_that_is_cancelled_leaves_no_claim() {
    let netlock = Netlock::start();
    let url = format!("{}?ttl=60s", netlock.url());
    let (sync, other) = (connect(&url).await.unwrap(), connect(&url).await.unwrap());
    let held = other.lock("held", LockOptions::new()).unwrap();
    let held = held.acquire().await.unwrap();
    // The connection, and the session.
    take_and_drop(&*sync, "free").await;
    for name in ["free", "held"] {
        let lock = sync.lock(name, LockOptions::new()).unwrap();
        for pause in [0, 1, 20].map(Duration::from_millis) {
            for polls in 1..4 {
                let mut acquiring = lock.acquire();
                for _ in 0..polls {
                    if acquiring.as_mut().now_or_never().is_some() {
                        break;
                    }
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        }
    }
    held.release().await.unwrap();
    for name in ["free", "held"] {
        is_free_soon(&url, name).await;
    }
}

/// A runtime that is not driven after the drop, and one that ends, do not delay the release until
/// the session ends.
#[test]
fn a_drop_is_released_although_its_runtime_stops() {
    let netlock = Netlock::start();
    let url = format!("{}?ttl=60s", netlock.url());
    let other = started();
    for ends in [false, true] {
        let runtime = started();
        let sync = runtime.block_on(async {
            let sync = connect(&url).await.unwrap();
            take_and_drop(&*sync, "a").await;
            sync
        });
        let runtime = (!ends).then_some(runtime);
        other.block_on(is_free_soon(&url, "a"));
        drop((runtime, sync));
    }
}

/// A guard that is dropped outside of a runtime, and one that is dropped on another runtime.
#[test]
fn a_drop_is_released_from_anywhere() {
    let netlock = Netlock::start();
    let url = format!("{}?ttl=60s", netlock.url());
    let (runtime, other) = (started(), started());
    let (sync, one, two) = runtime.block_on(async {
        let sync = connect(&url).await.unwrap();
        let lock = |name: &str| sync.lock(name, LockOptions::new()).unwrap();
        let one = lock("one").acquire().await.unwrap();
        let two = lock("two").acquire().await.unwrap();
        (sync, one, two)
    });
    drop(one);
    other.block_on(async {
        drop(two);
        is_free_soon(&url, "one").await;
        is_free_soon(&url, "two").await;
    });
    runtime.block_on(sync.close()).unwrap();
}

/// Breaks the connections at every message from the greeting to the release.
#[tokio::test]
async fn a_drop_is_released_although_its_connection_breaks() {
    let netlock = Netlock::start();
    let direct = format!("{}?ttl=60s", netlock.url());
    let server: SocketAddr = netlock.url()["netlock://".len()..].parse().unwrap();
    for after in 2..10 {
        for arrives in [false, true] {
            let proxy = Proxy::start(server, BreakAt { after, arrives })
                .await
                .unwrap();
            let url = format!("netlock://{}?ttl=60s", proxy.address());
            let sync = connect(&url).await.unwrap();
            let name = format!("{after}-{arrives}");
            take_and_drop(&*sync, &name).await;
            is_free_soon(&direct, &name).await;
            sync.close().await.unwrap();
        }
    }
}
