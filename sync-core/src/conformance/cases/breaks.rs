//! A connection that breaks at any message, between two steps of one request too. Laws 8 and 19.

use crate::conformance::Stage;
use crate::conformance::breaking::BreakAt;
use crate::conformance::stage::{Client, SOON, eventually, queue_of};
use crate::options::LockOptions;

/// The maximum number of messages after which a connection breaks. A round takes fewer.
const MESSAGES: u32 = 60;

/// Whichever message a connection breaks at: a lock is acquired once, a try leaves nothing, a
/// cancelled waiter leaves the queue, another is granted, and a release leaves nothing behind.
pub async fn law_19_a_connection_that_breaks_at_any_message_leaves_nothing(stage: Stage) {
    let observer = stage.client("observer").await;
    for after in 0..MESSAGES {
        let mut has_broken = false;
        for arrives in [false, true] {
            has_broken |= round(&stage, &observer, BreakAt { after, arrives }).await;
        }
        if !has_broken {
            assert!(after > 2, "only {after} messages in a round");
            return;
        }
    }
    panic!("a round takes more than {MESSAGES} messages");
}

/// Uses a lock in all ways over one connection that breaks. Returns whether it has broken.
async fn round(stage: &Stage, observer: &Client, at: BreakAt) -> bool {
    let (breaking, client) = stage.client_that_breaks("client", at).await;
    let count = async |name: &str| queue_of(observer, name).await.entries.len();

    let guard = client.lock("a").acquire().await;
    let guard = guard.unwrap_or_else(|error| panic!("expected a grant, {at:?}: {error}"));
    assert_eq!(count("a").await, 1, "expected one claim, {at:?}");
    guard
        .release()
        .await
        .unwrap_or_else(|error| panic!("expected a release, {at:?}: {error}"));
    eventually(SOON, "the released claim is gone", || async {
        count("a").await == 0
    })
    .await;

    let held = observer.lock("b").acquire().await.expect("acquire");
    let tried = client.lock("b").try_acquire().await;
    let tried = tried.unwrap_or_else(|error| panic!("expected an answer, {at:?}: {error}"));
    assert!(tried.is_none(), "granted beside a holder, {at:?}");
    eventually(SOON, "the try has left nothing", || async {
        count("b").await == 1
    })
    .await;
    let waiter = client.queue_up("b", LockOptions::new(), 1).await;
    // Shared, because a client may let only one exclusive request wait in the store.
    let cancelled = client.queue_up("b", LockOptions::shared(), 2).await;
    cancelled.cancel();
    eventually(SOON, "the cancelled waiter is gone", || async {
        count("b").await == 2
    })
    .await;
    held.release().await.expect("release");
    let (guard, _) = waiter.granted(SOON + stage.ttl()).await;
    drop(guard);
    eventually(SOON, "the dropped guard is released", || async {
        count("b").await == 0
    })
    .await;
    client.close().await;
    breaking.has_broken()
}
