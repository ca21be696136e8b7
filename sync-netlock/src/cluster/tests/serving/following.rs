//! Clients that follow the leader.

use distsync_core::{Guard, Handle, Lock, LockOptions, Sync, SyncOptions};

use super::*;
use crate::{Client, Config};

async fn connect(config: Config) -> Handle {
    let options = SyncOptions::new().with_session_ttl(Duration::from_secs(6));
    let client = Client::new(config).backend();
    Handle::open(client, options).await.unwrap()
}

impl Cluster {
    /// Returns the configuration of a client that knows all members.
    fn all(&self) -> Config {
        let addresses = self.servers.values().map(|server| &server.address);
        let config = Config::new(addresses).unwrap();
        config.with_table(&format!("{CLUSTER:032x}")).unwrap()
    }
}

/// Waits until a name has this many holders and waiters.
async fn queued(lock: &dyn Lock, count: usize) {
    let deadline = clock::now().after(PATIENCE);
    loop {
        let queue = lock.inspect().await.unwrap();
        if queue.entries.len() == count {
            return;
        }
        assert!(clock::now() < deadline, "not {count}: {queue:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The connection of the keeper follows too.
async fn renewed(guard: &Guard) {
    let before = guard.valid_until();
    eventually("the keeper renews the session", || {
        guard.valid_until() > before
    })
    .await;
}

#[tokio::test]
async fn guards_and_waiters_live_through_a_step_down_and_a_stopped_leader() {
    let mut cluster = Cluster::form().await;
    let observer = connect(cluster.all()).await;
    let observed = observer.lock("a", LockOptions::new()).unwrap();
    let holder = connect(cluster.all()).await;
    let held = holder.lock("a", LockOptions::new()).unwrap();
    let held = held.acquire().await.unwrap();
    let tasks = TaskTracker::new();
    let mut waiters = Vec::new();
    for waiter in 1..=3 {
        let sync = connect(cluster.all()).await;
        waiters.push(tasks.spawn(async move {
            let lock = sync.lock("a", LockOptions::new()).unwrap();
            (lock.acquire().await.unwrap(), sync)
        }));
        queued(&*observed, 1 + waiter).await;
    }
    let before = observed.inspect().await.unwrap();

    let (first, _) = cluster.leader().await;
    cluster.servers[&first].node.step_down().await.unwrap();
    let (second, _) = cluster.leader_except(&first).await;
    queued(&*observed, 4).await;
    renewed(&held).await;

    let stopped = cluster.servers.remove(&second).unwrap();
    stopped.stop.cancel();
    timeout(PATIENCE, stopped.task).await.unwrap().unwrap();
    queued(&*observed, 4).await;
    renewed(&held).await;

    let after = observed.inspect().await.unwrap();
    assert_eq!(after.entries, before.entries, "the order is kept");
    assert!(after.revision > before.revision);
    let mut token = held.check(Duration::ZERO).unwrap();
    held.release().await.unwrap();
    for (waiter, entry) in waiters.into_iter().zip(&before.entries[1..]) {
        let (granted, sync) = timeout(PATIENCE, waiter).await.unwrap().unwrap();
        assert_eq!(granted.claim(), entry.claim, "the order is kept");
        let next = granted.check(Duration::ZERO).unwrap();
        assert!(next > token, "tokens rise");
        token = next;
        granted.release().await.unwrap();
        sync.close().await.unwrap();
    }
    cluster.stop().await;
}

/// It has neither the table nor another address.
#[tokio::test]
async fn a_client_that_knows_one_follower_finds_each_leader() {
    let cluster = Cluster::form().await;
    let (leader, _) = cluster.leader().await;
    let follower = cluster.servers.iter().find(|(name, _)| **name != leader);
    let config = Config::new([&follower.unwrap().1.address]).unwrap();
    let sync = connect(config).await;
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    let held = lock.acquire().await.unwrap();
    cluster.servers[&leader].node.step_down().await.unwrap();
    renewed(&held).await;
    queued(&*lock, 1).await;
    held.release().await.unwrap();
    sync.close().await.unwrap();
    cluster.stop().await;
}

/// A member that knows no leader is asked again until there is one.
#[tokio::test]
async fn a_client_waits_for_an_election() {
    let place = tempfile::tempdir().unwrap();
    let node = NodeOptions::new(CLUSTER, "a", place.path()).with_timing(timing());
    let options = ServerOptions::default();
    let server = Server::member("127.0.0.1:0", options, node).await.unwrap();
    let (address, node) = (server.address().to_string(), server.node().unwrap());
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let running = tasks.spawn(server.run(stop.clone()));
    let form = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let member = Member {
            name: "a".to_owned(),
            address: node.address().to_string(),
            clients: address.clone(),
        };
        node.form(vec![(node.id(), member)]).await.unwrap();
    };
    let (sync, ()) = tokio::join!(connect(Config::new([&address]).unwrap()), form);
    sync.close().await.unwrap();
    stop.cancel();
    timeout(PATIENCE, running).await.unwrap().unwrap();
}
