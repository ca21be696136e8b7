//! Watchers show the current state again soon after their store is back, even if it lost all data.

use std::future::Future;
use std::time::Duration;

use distsync::{
    Leader, LeaderOptions, Leadership, LockOptions, Node, Queue, Result, Sync, Wait, connect,
};
use distsync_core::conformance::Harness;
use distsync_core::spi::clock;
use futures_util::{Stream, StreamExt};

use crate::stores::{Consul, Etcd, Netlock, Redis};

/// The longest time until a watcher shows the state of a store that responds again. It is the
/// promised limit.
const SOON: Duration = Duration::from_secs(2);

async fn shows<T>(
    mut watch: impl Stream<Item = Result<T>> + Unpin,
    what: &str,
    is_it: impl Fn(&T) -> bool,
) {
    let shown =
        async { while !is_it(&watch.next().await.expect("it goes on").expect("no error")) {} };
    tokio::time::timeout(SOON, shown)
        .await
        .unwrap_or_else(|_| panic!("{what} is not shown within {SOON:?}"));
}

fn candidate(sync: &dyn Sync, node: &str) -> Box<dyn Leader> {
    sync.leader("scheduler", LeaderOptions::new(Node::new(node)))
        .unwrap()
}

/// Watches a lock and an election across a restart of the store, which may lose its data.
/// `patience` limits how long another client waits for the lock and the election afterwards.
async fn watchers_come_back<F: Future<Output = ()>>(
    url: &str,
    patience: Duration,
    restart: impl FnOnce() -> F,
) {
    let (observer, one) = (connect(url).await.unwrap(), connect(url).await.unwrap());
    let lock = one.lock("a", LockOptions::new()).unwrap();
    // Raise the revisions far above those after the restart.
    for _ in 0..50 {
        lock.acquire().await.unwrap().release().await.unwrap();
    }
    let held = lock.acquire().await.unwrap();
    let led = candidate(&*one, "old").elect().await.unwrap();
    let watched = observer.lock("a", LockOptions::new()).unwrap();
    let (mut locks, mut leaders) = (watched.watch(), candidate(&*observer, "observer").watch());
    shows(&mut locks, "the holder", |queue: &Queue| {
        queue
            .holders()
            .any(|entry| entry.token == Some(held.token()))
    })
    .await;
    let is = |node: &'static str| {
        move |leader: &Option<Leadership>| {
            leader
                .as_ref()
                .is_some_and(|leader| *leader.node.id() == *node)
        }
    };
    shows(&mut leaders, "the leader", is("old")).await;

    restart().await;
    // The former holders do not know of the restart, or have lost their claims.
    drop((held, led));
    let two = connect(url).await.unwrap();
    let wait = LockOptions::new().with_wait(Wait::For(patience));
    let next = two.lock("a", wait).unwrap().acquire().await.unwrap();
    let began = clock::now();
    shows(&mut locks, "the next holder", |queue: &Queue| {
        queue
            .holders()
            .any(|entry| entry.token == Some(next.token()))
    })
    .await;
    let office = tokio::time::timeout(patience, candidate(&*two, "new").elect()).await;
    let office = office.expect("it is elected").unwrap();
    shows(&mut leaders, "the next leader", is("new")).await;
    assert!(clock::now().since(began) < patience + 2 * SOON);
    // The watches continue from there.
    office.resign().await.unwrap();
    shows(&mut leaders, "vacancy", Option::is_none).await;
    next.release().await.unwrap();
    shows(&mut locks, "the free lock", |queue: &Queue| {
        queue.entries.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_of_a_netlock_that_forgot_come_back() {
    let netlock = Netlock::start();
    watchers_come_back(&netlock.url(), Duration::from_secs(20), || {
        netlock.restart()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_of_a_netlock_with_a_folder_come_back() {
    let netlock = Netlock::with_a_folder();
    watchers_come_back(&netlock.url(), Duration::from_secs(20), || {
        netlock.restart()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_of_an_emptied_redis_come_back() {
    let redis = Redis::start();
    let url = format!("redis://127.0.0.1:{}", redis.port());
    watchers_come_back(&url, Duration::from_secs(20), async || {
        redis.restart_emptied()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_of_a_flushed_redis_come_back() {
    let redis = Redis::start();
    let url = format!("redis://127.0.0.1:{}", redis.port());
    watchers_come_back(&url, Duration::from_secs(20), async || {
        drop(redis.tell("FLUSHALL"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_of_an_emptied_etcd_come_back() {
    let etcd = Etcd::start();
    let url = format!("etcd://127.0.0.1:{}", etcd.port());
    watchers_come_back(&url, Duration::from_secs(20), async || {
        etcd.restart_emptied()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_of_a_restored_etcd_come_back() {
    let etcd = Etcd::start();
    let url = format!("etcd://127.0.0.1:{}", etcd.port());
    let before = connect(&url).await.unwrap();
    before
        .lock("a", LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    before.close().await.unwrap();
    etcd.keep_copy();
    watchers_come_back(&url, Duration::from_secs(20), async || {
        etcd.restart_from_copy()
    })
    .await;
}

/// Restarts an agent, which keeps its data. The holder keeps the lock, the waiter keeps waiting,
/// and watchers are notified of later changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_and_watchers_outlast_a_consul_agent_that_restarts() {
    let consul = Consul::start();
    let url = format!("consul://127.0.0.1:{}?ttl=30s", consul.port());
    let (one, two) = (connect(&url).await.unwrap(), connect(&url).await.unwrap());
    let observer = connect(&url).await.unwrap();
    let held = one
        .lock("a", LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap();
    let led = candidate(&*one, "old").elect().await.unwrap();
    let watched = observer.lock("a", LockOptions::new()).unwrap();
    let (mut locks, mut leaders) = (watched.watch(), candidate(&*observer, "observer").watch());
    let waiting = two.lock("a", LockOptions::new()).unwrap();
    let next_leader = candidate(&*two, "new");
    let waiters = async { tokio::join!(waiting.acquire(), next_leader.elect()) };
    let restart = async {
        shows(&mut locks, "the waiter", |queue: &Queue| {
            queue.waiters().count() == 1
        })
        .await;
        shows(&mut leaders, "the leader", Option::is_some).await;
        consul.restart().await;
        held.release().await.expect("held through the restart");
        led.resign().await.expect("led through the restart");
    };
    let all = async { tokio::join!(waiters, restart) };
    let ((next, office), ()) = tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .expect("the waiters are served");
    let (next, office) = (next.expect("granted"), office.expect("elected"));
    shows(&mut locks, "the next holder", |queue: &Queue| {
        queue
            .holders()
            .any(|entry| entry.token == Some(next.token()))
    })
    .await;
    shows(&mut leaders, "the next leader", |leader| {
        leader
            .as_ref()
            .is_some_and(|leader| leader.term == office.token())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_of_an_emptied_consul_come_back() {
    let consul = Consul::start();
    let url = format!("consul://127.0.0.1:{}", consul.port());
    watchers_come_back(&url, Duration::from_secs(20), async || {
        consul.restart_emptied()
    })
    .await;
}
