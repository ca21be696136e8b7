//! Passwords and tokens in files that change while a client holds a lock.

use std::path::PathBuf;
use std::time::Duration;

use distsync::etcd::etcd_client::Client;
use distsync::{LockOptions, connect};
use distsync_core::conformance::secrets;
use tempfile::TempDir;

use super::steps::{ConsulTokens, pair};
use crate::stores::{Consul, Etcd, Redis};

/// The file of a secret.
struct Secret {
    folder: TempDir,
}

impl Secret {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = Self { folder };
        secret.replace(text);
        secret
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("secret")
    }

    fn replace(&self, text: &str) {
        secrets::note(text);
        std::fs::write(self.path(), format!("{text}\n")).unwrap();
    }
}

/// Holds a lock while `change` replaces the secret. The lock stays held for longer than the TTL,
/// and another lock can be acquired.
async fn held_through_a_change(
    url: &str,
    secret: &Secret,
    ttl: Duration,
    change: impl AsyncFnOnce(),
) {
    let url = format!("{url}={}&ttl={}s", secret.path().display(), ttl.as_secs());
    let sync = connect(&url).await.unwrap();
    let guard = sync.lock("a", LockOptions::new()).unwrap();
    let guard = guard.acquire().await.unwrap();
    change().await;
    let lost = tokio::time::timeout(ttl, guard.revoked()).await;
    assert!(lost.is_err(), "{url}: {lost:?}");
    pair(&*sync, "b").await.unwrap();
    guard.release().await.unwrap();
}

#[tokio::test]
async fn etcd_logs_in_again_with_the_new_password() {
    let etcd = Etcd::start();
    let address = format!("127.0.0.1:{}", etcd.port());
    let mut auth = Client::connect([&address], None)
        .await
        .unwrap()
        .auth_client();
    auth.user_add("root", "hidden-old", None).await.unwrap();
    auth.user_grant_role("root", "root").await.unwrap();
    auth.auth_enable().await.unwrap();
    let secret = Secret::new("hidden-old");
    let url = format!("etcd://root@{address}?password_file");
    held_through_a_change(&url, &secret, Duration::from_secs(3), async || {
        let options = distsync::etcd::etcd_client::ConnectOptions::new();
        let options = options.with_user("root", "hidden-old");
        let root = Client::connect([&address], Some(options)).await.unwrap();
        // etcd logs the user out, everywhere.
        let mut auth = root.auth_client();
        auth.user_change_password("root", "hidden-new")
            .await
            .unwrap();
        secret.replace("hidden-new");
    })
    .await;
}

#[tokio::test]
async fn redis_connects_again_with_the_new_password() {
    let redis = Redis::start();
    let tell = |command: &str| assert!(!redis.tell(command).starts_with('-'), "{command}");
    tell("ACL SETUSER app on >hidden-old ~* &* +@all");
    let secret = Secret::new("hidden-old");
    let url = format!("redis://app@127.0.0.1:{}?password_file", redis.port());
    held_through_a_change(&url, &secret, Duration::from_secs(2), async || {
        tell("ACL SETUSER app resetpass >hidden-new");
        secret.replace("hidden-new");
        tell("CLIENT KILL USER app");
    })
    .await;
}

#[tokio::test]
async fn consul_requests_carry_the_new_token() {
    let consul = Consul::start_with_acl();
    let tokens = ConsulTokens::bootstrap(consul.port()).await;
    let rules = r#"key_prefix "" { policy = "write" } session_prefix "" { policy = "write" }"#;
    let (first, second) = (
        tokens.create("first", rules),
        tokens.create("second", rules),
    );
    let secret = Secret::new(&first);
    let url = format!("consul://127.0.0.1:{}?token_file", consul.port());
    held_through_a_change(&url, &secret, Duration::from_secs(10), async || {
        secret.replace(&second);
        tokens.delete(&first);
    })
    .await;
}
