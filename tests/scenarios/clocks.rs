//! Stores whose wall clock jumps.

use std::time::Duration;

use distsync::{Guard, LockOptions, Sync, Wait, connect};
use distsync_core::spi::clock;

use crate::stores::JumpingRedis;

const TTL: Duration = Duration::from_secs(6);

async fn connected(redis: &JumpingRedis) -> std::sync::Arc<dyn Sync> {
    connect(&format!(
        "redis://127.0.0.1:{}?ttl={}s",
        redis.port(),
        TTL.as_secs()
    ))
    .await
    .unwrap()
}

async fn acquire(sync: &dyn Sync, limit: Duration) -> Result<Guard, distsync::Error> {
    sync.lock("a", LockOptions::new().with_wait(Wait::For(limit)))
        .unwrap()
        .acquire()
        .await
}

/// Sets the clock forward by more than the remaining time of a session. The session ends at once on
/// Redis, and its holder is revoked within its TTL.
#[tokio::test]
async fn a_redis_clock_that_is_set_forward_ends_sessions_early() {
    let redis = JumpingRedis::start();
    let (holder, other) = (connected(&redis).await, connected(&redis).await);
    assert!(holder.capabilities().sessions_follow_wall_clock);
    let guard = acquire(&*holder, TTL).await.unwrap();
    redis.set_clock(20);
    let jumped = clock::now();
    // The newcomer opens its session after the jump, so that session has not expired.
    let newcomer = connected(&redis).await;
    let next = acquire(&*newcomer, TTL)
        .await
        .expect("the session of the holder has ended");
    assert!(next.token() > guard.token(), "tokens rise");
    tokio::time::timeout(TTL, guard.revoked())
        .await
        .expect("revoked within the TTL");
    assert!(clock::now().since(jumped) < TTL + Duration::from_secs(2));
    drop((next, other));
}

/// Sets the clock back, which prolongs the session of a dead holder by the same time.
#[tokio::test]
async fn a_redis_clock_that_is_set_back_keeps_the_dead() {
    let redis = JumpingRedis::start();
    let backend = distsync::spi::backend(&format!("redis://127.0.0.1:{}", redis.port()))
        .unwrap()
        .0;
    let session = backend
        .open(&distsync_core::conformance::bare::spec(TTL))
        .await
        .unwrap();
    let namespace = distsync::Namespace::new("distsync").unwrap();
    let name = distsync::LockName::new(&namespace, distsync::Kind::Lock, "a").unwrap();
    let dead = distsync_core::conformance::bare::claim(session, name);
    let distsync_core::spi::Standing::Granted { token } = backend.enqueue(&dead).await.unwrap()
    else {
        panic!("the lock is free");
    };
    redis.set_clock(-3_600);
    let other = connected(&redis).await;
    acquire(&*other, TTL + Duration::from_secs(2))
        .await
        .expect_err("its session is believed to live");
    redis.set_clock(0);
    let next = acquire(&*other, TTL)
        .await
        .expect("the clock is right again");
    assert!(next.token() > token, "tokens rise");
    next.release().await.unwrap();
    // The last token is stored, so tokens rise whatever the clock says.
    redis.set_clock(-3_600);
    let again = acquire(&*connected(&redis).await, TTL).await.unwrap();
    assert!(
        again.token() > next.token(),
        "tokens rise where data is kept"
    );
}
