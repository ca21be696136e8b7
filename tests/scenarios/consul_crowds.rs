//! Many waiters on a Consul agent, which serves 200 connections of one client address and closes
//! further ones.

use std::sync::Arc;
use std::time::Duration;

use distsync::{Guard, LockOptions, Sync, connect};
use distsync_core::spi::clock;
use tokio::task::JoinSet;

use super::crowds::ONE_CROWD;
use crate::stores::Consul;

/// Waits until the queue of a name has at least `there` entries.
async fn queued(sync: &dyn Sync, name: &str, there: usize) {
    let deadline = clock::now().after(Duration::from_secs(60));
    let lock = sync.lock(name, LockOptions::new()).unwrap();
    while lock
        .inspect()
        .await
        .expect("inspection goes on beside waiters")
        .entries
        .len()
        < there
    {
        assert!(clock::now() < deadline, "not {there} at {name}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn acquired(sync: &dyn Sync, name: &str) -> Guard {
    sync.lock(name, LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_on_many_names_leave_room_for_others() {
    const NAMES: usize = 300;
    let _alone = ONE_CROWD.lock().await;
    let consul = Consul::start();
    let url = format!("consul://127.0.0.1:{}?ttl=15s", consul.port());
    let holder = connect(&url).await.unwrap();
    let mut held = Vec::new();
    for number in 0..NAMES {
        held.push(acquired(&*holder, &format!("name-{number}")).await);
    }
    let waiting: Arc<dyn Sync> = connect(&url).await.unwrap();
    let mut waiters = JoinSet::new();
    for number in 0..NAMES {
        let waiting = waiting.clone();
        waiters.spawn(async move { acquired(&*waiting, &format!("name-{number}")).await });
    }
    for number in 0..NAMES {
        queued(&*waiting, &format!("name-{number}"), 2).await;
    }
    let other = connect(&url)
        .await
        .expect("another handle connects beside the waiters");
    drop(acquired(&*other, "another").await);
    for guard in held {
        guard
            .release()
            .await
            .expect("a release does not wait behind waiters");
    }
    // All are granted at the same time, so no connection of a waiter may be left open.
    let granted = waiters.join_all().await;
    assert_eq!(granted.len(), NAMES);
    drop(acquired(&*other, "another").await);
}
