//! Crowds in one process: 2,000 waiters for one name, and 1,000 waiters for 1,000 names that
//! another client holds. All are granted, and other requests of the process are answered meanwhile.

use std::sync::Arc;
use std::time::Duration;

use distsync::{Guard, Health, LockOptions, Sync, connect};
use futures_util::stream::{self, StreamExt};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::stores::{Consul, Etcd, Redis};

/// The longest time that a crowd may take on a machine that is busy with other tests.
const LONG: Duration = Duration::from_secs(400);

/// The longest time that a try may take beside a crowd.
const QUICK: Duration = Duration::from_secs(5);

/// A lock that allows one crowd at a time: on a small machine two crowds slow down each other.
pub(crate) static ONE_CROWD: Mutex<()> = Mutex::const_new(());

async fn acquire(sync: &Arc<dyn Sync>, name: &str) -> Guard {
    sync.lock(name, LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap()
}

/// Inspects a name until `until` is done, and asserts that inspections and the renewals of `held`
/// succeed all the time.
async fn look_on(sync: &Arc<dyn Sync>, held: &Guard, until: impl Future<Output = ()>) {
    let looking = async {
        let lock = sync.lock("looked at", LockOptions::new()).unwrap();
        loop {
            held.check(Duration::ZERO).expect("the renewals succeed");
            assert_eq!(held.health(), Health::Held, "a renewal failed");
            lock.inspect()
                .await
                .expect("an inspection beside the crowd");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = looking => {}
        done = tokio::time::timeout(LONG, until) => done.expect("all are granted in time"),
    }
}

/// Acquires one name from 2,000 tasks at the same moment.
async fn at_one_name(url: &str) {
    let _alone = ONE_CROWD.lock().await;
    let sync = connect(url).await.unwrap();
    let (held, first) = (acquire(&sync, "held").await, acquire(&sync, "one").await);
    let mut crowd = JoinSet::new();
    for _ in 0..2_000 {
        let sync = sync.clone();
        crowd.spawn(async move { acquire(&sync, "one").await.release().await.map(drop) });
    }
    let granted = async {
        first.release().await.unwrap();
        while let Some(done) = crowd.join_next().await {
            done.unwrap().unwrap();
        }
    };
    // A try is answered by the store at once, even while the crowd is being queued.
    let trying = async {
        let lock = sync.lock("one", LockOptions::new()).unwrap();
        loop {
            let tried = tokio::time::timeout(QUICK, lock.try_acquire())
                .await
                .expect("a try beside the crowd");
            drop(tried.unwrap());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let granted = async {
        tokio::select! {
            () = granted => {}
            () = trying => {}
        }
    };
    look_on(&sync, &held, granted).await;
    sync.close().await.unwrap();
}

/// Holds 1,000 names and queues a waiter for each of them.
async fn at_many_names(url: &str) {
    let _alone = ONE_CROWD.lock().await;
    let (holder, sync) = (connect(url).await.unwrap(), connect(url).await.unwrap());
    let held = acquire(&sync, "held").await;
    let names = || (0..1_000).map(|number| format!("many-{number}"));
    let guards: Vec<Guard> = stream::iter(names())
        .map(async |name| acquire(&holder, &name).await)
        .buffered(50)
        .collect()
        .await;
    let mut crowd = JoinSet::new();
    for name in names() {
        let sync = sync.clone();
        crowd.spawn(async move { acquire(&sync, &name).await.release().await.map(drop) });
    }
    let granted = async {
        let last = sync.lock("many-999", LockOptions::new()).unwrap();
        while last.inspect().await.unwrap().entries.len() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for guard in guards {
            guard.release().await.unwrap();
        }
        while let Some(done) = crowd.join_next().await {
            done.unwrap().unwrap();
        }
    };
    look_on(&sync, &held, granted).await;
    sync.close().await.unwrap();
    holder.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_one_name_in_memory() {
    at_one_name("memory:crowd-at-one-name").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_many_names_in_memory() {
    at_many_names("memory:crowd-at-many-names").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_one_name_on_netlock() {
    let netlock = super::programs::Netlockd::start();
    at_one_name(&netlock.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_many_names_on_netlock() {
    let netlock = super::programs::Netlockd::start();
    at_many_names(&netlock.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_one_name_on_redis() {
    let redis = Redis::start();
    at_one_name(&format!("redis://127.0.0.1:{}", redis.port())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_many_names_on_redis() {
    let redis = Redis::start();
    at_many_names(&format!("redis://127.0.0.1:{}", redis.port())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_one_name_on_etcd() {
    let etcd = Etcd::start();
    at_one_name(&format!("etcd://127.0.0.1:{}", etcd.port())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_one_name_on_consul() {
    let consul = Consul::start();
    at_one_name(&format!("consul://127.0.0.1:{}", consul.port())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_many_names_on_consul() {
    let consul = Consul::start();
    at_many_names(&format!("consul://127.0.0.1:{}", consul.port())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_many_names_on_etcd() {
    let etcd = Etcd::start();
    at_many_names(&format!("etcd://127.0.0.1:{}", etcd.port())).await;
}
