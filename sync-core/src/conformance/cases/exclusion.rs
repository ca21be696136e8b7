//! Mutual exclusion, fencing and tokens: laws 1, 2 and 11.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::conformance::Stage;
use crate::conformance::stage::{Client, SOON};
use crate::options::{LockOptions, Wait};
use crate::spi::mutex::locked;
use crate::types::error::ErrorKind;
use crate::types::mode::Mode;
use crate::types::token::{Fence, Token};

/// A counter behind a fence.
#[derive(Debug, Default)]
struct Counter {
    fence: Fence,
    value: u64,
}

/// Adds 1 under the lock, by a read and a later write, which loses updates without mutual
/// exclusion.
async fn add(client: &Client, counter: &Mutex<Counter>, pause: Duration) -> bool {
    let Ok(guard) = client.lock("counter").acquire().await else {
        return false;
    };
    let read = {
        let mut counter = locked(counter);
        counter
            .fence
            .enter(guard.token())
            .ok()
            .map(|()| counter.value)
    };
    tokio::time::sleep(pause).await;
    let accepted = {
        let mut counter = locked(counter);
        let accepted = read.is_some() && counter.fence.check(guard.token()).is_ok();
        if accepted {
            counter.value = read.unwrap_or_default() + 1;
        }
        accepted
    };
    drop(guard);
    accepted
}

/// Clients that add to a fenced counter lose no update, even if some are cut off and continue to
/// write.
pub async fn law_01_a_fenced_resource_loses_no_update(stage: Stage) {
    let counter = Arc::new(Mutex::new(Counter::default()));
    let mut adders = JoinSet::new();
    for number in 0..4u32 {
        let client = stage.client(&format!("adder {number}")).await;
        let (counter, ttl) = (counter.clone(), stage.ttl());
        adders.spawn(async move {
            let mut accepted = 0;
            for round in 0..6 {
                // One client after the other is cut off, in the middle of its work, for longer than
                // its TTL.
                let is_cut_off = round == number;
                let pause = if is_cut_off {
                    ttl * 2
                } else {
                    Duration::from_millis(2)
                };
                let network = client.network.clone();
                let cut = async {
                    if is_cut_off {
                        tokio::time::sleep(ttl / 2).await;
                        network.cut();
                        tokio::time::sleep(ttl * 2).await;
                        network.heal();
                    }
                };
                let (added, ()) = tokio::join!(add(&client, &counter, pause), cut);
                accepted += u64::from(added);
            }
            accepted
        });
    }
    let accepted: u64 = adders.join_all().await.into_iter().sum();
    let counter = locked(&counter);
    assert_eq!(counter.value, accepted, "an accepted update was lost");
    assert!(accepted >= 12, "hardly anything was accepted: {accepted}");
}

/// A holder that pauses between its read and its write does not overwrite an update of the next
/// holder, because the next one enters the fence before it reads. The case also shows that a check
/// at the write alone loses an update.
pub async fn law_01_a_token_is_presented_before_the_first_read(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let mut fenced = Counter::default();
    // Half of the procedure: only a write with an older token than the newest write is rejected.
    let mut half = Counter::default();
    let paused = first.lock("a").acquire().await.expect("acquire");
    fenced
        .fence
        .enter(paused.token())
        .expect("expected the holder to enter the fence");
    let (read, half_read) = (fenced.value, half.value);
    first.network.cut();
    let waiter = second.queue_up("a", LockOptions::new(), 0).await;
    let (next, _) = waiter.granted(stage.freed_by() * 2 + SOON).await;
    fenced
        .fence
        .enter(next.token())
        .expect("expected the next holder to enter the fence");
    let (next_read, half_next_read) = (fenced.value, half.value);

    // The first holder resumes and writes the value that it had computed.
    assert_eq!(
        fenced
            .fence
            .check(paused.token())
            .expect_err("expected the write of a former holder to be rejected")
            .kind(),
        ErrorKind::NotHeld
    );
    assert_eq!(
        fenced
            .fence
            .enter(paused.token())
            .expect_err("expected the entry of a former holder to be rejected")
            .kind(),
        ErrorKind::NotHeld
    );
    half.fence
        .enter(paused.token())
        .expect("expected the write to be accepted: no newer token has been seen");
    half.value = half_read + 1;
    // Then the next holder writes.
    fenced
        .fence
        .check(next.token())
        .expect("expected the holder to write");
    fenced.value = next_read + 1;
    half.fence
        .enter(next.token())
        .expect("expected the newest token");
    half.value = half_next_read + 1;
    assert_eq!(
        (read, fenced.value),
        (0, 1),
        "expected one write to be accepted before the first step"
    );
    assert_eq!(
        half.value, 1,
        "two writes were accepted, and one was lost: the first step prevents this"
    );
}

/// Every grant of a name has a greater token than the previous one, for all sessions, modes and
/// ways to acquire.
pub async fn law_02_tokens_rise_across_sessions_and_modes(stage: Stage) {
    let mut newest: Option<Token> = None;
    for round in 0..3 {
        let client = stage.client(&format!("client {round}")).await;
        for options in [
            LockOptions::new(),
            LockOptions::shared(),
            LockOptions::permit(2),
        ] {
            let guard = client
                .lock_with("a", options)
                .acquire()
                .await
                .expect("acquire");
            assert!(
                Some(guard.token()) > newest,
                "{:?} after {newest:?}",
                guard.token()
            );
            newest = Some(guard.token());
            guard.release().await.expect("release");
            let guard = client
                .lock("a")
                .try_acquire()
                .await
                .expect("try")
                .expect("expected the name to be free");
            assert!(
                Some(guard.token()) > newest,
                "{:?} after {newest:?}",
                guard.token()
            );
            newest = Some(guard.token());
            // An explicit release in some rounds, and one in the background in the others.
            if round % 2 == 0 {
                guard.release().await.expect("release");
            } else {
                drop(guard);
            }
        }
        client.close().await;
    }
}

/// The number of current holders, and the highest number so far.
#[derive(Debug, Default)]
struct Census {
    now: AtomicU32,
    most: AtomicU32,
}

impl Census {
    async fn stay(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(3)).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Readers share the lock, and a writer excludes all others.
pub async fn law_11_readers_share_and_writers_exclude(stage: Stage) {
    let clients = [stage.client("one").await, stage.client("two").await];
    let first = clients[0]
        .lock_with("a", LockOptions::shared())
        .acquire()
        .await
        .expect("a reader");
    let second = clients[1]
        .lock_with("a", LockOptions::shared())
        .try_acquire()
        .await
        .expect("try");
    assert!(
        second.is_some(),
        "expected a second reader to hold beside the first"
    );
    assert!(
        clients[1]
            .lock("a")
            .try_acquire()
            .await
            .expect("try")
            .is_none(),
        "a writer holds beside readers"
    );
    first.release().await.expect("release");
    drop(second);

    let (readers, writers) = (Arc::new(Census::default()), Arc::new(Census::default()));
    let mut tasks = JoinSet::new();
    for number in 0..8usize {
        let client = clients[number % 2].clone();
        let (readers, writers) = (readers.clone(), writers.clone());
        tasks.spawn(async move {
            for round in 0..6usize {
                if (number + round).is_multiple_of(3) {
                    let guard = client.lock("a").acquire().await.expect("a writer");
                    assert_eq!(
                        readers.now.load(Ordering::SeqCst),
                        0,
                        "a writer holds beside readers"
                    );
                    writers.stay().await;
                    guard.release().await.expect("release");
                } else {
                    let lock = client.lock_with("a", LockOptions::shared());
                    let guard = lock.acquire().await.expect("a reader");
                    assert_eq!(
                        writers.now.load(Ordering::SeqCst),
                        0,
                        "a reader holds beside a writer"
                    );
                    readers.stay().await;
                    guard.release().await.expect("release");
                }
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(
        writers.most.load(Ordering::SeqCst),
        1,
        "expected one writer at a time"
    );
}

/// At most N permits are held at a time, and N can be.
pub async fn law_11_never_more_than_n_permits(stage: Stage) {
    let clients = [stage.client("one").await, stage.client("two").await];
    let held = [
        clients[0]
            .lock_with("a", LockOptions::permit(3))
            .try_acquire()
            .await
            .expect("try"),
        clients[1]
            .lock_with("a", LockOptions::permit(3))
            .try_acquire()
            .await
            .expect("try"),
        clients[0]
            .lock_with("a", LockOptions::permit(3))
            .try_acquire()
            .await
            .expect("try"),
    ];
    assert!(
        held.iter().all(Option::is_some),
        "expected all permits to be granted"
    );
    let more = clients[1]
        .lock_with("a", LockOptions::permit(3))
        .try_acquire()
        .await
        .expect("try");
    assert!(more.is_none(), "one permit too many");
    drop(held);

    let census = Arc::new(Census::default());
    let mut tasks = JoinSet::new();
    for number in 0..9usize {
        let (client, census) = (clients[number % 2].clone(), census.clone());
        tasks.spawn(async move {
            for _ in 0..5 {
                let lock = client.lock_with("a", LockOptions::permit(3));
                let guard = lock.acquire().await.expect("a permit");
                census.stay().await;
                guard.release().await.expect("release");
            }
        });
    }
    tasks.join_all().await;
    let most = census.most.load(Ordering::SeqCst);
    assert!(most <= 3, "{most} permits of 3");
}

/// A client that gives a different number of permits gets an error that names the number in use.
pub async fn law_11_permits_have_to_agree(stage: Stage) {
    let (first, second) = (stage.client("first").await, stage.client("second").await);
    let guard = first
        .lock_with("a", LockOptions::permit(2))
        .acquire()
        .await
        .expect("a permit");
    for wait in [Wait::Never, Wait::For(SOON)] {
        let lock = second.lock_with("a", LockOptions::permit(3).with_wait(wait));
        let error = lock
            .acquire()
            .await
            .expect_err("expected a rejection: the name has another number of permits");
        assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
        assert!(
            error.to_string().contains('2'),
            "expected the error to name the number of permits in use: {error}"
        );
    }
    guard.release().await.expect("release");
    let options = LockOptions::new()
        .with_mode(Mode::Permit { of: 3 })
        .with_wait(Wait::For(SOON));
    drop(
        second
            .lock_with("a", options)
            .acquire()
            .await
            .expect("expected any number of permits at an empty name"),
    );
}
