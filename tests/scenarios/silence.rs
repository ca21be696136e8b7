//! Stores that accept connections and do not answer.

use std::net::TcpListener;
use std::time::Duration;

use distsync::{ErrorKind, LockOptions, SyncOptions, connect, connect_with};
use distsync_core::spi::clock;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::stores::{Consul, Etcd, Netlock, Redis};

const LIMIT: Duration = Duration::from_millis(300);

/// Asserts that the options limit an attempt to connect. Without them it takes 4 s and more.
#[tokio::test]
async fn connecting_to_a_silent_address_takes_two_attempts_of_the_given_time() {
    // The kernel accepts connections, and nobody reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let options = SyncOptions::new()
        .with_connect_timeout(LIMIT)
        .with_request_timeout(LIMIT);
    for scheme in ["netlock", "etcd", "consul", "redis", "redis+cluster"] {
        let url = format!("{scheme}://127.0.0.1:{port}");
        let in_url = format!("{url}?connect_timeout=300ms&request_timeout=300ms");
        for (url, options) in [(&url, options.clone()), (&in_url, SyncOptions::new())] {
            let start = clock::now();
            let error = connect_with(url, options)
                .await
                .expect_err("nobody answers");
            let took = clock::now().since(start);
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{url}: {error}");
            assert!(took >= LIMIT && took < 5 * LIMIT, "{url}: {took:?}");
        }
    }
}

/// Asserts that a request to a store that has stopped fails after the given time. The session is
/// renewed by other rules, and is held until its deadline.
async fn a_request_ends_in_time(url: String, freeze: impl FnOnce()) {
    let sync = connect(&format!("{url}?request_timeout=300ms&ttl=15s"))
        .await
        .unwrap();
    let lock = |name: &str| sync.lock(name, LockOptions::new()).unwrap();
    let guard = lock("a").acquire().await.unwrap();
    freeze();
    let start = clock::now();
    let ended = lock("b").acquire().await.map(drop);
    let error = ended.expect_err("nobody answers");
    let took = clock::now().since(start);
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{url}: {error}");
    assert!(took >= LIMIT && took < 3 * LIMIT, "{url}: {took:?}");
    assert!(guard.check(Duration::from_secs(5)).is_ok());
}

#[tokio::test]
async fn a_request_to_a_stopped_store_ends_in_the_given_time() {
    let (etcd, consul, redis) = (Etcd::start(), Consul::start(), Redis::start());
    a_request_ends_in_time(format!("etcd://127.0.0.1:{}", etcd.port()), || {
        etcd.freeze()
    })
    .await;
    a_request_ends_in_time(format!("consul://127.0.0.1:{}", consul.port()), || {
        consul.freeze()
    })
    .await;
    a_request_ends_in_time(format!("redis://127.0.0.1:{}", redis.port()), || {
        redis.freeze()
    })
    .await;
}

/// Starts a proxy to a netlock server, and returns its URL. Once `frozen` is cancelled, it passes
/// nothing on.
async fn freezing(
    netlock: &Netlock,
    frozen: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("netlock://{}", listener.local_addr().unwrap());
    let (server, frozen) = (
        netlock.url()["netlock://".len()..].to_owned(),
        frozen.clone(),
    );
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let (server, frozen) = (server.clone(), frozen.clone());
            connections.spawn(async move {
                let mut server = TcpStream::connect(server).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                    () = frozen.cancelled() => std::future::pending().await,
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn a_request_to_a_stopped_netlock_ends_in_the_given_time() {
    let (netlock, frozen, mut tasks) = (Netlock::start(), CancellationToken::new(), JoinSet::new());
    let url = freezing(&netlock, &frozen, &mut tasks).await;
    a_request_ends_in_time(url, || frozen.cancel()).await;
}

/// Asserts that the end of a session ends a request without a reply at once. The timeout is 5 s.
#[tokio::test]
async fn a_request_to_a_stopped_netlock_ends_with_its_session() {
    let (netlock, frozen, mut tasks) = (Netlock::start(), CancellationToken::new(), JoinSet::new());
    let url = freezing(&netlock, &frozen, &mut tasks).await;
    let sync = connect(&format!("{url}?ttl=60s")).await.unwrap();
    let lock = |name: &str| sync.lock(name, LockOptions::new()).unwrap();
    let guard = lock("a").acquire().await.unwrap();
    frozen.cancel();
    let (b, start) = (lock("b"), clock::now());
    // A task of its own, which nothing else wakes.
    let mut acquiring = JoinSet::new();
    acquiring.spawn(async move { b.acquire().await.map(drop) });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let ended = tokio::select! {
        ended = acquiring.join_next() => ended.unwrap().unwrap(),
        _ = sync.release_all() => panic!("the request is still pending"),
    };
    assert_eq!(ended.expect_err("nobody answers").kind(), ErrorKind::Closed);
    let took = clock::now().since(start);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(guard.check(Duration::ZERO).is_err());
}

#[tokio::test]
async fn a_request_timeout_beyond_a_third_of_the_ttl_is_refused() {
    for url in [
        "memory:?ttl=9s&request_timeout=3001ms",
        "memory:?request_timeout=5001ms",
    ] {
        let error = connect(url).await.expect_err("more than a third");
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
        let text = error.to_string();
        assert!(
            text.contains("request_timeout") && text.contains("ttl"),
            "{text}"
        );
    }
    let url = "memory:?ttl=9s&request_timeout=3s&connect_timeout=1s";
    connect(url).await.unwrap().close().await.unwrap();
}
