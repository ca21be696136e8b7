//! Data, scripts and settings of a Redis server that an operator changes.

use std::time::Duration;

use distsync::{Error, ErrorKind, LockOptions, Wait, connect};
use futures_util::StreamExt;

use super::every_store::eventually;
use super::steps::{pair, refused};
use crate::stores::Redis;

#[tokio::test]
async fn redis_that_forgets_its_scripts_is_told_them_again() {
    let redis = Redis::start();
    let sync = connect(&format!("redis://127.0.0.1:{}", redis.port()))
        .await
        .unwrap();
    pair(&*sync, "a").await.unwrap();
    assert!(redis.tell("SCRIPT FLUSH").starts_with("+OK"));
    pair(&*sync, "a").await.unwrap();
}

#[tokio::test]
async fn redis_lets_go_of_names_whose_holder_has_died() {
    let redis = Redis::start();
    let url = format!("redis://127.0.0.1:{}", redis.port());
    // Write the records that a client leaves behind when it dies holding locks without waiters.
    let (claim, session) = ("a".repeat(32), "b".repeat(32));
    for name in ["distsync/l/one", "distsync/l/two"] {
        let record = format!("{claim}{session}e0\\x20{0}\\x20{0}\\x201\\x20x", 1);
        assert_eq!(
            redis.tell(&format!("HSET distsync:{{0}}:table {name} \"{record}\"")),
            ":1\r\n"
        );
    }
    redis.tell(&format!("HSET distsync:{{0}}:table {session} 1"));
    // Write fields that distsync does not write itself.
    let foreign = "c".repeat(32);
    redis.tell(&format!(
        "HSET distsync:{{0}}:table {foreign} nonsense ?distsync/l/one nonsense"
    ));
    let sync = connect(&url).await.unwrap();
    assert!(
        sync.list(distsync::Kind::Lock, "")
            .await
            .unwrap()
            .is_empty()
    );
    // Two fields remain: the session of `sync`, and the position of the scan.
    let deadline = distsync_core::spi::clock::now().after(Duration::from_secs(5));
    while redis.tell("HLEN distsync:{0}:table") != ":2\r\n" {
        assert!(distsync_core::spi::clock::now() < deadline, "the dead stay");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Recovers from a state that a failed script of an earlier version may have left.
#[tokio::test]
async fn a_redis_queue_that_was_written_by_half_is_healed() {
    let redis = Redis::start();
    let sync = connect(&format!("redis://127.0.0.1:{}", redis.port()))
        .await
        .unwrap();
    let id = "a".repeat(32);
    for (name, is_marked) in [("marked", true), ("unmarked", false)] {
        redis.tell(&format!("HSET distsync:{{0}}:claims:distsync/l/{name} # 1"));
        redis.tell(&format!(
            "ZADD distsync:{{0}}:queue:distsync/l/{name} 1 {id}"
        ));
        if is_marked {
            redis.tell(&format!("HSET distsync:{{0}}:table distsync/l/{name} *"));
        }
        let lock = sync.lock(name, LockOptions::new()).unwrap();
        assert!(lock.inspect().await.unwrap().entries.is_empty());
        let guard = lock.acquire().await.unwrap();
        let second = sync.lock(name, LockOptions::new()).unwrap();
        let (next, released) = tokio::join!(second.acquire(), async {
            while lock.inspect().await.unwrap().entries.len() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            guard.release().await
        });
        released.unwrap();
        next.unwrap().release().await.unwrap();
        assert_eq!(
            redis.tell(&format!("EXISTS distsync:{{0}}:queue:distsync/l/{name}")),
            ":0\r\n"
        );
    }
}

/// Waits until at most `most` channels have subscribers.
async fn until_channels(redis: &Redis, most: usize) {
    eventually(&format!("at most {most} channels are left"), async || {
        let channels = redis.tell("PUBSUB CHANNELS");
        // An array: its length, and two lines for each element.
        (channels.lines().count() - 1) / 2 <= most
    })
    .await;
}

#[tokio::test]
async fn sessions_that_have_ended_leave_no_subscription() {
    let redis = Redis::start();
    let url = format!("redis://127.0.0.1:{}?ttl=2s", redis.port());
    let (sync, other) = (connect(&url).await.unwrap(), connect(&url).await.unwrap());
    let of_its_own = LockOptions::new().with_ttl(Duration::from_secs(20));
    for _ in 0..20 {
        let held = other.lock("a", of_its_own.clone()).unwrap();
        let held = held.acquire().await.unwrap();
        let lock = sync.lock("a", of_its_own.clone()).unwrap();
        // The wait needs a subscription of the client too, beside that of the keeper.
        let (granted, ()) = tokio::join!(lock.acquire(), async {
            while lock.inspect().await.unwrap().entries.len() < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            held.release().await.unwrap();
        });
        granted.unwrap().release().await.unwrap();
    }
    // The sessions of the two handles remain.
    until_channels(&redis, 2).await;

    // Sessions that end without being closed.
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    let guard = lock.acquire().await.unwrap();
    redis.tell("DEL distsync:{0}:table");
    guard.revoked().await;
    until_channels(&redis, 0).await;
}

#[tokio::test]
async fn names_that_were_watched_leave_no_subscription() {
    let redis = Redis::start();
    let sync = connect(&format!("redis://127.0.0.1:{}", redis.port()))
        .await
        .unwrap();
    let lock = |index: u32| sync.lock(&format!("n{index}"), LockOptions::new()).unwrap();
    let has_channel = |index: u32| {
        let channel = format!("on:watch:distsync/l/n{index}\r\n");
        redis.tell("PUBSUB CHANNELS").contains(&channel)
    };
    let mut first_watch = None;
    for index in 0..300 {
        let mut watch = lock(index).watch();
        let first = watch.next().await.unwrap().unwrap();
        assert!(first.entries.is_empty());
        // Waiting for the next change subscribes.
        loop {
            assert!(futures_util::poll!(watch.next()).is_pending());
            if has_channel(index) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        first_watch.get_or_insert(watch);
    }
    until_channels(&redis, 65).await;
    assert!(has_channel(0), "it is still watched");
    let mut watched = first_watch.expect("it was added first");
    let guard = lock(0).acquire().await.unwrap();
    let changed = watched.next().await.unwrap().unwrap();
    assert_eq!(changed.holders().count(), 1);
    guard.release().await.unwrap();
}

/// Asserts that a connection error ends with the server's address, names no lock, and has no empty
/// parts.
fn speaks_of_the_server(error: &Error, address: &str) {
    let said = error.to_string();
    assert_eq!(error.name(), None, "{said}");
    assert!(said.ends_with(&format!("(at {address})")), "{said}");
    assert_eq!(said.matches(address).count(), 1, "{said}");
    assert!(
        !["()", ": :", ":  ", "(: "]
            .iter()
            .any(|empty| said.contains(empty)),
        "{said}"
    );
}

/// Asserts that each refusal comes before the first write, names its cause, and changes no queue.
#[tokio::test]
async fn what_redis_refuses_for_now_is_named_and_leaves_nothing() {
    let redis = Redis::start();
    let sync = connect(&format!("redis://127.0.0.1:{}?ttl=60s", redis.port()))
        .await
        .unwrap();
    let lock = |name: &str| {
        sync.lock(
            name,
            LockOptions::new().with_wait(Wait::For(Duration::from_secs(20))),
        )
        .unwrap()
    };
    let guard = lock("busy").acquire().await.unwrap();
    for (setting, bad, good, reason) in [
        ("maxmemory", "1", "0", "raise maxmemory"),
        ("min-replicas-to-write", "1", "0", "replicas"),
    ] {
        assert_eq!(
            redis.tell(&format!("CONFIG SET {setting} {bad}")),
            "+OK\r\n"
        );
        for name in ["busy", "free"] {
            let error = lock(name).acquire().await.expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.to_string().contains(reason), "{error}");
        }
        assert_eq!(
            redis.tell(&format!("CONFIG SET {setting} {good}")),
            "+OK\r\n"
        );
        assert_eq!(lock("busy").inspect().await.unwrap().entries.len(), 1);
    }
    guard.release().await.unwrap();
    pair(&*sync, "busy").await.unwrap();
    pair(&*sync, "free").await.unwrap();
    redis.tell("CONFIG SET maxclients 1");
    let address = format!("127.0.0.1:{}", redis.port());
    let url = format!("redis://{address}");
    refused(&url, ErrorKind::Unavailable, "raise maxclients").await;
    speaks_of_the_server(&connect(&url).await.unwrap_err(), &address);
    let nobody = format!("127.0.0.1:{}", crate::stores::free_port());
    speaks_of_the_server(
        &connect(&format!("redis://{nobody}")).await.unwrap_err(),
        &nobody,
    );
}
