//! Claims without an owner, on real servers and after the end of real processes.

use std::time::Duration;

use distsync::{LockOptions, Wait, connect};

use super::programs::{Netlockd, run};
use crate::stores::{Consul, Etcd, Redis};

/// Asserts that the lock of a process that ends without `close` is free at once, not only after the
/// TTL. The guard is dropped just before the end.
fn a_process_ends_and_its_lock_is_free(url: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for round in 0..20 {
        let output = run("contenders", &["leaver", url]);
        assert!(output.status.success(), "round {round}: {output:?}");
        runtime.block_on(async {
            let sync = connect(url).await.unwrap();
            let taken = sync
                .lock("left", LockOptions::new())
                .unwrap()
                .try_acquire()
                .await
                .unwrap();
            assert!(
                taken.is_some(),
                "round {round}: the lock of a process that ended is still held"
            );
            sync.close().await.unwrap();
        });
    }
}

#[test]
fn the_lock_of_a_process_that_ends_is_free_on_netlock() {
    let netlock = Netlockd::start();
    a_process_ends_and_its_lock_is_free(&netlock.url());
}

#[test]
fn the_lock_of_a_process_that_ends_is_free_on_redis() {
    let redis = Redis::start();
    a_process_ends_and_its_lock_is_free(&format!("redis://127.0.0.1:{}", redis.port()));
}

#[test]
fn the_lock_of_a_process_that_ends_is_free_on_etcd() {
    let etcd = Etcd::start();
    a_process_ends_and_its_lock_is_free(&format!("etcd://127.0.0.1:{}", etcd.port()));
}

#[test]
fn the_lock_of_a_process_that_ends_is_free_on_consul() {
    let consul = Consul::start();
    a_process_ends_and_its_lock_is_free(&format!("consul://127.0.0.1:{}", consul.port()));
}

/// Makes Redis refuse writes for a while, as with too few replicas. A guard that is dropped
/// meanwhile is released afterwards. An acquire that fails meanwhile leaves no claim.
#[tokio::test]
async fn a_redis_that_refuses_writes_for_a_while_leaves_no_ghost() {
    let redis = Redis::start();
    let url = format!("redis://127.0.0.1:{}?ttl=30s", redis.port());
    let (one, two) = (connect(&url).await.unwrap(), connect(&url).await.unwrap());
    let kept = one
        .lock("kept", LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap();
    let guard = one
        .lock("a", LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap();
    redis.tell("CONFIG SET min-replicas-to-write 1");
    drop(guard);
    let refused = one
        .lock("kept", LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("NOREPLICAS"), "{refused}");
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    redis.tell("CONFIG SET min-replicas-to-write 0");
    let soon = LockOptions::new().with_wait(Wait::For(Duration::from_secs(10)));
    let freed = two.lock("a", soon).unwrap().acquire().await;
    drop(freed.expect("the dropped guard was released"));
    kept.check(Duration::ZERO).expect("the session has gone on");
    let queue = two
        .lock("kept", LockOptions::new())
        .unwrap()
        .inspect()
        .await
        .unwrap();
    assert_eq!(
        queue.waiters().count(),
        0,
        "the failed acquire is in the queue: {queue:?}"
    );
}
