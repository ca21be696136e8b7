//! A Tokio clock that is paused or jumps, as in tests with `start_paused`. Locks use the clock of
//! the machine.

use std::time::Duration;

use distsync_core::spi::clock;
use distsync_core::{ErrorKind, Handle, LockOptions, Sync, SyncOptions, Wait};
use distsync_netlock::Embedded;

const TTL: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn locks_use_the_clock_of_the_machine() {
    let options = SyncOptions::new().with_session_ttl(TTL);
    let handle = Handle::open(Embedded::private().backend(), options)
        .await
        .unwrap();
    let lock = |options| handle.lock("a", options).unwrap();
    let guard = lock(LockOptions::new()).acquire().await.unwrap();

    // A jump ends no session, because sessions are renewed on a thread of their own.
    tokio::time::advance(Duration::from_secs(3_600)).await;
    guard.check(Duration::ZERO).expect("held");

    // The timeout of an acquire uses real time, and does not end early.
    let (patience, began) = (Duration::from_millis(300), clock::now());
    let waiting = lock(LockOptions::new().with_wait(Wait::For(patience)));
    let error = waiting.acquire().await.expect_err("it is held");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(clock::now().since(began) >= patience, "it gave up early");

    // A waiter is granted, and a hold limit ends, although no task advances the clock.
    let next = lock(LockOptions::new().with_ttl(TTL));
    let (next, released) = tokio::join!(next.acquire(), guard.release());
    released.unwrap();
    let next = next.unwrap();
    next.revoked().await;
    assert!(next.check(Duration::ZERO).is_err());
}
