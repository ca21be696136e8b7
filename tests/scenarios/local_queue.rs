//! Clients of which only one request waits for a name in the store.

use std::sync::Arc;
use std::time::Duration;

use distsync::{ErrorKind, Guard, Lock, LockOptions, Result, Wait};
use tokio::task::JoinSet;

use crate::every_store::{SOON, Store, eventually, on_every_store};

on_every_store!(a_crowd_of_one_client_is_one_waiter_in_the_store);

const CROWD: usize = 20;

async fn waiters(lock: &dyn Lock) -> usize {
    lock.inspect().await.unwrap().waiters().count()
}

async fn acquired(lock: Arc<dyn Lock>) -> Result<Guard> {
    lock.acquire().await
}

async fn a_crowd_of_one_client_is_one_waiter_in_the_store(store: &Store) {
    let sync = store.client_with_a_local_queue().await;
    let other = store.client().await;
    let lock: Arc<dyn Lock> = sync.lock("a", LockOptions::new()).unwrap().into();
    let observer = other.lock("a", LockOptions::new()).unwrap();
    let guard = lock.acquire().await.unwrap();

    // Each task of the crowd has begun to wait before the next one begins.
    let mut crowd = JoinSet::new();
    for number in 0..CROWD {
        let mut acquiring = Box::pin(acquired(lock.clone()));
        let begun = futures_util::poll!(acquiring.as_mut());
        assert!(begun.is_pending(), "{number} is granted");
        crowd.spawn(async move {
            let guard = acquiring.await.unwrap();
            let token = guard.token();
            guard.release().await.unwrap();
            (token, number)
        });
    }
    let one_waits = async || waiters(&*observer).await == 1;
    eventually("one waits in the store", one_waits).await;
    assert!(lock.try_acquire().await.unwrap().is_none());
    let limited = LockOptions::new().with_wait(Wait::For(Duration::from_millis(100)));
    let limited = sync.lock("a", limited).unwrap().acquire().await;
    assert_eq!(limited.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(one_waits().await, "more than one waits in the store");

    guard.release().await.unwrap();
    let served = tokio::time::timeout(SOON, crowd.join_all()).await;
    let mut served = served.expect("all are served in time");
    served.sort_unstable();
    let order: Vec<_> = served.into_iter().map(|(_, number)| number).collect();
    assert_eq!(order, (0..CROWD).collect::<Vec<_>>(), "not in order");

    // A cancelled request in the store makes room for the next one.
    let guard = observer.acquire().await.unwrap();
    let mut first = Box::pin(lock.acquire());
    assert!(futures_util::poll!(first.as_mut()).is_pending());
    let mut next = JoinSet::new();
    next.spawn(acquired(lock.clone()));
    let waiting = async { eventually("the first waits in the store", one_waits).await };
    tokio::select! {
        _ = first.as_mut() => panic!("two hold"),
        () = waiting => {}
    }
    drop(first);
    guard.release().await.unwrap();
    let next = tokio::time::timeout(SOON, next.join_next()).await;
    let next = next.expect("in time").unwrap().unwrap().unwrap();
    next.release().await.unwrap();

    // Requests that wait locally end with their handle.
    let guard = observer.acquire().await.unwrap();
    let mut waiting = JoinSet::new();
    for _ in 0..3 {
        let mut acquiring = Box::pin(acquired(lock.clone()));
        assert!(futures_util::poll!(acquiring.as_mut()).is_pending());
        waiting.spawn(acquiring);
    }
    eventually("one waits in the store", one_waits).await;
    sync.release_all().await.unwrap();
    let ended = tokio::time::timeout(SOON, waiting.join_all()).await;
    for ended in ended.expect("in time") {
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::Closed);
    }
    guard.release().await.unwrap();
    assert!(lock.try_acquire().await.unwrap().is_some());
}
