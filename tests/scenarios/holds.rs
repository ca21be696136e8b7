//! The minimal and the maximal hold of a lock.

use std::time::Duration;

use distsync::{ErrorKind, LockOptions, Loss, Release};
use distsync_core::spi::clock;

use crate::every_store::{SOON, Store, eventually, on_every_store};

on_every_store!(a_hold_has_a_maximum, a_hold_has_a_minimum);

/// The lock is renewed, and revoked before the store grants it to another.
async fn a_hold_has_a_maximum(store: &Store) {
    let (sync, other) = (store.client().await, store.client().await);
    // Longer than the shortest TTL, so that it is renewed.
    let max = Duration::from_millis(2_500);
    let lock = sync
        .lock("a", LockOptions::new().with_max_hold(max))
        .unwrap();
    let other = other.lock("a", LockOptions::new()).unwrap();

    let asked = clock::now();
    let guard = lock.acquire().await.unwrap();
    let granted = clock::now();
    assert!(guard.remaining() <= max);
    let waiting = async { (other.acquire().await.unwrap(), clock::now()) };
    let holding = async { (guard.revoked().await, clock::now()) };
    let both = async { tokio::join!(waiting, holding) };
    let both = tokio::time::timeout(max + SOON, both).await;
    let ((next, next_at), (loss, revoked_at)) = both.expect("in time");
    assert_eq!(loss, Loss::MaxHold);
    assert!(revoked_at.since(asked) >= max - Duration::from_millis(500));
    // 250 ms of margin, and 200 ms for the keeper's timer on a busy machine.
    assert!(revoked_at.since(granted) < max - Duration::from_millis(50));
    assert!(next_at.since(asked) >= max, "granted within the margin");
    assert_eq!(
        guard.check(Duration::ZERO).unwrap_err().kind(),
        ErrorKind::NotHeld
    );
    assert_eq!(guard.remaining(), Duration::ZERO);
    assert_eq!(guard.release().await.unwrap(), Release::AlreadyGone);
    next.check(Duration::ZERO).expect("the next holder holds");
    next.release().await.unwrap();

    // The others of its session are not affected, and a release within the margin is at once.
    let neighbour = sync.lock("b", LockOptions::new()).unwrap();
    let neighbour = neighbour.acquire().await.unwrap();
    let guard = lock.acquire().await.unwrap();
    let granted = clock::now();
    guard.revoked().await;
    drop(guard);
    let is_free = async || other.inspect().await.unwrap().entries.is_empty();
    eventually("free after the drop", is_free).await;
    assert!(
        clock::now().since(granted) < max,
        "the margin was waited for"
    );
    neighbour.check(Duration::ZERO).expect("still held");

    // A guard that is released in time leaves nothing to its limit.
    let guard = lock.acquire().await.unwrap();
    assert_eq!(guard.release().await.unwrap(), Release::Done);
    assert_eq!(guard.revoked().await, Loss::Released);
}

/// A released lock stays with the store until its minimal hold is over, also when the handle is
/// closed.
async fn a_hold_has_a_minimum(store: &Store) {
    let (sync, other) = (store.client().await, store.client().await);
    let min = Duration::from_millis(800);
    let lock = sync
        .lock("a", LockOptions::new().with_min_hold(min))
        .unwrap();
    let next = other.lock("a", LockOptions::new()).unwrap();
    for by_drop in [false, true] {
        let asked = clock::now();
        let guard = lock.acquire().await.unwrap();
        let revoked = guard.revoked();
        if by_drop {
            drop(guard);
        } else {
            assert_eq!(guard.release().await.unwrap(), Release::Deferred);
            assert_eq!(guard.release().await.unwrap(), Release::Deferred);
            assert!(guard.check(Duration::ZERO).is_err(), "the guard has ended");
        }
        assert_eq!(revoked.await, Loss::Released);
        let next = tokio::time::timeout(min + SOON, next.acquire()).await;
        let held = clock::now().since(asked);
        next.expect("granted in time")
            .unwrap()
            .release()
            .await
            .unwrap();
        assert!(held >= min, "free after {held:?}");
    }

    // A release after the minimal hold is at once.
    let guard = lock.acquire().await.unwrap();
    tokio::time::sleep(min).await;
    let released = async || guard.release().await.unwrap() == Release::Done;
    assert!(released().await, "the minimal hold is over");
    eventually("free", async || next.try_acquire().await.unwrap().is_some()).await;

    // Longer than the TTL where that is short, so that the session would not be enough.
    let long = Duration::from_secs(3);
    let lock = sync
        .lock("b", LockOptions::new().with_min_hold(long))
        .unwrap();
    let asked = clock::now();
    drop(lock.acquire().await.unwrap());
    sync.close().await.unwrap();
    drop((lock, sync));
    let next = other.lock("b", LockOptions::new()).unwrap();
    assert!(
        next.try_acquire().await.unwrap().is_none(),
        "free at the close"
    );
    if store.ttl < long {
        let next = tokio::time::timeout(long + SOON, next.acquire()).await;
        drop(next.expect("granted in time").unwrap());
        let held = clock::now().since(asked);
        assert!(held >= long, "free after {held:?}");
    }
}
