//! Locks that outlive their guard, their handle or their process.

use std::time::Duration;

use crate::conformance::stage::{SOON, eventually, queue_of};
use crate::conformance::{Stage, bare};
use crate::locks::guard::Release;
use crate::locks::ticket::Ticket;
use crate::locks::traits::Sync;
use crate::options::{LeaderOptions, LockOptions, Node, OnDisconnect};
use crate::spi::backend::{SessionSpec, Standing};
use crate::spi::clock;
use crate::types::error::ErrorKind;
use crate::types::loss::Loss;

/// A detached lock remains held after its handle is closed. Its ticket extends and releases it
/// elsewhere, and is not valid afterwards.
pub async fn api_a_detached_lock_is_resumed_elsewhere(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let shared = first.lock("a").acquire().await.expect("acquire");
    assert_eq!(
        shared
            .detach()
            .expect_err("expected an error: the lock shares a session")
            .kind(),
        ErrorKind::InvalidOption
    );
    let limit = stage.ttl() * 2;
    let guard = first
        .lock_with("b", LockOptions::new().with_ttl(limit))
        .acquire()
        .await
        .expect("acquire");
    let (token, revoked) = (guard.token(), guard.revoked());
    let text = guard.detach().expect("a session of its own").expose();
    assert_eq!(revoked.await, Loss::Detached);
    first.close().await;
    assert_eq!(
        queue_of(&second, "b").await.holders().count(),
        1,
        "held without its handle"
    );

    let ticket: Ticket = text.parse().expect("a ticket");
    let guard = second
        .sync
        .resume(&ticket)
        .await
        .expect("expected the lock to be held");
    assert_eq!(
        guard
            .check(Duration::ZERO)
            .expect("expected the lock to be held"),
        token
    );
    let until = guard.extend().await.expect("extend");
    assert!(until.since(clock::now()) > limit / 2);
    assert_eq!(guard.release().await.expect("release"), Release::Done);
    let error = second
        .sync
        .resume(&ticket)
        .await
        .expect_err("expected an error after the release");
    assert_eq!(error.kind(), ErrorKind::NotHeld, "{error}");
    let next = second.lock("b").acquire().await.expect("acquire");
    assert!(next.token() > token);
}

/// A detached lock that is not resumed is released when its TTL expires. An evicted one cannot be
/// resumed.
pub async fn api_a_detached_lock_ends_by_its_ttl(stage: Stage) {
    let client = stage.client("client").await;
    let detached = || async {
        let guard = client
            .lock_with("a", LockOptions::new().with_ttl(stage.ttl()))
            .acquire()
            .await
            .expect("acquire");
        (guard.claim(), guard.detach().expect("a session of its own"))
    };
    detached().await;
    let freed = stage.capabilities().freed_within(stage.ttl()) + SOON;
    eventually(freed, "the detached lock is free", || async {
        queue_of(&client, "a").await.entries.is_empty()
    })
    .await;
    let (claim, ticket) = detached().await;
    client.lock("a").evict(claim).await.expect("evict");
    assert_eq!(
        client
            .sync
            .resume(&ticket)
            .await
            .expect_err("expected an error after the eviction")
            .kind(),
        ErrorKind::NotHeld
    );
}

/// A lock that ignores disconnections remains held until its TTL expires after its handle is
/// closed.
pub async fn api_a_lock_can_outlive_its_handle(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let ignoring = LockOptions::new().with_on_disconnect(OnDisconnect::Ignore);
    let kept = first
        .lock_with("a", ignoring.clone())
        .acquire()
        .await
        .expect("acquire");
    let dropped = first
        .lock_with("b", ignoring)
        .acquire()
        .await
        .expect("acquire");
    drop(dropped);
    eventually(SOON, "a dropped guard releases", || async {
        queue_of(&second, "b").await.entries.is_empty()
    })
    .await;
    first.close().await;
    assert_eq!(
        queue_of(&second, "a").await.holders().count(),
        1,
        "held without its handle"
    );
    drop(kept);
    let freed = stage.freed_by() + SOON;
    eventually(freed, "free after its ttl", || async {
        queue_of(&second, "a").await.entries.is_empty()
    })
    .await;
}

/// `release_all` releases all locks of a handle, with and without their own sessions. The handle
/// remains usable.
pub async fn api_release_all_frees_everything_and_the_handle_goes_on(stage: Stage) {
    let (client, other) = (stage.client("client").await, stage.client("other").await);
    let blocking = other.lock("c").acquire().await.expect("acquire");
    let shared = client.lock("a").acquire().await.expect("acquire");
    let owner = client
        .lock_with("b", LockOptions::new().with_ttl(stage.ttl()))
        .acquire()
        .await
        .expect("acquire");
    let mut waiting = client.queue_up("c", LockOptions::new(), 1).await;
    client.sync.release_all().await.expect("release");
    let mut ended = None;
    eventually(SOON, "the waiting request is cancelled", || {
        ended = waiting.try_result();
        std::future::ready(ended.is_some())
    })
    .await;
    let error = ended.expect("an end").expect_err("expected no grant");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert_eq!(
        (shared.revoked().await, owner.revoked().await),
        (Loss::Closed, Loss::Closed)
    );
    for name in ["a", "b"] {
        assert!(
            queue_of(&other, name).await.entries.is_empty(),
            "expected `{name}` to be free"
        );
    }
    assert_eq!(
        queue_of(&other, "c").await.entries.len(),
        1,
        "the locks of other handles remain"
    );
    let again = client
        .lock("a")
        .acquire()
        .await
        .expect("expected the handle to remain usable");
    assert!(again.token() > shared.token());
    drop(blocking);
}

/// `OnDisconnect::Release` is rejected where the store does not support it. Elsewhere, the lock and
/// the leadership remain held while their connections are open.
pub async fn api_release_on_disconnect_where_the_store_can(stage: Stage) {
    let client = stage.client("client").await;
    let options = LockOptions::new().with_on_disconnect(OnDisconnect::Release);
    let lock = client.sync.lock("a", options);
    let options = LeaderOptions::new(Node::new("node")).with_on_disconnect(OnDisconnect::Release);
    let leader = client.sync.leader("a", options);
    if !stage.capabilities().release_on_disconnect {
        for refused in [lock.map(drop), leader.map(drop)] {
            let error = refused.expect_err("expected a rejection: the capability says no");
            assert_eq!(error.kind(), ErrorKind::Unsupported);
        }
        return;
    }
    let leader = leader.expect("this store can");
    let office = leader.elect().await.expect("elect");
    let guard = lock
        .expect("this store can")
        .acquire()
        .await
        .expect("acquire");
    // Longer than the grace period and the TTL, while the connections are open.
    tokio::time::sleep(stage.ttl() * 2).await;
    guard
        .check(Duration::ZERO)
        .expect("expected the lock to be held");
    office
        .check(Duration::ZERO)
        .expect("expected the leadership to be held");
    assert_eq!(office.resign().await.expect("resign"), Release::Done);
    assert_eq!(guard.release().await.expect("release"), Release::Done);

    // The only connection of a session ends long before its TTL.
    let (dying, observer) = (stage.backend().await, stage.backend().await);
    let spec = SessionSpec {
        release_on_disconnect: true,
        ..bare::spec(Duration::from_secs(60).min(stage.capabilities().ttl_max))
    };
    let session = dying.open(&spec).await.expect("a session");
    let held = stage.claim(session, "b");
    let standing = dying.enqueue(&held).await.expect("enqueue");
    assert!(matches!(standing, Standing::Granted { .. }), "{standing:?}");
    drop(dying);
    eventually(SOON, "the lock of a closed connection is free", || async {
        let queue = observer.queue(&held.name).await.expect("queue");
        queue.entries.is_empty()
    })
    .await;
}
