//! Leaders that are killed again and again under load.
//!
//! `DISTSYNC_KILLS=200 cargo test -p distsync-netlock --all-features --test program kills --
//! --nocapture` kills two hundred, and prints how long the cluster granted nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use distsync_core::spi::clock::{self, Moment};
use distsync_core::{Guard, Handle, LockOptions, Sync, SyncOptions, Token};
use distsync_netlock::{Client, Config};
use tokio_util::task::TaskTracker;

use super::members::{Members, PATIENCE};

/// A waiter that loses its session queues again, behind the others. With a leader killed every two
/// seconds, a short session can miss all chances to be renewed.
const TTL: Duration = Duration::from_secs(60);
/// The clients that make the load, and the locks that they share.
const CLIENTS: usize = 6;
const LOCKS: usize = 3;
/// The waiters at each kill.
const WAITERS: usize = 3;
/// The lock of the holder and the waiters that live through a kill.
const QUEUED: usize = LOCKS;

/// What a client has seen of one hold.
#[derive(Debug)]
struct Hold {
    lock: usize,
    token: Token,
    from: Moment,
    until: Moment,
}

/// Holds a lock for a moment. Returns `None` if the client cannot be sure that it held it to the
/// end.
async fn hold(lock: usize, guard: Guard) -> Option<Hold> {
    let from = clock::now();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let held = guard.check(Duration::ZERO).is_ok().then(|| Hold {
        lock,
        token: guard.token(),
        from,
        until: clock::now(),
    });
    let _ = guard.release().await;
    held
}

/// Acquires and releases until it `is_over`.
async fn work(config: Config, is_over: Arc<AtomicBool>, done: Arc<AtomicU64>) -> Vec<Hold> {
    let options = SyncOptions::new().with_session_ttl(TTL);
    let sync = Handle::open(Client::new(config).backend(), options).await;
    let sync = sync.unwrap();
    let mut holds = Vec::new();
    for lock in (0..LOCKS).cycle() {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let acquired = sync.lock(&name(lock), LockOptions::new()).unwrap();
        // The core withdraws a claim whose acquisition has failed.
        let Ok(guard) = acquired.acquire().await else {
            continue;
        };
        holds.extend(hold(lock, guard).await);
        done.fetch_add(1, Ordering::Relaxed);
    }
    let _ = sync.close().await;
    holds
}

fn name(lock: usize) -> String {
    format!("lock-{lock}")
}

/// A holder, and waiters that have queued up behind it one after the other.
struct Queued {
    holder: Guard,
    waiters: Vec<tokio::task::JoinHandle<(Token, Option<Hold>)>>,
}

impl Queued {
    async fn up(handles: &[Handle], tasks: &TaskTracker) -> Self {
        let lock = |at: usize| handles[at].lock(&name(QUEUED), LockOptions::new()).unwrap();
        let holder = lock(0).acquire().await.unwrap();
        let mut waiters = Vec::new();
        for waiter in 1..handles.len() {
            let acquired = lock(waiter);
            waiters.push(tasks.spawn(async move {
                let guard = acquired.acquire().await.expect("a waiter waits on");
                (guard.token(), hold(QUEUED, guard).await)
            }));
            let deadline = clock::now().after(PATIENCE);
            while lock(0).inspect().await.unwrap().entries.len() <= waiter {
                assert!(clock::now() < deadline, "a waiter is not queued");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        Self { holder, waiters }
    }

    /// Lets the holder go. The waiters have to be granted in their order.
    async fn served(self) -> Vec<Hold> {
        let token = self.holder.check(Duration::ZERO);
        let mut last = token.expect("the hold outlives its leader");
        let mut holds: Vec<_> = hold(QUEUED, self.holder).await.into_iter().collect();
        for waiter in self.waiters {
            let granted = tokio::time::timeout(PATIENCE, waiter).await;
            let (token, held) = granted.expect("a grant in time").unwrap();
            assert!(token > last, "a waiter was overtaken: {token} after {last}");
            last = token;
            holds.extend(held);
        }
        holds
    }
}

/// Asserts that no token was granted twice, and that no lock had two holders.
fn check(mut holds: Vec<Hold>) {
    holds.sort_by_key(|hold| hold.token);
    let mut last: HashMap<usize, &Hold> = HashMap::new();
    let mut token = None;
    for hold in &holds {
        assert!(
            Some(hold.token) > token,
            "a token was granted twice: {hold:?}"
        );
        token = Some(hold.token);
        if let Some(before) = last.insert(hold.lock, hold) {
            assert!(
                hold.from >= before.until,
                "two holders: {before:?}, {hold:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_leaders_lose_no_grant_and_keep_every_order() {
    let kills = std::env::var("DISTSYNC_KILLS").map_or(12, |kills| kills.parse().unwrap());
    let members = Members::start();
    members.leader().await;
    let (is_over, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let tasks = TaskTracker::new();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tasks.spawn(work(members.config(), is_over.clone(), done.clone())))
        .collect();
    let mut handles = Vec::new();
    for _ in 0..=WAITERS {
        handles.push(members.connect(TTL).await);
    }
    let (mut holds, mut times) = (Vec::new(), Vec::new());
    for kill in 0..kills {
        let leader = members.leader().await;
        let queued = Queued::up(&handles, &tasks).await;
        members.kill(leader);
        // A supervisor starts it again at once, or later.
        let is_restarted = kill % 2 == 1;
        if is_restarted {
            members.start_one(leader);
        }
        let (at, before) = (clock::now(), done.load(Ordering::Relaxed));
        // Requests before the kill may be counted after it, at most one of each client.
        while done.load(Ordering::Relaxed) < before + 10 {
            assert!(clock::now() < at.after(PATIENCE), "no grants after a kill");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let took = clock::now().since(at);
        times.push(took);
        holds.extend(queued.served().await);
        if !is_restarted {
            members.start_one(leader);
        }
        if kill % 10 == 9 {
            println!("{} kills, the last one took {took:?}", kill + 1);
        }
    }
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        let held = tokio::time::timeout(PATIENCE, client).await.unwrap();
        holds.extend(held.unwrap());
    }
    times.sort();
    println!(
        "ten grants after a kill: median {:?}, 99 of 100 {:?}, longest {:?}; {} holds",
        times[times.len() / 2],
        times[(times.len() * 99).div_ceil(100) - 1],
        times[times.len() - 1],
        holds.len()
    );
    check(holds);
    for handle in handles {
        handle.close().await.unwrap();
    }
    members.stop();
}
