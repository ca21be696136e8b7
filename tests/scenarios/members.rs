//! Dead members cause no failures: while a store serves, every call succeeds, even if some of the
//! given addresses are dead.

use std::net::TcpListener;
use std::time::Duration;

use distsync::{Kind, LockOptions, Wait, connect};
use distsync_core::spi::clock;

use super::programs::{Netlockd, TABLE};
use crate::stores::{EtcdCluster, RedisCluster, RedisSentinels, free_port};

/// The longest time that all calls of a run may take, including one or two connection staggers.
const LIMIT: Duration = Duration::from_secs(10);

/// An address that accepts connections and never replies.
struct Silent(TcpListener);

impl Silent {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }
}

/// Performs every operation of a client, from connecting to closing.
async fn use_once(url: &str, run: usize) {
    let began = clock::now();
    let all = async {
        let sync = connect(url).await?;
        let lock = sync.lock("a", LockOptions::new().with_wait(Wait::For(LIMIT)))?;
        let guard = lock.acquire().await?;
        assert_eq!(lock.inspect().await?.entries.len(), 1);
        assert_eq!(sync.list(Kind::Lock, "").await?, ["a"]);
        guard.release().await?;
        // This claim is released by `close`, which has to reach the store as well.
        let left = lock.acquire().await?;
        sync.close().await?;
        drop(left);
        Ok::<(), distsync::Error>(())
    };
    let done = tokio::time::timeout(LIMIT, all).await;
    let took = clock::now().since(began);
    match done {
        Ok(Ok(())) => {}
        Ok(Err(error)) => panic!("run {run} with {url} failed after {took:?}: {error}"),
        Err(_) => panic!("run {run} with {url} took longer than {LIMIT:?}"),
    }
}

/// Runs `use_once` this many times, and rotates the addresses after each run.
async fn use_often(runs: usize, url: impl Fn(&[String]) -> String, addresses: &[String]) {
    let mut addresses = addresses.to_vec();
    for run in 0..runs {
        // The short TTL leaves little time to find a live member.
        let ttl = if run % 2 == 0 { "4s" } else { "15s" };
        let url = url(&addresses);
        let and = if url.contains('?') { '&' } else { '?' };
        use_once(&format!("{url}{and}ttl={ttl}"), run).await;
        addresses.rotate_left(1);
    }
}

/// Uses a store at an address beside one where nobody listens, and beside one that never answers.
async fn use_beside_a_dead_or_silent_one(url: impl Fn(&[String]) -> String, alive: String) {
    let (dead, silent) = (format!("127.0.0.1:{}", free_port()), Silent::new());
    use_often(50, &url, &[alive.clone(), dead]).await;
    use_often(20, &url, &[alive, silent.address()]).await;
}

fn etcd_url(addresses: &[String]) -> String {
    format!("etcd://{}", addresses.join(","))
}

#[tokio::test]
async fn one_of_three_etcd_members_is_killed() {
    let mut cluster = EtcdCluster::start();
    let addresses = cluster.addresses();
    // A client that connected before the fault must continue too.
    let sync = connect(&etcd_url(&addresses)).await.unwrap();
    let kept = sync
        .lock("kept", LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap();
    kept.release().await.unwrap();
    cluster.kill(0);
    let lock = sync.lock("kept", LockOptions::new()).unwrap();
    for _ in 0..20 {
        let guard = lock.acquire().await.expect("by a member that lives");
        lock.inspect().await.expect("by a member that lives");
        guard.release().await.expect("by a member that lives");
    }
    sync.close().await.unwrap();
    use_often(100, etcd_url, &addresses).await;
}

#[tokio::test]
async fn one_of_three_etcd_members_stands_still() {
    let cluster = EtcdCluster::start();
    let addresses = cluster.addresses();
    let clients = futures_util::future::join_all((0..3).map(|first| {
        let mut order = addresses.clone();
        order.rotate_left(first);
        async move {
            connect(&format!("{}?ttl=15s", etcd_url(&order)))
                .await
                .unwrap()
        }
    }));
    let clients = clients.await;
    cluster.freeze(0);
    for (number, client) in clients.iter().enumerate() {
        let lock = client.lock("kept", LockOptions::new()).unwrap();
        let guard = lock
            .acquire()
            .await
            .unwrap_or_else(|error| panic!("client {number}: {error}"));
        lock.inspect()
            .await
            .unwrap_or_else(|error| panic!("client {number}: {error}"));
        guard
            .release()
            .await
            .unwrap_or_else(|error| panic!("client {number}: {error}"));
        client.close().await.unwrap();
    }
    use_often(12, etcd_url, &addresses).await;
}

#[tokio::test]
async fn one_of_two_etcd_addresses_is_dead_or_silent() {
    let etcd = crate::stores::Etcd::start();
    use_beside_a_dead_or_silent_one(etcd_url, format!("127.0.0.1:{}", etcd.port())).await;
}

#[tokio::test]
async fn one_of_two_netlock_addresses_is_dead_or_silent() {
    let netlock = Netlockd::start();
    let url = |addresses: &[String]| format!("netlock://{}?table={TABLE}", addresses.join(","));
    use_beside_a_dead_or_silent_one(url, format!("127.0.0.1:{}", netlock.port())).await;
}

#[tokio::test]
async fn one_of_three_redis_sentinels_is_dead_or_silent() {
    let sentinels = RedisSentinels::start();
    let (alive, silent) = (sentinels.addresses(), Silent::new());
    let url = |addresses: &[String]| format!("redis+sentinel://{}/main", addresses.join(","));
    let dead = format!("127.0.0.1:{}", free_port());
    use_often(60, url, &[alive[0].clone(), dead.clone(), alive[1].clone()]).await;
    use_often(20, url, &[alive[0].clone(), silent.address()]).await;
}

#[tokio::test]
async fn one_of_two_redis_cluster_addresses_is_dead_or_silent() {
    let cluster = RedisCluster::start();
    let url = |addresses: &[String]| format!("redis+cluster://{}", addresses.join(","));
    use_beside_a_dead_or_silent_one(url, cluster.address(0)).await;
}
