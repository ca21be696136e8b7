//! The revision of a queue rises with each change.

use std::time::Duration;

use bytes::Bytes;

use crate::conformance::stage::SOON;
use crate::conformance::{Stage, bare};
use crate::spi::backend::{Backend, Claim};
use crate::spi::clock;
use crate::types::queue::{Queue, Withdrawn};

/// Waits until `changed` returns a newer queue than `before`.
async fn newer(backend: &dyn Backend, of: &Claim, before: &Queue, within: Duration) -> Queue {
    let deadline = clock::now().after(within);
    loop {
        let left = deadline.since(clock::now());
        let changed = backend.changed(&of.name, before.revision);
        let queue = tokio::time::timeout(left, changed)
            .await
            .unwrap_or_else(|_| panic!("expected a revision after {before:?}"))
            .expect("changed");
        if queue.revision > before.revision {
            return queue;
        }
        // An early return with an equal queue is allowed.
        assert_eq!(
            queue.entries.len(),
            before.entries.len(),
            "the queue has changed, but its revision has not risen"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Each change raises the revision and is reported by `changed`: a grant, a new waiter, a new
/// value, a cancellation, an eviction, a release, and the end of a session, closed or expired.
pub async fn spi_each_change_raises_the_revision(stage: Stage) {
    let backend = stage.backend().await;
    let long = bare::spec(Duration::from_secs(300).min(stage.capabilities().ttl_max));
    let session = backend.open(&long).await.expect("a session");
    let (holder, waiter) = (stage.claim(session, "a"), stage.claim(session, "a"));
    let newer = async |before: &Queue| newer(&*backend, &holder, before, SOON).await;

    let mut queue = backend.queue(&holder.name).await.expect("queue");
    assert!(queue.entries.is_empty());
    backend.enqueue(&holder).await.expect("enqueue");
    queue = newer(&queue).await;
    assert_eq!(queue.entries.len(), 1, "expected the holder: {queue:?}");
    backend.enqueue(&waiter).await.expect("enqueue");
    queue = newer(&queue).await;
    assert_eq!(queue.entries.len(), 2, "expected a waiter: {queue:?}");
    let value = Bytes::from_static(b"new");
    assert!(
        backend
            .update(&holder, value.clone())
            .await
            .expect("update")
    );
    queue = newer(&queue).await;
    assert_eq!(queue.entries[0].value, value, "expected the new value");
    backend.withdraw(&waiter).await.expect("withdraw");
    queue = newer(&queue).await;
    assert_eq!(queue.entries.len(), 1, "expected no waiter: {queue:?}");
    if stage.capabilities().evict {
        backend.enqueue(&waiter).await.expect("enqueue");
        queue = newer(&queue).await;
        backend.evict(&waiter.name, waiter.id).await.expect("evict");
        queue = newer(&queue).await;
        assert_eq!(queue.entries.len(), 1, "expected no waiter: {queue:?}");
    }
    // The value has changed since the claim was enqueued, which does not matter.
    let withdrawn = backend.withdraw(&holder).await.expect("withdraw");
    assert_eq!(withdrawn, Withdrawn::Held);
    queue = newer(&queue).await;
    assert!(queue.entries.is_empty(), "expected no holder: {queue:?}");

    for expires in [false, true] {
        let ending = stage.session(&backend).await;
        let claim = stage.claim(ending, "a");
        backend.enqueue(&claim).await.expect("enqueue");
        queue = newer(&queue).await;
        let within = if expires {
            stage.freed_by() + SOON
        } else {
            backend.close(&ending).await.expect("close");
            SOON
        };
        queue = self::newer(&*backend, &claim, &queue, within).await;
        assert!(queue.entries.is_empty(), "expected no holder: {queue:?}");
    }
    backend.close(&session).await.expect("close");
}
