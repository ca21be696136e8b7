//! Restarts, renewals and names, and further promises of the API: laws 13, 14 and 18.

use std::time::Duration;

use futures_util::StreamExt;

use crate::conformance::Stage;
use crate::conformance::stage::{SOON, eventually, queue_of};
use crate::locks::handle::Handle;
use crate::locks::traits::Sync;
use crate::options::{LeaderOptions, LockOptions, Node, SyncOptions};
use crate::spi::clock;
use crate::types::error::{Error, ErrorKind};
use crate::types::ids::ClaimId;
use crate::types::loss::Loss;
use crate::types::names::Kind;
use crate::types::queue::Withdrawn;
use crate::types::token::Token;

/// On a persistent store, a restart that is shorter than the TTL loses nothing. On every store,
/// tokens keep rising, and clients reconnect.
pub async fn law_13_a_restart_shorter_than_the_ttl(stage: Stage) {
    let client = stage.client("client").await;
    let guard = client.lock("a").acquire().await.expect("acquire");
    let token = guard.token();
    stage.restart().await;
    if stage.capabilities().survives_restart {
        tokio::time::sleep(stage.ttl()).await;
        assert_eq!(
            guard
                .check(Duration::ZERO)
                .expect("expected the lock to be held after the restart"),
            token
        );
        let other = stage.client("other").await;
        assert!(
            other.lock("a").try_acquire().await.expect("try").is_none(),
            "granted twice"
        );
        guard.release().await.expect("release");
    }
    drop(guard);
    let after = stage.client("after").await;
    let lock = after.lock("a");
    let next = tokio::time::timeout(stage.freed_by() * 2 + SOON, lock.acquire()).await;
    let next = next.expect("expected an answer in time").expect("acquire");
    assert!(
        next.token() > token,
        "a token is not greater after a restart: {} after {token}",
        next.token()
    );
    next.release().await.expect("release");
    let again = client.lock("b");
    eventually(
        stage.freed_by() + SOON,
        "the old client is back",
        || async { again.acquire().await.is_ok() },
    )
    .await;
}

/// Where the store has key slots, consecutive claims reuse a slot, and concurrent claims have
/// different ones. Elsewhere, ids are completely random.
pub async fn spi_claims_reuse_key_slots_where_the_store_has_them(stage: Stage) {
    let client = stage.client("client").await;
    let lock = client.lock("a");
    let mut slots = Vec::new();
    for round in 0..4 {
        let guard = lock.acquire().await.expect("acquire");
        assert!(lock.try_acquire().await.expect("try").is_none());
        slots.push(guard.claim().key_slot());
        match round % 2 {
            0 => assert!(guard.release().await.is_ok()),
            // Released in the background: the next claim may be made before the slot is free.
            _ => drop(guard),
        }
    }
    let readers = client.lock_with("b", LockOptions::shared());
    let (one, two) = (
        readers.acquire().await.expect("one"),
        readers.acquire().await.expect("two"),
    );
    assert_ne!(one.claim(), two.claim());
    if stage.capabilities().key_slots {
        assert_eq!((one.claim().key_slot(), two.claim().key_slot()), (0, 1));
        assert!(slots.iter().all(|slot| *slot < 3), "{slots:?}");
    } else {
        assert!(slots.iter().any(|slot| *slot > 1_000), "{slots:?}");
    }
}

/// The core retries a request to open a session that got no reply. If the first one already opened
/// the session, the second one succeeds too, and the session has its full TTL.
pub async fn spi_a_session_is_opened_although_the_reply_was_lost(stage: Stage) {
    let client = stage.client("client").await;
    // A lock with a TTL of its own has a session of its own.
    let lock = client.lock_with("a", LockOptions::new().with_ttl(stage.ttl()));
    client.network.lose_reply_of_opening();
    let guard = lock
        .acquire()
        .await
        .expect("acquire after the reply of `open` was lost");
    assert!(
        guard.check(stage.ttl() / 4).is_ok(),
        "the session has less than its TTL"
    );
    guard.release().await.expect("release");
}

/// A TTL and a hold limit below the smallest of the store are granted as its smallest where the
/// store raises them. Elsewhere they are refused. A TTL of zero is refused everywhere.
pub async fn api_a_short_ttl_is_raised_where_the_store_raises_it(stage: Stage) {
    let capabilities = stage.capabilities();
    let smallest = capabilities.ttl_min;
    let open = async |ttl| {
        let options = SyncOptions::new().with_session_ttl(ttl);
        Handle::open(stage.backend().await, options).await
    };
    let refused = |error: Error| assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
    refused(open(Duration::ZERO).await.expect_err("a ttl of zero"));
    let short = LockOptions::new().with_ttl(smallest / 2);
    if !capabilities.raises_short_ttl {
        refused(open(smallest / 2).await.expect_err("a short ttl"));
        let client = stage.client("client").await;
        refused(client.sync.lock("a", short).expect_err("a short limit"));
        return;
    }
    let sync = open(smallest / 2).await.expect("connect with a short ttl");
    for (options, name) in [(LockOptions::new(), "a"), (short, "b")] {
        let guard = sync.lock(name, options).expect("a lock").acquire().await;
        let guard = guard.expect("acquire");
        assert!(guard.remaining() > smallest / 2, "{:?}", guard.remaining());
        guard.release().await.expect("release");
    }
    sync.close().await.expect("close");
}

/// A session with a hundred locks is renewed no more often than one with a single lock.
pub async fn law_14_keep_alive_does_not_grow_with_locks(stage: Stage) {
    let client = stage.client("client").await;
    let guard = client.lock("first").acquire().await.expect("acquire");
    let count = async || {
        let before = client.network.renewals();
        tokio::time::sleep(stage.ttl() * 2).await;
        client.network.renewals() - before
    };
    let with_one = count().await;
    let mut guards = Vec::new();
    for number in 0..100 {
        guards.push(
            client
                .lock(&format!("lock {number}"))
                .acquire()
                .await
                .expect("acquire"),
        );
    }
    let with_many = count().await;
    assert!(with_one > 0, "no renewals at all");
    assert!(
        with_many <= with_one + 2,
        "{with_one} renewals for one lock, {with_many} for 101"
    );
    assert!(
        guards
            .iter()
            .all(|guard| guard.check(Duration::ZERO).is_ok())
    );
    drop(guard);
}

/// Similar names are independent, and so are a lock and an election with the same name.
pub async fn law_18_names_never_collide(stage: Stage) {
    let client = stage.client("client").await;
    let names = [
        "foo",
        "foo/bar",
        "foo/",
        "/foo",
        "foo%2Fbar",
        "Foo",
        "foo ",
        "foo\u{308}",
        "fo\u{f6}",
        "l/foo",
        "*",
        ".",
        "..",
        "...",
        "./foo",
        "../foo",
        "%2E",
        "%2E%2E",
        "/",
        "//",
    ];
    let mut guards = Vec::new();
    for name in names {
        let guard = client.lock(name).try_acquire().await.expect("try");
        guards.push(guard.unwrap_or_else(|| panic!("`{name}` is taken by another name")));
    }
    for name in names {
        let lock = client.lock(name);
        let seen = tokio::time::timeout(SOON, lock.watch().next()).await;
        let seen = seen
            .unwrap_or_else(|_| panic!("`{name}` is not seen"))
            .expect("a queue")
            .expect("watch");
        assert_eq!(
            seen.entries.len(),
            1,
            "expected one claim of `{name}` in its watch"
        );
        assert_eq!(
            lock.inspect().await.expect("inspect").entries.len(),
            1,
            "expected one claim of `{name}` by `inspect`"
        );
    }
    let election = client
        .sync
        .leader("foo", LeaderOptions::new(Node::new("node")))
        .expect("an election");
    let office = tokio::time::timeout(SOON, election.elect())
        .await
        .expect("expected the lock not to block the election of the same name")
        .expect("elect");
    let mut listed = client.sync.list(Kind::Lock, "").await.expect("list");
    listed.sort();
    let mut expected = names.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(listed, expected);
    assert_eq!(
        client.sync.list(Kind::Leader, "").await.expect("list"),
        ["foo"]
    );
    for start in [".", "..", "../", "/", "foo/"] {
        let mut listed = client.sync.list(Kind::Lock, start).await.expect("list");
        listed.sort();
        let beginning: Vec<_> = expected
            .iter()
            .filter(|name| name.starts_with(start))
            .cloned()
            .collect();
        assert_eq!(
            listed, beginning,
            "expected the names that begin with `{start}`"
        );
    }
    for guard in guards {
        guard.release().await.expect("release");
    }
    office.resign().await.expect("resign");
    for name in ["", "a\nb", &"x".repeat(513)] {
        let error = client
            .sync
            .lock(name, LockOptions::new())
            .expect_err("expected the name to be rejected");
        assert_eq!(error.kind(), ErrorKind::InvalidName, "{error}");
    }
    let longest = "ü".repeat(256);
    client
        .lock(&longest)
        .acquire()
        .await
        .expect("acquire the longest name")
        .release()
        .await
        .expect("release");
}

/// Closing a session releases its claims and removes its waiters.
pub async fn spi_a_closed_session_frees_all(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let held = [
        first.lock("a").acquire().await.expect("acquire"),
        first.lock("b").acquire().await.expect("acquire"),
    ];
    let waiter = second.queue_up("a", LockOptions::new(), 1).await;
    first.close().await;
    // At once, before the session would have ended by its TTL.
    assert!(second.lock("b").try_acquire().await.expect("try").is_some());
    drop(waiter.granted(SOON).await);
    assert!(
        held.iter()
            .all(|guard| guard.check(Duration::ZERO).is_err())
    );
    let error = first
        .lock("a")
        .acquire()
        .await
        .expect_err("expected an error after `close`");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
}

/// `close` revokes every guard, with `Loss::Closed`.
pub async fn api_close_releases_everything(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let guard = first.lock("a").acquire().await.expect("acquire");
    let revoked = guard.revoked();
    first.sync.close().await.expect("close");
    first.sync.close().await.expect("close again");
    assert_eq!(revoked.await, Loss::Closed);
    drop(
        second
            .lock("a")
            .try_acquire()
            .await
            .expect("try")
            .expect("expected the name to be free"),
    );
}

/// A claim with a hold limit is lost when the limit is reached, although its client is healthy. An
/// extension moves the limit.
pub async fn api_a_hold_limit_runs_out_unless_extended(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let limited = LockOptions::new().with_ttl(stage.ttl());
    let guard = first
        .lock_with("a", limited.clone())
        .acquire()
        .await
        .expect("acquire");
    let before = guard.valid_until().expect("expected the lock to be held");
    tokio::time::sleep(stage.ttl() / 2).await;
    let after = guard.extend().await.expect("extend");
    assert!(after > before, "an extension does not extend");
    assert_eq!(guard.revoked().await, Loss::Expired);
    assert!(clock::now() >= before);
    let waiter = second.queue_up("a", limited, 0).await;
    let (next, _) = waiter.granted(stage.freed_by() * 2 + SOON).await;
    // The limit counts from the grant, not from the beginning of the wait.
    assert!(next.remaining() > stage.ttl() / 3, "{:?}", next.remaining());
    next.release().await.expect("release");
    assert!(queue_of(&second, "a").await.entries.is_empty());
    let error = first
        .sync
        .lock("a", LockOptions::new().with_ttl(Duration::ZERO))
        .expect_err("expected a TTL of zero to be rejected");
    assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
}

/// Observers see holders and waiters with their clients, modes and values, and all changes.
pub async fn api_inspect_watch_and_list_show_who_is_there(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let mut watch = second.lock("shop/a").watch();
    let mut next = async || {
        tokio::time::timeout(SOON, watch.next())
            .await
            .expect("expected an answer in time")
            .expect("expected the watch to go on")
            .expect("watch")
    };
    assert!(next().await.entries.is_empty());
    let options = LockOptions::new().with_value("batch 7");
    let guard = first
        .lock_with("shop/a", options)
        .acquire()
        .await
        .expect("acquire");
    let queue = next().await;
    let holder = queue.holders().next().expect("a holder");
    assert_eq!(
        (holder.client.as_str(), &holder.value[..]),
        ("first", &b"batch 7"[..])
    );
    assert_eq!(
        (holder.claim, holder.token),
        (guard.claim(), Some(guard.token()))
    );

    guard.update("batch 8").await.expect("update");
    assert_eq!(&next().await.entries[0].value[..], b"batch 8");

    let waiter = second.queue_up("shop/a", LockOptions::shared(), 1).await;
    let queue = next().await;
    let waiting = queue.waiters().next().expect("a waiter");
    assert_eq!(
        (waiting.client.as_str(), waiting.mode),
        ("second", crate::types::mode::Mode::Shared)
    );
    assert_eq!(
        second
            .lock("shop/a")
            .inspect()
            .await
            .expect("inspect")
            .entries,
        queue.entries
    );

    let other = first.lock("shop/b").acquire().await.expect("acquire");
    assert_eq!(
        second.sync.list(Kind::Lock, "shop/").await.expect("list"),
        ["shop/a", "shop/b"]
    );
    assert_eq!(
        second.sync.list(Kind::Lock, "shop/b").await.expect("list"),
        ["shop/b"]
    );
    other.release().await.expect("release");
    guard.release().await.expect("release");
    drop(waiter.granted(SOON).await);
    eventually(SOON, "no name is left", || async {
        second
            .sync
            .list(Kind::Lock, "")
            .await
            .expect("list")
            .is_empty()
    })
    .await;
}

/// An operator can evict a claim. Its holder is notified where the store supports it, and the next
/// waiter is granted.
pub async fn api_an_operator_can_evict(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let guard = first.lock("a").acquire().await.expect("acquire");
    let operator = second.lock("a");
    if !stage.capabilities().evict {
        let error = operator
            .evict(guard.claim())
            .await
            .expect_err("expected a rejection: the capability says no");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        return;
    }
    let waiter = second.queue_up("a", LockOptions::new(), 1).await;
    let late = first.queue_up("a", LockOptions::new(), 2).await;
    let queue = operator.inspect().await.expect("inspect");
    assert_eq!(
        operator.evict(ClaimId::random()).await.expect("evict"),
        Withdrawn::Absent
    );
    assert_eq!(
        operator.evict(queue.entries[2].claim).await.expect("evict"),
        Withdrawn::Waiting
    );
    let mut late = late;
    let mut result = None;
    eventually(SOON, "the evicted waiter is notified", || {
        result = result.take().or_else(|| late.try_result());
        std::future::ready(result.is_some())
    })
    .await;
    let error = result
        .expect("expected a notification")
        .expect_err("expected an error after the eviction");
    assert_eq!(error.kind(), ErrorKind::NotHeld, "{error}");
    let token = guard.token();
    assert_eq!(
        operator.evict(guard.claim()).await.expect("evict"),
        Withdrawn::Held
    );
    let (next, _) = waiter.granted(SOON).await;
    assert!(next.token() > token);
    if stage.capabilities().reports_evictions {
        let loss = tokio::time::timeout(SOON, guard.revoked())
            .await
            .expect("expected the holder to be notified");
        assert_eq!(loss, Loss::Evicted);
    }
    drop(guard);
    assert!(Token::MAX > next.token());
    assert!(
        next.check(Duration::ZERO).is_ok(),
        "a former holder's guard released the next"
    );
}
