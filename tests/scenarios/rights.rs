//! The permissions that each store needs are exactly those that are documented.

use std::time::Duration;

use distsync::etcd::etcd_client::{Client, Permission, PermissionType};
use distsync::{ErrorKind, LockOptions, Sync, connect};
use distsync_core::conformance::secrets;
use futures_util::StreamExt;
use futures_util::future::join_all;

use super::steps::{ConsulTokens, pair, refused};
use crate::stores::{Consul, Etcd, Redis};

/// The permissions that docs/semantics.md lists.
const REDIS_RIGHTS: &str = "~distsync:* &distsync:* +evalsha +script|load +time +subscribe +unsubscribe +publish +hget \
    +hmget +hset +hsetnx +hdel +hexists +hincrby +hkeys +hscan +hgetall +zadd +zrem +zrange +zcard +zrank +del +hello +select";

/// Uses every operation that needs a permission of its own.
async fn use_all(sync: &dyn Sync) {
    let lock = |name: &str| sync.lock(name, LockOptions::new()).unwrap();
    let busy = lock("busy");
    let mut watch = busy.watch();
    watch.next().await.unwrap().unwrap();
    let guard = busy.acquire().await.unwrap();
    guard.update("b").await.unwrap();
    let waiting = lock("busy");
    let (next, released) = tokio::join!(waiting.acquire(), async {
        while busy.inspect().await.unwrap().entries.len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        guard.release().await
    });
    released.unwrap();
    let next = next.unwrap();
    assert_eq!(sync.list(distsync::Kind::Lock, "").await.unwrap(), ["busy"]);
    busy.evict(busy.inspect().await.unwrap().entries[0].claim)
        .await
        .unwrap();
    next.revoked().await;
    // Acquire several names in one run of the script.
    for _ in 0..3 {
        join_all((0..20).map(async |number| {
            lock(&format!("free-{number}"))
                .acquire()
                .await
                .unwrap()
                .release()
                .await
                .unwrap();
        }))
        .await;
    }
}

#[tokio::test]
async fn redis_users_need_exactly_the_rights_that_are_documented() {
    secrets::note("hidden");
    let documented = include_str!("../../docs/semantics.md").replace('\n', " ");
    assert!(
        documented.contains(
            &REDIS_RIGHTS
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        )
    );
    let redis = Redis::start();
    assert_eq!(
        redis.tell(&format!("ACL SETUSER app on >hidden {REDIS_RIGHTS}")),
        "+OK\r\n"
    );
    assert_eq!(redis.tell("CONFIG RESETSTAT"), "+OK\r\n");
    let sync = connect(&format!("redis://app:hidden@127.0.0.1:{}/1", redis.port()))
        .await
        .unwrap();
    use_all(&*sync).await;
    sync.close().await.unwrap();
    // INFO is optional: the client uses it only to warn of an eviction policy.
    let refused_to: Vec<String> = redis
        .tell("ACL LOG")
        .split("object\r\n")
        .skip(1)
        .map(|entry| entry.lines().nth(1).unwrap_or_default().to_owned())
        .filter(|right| right != "info")
        .collect();
    assert_eq!(refused_to, Vec::<String>::new(), "not documented");
    let used = redis.tell("INFO commandstats");
    let needless: Vec<&str> = REDIS_RIGHTS
        .split_whitespace()
        .filter_map(|right| right.strip_prefix('+'))
        .filter(|right| !used.contains(&format!("cmdstat_{right}:")))
        .collect();
    assert_eq!(needless, Vec::<&str>::new(), "not needed");

    for less in ["-hset", "-evalsha", "resetkeys ~other:*"] {
        redis.tell(&format!(
            "ACL SETUSER less reset on >hidden {REDIS_RIGHTS} {less}"
        ));
        let url = format!("redis://less:hidden@127.0.0.1:{}", redis.port());
        refused(&url, ErrorKind::Denied, "docs/semantics.md").await;
    }
    refused(
        &format!("redis://app:hidden-not@127.0.0.1:{}", redis.port()),
        ErrorKind::Denied,
        "wrong user",
    )
    .await;
    redis.tell("ACL SETUSER default >hidden");
    refused(
        &format!("redis://127.0.0.1:{}", redis.port()),
        ErrorKind::Denied,
        "password",
    )
    .await;
}

#[tokio::test]
async fn etcd_roles_need_exactly_the_rights_that_are_documented() {
    secrets::note("hidden");
    let etcd = Etcd::start();
    let address = format!("127.0.0.1:{}", etcd.port());
    let admin = Client::connect([&address], None).await.unwrap();
    let mut auth = admin.auth_client();
    for (user, role) in [("root", "root"), ("app", "app"), ("reader", "reader")] {
        auth.user_add(user, "hidden", None).await.unwrap();
        auth.role_add(role).await.unwrap();
        auth.user_grant_role(user, role).await.unwrap();
    }
    for (role, kind) in [
        ("app", PermissionType::Readwrite),
        ("reader", PermissionType::Read),
    ] {
        let permission = Permission::new(kind, "shop/").with_prefix();
        auth.role_grant_permission(role, permission).await.unwrap();
    }
    auth.auth_enable().await.unwrap();
    let url = |user: &str| format!("etcd://{user}@{address}?namespace=shop");

    let sync = connect(&url("app:hidden")).await.unwrap();
    pair(&*sync, "a").await.unwrap();
    assert!(
        sync.list(distsync::Kind::Lock, "")
            .await
            .unwrap()
            .is_empty()
    );
    refused(
        &url("app:hidden").replace("shop", "other"),
        ErrorKind::Denied,
        "docs/semantics.md",
    )
    .await;
    refused(
        &url("reader:hidden"),
        ErrorKind::Denied,
        "docs/semantics.md",
    )
    .await;
    refused(
        &url("app:hidden-not"),
        ErrorKind::Denied,
        "wrong user or password",
    )
    .await;
    // Connecting itself fails, also without credentials, and not only the first lock.
    for url in [format!("etcd://{address}"), url("app:hidden-not")] {
        let error = connect(&url).await.expect_err("no such user");
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(error.to_string().contains("the URL"), "{error}");
    }
}

#[tokio::test]
async fn consul_tokens_need_exactly_the_rights_that_are_documented() {
    secrets::note("hidden");
    let consul = Consul::start_with_acl();
    let port = consul.port();
    let tokens = ConsulTokens::bootstrap(port).await;
    let token = |policy: &str, rules: &str| tokens.create(policy, rules);
    let keys = r#"key_prefix "shop/" { policy = "write" }"#;
    let sessions = r#"session_prefix "" { policy = "write" }"#;
    let url = |token: &str| format!("consul://:{token}@127.0.0.1:{port}?namespace=shop");

    let good = token("good", &format!("{keys} {sessions}"));
    let sync = connect(&url(&good)).await.unwrap();
    pair(&*sync, "a").await.unwrap();
    assert!(
        sync.list(distsync::Kind::Lock, "")
            .await
            .unwrap()
            .is_empty()
    );
    refused(
        &url(&token("keys", keys)),
        ErrorKind::Denied,
        "docs/semantics.md",
    )
    .await;
    refused(
        &url(&token("sessions", sessions)),
        ErrorKind::Denied,
        "docs/semantics.md",
    )
    .await;
    refused(&url("hidden"), ErrorKind::Denied, "").await;
}
