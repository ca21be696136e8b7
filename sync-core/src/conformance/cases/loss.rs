//! The loss of claims, and when holders and waiters are notified: laws 4, 5, 6, 15 and 16.

use std::time::Duration;

use crate::conformance::Stage;
use crate::conformance::stage::{Client, SOON, Waiter, eventually, queue_of, spawn};
use crate::options::LockOptions;
use crate::session::Health;
use crate::spi::backend::{Claim, Gone, Standing};
use crate::spi::clock;
use crate::types::error::ErrorKind;
use crate::types::loss::Loss;
use crate::types::queue::Withdrawn;

/// A holder that is cut off is revoked before the next claim is granted.
pub async fn law_04_revocation_precedes_the_next_grant(stage: Stage) {
    for _ in 0..3 {
        let (first, second) = (stage.client("first").await, stage.client("second").await);
        let guard = first.lock("a").acquire().await.expect("acquire");
        let revoked = guard.revoked();
        let mut watching = spawn(async move { (revoked.await, clock::now()) });
        let waiter = second.queue_up("a", LockOptions::new(), 1).await;
        first.network.cut();
        let (next, granted_at) = waiter.granted(stage.freed_by() * 2 + SOON).await;
        let (loss, revoked_at) = watching
            .join_next()
            .await
            .expect("expected a task")
            .expect("a task of this case panicked");
        assert_eq!(loss, Loss::Expired);
        assert!(
            revoked_at < granted_at,
            "revoked {:?} after the next was granted",
            revoked_at.since(granted_at)
        );
        next.release().await.expect("release");
    }
}

/// A check uses neither the network nor a running task: it compares the clock with the deadline.
pub async fn law_04_a_check_reads_the_clock_itself(stage: Stage) {
    let client = stage.client("client").await;
    let guard = client.lock("a").acquire().await.expect("acquire");
    assert_eq!(
        guard
            .check(Duration::ZERO)
            .expect("expected the lock to be held"),
        guard.token()
    );
    let error = guard
        .check(stage.ttl())
        .expect_err("expected an error: less than the full TTL is left");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    client.network.cut();
    let until = guard.valid_until().expect("expected the lock to be held");
    assert!(until < clock::now().after(stage.ttl()));
    clock::sleep_until(until).await;
    assert_eq!(
        guard
            .check(Duration::ZERO)
            .expect_err("expected an error after the loss")
            .kind(),
        ErrorKind::SessionLost
    );
    assert_eq!(guard.remaining(), Duration::ZERO);
    client.network.heal();
    tokio::time::sleep(stage.ttl() / 2).await;
    assert!(
        guard.check(Duration::ZERO).is_err(),
        "what is lost stays lost"
    );
}

/// The claims of a crashed client are removed within the bound that the store promises, and only
/// the next waiter is woken.
pub async fn law_05_a_crash_frees_within_its_bound_and_wakes_one(stage: Stage) {
    let crashing = stage.client("crashing").await;
    let guard = crashing.lock("a").acquire().await.expect("acquire");
    let survivors = [stage.client("one").await, stage.client("two").await];
    let first = survivors[0].queue_up("a", LockOptions::new(), 1).await;
    let mut second = survivors[1].queue_up("a", LockOptions::new(), 2).await;
    let enqueues = survivors[1].network.enqueues();
    crashing.network.cut();
    let crashed = clock::now();
    let (next, at) = first.granted(stage.freed_by() + SOON).await;
    let took = at.since(crashed);
    // The bound counts from the last renewal, which was before the crash. A busy machine gets 500
    // ms more.
    assert!(
        took <= stage.freed_by() + Duration::from_millis(500),
        "free after {took:?}"
    );
    assert!(next.token() > guard.token());
    assert!(second.try_result().is_none(), "two hold");
    assert_eq!(
        survivors[1].network.enqueues(),
        enqueues,
        "the waiter after the next one was woken too"
    );
    next.release().await.expect("release");
    drop(second.granted(SOON).await);
}

/// In the SPI: a waiting claim whose session ends is removed, and is not granted.
pub async fn law_06_a_waiter_whose_session_died_is_not_granted(stage: Stage) {
    let holder = stage.client("holder").await;
    let guard = holder.lock("a").acquire().await.expect("acquire");
    let (backend, closer) = (stage.backend().await, stage.backend().await);
    let session = stage.session(&backend).await;
    let claim = stage.claim(session, "a");
    assert!(matches!(
        backend.enqueue(&claim).await.expect("enqueue"),
        Standing::Waiting { .. }
    ));
    let mut waiting = {
        let (backend, claim) = (backend.clone(), claim.clone());
        spawn(async move { backend.granted(&claim).await })
    };
    closer.close(&session).await.expect("close");
    guard.release().await.expect("release");
    let standing = tokio::time::timeout(SOON + stage.freed_by(), waiting.join_next()).await;
    let standing = standing
        .expect("expected the waiter to be notified")
        .expect("expected a task")
        .expect("a task of this case panicked");
    assert_eq!(
        standing.expect("expected an answer without an error"),
        Standing::Gone {
            why: Gone::SessionLost
        }
    );
    let queue = queue_of(&holder, "a").await;
    assert!(
        queue.entries.iter().all(|entry| entry.claim != claim.id),
        "a claim of an ended session is held: {queue:?}"
    );
    let again = backend
        .enqueue(&claim)
        .await
        .expect("expected an answer without an error");
    assert_eq!(
        again,
        Standing::Gone {
            why: Gone::SessionLost
        },
        "an ended session has no claims"
    );
}

/// In the SPI: an expired session is granted nothing, not even a name that is free.
pub async fn law_06_a_session_that_ran_out_gets_nothing(stage: Stage) {
    let backend = stage.backend().await;
    let session = stage.session(&backend).await;
    tokio::time::sleep(stage.freed_by()).await;
    let (claim, other) = (stage.claim(session, "a"), stage.claim(session, "b"));
    let tried = Claim {
        waits: false,
        ..other
    };
    for claim in [claim, tried] {
        let standing = backend
            .enqueue(&claim)
            .await
            .expect("expected an answer without an error");
        assert_eq!(
            standing,
            Standing::Gone {
                why: Gone::SessionLost
            },
            "{}",
            claim.name
        );
        assert!(
            backend
                .queue(&claim.name)
                .await
                .expect("queue")
                .entries
                .is_empty()
        );
    }
}

/// In the SPI: an evicted waiter is not granted when the name becomes free.
pub async fn law_06_an_evicted_waiter_is_not_granted(stage: Stage) {
    let backend = stage.backend().await;
    let session = stage.session(&backend).await;
    let (holder, waiter) = (stage.claim(session, "a"), stage.claim(session, "a"));
    assert!(matches!(
        backend.enqueue(&holder).await.expect("enqueue"),
        Standing::Granted { .. }
    ));
    assert!(matches!(
        backend.enqueue(&waiter).await.expect("enqueue"),
        Standing::Waiting { .. }
    ));
    assert_eq!(
        backend.evict(&waiter.name, waiter.id).await.expect("evict"),
        Withdrawn::Waiting
    );
    assert_eq!(
        backend.withdraw(&holder).await.expect("withdraw"),
        Withdrawn::Held
    );
    let standing = tokio::time::timeout(SOON, backend.granted(&waiter))
        .await
        .expect("expected the waiter to be notified");
    assert_eq!(
        standing.expect("expected an answer without an error"),
        Standing::Gone { why: Gone::Evicted }
    );
    assert!(
        backend
            .queue(&waiter.name)
            .await
            .expect("queue")
            .entries
            .is_empty()
    );
    backend.close(&session).await.expect("close");
}

/// In the API: a waiter that lost its session is queued again with a new claim, and does not regain
/// its old position.
pub async fn law_06_a_waiter_that_lost_its_session_starts_again(stage: Stage) {
    let (holder, waiting) = (stage.client("holder").await, stage.client("waiting").await);
    let guard = holder.lock("a").acquire().await.expect("acquire");
    let waiter = queue_up_and_know(&waiting, "a").await;
    let before = queue_of(&holder, "a").await.entries[1].claim;
    cut_off_until_removed(&stage, &waiting, &holder, "a").await;
    waiting.network.heal();
    eventually(stage.ttl() + SOON, "it is queued again", || async {
        queue_of(&holder, "a").await.entries.len() == 2
    })
    .await;
    let after = queue_of(&holder, "a").await.entries[1].claim;
    assert_ne!(before, after, "the old claim came back");
    guard.release().await.expect("release");
    let (guard, _) = waiter.granted(SOON).await;
    assert_eq!(guard.claim(), after);
}

/// Queues up behind one holder, and returns once the client knows that it is queued. A call that is
/// not queued yet gives up earlier in an outage.
async fn queue_up_and_know(client: &Client, name: &str) -> Waiter {
    let (notify, mut queued) = tokio::sync::mpsc::unbounded_channel();
    let options = LockOptions::new().with_on_wait(move |_| notify.send(()).unwrap_or_default());
    let waiter = client.queue_up(name, options, 1).await;
    queued
        .recv()
        .await
        .expect("expected the waiter to be queued");
    waiter
}

/// Cuts a waiter off, and returns once its session has ended and only the holder is in the queue.
async fn cut_off_until_removed(stage: &Stage, waiting: &Client, holder: &Client, name: &str) {
    waiting.network.cut();
    eventually(
        stage.freed_by() * 2 + SOON,
        "the waiter that was cut off is removed from the queue",
        || async { queue_of(holder, name).await.entries.len() == 1 },
    )
    .await;
}

/// A waiter that lost its session does not give up if the store is too slow to queue it again at
/// first.
pub async fn law_06_a_waiter_that_lost_its_session_outlasts_a_slow_store(stage: Stage) {
    let (holder, waiting) = (stage.client("holder").await, stage.client("waiting").await);
    let guard = holder.lock("a").acquire().await.expect("acquire");
    let mut waiter = queue_up_and_know(&waiting, "a").await;
    cut_off_until_removed(&stage, &waiting, &holder, "a").await;
    // The timeout of a request is a third of the TTL.
    waiting.network.delay_enqueues(stage.ttl() / 2);
    waiting.network.heal();
    tokio::time::sleep(stage.ttl()).await;
    let given_up = waiter.try_result();
    assert!(given_up.is_none(), "expected it to wait: {given_up:?}");
    waiting.network.delay_enqueues(Duration::ZERO);
    guard.release().await.expect("release");
    let (guard, _) = waiter.granted(stage.ttl() + SOON).await;
    guard.check(Duration::ZERO).expect("held");
}

/// A lock is not lost while user code blocks the runtime's thread for twice the TTL.
pub async fn law_15_blocked_workers_do_not_lose_the_lock(stage: Stage) {
    let observer = stage.client("observer").await;
    let (backend, ttl) = (stage.backend().await, stage.ttl());
    let namespace = stage.namespace().clone();
    // A runtime whose only thread is blocked.
    let blocked = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            use crate::locks::traits::Sync as _;

            let options = crate::options::SyncOptions::new()
                .with_namespace(namespace)
                .with_session_ttl(ttl);
            let handle = crate::locks::handle::Handle::open(backend, options)
                .await
                .expect("connect");
            let lock = handle.lock("a", LockOptions::new()).expect("a lock");
            let guard = lock.acquire().await.expect("acquire");
            std::thread::sleep(ttl * 2);
            let held = guard.check(Duration::ZERO).map(drop);
            guard.release().await.expect("release");
            held
        })
    });
    eventually(SOON, "the lock is held", || async {
        queue_of(&observer, "a").await.holders().count() == 1
    })
    .await;
    let until = clock::now().after(stage.ttl() * 3 / 2);
    while clock::now() < until {
        let tried = observer.lock("a").try_acquire().await.expect("try");
        assert!(
            tried.is_none(),
            "lost while its holder's thread was blocked"
        );
        tokio::time::sleep(stage.ttl() / 10).await;
    }
    let held =
        tokio::task::spawn_blocking(move || blocked.join().expect("a task of this case panicked"))
            .await
            .expect("expected the thread to end");
    held.expect("expected the lock to be held after twice the TTL");
}

/// A failed renewal puts the claim at risk until one succeeds. At the deadline the claim is lost
/// for good.
pub async fn law_16_failures_are_a_risk_and_the_deadline_a_loss(stage: Stage) {
    let client = stage.client("client").await;
    let guard = client.lock("a").acquire().await.expect("acquire");
    assert_eq!(guard.health(), Health::Held);
    client.network.fail();
    eventually(stage.ttl(), "a failed renewal is a risk", || async {
        guard.health() == Health::AtRisk
    })
    .await;
    assert!(guard.check(Duration::ZERO).is_ok(), "a risk is no loss");
    client.network.heal();
    eventually(
        stage.ttl(),
        "a renewal that succeeds ends the risk",
        || async { guard.health() == Health::Held },
    )
    .await;
    client.network.fail();
    let loss = tokio::time::timeout(stage.ttl() * 2, guard.revoked())
        .await
        .expect("expected the loss at the deadline");
    assert_eq!(loss, Loss::Expired);
    client.network.heal();
    tokio::time::sleep(stage.ttl() / 2).await;
    assert_eq!(
        guard.health(),
        Health::Lost(Loss::Expired),
        "a late success must not revive the claim"
    );
    client
        .lock("a")
        .acquire()
        .await
        .expect("expected a new session to acquire")
        .release()
        .await
        .expect("release");
}

/// A failed extension does not release the lock. One that comes too late does not create a claim.
pub async fn law_16_a_failed_extend_changes_nothing(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let guard = first.lock("a").acquire().await.expect("acquire");
    first.network.fail();
    let error = tokio::time::timeout(SOON * 2 + stage.ttl(), guard.extend())
        .await
        .expect("expected the call to end");
    error.expect_err("expected an error: the network fails");
    if guard.check(Duration::ZERO).is_ok() {
        assert!(
            second.lock("a").try_acquire().await.expect("try").is_none(),
            "a failed extension releases"
        );
    }
    guard.revoked().await;
    let (next, _) = second
        .queue_up("a", LockOptions::new(), 0)
        .await
        .granted(stage.freed_by() * 2 + SOON)
        .await;
    first.network.heal();
    let error = guard
        .extend()
        .await
        .expect_err("expected an error: the lock was lost");
    assert_eq!(error.kind(), ErrorKind::SessionLost, "{error}");
    assert_eq!(
        queue_of(&second, "a").await.entries.len(),
        1,
        "a late extension creates something"
    );
    assert!(next.check(Duration::ZERO).is_ok());
}

/// A fail-over may preserve a session and lose one of its claims. The holder is notified within a
/// TTL, and keeps its other claims.
pub async fn law_16_a_claim_that_the_store_forgets_is_revoked(stage: Stage) {
    let client = stage.client("client").await;
    let kept = client.lock("kept").acquire().await.expect("acquire");
    let lost = client.lock("lost").acquire().await.expect("acquire");
    // As if the grant had not reached the new server. No client is notified.
    let store = stage.backend().await;
    store.withdraw(lost.hold().claim()).await.expect("withdraw");
    client.network.fail_over();
    let loss = tokio::time::timeout(stage.ttl(), lost.revoked())
        .await
        .expect("expected the loss within a TTL");
    assert_eq!(loss, Loss::Evicted);
    kept.check(Duration::ZERO)
        .expect("expected the other claim to be held still");
}
