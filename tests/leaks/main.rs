//! A process that uses a store for months must not keep memory for what is over: locks, sessions,
//! waits that were cancelled, names that were watched.
//!
//! The allocator counts for the whole process, so the tests take turns. `memory:` and the server of
//! netlock run in this process and are counted too.
#![cfg(all(feature = "netlock-server", feature = "full"))]

#[path = "../scenarios/every_store.rs"]
#[allow(dead_code, reason = "the scenarios use the rest")]
mod every_store;
#[path = "../stores/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the scenarios use the rest")]
mod stores;

use std::alloc::System;
use std::time::Duration;

use distsync::{LeaderOptions, LockOptions, Node, Sync, Wait};
use distsync_core::conformance::secrets;
use every_store::{Store, on_every_store};
use futures_util::StreamExt;
use futures_util::future::join_all;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How many locks are acquired first, by how many tasks. The client of etcd remembers the last
/// 4,096 keys that were deleted, and other tables and buffers grow too.
const WARM_UP: usize = 4_200;
const TASKS: usize = 100;
/// How often a use is repeated between two measurements.
const REPETITIONS: usize = 200;
/// The memory that a repetition may keep, in bytes.
const KEPT: usize = 24;
/// The measurements after which it is checked: each is compared with that after a quarter of the
/// repetitions, within which a table that grows with them doubles twice. A use passes at the first
/// check that is good, since buffers may still have grown before.
const CHECKS: [usize; 3] = [4, 8, 12];
/// The time for the work that goes on in the background.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a wait lasts that is given up.
const SHORT: Duration = Duration::from_millis(1);

static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Returns the bytes that are allocated now.
fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

async fn warm_up(sync: &dyn Sync) {
    let one = async |task: usize| {
        for number in 0..WARM_UP / TASKS {
            let name = format!("warm {task} {number}");
            let lock = sync.lock(&name, options()).unwrap();
            lock.acquire().await.unwrap().release().await.unwrap();
        }
    };
    join_all((0..TASKS).map(one)).await;
}

/// Repeats `work` with a number, and checks that a repetition keeps no memory.
async fn keeps_nothing(store: &Store, work: impl AsyncFn(&dyn Sync, usize)) {
    let _turn = TURN.lock().await;
    let sync = store.client().await;
    warm_up(&*sync).await;
    let mut measured = vec![allocated()];
    for check in CHECKS {
        for round in measured.len()..=check {
            for number in round * REPETITIONS..(round + 1) * REPETITIONS {
                work(&*sync, number).await;
            }
            tokio::time::sleep(PAUSE).await;
            secrets::forget_drawn();
            measured.push(allocated());
        }
        let (before, now) = (measured[check / 4], measured[check]);
        if now <= before + KEPT * REPETITIONS * (check - check / 4) {
            return sync.close().await.unwrap();
        }
    }
    panic!("each time, {REPETITIONS} repetitions keep memory: {measured:?} bytes");
}

fn options() -> LockOptions {
    LockOptions::new()
}

async fn locks_of_many_names(store: &Store) {
    keeps_nothing(store, async |sync, number| {
        let lock = sync.lock(&format!("name {number}"), options()).unwrap();
        lock.acquire().await.unwrap().release().await.unwrap();
        drop(lock.acquire().await.unwrap());
        while lock.try_acquire().await.unwrap().is_none() {}
    })
    .await;
}

async fn locks_with_a_session_each(store: &Store) {
    let of_its_own = options().with_ttl(Duration::from_secs(20));
    keeps_nothing(store, async |sync, _| {
        let lock = sync.lock("a", of_its_own.clone()).unwrap();
        lock.acquire().await.unwrap().release().await.unwrap();
    })
    .await;
}

async fn waits_that_are_given_up(store: &Store) {
    keeps_nothing(store, async |sync, number| {
        let name = format!("name {number}");
        let lock = sync.lock(&name, options()).unwrap();
        let held = lock.acquire().await.unwrap();
        assert!(lock.try_acquire().await.unwrap().is_none());
        let cancelled = tokio::time::timeout(SHORT, lock.acquire()).await;
        assert!(cancelled.is_err());
        let patient = options().with_wait(Wait::For(SHORT));
        let patient = sync.lock(&name, patient).unwrap();
        assert!(patient.acquire().await.is_err());
        held.release().await.unwrap();
    })
    .await;
}

async fn waits_that_are_granted(store: &Store) {
    keeps_nothing(store, async |sync, number| {
        let lock = sync.lock(&format!("name {number}"), options()).unwrap();
        let held = lock.acquire().await.unwrap();
        let (granted, ()) = tokio::join!(lock.acquire(), async {
            while lock.inspect().await.unwrap().entries.len() < 2 {
                tokio::task::yield_now().await;
            }
            drop(held);
        });
        granted.unwrap().release().await.unwrap();
    })
    .await;
}

async fn watches_that_end(store: &Store) {
    keeps_nothing(store, async |sync, number| {
        let lock = sync.lock(&format!("name {number}"), options()).unwrap();
        let mut watch = lock.watch();
        watch.next().await.unwrap().unwrap();
        let next = tokio::time::timeout(SHORT, watch.next()).await;
        assert!(next.is_err(), "nothing changes");
    })
    .await;
}

async fn elections_of_many_names(store: &Store) {
    keeps_nothing(store, async |sync, number| {
        let options = LeaderOptions::new(Node::new("node"));
        let leader = sync.leader(&format!("name {number}"), options).unwrap();
        leader.elect().await.unwrap().resign().await.unwrap();
    })
    .await;
}

on_every_store!(
    locks_of_many_names,
    locks_with_a_session_each,
    waits_that_are_given_up,
    waits_that_are_granted,
    watches_that_end,
    elections_of_many_names,
);
