//! The order of grants, limited waits, and progress: laws 3, 9 and 10.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::conformance::Stage;
use crate::conformance::stage::{SOON, eventually, queue_of};
use crate::options::{LockOptions, Wait};
use crate::spi::clock;
use crate::types::error::ErrorKind;

/// Waiters are served in the order of their arrival.
pub async fn law_03_first_come_first_served(stage: Stage) {
    let clients = [stage.client("one").await, stage.client("two").await];
    let guard = clients[0].lock("a").acquire().await.expect("acquire");
    let mut waiters = Vec::new();
    for number in 0..6 {
        waiters.push(
            clients[number % 2]
                .queue_up("a", LockOptions::new(), number + 1)
                .await,
        );
    }
    guard.release().await.expect("release");
    let mut last = None;
    for waiter in waiters {
        let (guard, at) = waiter.granted(SOON).await;
        assert!(
            Some((guard.token(), at)) > last,
            "not served in the order of arrival"
        );
        last = Some((guard.token(), at));
        guard.release().await.expect("release");
    }
}

/// A reader that arrives after a waiting writer waits behind it; a try of a reader is busy.
pub async fn law_03_a_waiting_writer_is_not_overtaken(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let reader = first
        .lock_with("a", LockOptions::shared())
        .acquire()
        .await
        .expect("a reader");
    let writer = second.queue_up("a", LockOptions::new(), 1).await;
    let mut late = first.queue_up("a", LockOptions::shared(), 2).await;
    let tried = first
        .lock_with("a", LockOptions::shared())
        .try_acquire()
        .await
        .expect("try");
    assert!(tried.is_none(), "a try overtakes a waiting writer");
    assert!(
        late.try_result().is_none(),
        "a reader overtakes a waiting writer"
    );
    reader.release().await.expect("release");
    let (writer, _) = writer.granted(SOON).await;
    assert!(
        late.try_result().is_none(),
        "a reader holds beside a writer"
    );
    let token = writer.token();
    writer.release().await.expect("release");
    let (late, _) = late.granted(SOON).await;
    assert!(late.token() > token);
}

/// A limited wait ends with `Timeout` within its limit plus a round trip, and leaves the queue.
pub async fn law_09_a_limited_wait_ends_in_time(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let guard = first.lock("a").acquire().await.expect("acquire");
    let patience = Duration::from_millis(200);
    let lock = second.lock_with("a", LockOptions::new().with_wait(Wait::For(patience)));
    let start = clock::now();
    let error = lock
        .acquire()
        .await
        .expect_err("expected an error: another client holds");
    let waited = clock::now().since(start);
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(
        error.to_string().contains("held by first"),
        "expected the error to name the holder: {error}"
    );
    // A reported age is the current one, not the age at the moment at which the request was queued.
    assert!(
        !error.to_string().contains("µs") && !error.to_string().contains("ns:"),
        "{error}"
    );
    assert!(waited >= patience, "it gave up after {waited:?}");
    assert!(waited < patience + SOON, "it took {waited:?}");
    eventually(SOON, "the queue has no waiters", || async {
        queue_of(&first, "a").await.waiters().count() == 0
    })
    .await;
    assert!(guard.check(Duration::ZERO).is_ok());
}

/// If a limited wait ends while the store is unreachable, the error says so, and does not name an
/// earlier holder.
pub async fn law_09_a_limited_wait_names_an_outage(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let guard = first.lock("a").acquire().await.expect("acquire");
    // The waiter must know that it is queued: a call that is not queued yet gives up earlier.
    let (notify, mut queued) = tokio::sync::mpsc::unbounded_channel();
    let waiting = LockOptions::new().with_wait(Wait::For(stage.ttl()));
    let lock = second.lock_with(
        "a",
        waiting.with_on_wait(move |_| notify.send(()).unwrap_or_default()),
    );
    let cut = async {
        queued
            .recv()
            .await
            .expect("expected the waiter to be queued");
        second.network.cut();
    };
    let ended = async { tokio::join!(lock.acquire(), cut).0 };
    let outcome = tokio::time::timeout(stage.ttl() + SOON, ended)
        .await
        .expect("expected the wait to end");
    let error = outcome.expect_err("expected an error: the holder has not released");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let said = error.to_string();
    assert!(
        said.contains("out of reach") && !said.contains("held by"),
        "{said}"
    );
    second.network.heal();
    drop(guard);
}

/// A try returns at once, whether the name is busy or not, names the holder, and leaves nothing
/// behind.
pub async fn law_09_a_try_answers_at_once_and_leaves_nothing(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let lock = second.lock_with("a", LockOptions::new().with_wait(Wait::Never));
    let guard = first.lock("a").acquire().await.expect("acquire");
    for _ in 0..3 {
        assert!(lock.try_acquire().await.expect("try").is_none());
        let error = lock
            .acquire()
            .await
            .expect_err("expected an error: another client holds");
        assert_eq!(error.kind(), ErrorKind::Contended);
        assert!(
            error.to_string().contains("first"),
            "expected the error to name the holder: {error}"
        );
        assert_eq!(error.name(), Some("a"));
    }
    assert_eq!(
        queue_of(&first, "a").await.entries.len(),
        1,
        "a try leaves something behind"
    );
    guard.release().await.expect("release");
    drop(lock.acquire().await.expect("expected the name to be free"));
}

/// While networks fail and recover, every call ends, and after the faults all clients are served.
pub async fn law_10_every_waiter_is_served_after_faults(stage: Stage) {
    let mut tasks = JoinSet::new();
    for number in 0..5u32 {
        let client = stage.client(&format!("client {number}")).await;
        let ttl = stage.ttl();
        tasks.spawn(async move {
            let lock = client.lock("a");
            let faults = async {
                tokio::time::sleep(ttl / 4 * number).await;
                match number {
                    0 => client.network.cut(),
                    1 => client.network.fail(),
                    2 => client.network.lose_replies(),
                    _ => {}
                }
                // One outage is longer than the TTL, the others are shorter.
                tokio::time::sleep(if number == 0 { ttl * 2 } else { ttl / 3 }).await;
                client.network.heal();
            };
            let work = async {
                let mut served = 0;
                let until = clock::now().after(ttl * 4);
                while clock::now() < until {
                    // A failed attempt is allowed; a call that never ends is not.
                    if let Ok(guard) = lock.acquire().await {
                        served += 1;
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        drop(guard);
                    } else {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
                // There are no more faults, so this must succeed.
                lock.acquire()
                    .await
                    .expect("expected a grant after the faults")
                    .release()
                    .await
                    .expect("release");
                served
            };
            let (served, ()) = tokio::join!(work, faults);
            served
        });
    }
    for served in tasks.join_all().await {
        assert!(served > 0, "a client was never served");
    }
}
