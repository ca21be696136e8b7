//! The fault layer that applications use in their tests.

use std::time::Duration;

use distsync::testing::{self, Faults};
use distsync::{DynSync, ErrorKind, LockOptions, Loss, connect};
use distsync_core::spi::clock;

use crate::stores::{Consul, Etcd, Netlock, Redis};

/// A store that other clients of the test share.
async fn shared(name: &str) -> (std::sync::Arc<DynSync>, Faults) {
    testing::faults(&format!("memory:{name}?ttl=1s"))
        .await
        .unwrap()
}

#[tokio::test]
async fn an_expired_session_revokes_and_frees_on_every_store() {
    let netlock = Netlock::start();
    let (etcd, consul, redis) = (Etcd::start(), Consul::start(), Redis::start());
    for url in [
        "memory:expired".to_owned(),
        netlock.url(),
        format!("etcd://127.0.0.1:{}", etcd.port()),
        format!("consul://127.0.0.1:{}", consul.port()),
        format!("redis://127.0.0.1:{}", redis.port()),
    ] {
        let (sync, faults) = testing::faults(&url).await.unwrap();
        let lock = sync.lock("a", LockOptions::new()).unwrap();
        let guard = lock.acquire().await.unwrap();
        faults.expire_sessions().await.unwrap();
        let lost = tokio::time::timeout(Duration::from_secs(2), guard.revoked()).await;
        assert_eq!(lost.expect("revoked at once"), Loss::SessionLost, "{url}");
        let other = connect(&url).await.unwrap();
        let next = other.lock("a", LockOptions::new()).unwrap();
        let next = next.try_acquire().await.unwrap().expect("it is free");
        assert!(next.token() > guard.token(), "{url}");
        next.release().await.unwrap();
        // The handle goes on with a new session.
        lock.acquire().await.unwrap().release().await.unwrap();
    }
}

#[tokio::test]
async fn a_request_that_fails_does_not_arrive_and_one_without_a_reply_does() {
    let (sync, faults) = shared("arrivals").await;
    let (other, _) = shared("arrivals").await;
    let lock = |sync: &DynSync| sync.lock("a", LockOptions::new()).unwrap();
    let guard = lock(&*sync).acquire().await.unwrap();
    faults.fail();
    let error = guard.release().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(!error.maybe_applied(), "{error}");
    assert!(lock(&*other).try_acquire().await.unwrap().is_none());
    faults.lose_replies();
    let error = guard.release().await.unwrap_err();
    assert!(error.maybe_applied(), "{error}");
    assert!(lock(&*other).try_acquire().await.unwrap().is_some());
}

#[tokio::test]
async fn a_client_that_is_cut_off_loses_its_lock_at_its_deadline() {
    let (sync, faults) = shared("cut").await;
    let (other, _) = shared("cut").await;
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    let guard = lock.acquire().await.unwrap();
    faults.cut();
    let next = other.lock("a", LockOptions::new()).unwrap();
    let next = next.acquire().await.unwrap();
    assert_eq!(guard.revoked().await, Loss::Expired);
    assert!(next.token() > guard.token());
    next.release().await.unwrap();
    faults.heal();
    lock.acquire().await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_delay_applies_to_each_request() {
    let (sync, faults) = shared("delay").await;
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    let delay = Duration::from_millis(100);
    faults.delay(delay);
    let start = clock::now();
    let guard = lock.acquire().await.unwrap();
    assert!(clock::now().since(start) >= delay);
    faults.heal();
    let start = clock::now();
    guard.release().await.unwrap();
    assert!(clock::now().since(start) < delay);
}
