//! How often a pair of acquire and release allocates memory: never in the engine and in the server,
//! and a known number of times in the client.
//!
//! The counting allocator counts for the whole process, so the tests take turns.
#![cfg(feature = "netlock-server")]

#[path = "../../benches/netlock/raw.rs"]
#[allow(dead_code, reason = "the benchmark uses the rest")]
mod raw;
#[path = "../../benches/netlock/side.rs"]
#[allow(dead_code, reason = "the benchmark uses the rest")]
mod side;

use std::alloc::System;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use distsync::{LockOptions, Mode, Token, connect};
use distsync_core::spi::{ClaimId, Secret, SessionId, clock::Moment};
use distsync_netlock::engine::{Command, Limits, LockTable, Requester, Terms};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// `side` needs it for comparisons, which are not made here.
const ROUNDS: usize = 1;

/// The allocations of a pair in the client, for one that releases and for one that drops its guard:
/// the future of `acquire`, that of the request to the backend, the state of the hold, and for
/// `release` the future of its request.
///
/// No recorder of metrics is installed. With one, each request and each acquire has one more.
const CLIENT: (usize, usize) = (4, 3);

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn allocations() -> usize {
    let stats = ALLOCATOR.stats();
    stats.allocations + stats.reallocations
}

#[test]
fn a_pair_does_not_allocate_in_the_engine() {
    let _turn = turn();
    let mut table = LockTable::new(Limits::default(), Token::new(1).unwrap());
    let mut effects = Vec::new();
    let session = SessionId::from_bits(1);
    let from = Requester {
        connection: 1,
        request: 1,
    };
    let open = Command::Open {
        session,
        secret: Secret::from_bits(7),
        terms: Terms::lasting(Duration::from_secs(60)),
        client: "a",
        isolation: b"",
    };
    let now = Moment::from_nanos(1);
    table.apply(now, from, open, &mut effects);
    let mut pairs = |count: u128| {
        for number in 1..=count {
            let claim = ClaimId::from_bits(number);
            let enqueue = Command::Enqueue {
                session,
                claim,
                name: b"distsync/l/a",
                mode: Mode::Exclusive,
                waits: true,
                value: b"",
            };
            let granted = table.apply(now, from, enqueue, &mut effects);
            let withdrawn = table.apply(
                now,
                from,
                Command::Withdraw { session, claim },
                &mut effects,
            );
            assert!(granted.is_some() && withdrawn.is_some());
            effects.clear();
        }
    };
    pairs(100);
    let before = allocations();
    pairs(10_000);
    // The other threads of the test runner may allocate too.
    let count = allocations() - before;
    assert!(count < 100, "{count} allocations in 10,000 pairs");
}

/// The load sends frames that were built before, so nearly all allocations are the server's.
#[test]
fn a_pair_does_not_allocate_in_the_server() {
    let _turn = turn();
    for window in [1, 64] {
        let time = Duration::from_millis(1_000);
        let before = allocations();
        let rate = side::serving(raw::serve, |address| raw::load(address, 1, window, time));
        let count = allocations() - before;
        let pairs = rate * time.as_secs_f64();
        let each = count as f64 / pairs;
        assert!(
            each < 0.2,
            "{window} in flight: {count} allocations in {pairs} pairs"
        );
    }
}

#[test]
fn a_pair_allocates_a_known_number_of_times_in_the_client() {
    let _turn = turn();
    side::serving(raw::serve, |address| {
        side::runtime().block_on(async {
            let sync = connect(&format!("netlock://{address}")).await.unwrap();
            let lock = sync.lock("a", LockOptions::new()).unwrap();
            for (drops, wanted) in [(false, CLIENT.0), (true, CLIENT.1)] {
                let pairs = async |count: usize| {
                    for _ in 0..count {
                        let guard = lock.acquire().await.unwrap();
                        if drops {
                            drop(guard);
                        } else {
                            guard.release().await.unwrap();
                        }
                    }
                };
                pairs(200).await;
                let before = allocations();
                pairs(2_000).await;
                let each = (allocations() - before) as f64 / 2_000.0;
                assert!(
                    (each - wanted as f64).abs() < 0.2,
                    "drops: {drops}: {each} allocations a pair instead of {wanted}"
                );
            }
            sync.close().await.unwrap();
        });
    });
}
