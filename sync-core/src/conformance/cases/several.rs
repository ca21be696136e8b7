//! Requests for several names.

use std::time::Duration;

use super::super::stage::{SOON, Stage, eventually, queue_of, spawn};
use crate::locks::guard::Release;
use crate::locks::several::{lock_all, lock_any};
use crate::locks::traits::Sync;
use crate::options::{LockOptions, Wait};
use crate::types::error::ErrorKind;

/// A request for all of several names is granted all or none, and two requests with the same names
/// in different orders do not deadlock.
pub async fn api_all_of_several_names_or_none(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let guards = lock_all(&*first.sync, ["b", "a", "b"], LockOptions::new())
        .await
        .expect("acquire");
    assert_eq!(
        guards
            .check(Duration::ZERO)
            .expect("expected the lock to be held")
            .len(),
        2
    );
    let brief = LockOptions::new().with_wait(Wait::For(Duration::from_millis(200)));
    let error = lock_all(&*second.sync, ["0", "b"], brief)
        .await
        .expect_err("expected an error: `b` is taken");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    eventually(
        SOON,
        "the names that were acquired are released",
        || async { queue_of(&first, "0").await.entries.is_empty() },
    )
    .await;
    assert_eq!(guards.release().await.expect("release"), Release::Done);

    let contend = |client: crate::conformance::stage::Client, names: [&'static str; 3]| {
        spawn(async move {
            for _ in 0..5 {
                let guards = lock_all(&*client.sync, names, LockOptions::new())
                    .await
                    .expect("expected a grant");
                guards.release().await.expect("release");
            }
        })
    };
    let (one, other) = (
        contend(first, ["x", "y", "z"]),
        contend(second, ["z", "y", "x"]),
    );
    let both = async { (one.join_all().await, other.join_all().await) };
    tokio::time::timeout(SOON * 4, both)
        .await
        .expect("expected the requests not to deadlock");
}

/// A request for all of several names is granted when all are free. It holds none before, and a
/// later request for any of them is queued behind it.
pub async fn api_several_names_are_granted_at_once_where_the_store_can(stage: Stage) {
    let (holder, client, third) = (
        stage.client("holder").await,
        stage.client("client").await,
        stage.client("third").await,
    );
    if !stage.capabilities().several_at_once {
        let error = client
            .sync
            .acquire_all(&["a", "b"], LockOptions::new())
            .await
            .expect_err("expected a rejection: the capability says no");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        let one = client
            .sync
            .acquire_all(&["a", "a"], LockOptions::new())
            .await
            .expect("acquire one name by `acquire_all`");
        assert_eq!(one.release().await.expect("release"), Release::Done);
        return;
    }
    // The first request of a client opens a session, and takes another way than later ones.
    drop(client.lock("c").acquire().await.expect("acquire"));
    let held = holder.lock("b").acquire().await.expect("acquire");
    let waiter = client.clone();
    let waiting = spawn(async move {
        waiter
            .sync
            .acquire_all(&["b", "a"], LockOptions::new())
            .await
            .expect("expected a grant")
    });
    let is_queued = |name: &'static str, token: bool, length: usize| {
        let holder = &holder;
        eventually(SOON, "in both queues", move || async move {
            let entries = queue_of(holder, name).await.entries;
            entries.len() == length
                && entries
                    .last()
                    .is_some_and(|entry| entry.token.is_some() == token)
        })
    };
    is_queued("a", false, 1).await;
    is_queued("b", false, 2).await;
    assert!(
        third
            .lock("a")
            .try_acquire()
            .await
            .expect("expected an answer without an error")
            .is_none(),
        "expected a try to find `a` busy: an earlier request waits for it"
    );
    held.release().await.expect("release");
    let guard = waiting.join_all().await.pop().expect("expected a task");
    is_queued("a", true, 1).await;
    is_queued("b", true, 1).await;
    for name in ["a", "b"] {
        assert_eq!(
            queue_of(&third, name).await.entries[0].token,
            Some(guard.token()),
            "expected one token for both names"
        );
        assert!(
            third
                .lock(name)
                .try_acquire()
                .await
                .expect("expected an answer without an error")
                .is_none(),
            "{name} is held"
        );
    }
    assert_eq!(guard.release().await.expect("release"), Release::Done);
    for name in ["a", "b"] {
        assert!(
            queue_of(&third, name).await.entries.is_empty(),
            "expected `{name}` to be free"
        );
    }

    let held = holder.lock("b").acquire().await.expect("acquire");
    let brief = LockOptions::new().with_wait(Wait::For(Duration::from_millis(200)));
    let error = client
        .sync
        .acquire_all(&["a", "b"], brief)
        .await
        .expect_err("expected an error: `b` is taken");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    eventually(SOON, "the request has left both queues", || async {
        queue_of(&holder, "a").await.entries.is_empty()
            && queue_of(&holder, "b").await.entries.len() == 1
    })
    .await;
    held.release().await.expect("release");

    let guard = client
        .sync
        .acquire_all(&["a", "b"], LockOptions::new())
        .await
        .expect("acquire");
    holder.lock("b").evict(guard.claim()).await.expect("evict");
    tokio::time::timeout(SOON, guard.revoked())
        .await
        .expect("expected the eviction from one queue to end the whole claim");
    assert!(
        queue_of(&holder, "a").await.entries.is_empty(),
        "expected nothing in the queue of the other name"
    );

    // Any one of several names: both become free at the same moment, and it takes one of them and
    // leaves the queue of the other.
    let _held = holder
        .sync
        .acquire_all(&["a", "b"], LockOptions::new())
        .await
        .expect("acquire");
    let waiter = client.clone();
    let waiting = spawn(async move {
        waiter
            .sync
            .acquire_any(&["b", "a"], LockOptions::new())
            .await
            .expect("expected a grant")
    });
    is_queued("a", false, 2).await;
    is_queued("b", false, 2).await;
    holder.sync.release_all().await.expect("release");
    let guard = waiting.join_all().await.pop().expect("expected a task");
    let (one, other) = if guard.name().plain() == "a" {
        ("a", "b")
    } else {
        ("b", "a")
    };
    assert_eq!(
        queue_of(&third, one).await.entries[0].token,
        Some(guard.token())
    );
    assert!(
        queue_of(&third, other).await.entries.is_empty(),
        "expected the grant to remove the claim from the other queue"
    );
    let second = third
        .sync
        .acquire_any(&[one, other], LockOptions::new())
        .await
        .expect("expected a grant: one name is free");
    assert_eq!(
        second.name().plain(),
        other,
        "expected the first name that is free"
    );
    assert_eq!(guard.release().await.expect("release"), Release::Done);
}

/// A waiter is notified of its position and of the holder.
pub async fn api_a_waiter_is_notified_of_its_position(stage: Stage) {
    let (holder, client) = (stage.client("holder").await, stage.client("client").await);
    let held = holder.lock("a").acquire().await.expect("acquire");
    let (notify, mut notified) = tokio::sync::mpsc::unbounded_channel();
    let options = LockOptions::new().with_on_wait(move |waiting| drop(notify.send(waiting)));
    let first = client.queue_up("a", options.clone(), 1).await;
    let another = stage.client("another").await;
    let second = another.queue_up("a", options, 2).await;
    for position in [1, 2] {
        let waiting = notified.recv().await.expect("expected a notification");
        assert_eq!(waiting.position, position);
        assert_eq!(
            waiting
                .holder
                .map(|holder| holder.client)
                .as_deref()
                .unwrap_or("holder"),
            "holder"
        );
    }
    held.release().await.expect("release");
    for waiter in [first, second] {
        waiter
            .granted(SOON)
            .await
            .0
            .release()
            .await
            .expect("release");
    }
    assert!(
        notified.try_recv().is_err(),
        "a waiter was notified twice of one position"
    );
}

/// A request for any one of several names is granted the first that is or becomes free, and leaves
/// the other queues.
pub async fn api_any_one_of_several_names(stage: Stage) {
    let (holder, client) = (stage.client("holder").await, stage.client("client").await);
    let a = holder.lock("a").acquire().await.expect("acquire");
    let b = holder.lock("b").acquire().await.expect("acquire");
    let free = lock_any(&*client.sync, ["a", "c", "b"], LockOptions::new())
        .await
        .expect("expected a grant: `c` is free");
    assert_eq!(free.name().plain(), "c");
    let waiter = client.clone();
    let waiting = spawn(async move {
        lock_any(&*waiter.sync, ["a", "b"], LockOptions::new())
            .await
            .expect("expected a grant")
    });
    eventually(SOON, "in both queues", || async {
        queue_of(&holder, "a").await.entries.len() == 2
            && queue_of(&holder, "b").await.entries.len() == 2
    })
    .await;
    b.release().await.expect("release");
    let granted = waiting.join_all().await.pop().expect("expected a task");
    assert_eq!(granted.name().plain(), "b");
    eventually(SOON, "the request has left the other queue", || async {
        queue_of(&holder, "a").await.entries.len() == 1
    })
    .await;
    a.release().await.expect("release");
    let error = lock_any(&*client.sync, [], LockOptions::new())
        .await
        .expect_err("expected an empty list to be rejected");
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
}
