//! Releases and cancellations: laws 7, 8 and 17.

use std::time::Duration;

use crate::conformance::Stage;
use crate::conformance::stage::{SOON, eventually, queue_of};
use crate::locks::guard::Release;
use crate::options::LockOptions;
use crate::spi::backend::{Claim, Standing};
use crate::types::error::ErrorKind;
use crate::types::loss::Loss;
use crate::types::queue::Withdrawn;

/// A second release returns the same result and does not affect the next holder.
pub async fn law_07_release_is_idempotent(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let guard = first.lock("a").acquire().await.expect("acquire");
    let revoked = guard.revoked();
    assert_eq!(guard.release().await.expect("release"), Release::Done);
    let next = second
        .lock("a")
        .try_acquire()
        .await
        .expect("try")
        .expect("expected the name to be free after the release");
    assert_eq!(
        guard.release().await.expect("release"),
        Release::Done,
        "expected the same answer to the second release"
    );
    assert_eq!(revoked.await, Loss::Released);
    assert_eq!(
        guard
            .check(Duration::ZERO)
            .expect_err("expected an error after the release")
            .kind(),
        ErrorKind::NotHeld
    );
    drop(guard);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let queue = queue_of(&first, "a").await;
    assert_eq!(
        queue.entries.len(),
        1,
        "the next holder was released: {queue:?}"
    );
    assert!(next.check(Duration::ZERO).is_ok());
}

/// A release that arrives late does not end another claim, not even a later one of the same
/// session.
pub async fn law_07_a_late_release_spares_the_next_holder(stage: Stage) {
    let backend = stage.backend().await;
    let session = stage.session(&backend).await;
    let (old, new) = (stage.claim(session, "a"), stage.claim(session, "a"));
    assert!(matches!(
        backend.enqueue(&old).await.expect("enqueue"),
        Standing::Granted { .. }
    ));
    assert_eq!(
        backend.withdraw(&old).await.expect("withdraw"),
        Withdrawn::Held
    );
    assert!(matches!(
        backend.enqueue(&new).await.expect("enqueue"),
        Standing::Granted { .. }
    ));
    assert_eq!(
        backend.withdraw(&old).await.expect("withdraw"),
        Withdrawn::Absent
    );
    let queue = backend.queue(&new.name).await.expect("queue");
    assert_eq!(
        queue.holders().map(|entry| entry.claim).collect::<Vec<_>>(),
        [new.id]
    );
    backend.close(&session).await.expect("close");
}

/// The first rule of the SPI: requests are idempotent per claim id.
pub async fn spi_enqueue_and_withdraw_are_idempotent(stage: Stage) {
    let backend = stage.backend().await;
    let session = stage.session(&backend).await;
    let (first, second) = (stage.claim(session, "a"), stage.claim(session, "a"));
    let granted = backend.enqueue(&first).await.expect("enqueue");
    assert_eq!(
        backend.enqueue(&first).await.expect("enqueue"),
        granted,
        "expected the same grant for the same claim"
    );
    let tried = Claim {
        waits: false,
        ..first.clone()
    };
    assert_eq!(
        backend.enqueue(&tried).await.expect("enqueue"),
        granted,
        "a try treats its own claim as another one"
    );
    for _ in 0..2 {
        let standing = backend.enqueue(&second).await.expect("enqueue");
        assert!(
            matches!(standing, Standing::Waiting { position: 1, .. }),
            "{standing:?}"
        );
    }
    assert_eq!(
        backend
            .queue(&first.name)
            .await
            .expect("queue")
            .entries
            .len(),
        2
    );
    assert_eq!(
        backend.withdraw(&second).await.expect("withdraw"),
        Withdrawn::Waiting
    );
    assert_eq!(
        backend.withdraw(&second).await.expect("withdraw"),
        Withdrawn::Absent
    );
    assert_eq!(
        backend.withdraw(&first).await.expect("withdraw"),
        Withdrawn::Held
    );
    assert_eq!(
        backend.withdraw(&first).await.expect("withdraw"),
        Withdrawn::Absent
    );
    assert!(
        backend
            .queue(&first.name)
            .await
            .expect("queue")
            .entries
            .is_empty()
    );
    backend.close(&session).await.expect("close");
}

/// A dropped acquire leaves the queue, and the claims behind it move up.
pub async fn law_08_a_dropped_acquire_leaves_the_queue(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let guard = first.lock("a").acquire().await.expect("acquire");
    let cancelled = second.queue_up("a", LockOptions::new(), 1).await;
    let behind = first.queue_up("a", LockOptions::new(), 2).await;
    cancelled.cancel();
    eventually(SOON, "the cancelled waiter is gone", || async {
        queue_of(&first, "a").await.entries.len() == 2
    })
    .await;
    guard.release().await.expect("release");
    drop(behind.granted(SOON).await);

    // Cancelled at various moments: a claim that was granted by then is released.
    for micros in [0, 30, 100, 300, 1_000, 3_000] {
        let lock = second.lock("b");
        let _ = tokio::time::timeout(Duration::from_micros(micros), lock.acquire()).await;
    }
    eventually(SOON, "nothing is left", || async {
        queue_of(&first, "b").await.entries.is_empty()
    })
    .await;
}

/// A request that is still on its way when its acquire is dropped may enqueue the claim after the
/// withdrawal. The claim is then withdrawn again.
pub async fn law_08_a_late_arrival_of_a_dropped_acquire_is_undone(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    first.network.delay_enqueues(Duration::from_millis(150));
    let lock = first.lock("a");
    let cut_short = tokio::time::timeout(Duration::from_millis(20), lock.acquire()).await;
    assert!(
        cut_short.is_err(),
        "the request was not slow enough to be cut short"
    );
    first.network.arrivals().await;
    eventually(SOON, "it is undone", || async {
        queue_of(&second, "a").await.entries.is_empty()
    })
    .await;
}

/// Dropping a guard releases the lock in the background, and does not block.
pub async fn law_08_a_dropped_guard_releases(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let guard = first.lock("a").acquire().await.expect("acquire");
    let waiter = second.queue_up("a", LockOptions::new(), 1).await;
    drop(guard);
    drop(waiter.granted(SOON).await);
}

/// A request whose reply is lost is retried without creating a second claim.
pub async fn law_08_a_lost_reply_makes_no_second_claim(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    first.network.lose_replies();
    let lock = first.lock("a");
    let acquiring = lock.acquire();
    tokio::pin!(acquiring);
    let early = tokio::time::timeout(stage.ttl() / 5, &mut acquiring).await;
    assert!(early.is_err(), "expected no reply yet: {early:?}");
    first.network.heal();
    let guard = tokio::time::timeout(SOON, acquiring)
        .await
        .expect("expected an answer in time")
        .expect("acquire");
    assert_eq!(
        queue_of(&second, "a").await.entries.len(),
        1,
        "a retry made a second claim"
    );

    first.network.lose_replies();
    let (released, ()) = tokio::join!(guard.release(), async {
        tokio::time::sleep(stage.ttl() / 5).await;
        first.network.heal();
    });
    released.expect("release");
    assert!(queue_of(&second, "a").await.entries.is_empty());
}

/// A release whose future is dropped is completed in the background.
pub async fn law_17_a_release_outlives_its_caller(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let guard = first.lock("a").acquire().await.expect("acquire");
    let waiter = second.queue_up("a", LockOptions::new(), 1).await;
    first.network.delay_withdrawals(Duration::from_millis(150));
    let cut_short = tokio::time::timeout(Duration::from_millis(20), guard.release()).await;
    assert!(
        cut_short.is_err(),
        "the release was not slow enough to be cut short"
    );
    assert!(
        guard.check(Duration::ZERO).is_err(),
        "expected a claim in release not to count as held"
    );
    drop(waiter.granted(SOON).await);
}

/// A failed release leaves the guard unchanged, and can be retried.
pub async fn law_17_a_failed_release_stays_armed(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let guard = first
        .lock_with("a", LockOptions::new())
        .acquire()
        .await
        .expect("acquire");
    // With a full TTL left, the release times out before the session expires.
    guard.extend().await.expect("extend");
    first.network.fail();
    let error = guard
        .release()
        .await
        .expect_err("expected an error: the network fails");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.is_retryable());
    first.network.heal();
    assert!(
        guard.check(Duration::ZERO).is_ok(),
        "the guard is disarmed although it holds"
    );
    assert!(second.lock("a").try_acquire().await.expect("try").is_none());
    assert_eq!(guard.release().await.expect("release"), Release::Done);
    drop(
        second
            .lock("a")
            .try_acquire()
            .await
            .expect("try")
            .expect("expected the name to be free after the release"),
    );
}
