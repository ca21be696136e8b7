//! What outlives its guard, its handle or its process.

use std::time::Duration;

use super::super::stage::{SOON, Stage, eventually, queue_of};
use crate::locks::guard::Release;
use crate::locks::ticket::Ticket;
use crate::locks::traits::Sync;
use crate::options::{LockOptions, OnDisconnect};
use crate::spi::clock;
use crate::types::error::ErrorKind;
use crate::types::loss::Loss;

/// A detached lock is held though its handle is closed; its ticket extends and releases it elsewhere, and is of no use
/// afterwards.
pub async fn api_a_detached_lock_is_resumed_elsewhere(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let shared = first.lock("a").acquire().await.expect("free");
    assert_eq!(shared.detach().expect_err("shares a session").kind(), ErrorKind::InvalidOption);
    let limit = stage.ttl() * 2;
    let guard = first.lock_with("b", LockOptions::new().with_ttl(limit)).acquire().await.expect("free");
    let (token, revoked) = (guard.token(), guard.revoked());
    let text = guard.detach().expect("a session of its own").expose();
    assert_eq!(revoked.await, Loss::Detached);
    first.close().await;
    assert_eq!(queue_of(&second, "b").await.holders().count(), 1, "held without its handle");

    let ticket: Ticket = text.parse().expect("a ticket");
    let guard = second.sync.resume(&ticket).await.expect("held");
    assert_eq!(guard.check(Duration::ZERO).expect("held"), token);
    let until = guard.extend().await.expect("extended");
    assert!(until.since(clock::now()) > limit / 2);
    assert_eq!(guard.release().await.expect("released"), Release::Done);
    let error = second.sync.resume(&ticket).await.expect_err("released");
    assert_eq!(error.kind(), ErrorKind::NotHeld, "{error}");
    let next = second.lock("b").acquire().await.expect("free");
    assert!(next.token() > token);
}

/// A detached lock that nobody resumes is free after its TTL; one whose claim was evicted is not resumed.
pub async fn api_a_detached_lock_ends_by_its_ttl(stage: Stage) {
    let client = stage.client("client").await;
    let detached = || async {
        let guard =
            client.lock_with("a", LockOptions::new().with_ttl(stage.ttl())).acquire().await.expect("free");
        (guard.claim(), guard.detach().expect("a session of its own"))
    };
    detached().await;
    let freed = stage.capabilities().freed_within(stage.ttl()) + SOON;
    eventually(freed, "the detached lock is free", || async {
        queue_of(&client, "a").await.entries.is_empty()
    })
    .await;
    let (claim, ticket) = detached().await;
    client.lock("a").evict(claim).await.expect("evicted");
    assert_eq!(client.sync.resume(&ticket).await.expect_err("evicted").kind(), ErrorKind::NotHeld);
}

/// A lock that ignores disconnections is held after its handle was closed, until its TTL; others are not.
pub async fn api_a_lock_can_outlive_its_handle(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let ignoring = LockOptions::new().with_on_disconnect(OnDisconnect::Ignore);
    let kept = first.lock_with("a", ignoring.clone()).acquire().await.expect("free");
    let dropped = first.lock_with("b", ignoring).acquire().await.expect("free");
    drop(dropped);
    eventually(SOON, "a dropped guard releases", || async {
        queue_of(&second, "b").await.entries.is_empty()
    })
    .await;
    first.close().await;
    assert_eq!(queue_of(&second, "a").await.holders().count(), 1, "held without its handle");
    drop(kept);
    let freed = stage.freed_by() + SOON;
    eventually(freed, "free after its ttl", || async { queue_of(&second, "a").await.entries.is_empty() })
        .await;
}

/// A handle gives back all that it has, with and without sessions of their own, and goes on.
pub async fn api_release_all_frees_everything_and_the_handle_goes_on(stage: Stage) {
    let (client, other) = (stage.client("client").await, stage.client("other").await);
    let blocking = other.lock("c").acquire().await.expect("free");
    let shared = client.lock("a").acquire().await.expect("free");
    let alone =
        client.lock_with("b", LockOptions::new().with_ttl(stage.ttl())).acquire().await.expect("free");
    client.sync.release_all().await.expect("released");
    assert_eq!((shared.revoked().await, alone.revoked().await), (Loss::Closed, Loss::Closed));
    for name in ["a", "b"] {
        assert!(queue_of(&other, name).await.entries.is_empty(), "{name} is free");
    }
    assert_eq!(queue_of(&other, "c").await.entries.len(), 1, "what others hold is theirs");
    let again = client.lock("a").acquire().await.expect("the handle goes on");
    assert!(again.token() > shared.token());
    drop(blocking);
}

/// A lock that is to be released when its connections are gone needs a store that sees them.
pub async fn api_release_on_disconnect_where_the_store_can(stage: Stage) {
    let client = stage.client("client").await;
    let options = LockOptions::new().with_on_disconnect(OnDisconnect::Release);
    let lock = client.sync.lock("a", options);
    if !stage.capabilities().release_on_disconnect {
        assert_eq!(lock.expect_err("this store cannot").kind(), ErrorKind::Unsupported);
        return;
    }
    let guard = lock.expect("this store can").acquire().await.expect("free");
    // Longer than its grace and its TTL: its connections are there.
    tokio::time::sleep(stage.ttl() * 2).await;
    guard.check(Duration::ZERO).expect("held");
    assert_eq!(guard.release().await.expect("released"), Release::Done);
}
