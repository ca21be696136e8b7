//! No orphaned claims: the claim of a dropped guard or cancelled waiter is removed from the store,
//! no matter how the store replied meanwhile. Law 19.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use crate::conformance::Stage;
use crate::conformance::stage::{Client, SOON, eventually, queue_of};
use crate::options::{LockOptions, Wait};
use crate::types::error::ErrorKind;

/// Waits until a queue is empty: at most one TTL after the store is available again.
async fn becomes_empty(stage: &Stage, observer: &Client, name: &str) {
    eventually(
        stage.ttl() + SOON,
        "the orphaned claim is removed",
        || async { queue_of(observer, name).await.entries.is_empty() },
    )
    .await;
}

/// A guard that is dropped while the store rejects the release is released when the store is
/// available again. Its session continues, with its other locks.
pub async fn law_19_a_dropped_guard_is_released_whatever_the_store_answers(stage: Stage) {
    let (client, observer) = (stage.client("client").await, stage.client("observer").await);
    let kept = client.lock("kept").acquire().await.expect("acquire");
    let guard = client.lock("a").acquire().await.expect("acquire");
    client.network.refuse();
    drop(guard);
    tokio::time::sleep(stage.ttl() / 10).await;
    client.network.heal();
    becomes_empty(&stage, &observer, "a").await;
    kept.check(Duration::ZERO)
        .expect("expected the session to continue");
}

/// A failed release leaves its guard armed. When the guard is dropped, the claim is released.
pub async fn law_19_a_guard_whose_release_failed_is_released(stage: Stage) {
    let (client, observer) = (stage.client("client").await, stage.client("observer").await);
    let guard = client.lock("a").acquire().await.expect("acquire");
    client.network.refuse();
    assert_eq!(
        guard
            .release()
            .await
            .expect_err("expected an error: the store refuses")
            .kind(),
        ErrorKind::Store
    );
    guard
        .check(Duration::ZERO)
        .expect("expected the guard to be unchanged");
    drop(guard);
    tokio::time::sleep(stage.ttl() / 10).await;
    client.network.heal();
    becomes_empty(&stage, &observer, "a").await;
}

/// A failed acquire leaves nothing in the queue, although its request took effect. No claim is
/// granted without its caller's knowledge.
pub async fn law_19_a_failed_acquire_leaves_nothing(stage: Stage) {
    let (client, observer) = (stage.client("client").await, stage.client("observer").await);
    let holder = observer.lock("a").acquire().await.expect("acquire");
    client.network.refuse();
    for wait in [Wait::Forever, Wait::For(SOON)] {
        let lock = client.lock_with("a", LockOptions::new().with_wait(wait));
        assert_eq!(
            lock.acquire()
                .await
                .expect_err("expected an error: the store refuses")
                .kind(),
            ErrorKind::Store
        );
    }
    let error = client
        .lock("b")
        .try_acquire()
        .await
        .expect_err("expected an error: the store refuses");
    assert_eq!(error.kind(), ErrorKind::Store);
    tokio::time::sleep(stage.ttl() / 10).await;
    client.network.heal();
    eventually(
        stage.ttl() + SOON,
        "the failed requests have left the queue",
        || async {
            queue_of(&observer, "a").await.entries.len() == 1
                && queue_of(&observer, "b").await.entries.is_empty()
        },
    )
    .await;
    holder.release().await.expect("release");
    drop(
        observer
            .lock("a")
            .try_acquire()
            .await
            .expect("try")
            .expect("expected the name to be free"),
    );
}

/// A request that arrives long after its caller has given up, while the session continues, is
/// withdrawn soon afterwards.
pub async fn law_19_a_request_that_arrives_very_late_is_withdrawn(stage: Stage) {
    let (client, observer) = (stage.client("client").await, stage.client("observer").await);
    let kept = client.lock("kept").acquire().await.expect("acquire");
    client.network.delay_enqueues(Duration::from_secs(9));
    let lock = client.lock("a");
    let cut_short = tokio::time::timeout(Duration::from_millis(20), lock.acquire()).await;
    assert!(
        cut_short.is_err(),
        "the request was not slow enough to be cut short"
    );
    client.network.arrivals().await;
    becomes_empty(&stage, &observer, "a").await;
    kept.check(Duration::ZERO)
        .expect("expected the session to continue");
}

/// A request whose connection broke is repeated, and then arrives after its claim was released,
/// cancelled or refused. The claim that it creates is withdrawn.
pub async fn law_19_a_repeated_request_that_arrives_later_is_withdrawn(stage: Stage) {
    let (client, observer) = (stage.client("client").await, stage.client("observer").await);
    // The session continues, and the claims that are created late with it.
    let kept = client.lock("kept").acquire().await.expect("acquire");
    let delay = stage.ttl() / 4;

    client.network.straggle(delay);
    let guard = client.lock("released").acquire().await.expect("acquire");
    guard.release().await.expect("release");
    client.network.straggle(delay);
    drop(client.lock("dropped").acquire().await.expect("acquire"));

    let held = observer.lock("busy").acquire().await.expect("acquire");
    client.network.straggle(delay);
    let waiter = client.queue_up("busy", LockOptions::new(), 1).await;
    waiter.cancel();
    let held_too = observer.lock("tried").acquire().await.expect("acquire");
    client.network.straggle(delay);
    let tried = client.lock("tried").try_acquire().await.expect("try");
    assert!(tried.is_none(), "expected the name to be busy");

    client.network.arrivals().await;
    held.release().await.expect("release");
    held_too.release().await.expect("release");
    for name in ["released", "dropped", "busy", "tried"] {
        becomes_empty(&stage, &observer, name).await;
    }
    kept.check(Duration::ZERO)
        .expect("expected the session to continue");
}

/// For some seconds, several tasks of one client acquire, try, cancel, drop and release, while each
/// request succeeds, fails permanently, fails transiently, or gets no reply. Afterwards no claim is
/// left, and the client works.
///
/// Faults that last until the session is lost leave nothing to see, so there are several rounds.
pub async fn law_19_nothing_is_left_after_random_faults(stage: Stage) {
    const ROUNDS: u64 = 4;
    let (client, observer) = (stage.client("client").await, stage.client("observer").await);
    for round in 0..ROUNDS {
        client.network.disturb(19 + round);
        let mut tasks = JoinSet::new();
        for task in 0..6 {
            tasks.spawn(disturbed(client.clone(), round * 6 + task));
        }
        tokio::time::sleep(Duration::from_millis(900)).await;
        tasks.shutdown().await;
        client.network.heal();
        for name in DISTURBED {
            eventually(
                stage.freed_by() + SOON,
                "the orphaned claims are removed",
                || async { queue_of(&observer, name).await.entries.is_empty() },
            )
            .await;
        }
        let guard = client
            .lock("a")
            .acquire()
            .await
            .expect("expected the client to work again");
        guard
            .check(Duration::ZERO)
            .expect("expected the lock to be held");
        guard.release().await.expect("release");
    }
}

const DISTURBED: [&str; 3] = ["a", "b", "c"];

/// Acquires, tries, cancels, drops and releases until it is dropped itself.
async fn disturbed(client: Client, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    loop {
        let limit = Duration::from_millis(random.random_range(0..60));
        let name = DISTURBED[random.random_range(0..3)];
        let lock = client.lock_with(name, any_options(&mut random));
        // Results are ignored: each of these outcomes can occur during an outage.
        match random.random_range(0..4) {
            0 => drop(lock.try_acquire().await),
            1 => drop(tokio::time::timeout(limit, lock.acquire()).await),
            _ => {
                if let Ok(Ok(guard)) = tokio::time::timeout(limit, lock.acquire()).await {
                    tokio::time::sleep(limit / 10).await;
                    let _ = tokio::time::timeout(limit, guard.release()).await;
                }
            }
        }
    }
}

fn any_options(random: &mut StdRng) -> LockOptions {
    match random.random_range(0..4) {
        0 => LockOptions::shared(),
        1 => LockOptions::permit(2),
        _ => LockOptions::new(),
    }
}
