//! Leaders that are killed or stopped again and again under load.
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
use rustix::process::Signal;
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

/// Ends leaders under load, each by `end`, which returns whether it has started the member again.
async fn leaders_end(members: Members, count: u32, mut end: impl FnMut(&Members, usize) -> bool) {
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
    for number in 1..=count {
        let leader = members.leader().await;
        let queued = Queued::up(&handles, &tasks).await;
        let is_restarted = end(&members, leader);
        let (at, before) = (clock::now(), done.load(Ordering::Relaxed));
        // Requests before the end may be counted after it, at most one of each client.
        while done.load(Ordering::Relaxed) < before + 10 {
            assert!(clock::now() < at.after(PATIENCE), "no grants after an end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let took = clock::now().since(at);
        times.push(took);
        holds.extend(queued.served().await);
        if !is_restarted {
            members.start_one(leader);
        }
        if number % 10 == 0 {
            println!("{number} ends, the last one took {took:?}");
        }
    }
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        let held = tokio::time::timeout(PATIENCE, client).await.unwrap();
        holds.extend(held.unwrap());
    }
    times.sort();
    println!(
        "ten grants after an end: median {:?}, 99 of 100 {:?}, longest {:?}; {} holds",
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_leaders_lose_no_grant_and_keep_every_order() {
    let kills = std::env::var("DISTSYNC_KILLS").map_or(12, |kills| kills.parse().unwrap());
    let mut is_restarted = true;
    leaders_end(Members::start(), kills, |members, leader| {
        members.kill(leader);
        // A supervisor starts it again at once, or later.
        is_restarted = !is_restarted;
        if is_restarted {
            members.start_one(leader);
        }
        is_restarted
    })
    .await;
}

/// A leader that is told to stop hands over to a voter that it chooses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_leaders_hand_over_without_an_election_by_timeout() {
    let mut terms = Vec::new();
    leaders_end(Members::start(), 4, |members, leader| {
        let mut stopped = members.slot(leader).take().expect("it runs");
        stopped.signal(Signal::TERM);
        assert!(stopped.ended().success(), "it stops in order");
        let log = stopped.logged();
        let hands_over = log.contains("this node hands its leadership over");
        assert!(
            hands_over && log.contains("another node leads now"),
            "{log}"
        );
        terms.push(elected_in(&log));
        members.start_one(leader);
        true
    })
    .await;
    // An election that fails costs another term.
    let first = terms[0];
    assert_eq!(terms, (first..).take(4).collect::<Vec<_>>());
}

/// Returns the last term in which a member was elected.
fn elected_in(log: &str) -> u64 {
    let mut lines = log.lines().rev();
    let line = lines.find(|line| line.contains("this node was elected"));
    let line = line.expect("it was elected");
    let (_, term) = line.rsplit_once("term=").expect("the term");
    let digits = term.chars().take_while(char::is_ascii_digit);
    digits.collect::<String>().parse().expect("the term")
}
