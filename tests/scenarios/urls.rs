//! Addresses and namespaces that a URL may name.

use std::time::Duration;

use distsync::{ErrorKind, LockOptions, connect};

use super::steps::refused;
use crate::stores::{Consul, Etcd, Redis};

#[tokio::test]
async fn nobody_listens_at_a_wrong_port() {
    let port = crate::stores::free_port();
    for scheme in ["etcd", "consul", "redis", "netlock"] {
        let start = distsync_core::spi::clock::now();
        refused(
            &format!("{scheme}://127.0.0.1:{port}"),
            ErrorKind::Unavailable,
            "port right",
        )
        .await;
        assert!(
            distsync_core::spi::clock::now().since(start) < Duration::from_secs(8),
            "{scheme} takes long"
        );
    }
}

/// Asserts that dots and slashes work in a namespace, although servers clean paths and clients
/// resolve them.
#[tokio::test]
async fn a_namespace_of_dots_is_one_like_others() {
    let (etcd, consul, redis) = (Etcd::start(), Consul::start(), Redis::start());
    for url in [
        "memory:dots".to_owned(),
        format!("etcd://127.0.0.1:{}", etcd.port()),
        format!("consul://127.0.0.1:{}", consul.port()),
        format!("redis://127.0.0.1:{}", redis.port()),
    ] {
        for namespace in [".", "..", "/", "//", "a/../b", "%2E"] {
            let url = format!("{url}?namespace={}", namespace.replace('%', "%25"));
            let sync = connect(&url).await.unwrap();
            let guard = sync
                .lock("..", LockOptions::new())
                .unwrap()
                .acquire()
                .await
                .unwrap();
            let seen = sync
                .lock("..", LockOptions::new())
                .unwrap()
                .inspect()
                .await
                .unwrap();
            assert_eq!(seen.entries.len(), 1, "{url}");
            assert_eq!(
                sync.list(distsync::Kind::Lock, "").await.unwrap(),
                [".."],
                "{url}"
            );
            guard.release().await.unwrap();
        }
    }
}
