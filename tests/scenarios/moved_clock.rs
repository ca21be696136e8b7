//! `memory:` under a clock that the test moves.

use std::time::Duration;

use distsync::testing::{TestClock, faults_with};
use distsync::{ErrorKind, LockOptions, Loss, SyncOptions, Wait, blocking, connect};
use futures_util::FutureExt;

use crate::stores::Netlock;

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn hours_pass_at_once() {
    let clock = TestClock::install();
    let (holder, other) = (
        connect("memory:hours?ttl=1h").await.unwrap(),
        connect("memory:hours?ttl=24h").await.unwrap(),
    );
    let lock = holder.lock("a", LockOptions::new()).unwrap();
    let guard = lock.acquire().await.unwrap();
    assert!(guard.remaining() > HOUR / 2 && guard.remaining() < HOUR);
    // A wait ends by its limit, and not before.
    let options = LockOptions::new().with_wait(Wait::For(HOUR / 4));
    let waiting = other.lock("a", options).unwrap();
    let waiting = waiting.acquire();
    tokio::pin!(waiting);
    let real = tokio::time::sleep(Duration::from_millis(50));
    tokio::select! {
        ended = &mut waiting => panic!("{ended:?}"),
        () = real => clock.advance(HOUR / 4),
    }
    let error = waiting.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(guard.check(Duration::ZERO).is_ok());
    // The holder is suspended for longer than its TTL, and the store grants the lock to another.
    let waiting = other.lock("a", LockOptions::new()).unwrap();
    clock.advance(2 * HOUR);
    assert!(guard.check(Duration::ZERO).is_err(), "no time has to pass");
    assert_eq!(guard.revoked().await, Loss::Expired);
    let next = waiting.acquire().await.unwrap();
    assert!(next.token() > guard.token());
    next.release().await.unwrap();
}

#[tokio::test]
async fn a_session_is_renewed_when_the_clock_is_moved_by_less_than_the_ttl() {
    let clock = TestClock::install();
    let options = SyncOptions::new().with_session_ttl(HOUR);
    let (sync, faults) = faults_with("memory:", options).await.unwrap();
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    let guard = lock.acquire().await.unwrap();
    for _ in 0..10 {
        let before = guard.valid_until().unwrap();
        clock.advance(HOUR / 2);
        let renewed = async {
            while guard.valid_until() == Some(before) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), renewed)
            .await
            .expect("renewed");
    }
    assert!(guard.check(HOUR / 2).is_ok());
    // Renewals that fail do not extend the validity.
    faults.fail();
    clock.advance(HOUR / 2);
    assert!(guard.check(HOUR / 2).is_err());
    clock.advance(HOUR / 2);
    assert_eq!(guard.revoked().await, Loss::Expired);
}

#[test]
fn a_hold_limit_expires_in_a_blocking_program() {
    let clock = TestClock::install();
    let sync = blocking::connect("memory:").unwrap();
    let limited = LockOptions::new().with_ttl(HOUR);
    let guard = sync.lock("a", limited).unwrap().acquire().unwrap();
    assert!(!guard.is_lost());
    clock.advance(HOUR / 2);
    guard.extend().unwrap();
    clock.advance(HOUR / 2);
    assert!(!guard.is_lost(), "it was extended");
    clock.advance(HOUR / 2);
    assert!(guard.is_lost());
    let next = sync.lock("a", LockOptions::new()).unwrap().acquire();
    assert!(next.unwrap().token() > guard.token());
}

/// A process that is stopped while a grant is on its way reads it after its session has expired.
#[tokio::test]
async fn a_grant_that_is_read_too_late_is_requested_again() {
    let clock = TestClock::install();
    let netlock = Netlock::start();
    let url = format!("{}?ttl=1s", netlock.url());
    let sync = connect(&url).await.unwrap();
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    // The connection, and the session.
    lock.acquire().await.unwrap().release().await.unwrap();
    let mut acquiring = lock.acquire();
    assert!(acquiring.as_mut().now_or_never().is_none());
    // The grant arrives. No task takes it.
    tokio::time::sleep(Duration::from_millis(100)).await;
    clock.advance(Duration::from_secs(2));
    let acquired = tokio::time::timeout(Duration::from_secs(20), acquiring).await;
    let guard = acquired.expect("in time").unwrap();
    assert!(guard.check(Duration::ZERO).is_ok());
}
