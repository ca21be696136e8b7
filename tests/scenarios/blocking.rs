//! The API for programs without async.

use std::time::Duration;

use distsync::blocking::{self, lock_all, lock_any};
use distsync::{ErrorKind, Kind, LeaderOptions, LockOptions, Loss, Node, Wait};
use distsync_core::spi::clock;

use crate::stores::{Consul, Etcd, Netlock, Redis};

const SOON: Duration = Duration::from_secs(5);

/// Uses the whole API on one store, with two clients.
fn use_all(url: &str) {
    let (one, other) = (
        blocking::connect(url).unwrap(),
        blocking::connect(url).unwrap(),
    );
    let waits = LockOptions::new().with_wait(Wait::For(SOON));
    let guard = one.lock("a", waits.clone()).unwrap().acquire().unwrap();
    let taken = other.lock("a", waits.clone()).unwrap();
    assert!(taken.try_acquire().unwrap().is_none(), "{url}");
    assert_eq!(taken.inspect().unwrap().entries.len(), 1);
    assert_eq!(other.list(Kind::Lock, "").unwrap(), ["a"]);
    let mut watch = taken.watch();
    assert_eq!(
        watch.next().unwrap().unwrap().entries[0].claim,
        guard.claim()
    );
    // A waiter is granted the lock by another thread.
    let token = guard.token();
    let next = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| taken.acquire().unwrap());
        while taken.inspect().unwrap().entries.len() < 2 {
            std::thread::sleep(Duration::from_millis(5));
        }
        guard.release().unwrap();
        waiter.join().unwrap()
    });
    assert!(
        next.token() > token && guard.is_lost() && !next.is_lost(),
        "{url}"
    );
    assert_eq!(guard.wait_lost(SOON).unwrap(), Some(Loss::Released));
    // Nobody calls for a while, and the connection and the session stay alive.
    assert_eq!(next.wait_lost(Duration::from_millis(100)).unwrap(), None);
    next.update("b").unwrap();
    let limited = LockOptions::new().with_wait(Wait::For(Duration::from_millis(50)));
    let error = one.lock("a", limited).unwrap().acquire().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    drop(next);
    let both = lock_all(&one, ["a", "b"], waits.clone()).unwrap();
    assert_eq!(both.check(Duration::ZERO).unwrap().len(), 2);
    let any = lock_any(&other, ["a", "c"], waits).unwrap();
    assert_eq!(any.name().plain(), "c");
    both.release().unwrap();

    let leader = one
        .leader("l", LeaderOptions::new(Node::new("one")))
        .unwrap();
    let elected = leader.elect().unwrap();
    elected.proclaim("x").unwrap();
    let seen = other
        .leader("l", LeaderOptions::new(Node::new("other")))
        .unwrap();
    assert_eq!(seen.leader().unwrap().unwrap().term, elected.token());
    elected.resign().unwrap();
    assert!(elected.is_lost());
    // Closing revokes, and the guard outlives the handle.
    other.close().unwrap();
    drop(other);
    assert_eq!(any.wait_lost(SOON).unwrap(), Some(Loss::Closed), "{url}");
}

#[test]
fn the_blocking_api_works_on_every_store() {
    let netlock = Netlock::start();
    let (etcd, consul, redis) = (Etcd::start(), Consul::start(), Redis::start());
    use_all("memory:blocking");
    use_all(&netlock.url());
    use_all(&format!("etcd://127.0.0.1:{}", etcd.port()));
    use_all(&format!("consul://127.0.0.1:{}", consul.port()));
    use_all(&format!("redis://127.0.0.1:{}", redis.port()));
}

/// Asserts that a lock is renewed while the program does not call, and that the driver reads what
/// the server sends meanwhile.
#[test]
fn a_lock_is_held_while_the_program_sleeps() {
    let redis = Redis::start();
    let url = format!("redis://127.0.0.1:{}?ttl=1500ms", redis.port());
    let sync = blocking::connect(&url).unwrap();
    let guard = sync
        .lock("a", LockOptions::new())
        .unwrap()
        .acquire()
        .unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert!(guard.check(Duration::ZERO).is_ok());
    redis.stop();
    assert!(guard.wait_lost(Duration::from_secs(3)).unwrap().is_some());
    let start = clock::now();
    drop((guard, sync));
    assert!(
        clock::now().since(start) < Duration::from_secs(2),
        "drops do not wait long"
    );
}

#[tokio::test]
async fn a_blocking_call_inside_a_runtime_is_an_error() {
    let error = blocking::connect("memory:").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let sync = std::thread::spawn(|| blocking::connect("memory:").unwrap());
    let sync = sync.join().unwrap();
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    let error = lock.acquire().unwrap_err();
    assert!(error.to_string().contains("async API"), "{error}");
    let error = lock.watch().next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    // Drops are allowed everywhere.
    drop((lock, sync));
}
