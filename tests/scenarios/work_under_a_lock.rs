//! Work that runs for as long as its lock is held: `with_lock` and `Guard::run`.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use distsync::{ErrorKind, Guard, Lock, LockOptions, Loss, with_lock};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::every_store::{SOON, Store, eventually, on_every_store};

on_every_store!(
    a_lock_is_released_however_its_work_ends,
    work_is_dropped_when_its_lock_is_lost,
    readers_share_and_a_semaphore_has_its_permits,
);

/// Sets its flag when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

async fn is_free(lock: &dyn Lock) -> bool {
    lock.inspect().await.expect("inspect").entries.is_empty()
}

/// The lock is held during the work, and free when the work has returned a value or an error, has
/// panicked, or was cancelled, even if the work has kept its guard.
async fn a_lock_is_released_however_its_work_ends(store: &Store) {
    let (sync, other) = (store.client().await, store.client().await);
    let lock: Arc<dyn Lock> = sync.lock("a", LockOptions::new()).unwrap().into();
    let other = other.lock("a", LockOptions::new()).unwrap();
    let (kept, keeps) = (Arc::new(Mutex::new(Vec::new())), Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    let (keeping, working) = (kept.clone(), lock.clone());
    // In a task, which shows that the future is `Send`.
    tasks.spawn(async move {
        let answer = with_lock(&*working, async |guard| {
            assert!(other.try_acquire().await.unwrap().is_none(), "two hold");
            guard.check(Duration::ZERO).expect("held");
            keeping.lock().unwrap().push(guard);
            7
        });
        assert_eq!(answer.await.expect("held until the end"), 7);
        assert!(is_free(&*other).await, "still held after the work");
        let failed = with_lock(&*working, async |_| Err::<(), _>("out of paper"));
        assert_eq!(failed.await.expect("held"), Err("out of paper"));
        assert!(is_free(&*other).await, "still held after the error");
    });
    tasks.join_next().await.unwrap().expect("no panic");
    let revoked = kept.lock().unwrap()[0].revoked();
    assert_eq!(revoked.await, Loss::Released, "a clone of the guard holds");

    let panicking = lock.clone();
    tasks.spawn(async move {
        let work = async |_: Arc<Guard>| -> () { panic!("on purpose") };
        let _ = with_lock(&*panicking, work).await;
    });
    let panicked = tasks.join_next().await.unwrap();
    assert!(panicked.is_err_and(|error| error.is_panic()));
    eventually("free after a panic", async || is_free(&*lock).await).await;

    let (begun, begins) = oneshot::channel();
    let never_ends = with_lock(&*lock, |guard| {
        keeps.lock().unwrap().push(guard);
        begun.send(()).unwrap();
        pending::<()>()
    });
    tokio::select! {
        _ = never_ends => unreachable!("the work never ends"),
        begins = begins => begins.unwrap(),
    }
    let what = "free after a cancellation, although a clone of the guard remains";
    eventually(what, async || is_free(&*lock).await).await;
    assert!(keeps.lock().unwrap()[0].check(Duration::ZERO).is_err());
}

/// The work is dropped at the revocation, and the loss is an error that is not the work's.
async fn work_is_dropped_when_its_lock_is_lost(store: &Store) {
    let (sync, operator) = (store.client().await, store.client().await);
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    let operator = operator.lock("a", LockOptions::new()).unwrap();
    for by_guard in [false, true] {
        let dropped = Arc::new(AtomicBool::new(false));
        let (begun, begins) = oneshot::channel();
        let flag = Dropped(dropped.clone());
        let work = async move {
            begun.send(()).unwrap();
            pending::<()>().await;
            drop(flag);
        };
        let running = async {
            if by_guard {
                let guard = lock.acquire().await.unwrap();
                assert_eq!(guard.run(async { 7 }).await.expect("held"), 7);
                guard.run(work).await
            } else {
                with_lock(&*lock, |_| work).await
            }
        };
        let evicting = async {
            begins.await.unwrap();
            let queue = operator.inspect().await.unwrap();
            let holder = queue.holders().next().expect("a holder").claim;
            operator.evict(holder).await.unwrap();
        };
        let both = async { tokio::join!(running, evicting).0 };
        let ended = tokio::time::timeout(SOON, both).await.expect("in time");
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::NotHeld);
        assert!(dropped.load(Ordering::SeqCst), "the work goes on");
        eventually("free", async || is_free(&*operator).await).await;
    }
    // A released guard runs nothing.
    let guard = lock.acquire().await.unwrap();
    guard.release().await.unwrap();
    let refused = guard.run(async { panic!("it runs") }).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotHeld);
}

async fn readers_share_and_a_semaphore_has_its_permits(store: &Store) {
    let sync = store.client().await;
    let (reader, writer) = (sync.read("a").unwrap(), sync.write("a").unwrap());
    let readers = (
        reader.acquire().await.unwrap(),
        reader.acquire().await.unwrap(),
    );
    assert!(writer.try_acquire().await.unwrap().is_none());
    drop(readers);
    let writing = writer.acquire().await.unwrap();
    assert!(reader.try_acquire().await.unwrap().is_none());
    drop(writing);
    let semaphore = sync.semaphore("b", 2).unwrap();
    let permits = (
        semaphore.acquire().await.unwrap(),
        semaphore.acquire().await.unwrap(),
    );
    assert!(semaphore.try_acquire().await.unwrap().is_none());
    drop(permits);
    let refused = sync.semaphore("b", 0).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidOption);
}
