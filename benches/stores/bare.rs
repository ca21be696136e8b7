//! The same steps with each store's own client, and no library around them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use distsync::etcd::etcd_client::{Client, Compare, CompareOp, PutOptions, Txn, TxnOp};

pub(crate) type Work = Pin<Box<dyn Future<Output = u64> + Send>>;
type Worker = Box<dyn FnOnce(Arc<AtomicBool>) -> Work>;

/// A client without distsync.
pub(crate) trait Bare {
    /// Returns a worker that acquires and releases `name` until it is stopped, and returns the
    /// count.
    fn worker(&self, name: String) -> Worker;
}

/// The `redis` crate: SET NX PX, and a script that compares and deletes.
pub(crate) struct Redis(redis::aio::MultiplexedConnection, Arc<redis::Script>);

impl Redis {
    pub(crate) async fn connect(port: u16) -> Self {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).expect("a client");
        let connection = client
            .get_multiplexed_async_connection()
            .await
            .expect("connect");
        let script = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";
        Self(connection, Arc::new(redis::Script::new(script)))
    }
}

impl Bare for Redis {
    fn worker(&self, name: String) -> Worker {
        let (mut connection, script) = (self.0.clone(), self.1.clone());
        Box::new(move |over| {
            Box::pin(async move {
                let mut pairs = 0;
                while !over.load(Ordering::Relaxed) {
                    let set = redis::cmd("SET")
                        .arg(&name)
                        .arg("me")
                        .arg("NX")
                        .arg("PX")
                        .arg(60_000)
                        .to_owned();
                    let () = set.query_async(&mut connection).await.expect("set");
                    let deleted: i64 = script
                        .key(&name)
                        .arg("me")
                        .invoke_async(&mut connection)
                        .await
                        .expect("delete");
                    assert_eq!(deleted, 1);
                    pairs += 1;
                }
                pairs
            })
        })
    }
}

/// The `rslock` crate: SET NX PX, and a script that compares and deletes, behind its own API.
pub(crate) struct Rslock(rslock::LockManager);

impl Rslock {
    pub(crate) fn connect(port: u16) -> Self {
        Self(rslock::LockManager::new(vec![format!(
            "redis://127.0.0.1:{port}"
        )]))
    }
}

impl Bare for Rslock {
    fn worker(&self, name: String) -> Worker {
        let manager = self.0.clone();
        Box::new(move |over| {
            Box::pin(async move {
                let mut pairs = 0;
                while !over.load(Ordering::Relaxed) {
                    let lock = manager
                        .lock(name.as_bytes(), Duration::from_secs(60))
                        .await
                        .expect("lock");
                    manager.unlock(&lock).await;
                    pairs += 1;
                }
                pairs
            })
        })
    }
}

/// A transaction that creates a key under a lease, and one that deletes the key if it is unchanged.
pub(crate) struct Etcd(Client, i64);

impl Etcd {
    pub(crate) async fn connect(port: u16) -> Self {
        let mut client = Client::connect([format!("127.0.0.1:{port}")], None)
            .await
            .expect("connect");
        let lease = client.lease_grant(600, None).await.expect("a lease").id();
        Self(client, lease)
    }
}

impl Etcd {
    /// Creates and deletes the key `name`.
    pub(crate) async fn pair(&self, name: &str) {
        let mut kv = self.0.kv_client();
        let put = TxnOp::put(name, "me", Some(PutOptions::new().with_lease(self.1)));
        let free = Compare::create_revision(name, CompareOp::Equal, 0);
        let created = kv
            .txn(Txn::new().when([free]).and_then([put]))
            .await
            .expect("create");
        let revision = created.header().expect("a header").revision();
        let same = Compare::create_revision(name, CompareOp::Equal, revision);
        let delete = TxnOp::delete(name, None);
        let deleted = kv
            .txn(Txn::new().when([same]).and_then([delete]))
            .await
            .expect("delete");
        assert!(deleted.succeeded());
    }
}

impl Bare for Etcd {
    fn worker(&self, name: String) -> Worker {
        let etcd = Self(self.0.clone(), self.1);
        Box::new(move |over| {
            Box::pin(async move {
                let mut pairs = 0;
                while !over.load(Ordering::Relaxed) {
                    etcd.pair(&name).await;
                    pairs += 1;
                }
                pairs
            })
        })
    }
}

/// A transaction that locks a key and one that deletes it, over keep-alive HTTP.
pub(crate) struct Consul(reqwest::Client, String, String);

impl Consul {
    pub(crate) async fn connect(port: u16) -> Self {
        let client = reqwest::Client::builder()
            .tcp_nodelay(true)
            .no_proxy()
            .build()
            .expect("a client");
        let base = format!("http://127.0.0.1:{port}/v1");
        let settings = r#"{"TTL":"600s","Behavior":"delete","LockDelay":"0s","NodeChecks":[]}"#;
        let made = client
            .put(format!("{base}/session/create"))
            .body(settings)
            .send()
            .await
            .expect("a session");
        let made = made.text().await.expect("an answer");
        let session = made.split('"').nth(3).expect("an id").to_owned();
        Self(client, base, session)
    }
}

impl Bare for Consul {
    fn worker(&self, name: String) -> Worker {
        let (client, url, session) = (self.0.clone(), format!("{}/txn", self.1), self.2.clone());
        Box::new(move |over| {
            Box::pin(async move {
                let mut pairs = 0;
                while !over.load(Ordering::Relaxed) {
                    let lock = format!(
                        r#"[{{"KV":{{"Verb":"lock","Key":"{name}/me","Value":"eA==","Session":"{session}"}}}},
                        {{"KV":{{"Verb":"get-tree","Key":"{name}/"}}}}]"#
                    );
                    let delete = format!(
                        r#"[{{"KV":{{"Verb":"check-session","Key":"{name}/me","Session":"{session}"}}}},
                        {{"KV":{{"Verb":"delete","Key":"{name}/me"}}}}]"#
                    );
                    for step in [lock, delete] {
                        let answer = client
                            .put(&url)
                            .body(step)
                            .send()
                            .await
                            .expect("a transaction");
                        assert!(answer.status().is_success());
                        answer.bytes().await.expect("an answer");
                    }
                    pairs += 1;
                }
                pairs
            })
        })
    }
}
