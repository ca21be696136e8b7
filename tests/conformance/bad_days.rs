//! What goes wrong with a store: each a clear error or a recovery, on the real server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use distsync::etcd::etcd_client::{Client, Permission, PermissionType, Txn, TxnOp};
use distsync::{Error, ErrorKind, LockOptions, Sync, Wait, connect};
use distsync_core::conformance::{Harness, secrets};
use futures_util::StreamExt;
use futures_util::future::join_all;

use super::processes::acquired_again;
use super::stores::{Consul, Etcd, Redis};

/// Acquires and releases once, giving up soon.
pub(crate) async fn pair(sync: &dyn Sync, name: &str) -> Result<(), Error> {
    let options = LockOptions::new().with_wait(Wait::For(Duration::from_secs(5)));
    sync.lock(name, options)?
        .acquire()
        .await?
        .release()
        .await
        .map(drop)
}

pub(crate) async fn refused(url: &str, kind: ErrorKind, reason: &str) {
    let error = match connect(url).await {
        Ok(sync) => pair(&*sync, "a").await.expect_err("it works"),
        Err(error) => error,
    };
    assert_eq!(error.kind(), kind, "{error:?} for {url}");
    assert!(error.to_string().contains(reason), "{error}");
    assert!(error.backend().is_some(), "{error}");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("hidden"), "a secret shows: {shown}");
}

/// An answer to a bare HTTP request.
pub(crate) fn http(port: u16, method: &str, path: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn nobody_listens_at_a_wrong_port() {
    let port = super::stores::free_port();
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

/// The rights that docs/semantics.md names.
const REDIS_RIGHTS: &str = "~distsync:* &distsync:* +evalsha +script|load +time +subscribe +publish +hget +hmget +hset \
    +hsetnx +hdel +hexists +hincrby +hkeys +hscan +hgetall +zadd +zrem +zrange +zcard +zrank +del +hello +select";

/// Uses all that needs a right of its own.
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
    // Several names in one run of the script.
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
    // INFO, to warn of a policy that evicts, can do without.
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
    // What a client leaves behind that dies with locks that nobody waits for.
    let (claim, session) = ("a".repeat(32), "b".repeat(32));
    for name in ["distsync/l/one", "distsync/l/two"] {
        let record = format!("{claim}{session}e0\\x20{0}\\x20{0}\\x201\\x20x", 1);
        assert_eq!(
            redis.tell(&format!("HSET distsync:{{0}}:table {name} \"{record}\"")),
            ":1\r\n"
        );
    }
    redis.tell(&format!("HSET distsync:{{0}}:table {session} 1"));
    // And what nobody of us has written.
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
    // What is left: our own session, and where the look ended.
    let deadline = distsync_core::spi::clock::now().after(Duration::from_secs(5));
    while redis.tell("HLEN distsync:{0}:table") != ":2\r\n" {
        assert!(distsync_core::spi::clock::now() < deadline, "the dead stay");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What a script that failed in its middle may have left by an earlier version.
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

/// An error of connecting names the server's address behind the message, no lock, and a reason.
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

/// Each refusal comes before the first write, names its cause, and leaves the names as they were.
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
    let nobody = format!("127.0.0.1:{}", super::stores::free_port());
    speaks_of_the_server(
        &connect(&format!("redis://{nobody}")).await.unwrap_err(),
        &nobody,
    );
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
    // Without credentials too, and not at the first lock only.
    for url in [format!("etcd://{address}"), url("app:hidden-not")] {
        let error = connect(&url).await.expect_err("no such user");
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(error.to_string().contains("the URL"), "{error}");
    }
}

#[tokio::test]
async fn etcd_compaction_does_not_lose_a_waiter() {
    let etcd = Etcd::start();
    let address = format!("127.0.0.1:{}", etcd.port());
    let sync = connect(&format!("etcd://{address}?namespace=shop"))
        .await
        .unwrap();
    let admin = Client::connect([&address], None).await.unwrap();
    let guard = sync
        .lock("a", LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap();
    let second = sync.lock("a", LockOptions::new()).unwrap();
    let (next, released) = tokio::join!(second.acquire(), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let revision = admin
            .kv_client()
            .put("elsewhere", "x", None)
            .await
            .unwrap()
            .header()
            .unwrap()
            .revision();
        admin.kv_client().compact(revision, None).await.unwrap();
        guard.release().await
    });
    released.unwrap();
    next.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn an_etcd_transaction_can_be_fenced_by_a_guard() {
    let etcd = Etcd::start();
    let address = format!("127.0.0.1:{}", etcd.port());
    let sync = connect(&format!("etcd://{address}")).await.unwrap();
    let mut kv = Client::connect([&address], None).await.unwrap().kv_client();
    let guard = sync
        .lock("a", LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap();
    let fence = distsync::etcd::fence(&guard);
    let write = || {
        Txn::new()
            .when([fence.clone()])
            .and_then([TxnOp::put("data", "x", None)])
    };
    assert!(
        kv.txn(write()).await.unwrap().succeeded(),
        "a holder writes"
    );
    guard.release().await.unwrap();
    assert!(
        !kv.txn(write()).await.unwrap().succeeded(),
        "a former holder writes"
    );
}

#[tokio::test]
async fn a_foreign_key_under_our_prefix_is_named() {
    let etcd = Etcd::start();
    let address = format!("127.0.0.1:{}", etcd.port());
    let admin = Client::connect([&address], None).await.unwrap();
    admin
        .kv_client()
        .put("shop/l/a/stray", "x", None)
        .await
        .unwrap();
    refused(
        &format!("etcd://{address}?namespace=shop"),
        ErrorKind::Protocol,
        "shop/l/a/stray",
    )
    .await;

    let consul = Consul::start();
    http(consul.port(), "PUT", "/v1/kv/shop/l/a/stray", "", "x");
    let url = format!("consul://127.0.0.1:{}?namespace=shop", consul.port());
    refused(&url, ErrorKind::Protocol, "shop/l/a/stray").await;
}

#[tokio::test]
async fn a_consul_session_that_is_destroyed_from_outside_is_lost() {
    let consul = Consul::start();
    let sync = connect(&format!("consul://127.0.0.1:{}?ttl=10s", consul.port()))
        .await
        .unwrap();
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    let guard = lock.acquire().await.unwrap();
    let sessions = http(consul.port(), "GET", "/v1/session/list", "", "");
    let id = sessions
        .split("\"ID\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap();
    http(
        consul.port(),
        "PUT",
        &format!("/v1/session/destroy/{id}"),
        "",
        "",
    );
    let loss = tokio::time::timeout(Duration::from_secs(5), guard.revoked())
        .await
        .expect("told in time");
    assert_eq!(loss, distsync::Loss::SessionLost);
    assert!(lock.acquire().await.unwrap().token() > guard.token());
}

#[tokio::test]
async fn a_key_that_is_deleted_under_its_consul_session_is_reported() {
    let consul = Consul::start();
    let sync = connect(&format!("consul://127.0.0.1:{}?ttl=30s", consul.port()))
        .await
        .unwrap();
    let acquire = async |name: &str| {
        sync.lock(name, LockOptions::new())
            .unwrap()
            .acquire()
            .await
            .unwrap()
    };
    let guard = acquire("a").await;
    // More than one transaction can look at, and a key that was given back by ourselves.
    let mut others = Vec::new();
    for number in 0..100 {
        others.push(acquire(&format!("other-{number}")).await);
    }
    acquire("released").await.release().await.unwrap();
    http(
        consul.port(),
        "DELETE",
        "/v1/kv/distsync/l/a?recurse",
        "",
        "",
    );
    let loss = tokio::time::timeout(Duration::from_secs(15), guard.revoked())
        .await
        .expect("told in time");
    assert_eq!(loss, distsync::Loss::Evicted);
    assert!(
        others
            .iter()
            .all(|guard| guard.check(Duration::ZERO).is_ok()),
        "the others are held"
    );
}

#[tokio::test]
async fn consul_tokens_need_exactly_the_rights_that_are_documented() {
    secrets::note("hidden");
    let consul = Consul::start_with_acl();
    let port = consul.port();
    let field = |answer: &str, name: &str| {
        let start = answer
            .split(&format!("\"{name}\":\""))
            .nth(1)
            .unwrap_or_else(|| panic!("{answer}"));
        start.split('"').next().unwrap().to_owned()
    };
    // The first leader may take a moment to accept the bootstrap.
    let mut boot = String::new();
    for _ in 0..100 {
        boot = http(port, "PUT", "/v1/acl/bootstrap", "", "");
        if boot.contains("SecretID") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let management = format!("X-Consul-Token: {}\r\n", field(&boot, "SecretID"));
    let token = |policy: &str, rules: &str| {
        let body = format!(
            r#"{{"Name":"{policy}","Rules":"{}"}}"#,
            rules.replace('"', "\\\"")
        );
        http(port, "PUT", "/v1/acl/policy", &management, &body);
        let body = format!(r#"{{"Policies":[{{"Name":"{policy}"}}]}}"#);
        let token = field(
            &http(port, "PUT", "/v1/acl/token", &management, &body),
            "SecretID",
        );
        secrets::note(&token);
        token
    };
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

/// A store that is down for longer than the TTL: a loss in time, and then it is found again.
async fn down_beyond_the_ttl(
    store: &impl Harness,
    url: String,
    ttl: Duration,
    stop: impl FnOnce(),
) {
    let sync = connect(&format!("{url}?ttl={}s", ttl.as_secs()))
        .await
        .unwrap();
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    let guard = lock.acquire().await.unwrap();
    stop();
    tokio::time::timeout(ttl, guard.revoked())
        .await
        .expect("revoked within the TTL");
    tokio::time::sleep(Duration::from_secs(1)).await;
    store.restart().await;
    assert!(acquired_again(&*lock).await.token() > guard.token());
}

#[tokio::test]
async fn a_redis_that_is_down_beyond_the_ttl_is_found_again() {
    let redis = Redis::start();
    let url = format!("redis://127.0.0.1:{}", redis.port());
    down_beyond_the_ttl(&*redis, url, Duration::from_secs(1), || redis.stop()).await;
}

#[tokio::test]
async fn an_etcd_that_is_down_beyond_the_ttl_is_found_again() {
    let etcd = Etcd::start();
    let url = format!("etcd://127.0.0.1:{}", etcd.port());
    down_beyond_the_ttl(&*etcd, url, Duration::from_secs(3), || etcd.stop()).await;
}

#[tokio::test]
async fn a_consul_that_is_down_beyond_the_ttl_is_found_again() {
    let consul = Consul::start();
    let url = format!("consul://127.0.0.1:{}", consul.port());
    down_beyond_the_ttl(&*consul, url, Duration::from_secs(10), || consul.stop()).await;
}

/// Servers clean paths, and clients resolve them.
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
