//! Stores of several servers that lose one of them: locks and waiters survive, and tokens rise.

use std::time::Duration;

use distsync::etcd::etcd_client::Client;
use distsync::{ErrorKind, LockOptions, Sync, Wait, connect};

use futures_util::future::join_all;

use super::steps::acquired_again;
use crate::stores::{ConsulCluster, EtcdCluster, RedisCluster, RedisSentinels};

/// Holds a lock that has a waiter while `fault` happens, and for longer than the TTL afterwards.
/// The lock would be lost if no other server renewed the session.
async fn held_through(url: &str, ttl: Duration, fault: impl FnOnce()) {
    let sync = connect(&format!("{url}?ttl={}s", ttl.as_secs()))
        .await
        .unwrap();
    let guard = sync
        .lock("a", LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap();
    let token = guard.token();
    let waiting = sync.lock("a", LockOptions::new()).unwrap();
    let waiter = async { waiting.acquire().await.unwrap() };
    let fail_over = async {
        // Wait until the waiter is queued.
        while waiting.inspect().await.unwrap().entries.len() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        fault();
        tokio::time::sleep(ttl + Duration::from_secs(3)).await;
        assert_eq!(
            guard
                .check(Duration::ZERO)
                .expect("held through the fail-over"),
            token
        );
        guard.release().await.expect("release")
    };
    let both = async { tokio::join!(waiter, fail_over) };
    let (next, _) = tokio::time::timeout(Duration::from_secs(60), both)
        .await
        .expect("the waiter is served");
    assert!(next.token() > token);
    next.release().await.unwrap();
}

#[tokio::test]
async fn an_etcd_cluster_that_loses_its_leader_keeps_locks_and_waiters() {
    let mut cluster = EtcdCluster::start();
    let addresses = cluster.addresses();
    let mut leader = None;
    for (member, address) in addresses.iter().enumerate() {
        let mut client = Client::connect([address], None).await.unwrap();
        let status = client.status().await.unwrap();
        if status.header().unwrap().member_id() == status.leader() {
            leader = Some(member);
        }
    }
    let url = format!("etcd://{}", addresses.join(","));
    held_through(&url, Duration::from_secs(6), || {
        cluster.kill(leader.expect("a leader"))
    })
    .await;
}

#[tokio::test]
async fn a_consul_cluster_that_loses_its_leader_keeps_locks_and_waiters() {
    let mut cluster = ConsulCluster::start();
    let url = format!("consul://127.0.0.1:{}", cluster.follower_port());
    held_through(&url, Duration::from_secs(10), || cluster.kill_leader()).await;
}

#[tokio::test]
async fn redis_sentinels_that_lose_the_primary_keep_locks_and_waiters() {
    let mut sentinels = RedisSentinels::start();
    let url = sentinels.url();
    held_through(&url, Duration::from_secs(10), || sentinels.kill_primary()).await;
}

#[tokio::test]
async fn a_redis_primary_that_stands_still_is_left_for_the_one_that_takes_its_place() {
    let sentinels = RedisSentinels::start();
    held_through(&sentinels.url(), Duration::from_secs(15), || {
        sentinels.freeze_primary()
    })
    .await;
}

/// Asserts that a grant that the new primary lacks is revoked within the holder's TTL. It holds
/// both if the former primary knows of the fail-over and if it continues to serve the holder.
async fn a_grant_that_a_fail_over_loses(is_primary_aware: bool) {
    const TTL: Duration = Duration::from_secs(8);

    let sentinels = RedisSentinels::start();
    let url = format!("{}?ttl={}s", sentinels.url(), TTL.as_secs());
    let holder = connect(&url).await.unwrap();
    // Both servers know the session; only the primary knows the grant.
    sentinels.replicate();
    sentinels.stop_replication();
    let guard = holder
        .lock("a", LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap();
    if !is_primary_aware {
        sentinels.keep_primary_unaware();
    }
    sentinels.fail_over();
    if is_primary_aware {
        // The connections of the former primary stay open.
        sentinels.demote_primary();
    }
    let loss = tokio::time::timeout(TTL, guard.revoked()).await;
    assert_eq!(sentinels.has_two_primaries(), !is_primary_aware);
    loss.expect("revoked within the TTL");
    // Another client can acquire the lock now, and its grant stays.
    let other = connect(&url).await.unwrap();
    let next = acquired_again(&*other.lock("a", LockOptions::new()).unwrap()).await;
    assert!(next.token() > guard.token());
    tokio::time::sleep(TTL).await;
    next.check(Duration::ZERO).expect("held at the new primary");
    // The former holder also finds the new primary.
    assert!(
        holder
            .lock("a", LockOptions::new())
            .unwrap()
            .try_acquire()
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_grant_that_a_redis_fail_over_loses_is_revoked() {
    a_grant_that_a_fail_over_loses(true).await;
}

#[tokio::test]
async fn a_grant_by_a_redis_primary_that_was_replaced_unawares_is_revoked() {
    a_grant_that_a_fail_over_loses(false).await;
}

#[tokio::test]
async fn a_sentinel_knows_its_services_only() {
    let sentinels = RedisSentinels::start();
    let url = sentinels.url().replace("/main", "/other");
    let error = connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
    assert!(error.to_string().contains("no service `other`"), "{error}");
}

#[tokio::test]
async fn a_grant_that_too_few_replicas_have_is_given_back() {
    let mut sentinels = RedisSentinels::start();
    let url = |replicas| {
        format!(
            "{}?ttl=2s&wait_replicas={replicas}&wait_timeout=300ms",
            sentinels.url()
        )
    };
    let (one, two) = (
        connect(&url(1)).await.unwrap(),
        connect(&url(2)).await.unwrap(),
    );
    let lock = |sync: &dyn Sync| sync.lock("a", LockOptions::new()).unwrap();
    let guard = lock(&*one).acquire().await.expect("one replica has it");
    // A grant that follows a release by another holder also waits for replicas.
    let (waiting, first) = (lock(&*one), guard.token());
    let (next, released) = tokio::join!(waiting.acquire(), async {
        while waiting.inspect().await.unwrap().entries.len() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        guard.release().await
    });
    released.unwrap();
    let next = next.expect("one replica has this one too");
    assert!(next.token() > first);
    next.release().await.unwrap();

    let error = lock(&*two)
        .acquire()
        .await
        .expect_err("there is one replica only");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(
        error.to_string().contains("only 1 of the 2 replicas"),
        "{error}"
    );
    let free = lock(&*one).inspect().await.unwrap();
    assert!(free.entries.is_empty(), "{free:?}");
    sentinels.kill(1);
    lock(&*one)
        .acquire()
        .await
        .expect_err("the replica is gone");
}

/// Performs every operation of a client once.
async fn use_once(url: &str) {
    let sync = connect(url).await.unwrap();
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    let guard = lock.acquire().await.unwrap();
    assert_eq!(lock.inspect().await.unwrap().entries.len(), 1);
    assert_eq!(sync.list(distsync::Kind::Lock, "").await.unwrap(), ["a"]);
    guard.release().await.unwrap();
    sync.close().await.unwrap();
}

#[tokio::test]
async fn silent_and_dead_redis_addresses_cost_nothing() {
    let sentinels = RedisSentinels::start();
    // Accepts connections and never replies.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = format!("127.0.0.1:{}", crate::stores::free_port());
    sentinels.freeze_sentinel(0);
    let given = sentinels.sentinels();
    let silent = listener.local_addr().unwrap().to_string();
    let url = |first: &str, second: &str| format!("redis+sentinel://{first},{second}/main?ttl=4s");
    for round in 0..100 {
        let bad = [&silent, &dead, &given[0]][round % 3];
        let good = &given[1 + round % 2];
        match round % 4 {
            0 => use_once(&url(good, bad)).await,
            _ => use_once(&url(bad, good)).await,
        }
    }
    // The short TTL leaves a request less time than a connection attempt to a silent address may
    // take.
    use_once(&url(&silent, &given[1]).replace("4s", "1s")).await;
}

#[tokio::test]
async fn a_redis_cluster_url_learns_the_other_nodes() {
    const KEY: &str = "distsync:{0}:table";

    let mut cluster = RedisCluster::start();
    let owner = cluster.owner(KEY);
    held_through(&cluster.url(&[owner]), Duration::from_secs(10), || {
        cluster.kill(owner)
    })
    .await;
}

/// Asserts that claims that arrive while the slot moves are refused as a whole and break no name.
#[tokio::test]
async fn a_redis_slot_that_moves_breaks_no_name() {
    const KEY: &str = "distsync:{0}:table";

    let cluster = RedisCluster::start();
    let owner = cluster.owner(KEY);
    let sync = connect(&format!("{}?ttl=30s", cluster.url(&[0, 1, 2])))
        .await
        .unwrap();
    let lock = |name: &str, seconds| {
        let options = LockOptions::new().with_wait(Wait::For(Duration::from_secs(seconds)));
        sync.lock(name, options).unwrap()
    };
    let names = ["a", "b", "c", "d"];
    let mut held = Vec::new();
    for name in names {
        held.push(lock(name, 5).acquire().await.unwrap());
    }
    // This lock has a waiter, so its queue is stored in keys of its own. The client `late` has a
    // session and no claims.
    held.push(lock("queued", 5).acquire().await.unwrap());
    let waiting = lock("queued", 30);
    let mut queued = std::pin::pin!(acquired_again(&*waiting));
    let in_queue = || cluster.tell(owner, "ZCARD distsync:{0}:queue:distsync/l/queued");
    while in_queue() != ":2\r\n" {
        let soon = tokio::time::sleep(Duration::from_millis(5));
        assert!(
            tokio::time::timeout_at(soon.deadline(), &mut queued)
                .await
                .is_err(),
            "it is held"
        );
    }
    let late = connect(&format!("{}?ttl=30s", cluster.url(&[0, 1, 2])))
        .await
        .unwrap();
    let moving = cluster.begin_move(KEY, owner, (owner + 1) % 3);
    let options = LockOptions::new().with_wait(Wait::For(Duration::from_secs(1)));
    let refusal = late
        .lock("queued", options)
        .unwrap()
        .acquire()
        .await
        .expect_err("the slot moves");
    assert!(
        matches!(refusal.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
        "{refusal}"
    );
    assert_eq!(
        in_queue(),
        ":2\r\n",
        "a request that was refused has written something"
    );
    // The first waiter of a name creates keys, which this node refuses while the slot moves.
    let refused = |names: &'static [&'static str]| async move {
        for error in join_all(names.iter().map(async |name| lock(name, 1).acquire().await)).await {
            let error = error.expect_err("the slot moves");
            assert!(
                matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
                "{error}"
            );
        }
    };
    refused(&["a", "b", "c", "d"]).await;
    // A holder without waiters needs only the table, which is still on this node.
    held.remove(3).release().await.unwrap();
    lock("d", 5)
        .acquire()
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    let load = async {
        // Refused while the slot moves, then granted after the holder of the name has released.
        join_all(names.map(async |name| acquired_again(&*lock(name, 20)).await)).await
    };
    let ending = async {
        while moving.next_key() {
            refused(&["a", "b"]).await;
        }
        moving.end();
        for guard in held {
            guard.release().await.expect("held through the move");
        }
    };
    let (granted, (), last) = tokio::join!(load, ending, queued);
    last.release().await.unwrap();
    for guard in granted {
        guard.release().await.unwrap();
    }
    let other = connect(&cluster.url(&[owner])).await.unwrap();
    for name in names {
        let lock = other.lock(name, LockOptions::new()).unwrap();
        acquired_again(&*lock).await.release().await.unwrap();
        assert!(lock.inspect().await.unwrap().entries.is_empty());
    }
}

#[tokio::test]
async fn a_redis_cluster_is_found_by_any_node_and_survives_the_loss_of_one() {
    const KEY: &str = "distsync:{0}:table";

    let mut cluster = RedisCluster::start();
    let owner = cluster.owner(KEY);
    let other = (owner + 1) % 3;
    // The only node in the URL redirects the client to the owner of the slot.
    let sync = connect(&cluster.url(&[other])).await.unwrap();
    let guard = sync
        .lock("a", LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap();
    assert_eq!(sync.list(distsync::Kind::Lock, "").await.unwrap(), ["a"]);
    guard.release().await.unwrap();
    // The connection to the owner is kept, so there is no new HELLO.
    let before = cluster.calls(owner, "hello");
    for _ in 0..20 {
        sync.lock("a", LockOptions::new())
            .unwrap()
            .acquire()
            .await
            .unwrap()
            .release()
            .await
            .unwrap();
    }
    assert_eq!(cluster.calls(owner, "hello"), before);
    sync.close().await.unwrap();

    held_through(
        &cluster.url(&[0, 1, 2, 3, 4, 5]),
        Duration::from_secs(10),
        || cluster.kill(owner),
    )
    .await;
    assert_ne!(cluster.owner(KEY), owner);

    // The cluster serves later clients, and tokens rise.
    let sync = connect(&cluster.url(&[other])).await.unwrap();
    let options = LockOptions::new().with_wait(Wait::For(Duration::from_secs(5)));
    let later = acquired_again(&*sync.lock("a", options).unwrap()).await;
    assert!(later.token() > guard.token());
}
