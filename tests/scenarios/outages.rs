//! Outages that last longer than the TTL.

use std::time::Duration;

use distsync::{LockOptions, connect};
use distsync_core::conformance::Harness;

use super::steps::acquired_again;
use crate::stores::{Consul, Etcd, Redis};

/// Stops a store for longer than the TTL. The guard is revoked within the TTL, and the client
/// reconnects after the outage.
async fn down_beyond_the_ttl(
    store: &impl Harness,
    url: String,
    ttl: Duration,
    stop: impl FnOnce(),
) {
    let sync = connect(&format!("{url}?ttl={}s", ttl.as_secs()))
        .await
        .unwrap();
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    let guard = lock.acquire().await.unwrap();
    stop();
    tokio::time::timeout(ttl, guard.revoked())
        .await
        .expect("revoked within the TTL");
    tokio::time::sleep(Duration::from_secs(1)).await;
    store.restart().await;
    assert!(acquired_again(&*lock).await.token() > guard.token());
}

#[tokio::test]
async fn a_redis_that_is_down_beyond_the_ttl_is_found_again() {
    let redis = Redis::start();
    let url = format!("redis://127.0.0.1:{}", redis.port());
    down_beyond_the_ttl(&*redis, url, Duration::from_secs(1), || redis.stop()).await;
}

#[tokio::test]
async fn an_etcd_that_is_down_beyond_the_ttl_is_found_again() {
    let etcd = Etcd::start();
    let url = format!("etcd://127.0.0.1:{}", etcd.port());
    down_beyond_the_ttl(&*etcd, url, Duration::from_secs(3), || etcd.stop()).await;
}

#[tokio::test]
async fn a_consul_that_is_down_beyond_the_ttl_is_found_again() {
    let consul = Consul::start();
    let url = format!("consul://127.0.0.1:{}", consul.port());
    down_beyond_the_ttl(&*consul, url, Duration::from_secs(10), || consul.stop()).await;
}
