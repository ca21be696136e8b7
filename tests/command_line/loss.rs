//! The loss of the lock while a command runs.

use std::time::Duration;

use distsync::{LockOptions, connect};
use distsync_core::spi::clock;
use tokio::task::JoinSet;

use crate::partition::Partition;
use crate::running::{Running, runs};
use crate::stores::{Netlock, Redis};

/// A command that reports SIGTERM and goes on, with two children that ignore it. One of them has
/// left the group. Each prints its process id. They end by themselves after half a minute, so that
/// a failed test leaves nothing behind.
const STUBBORN: &str = "
    trap 'echo asked' TERM
    busy='for step in $(seq 600); do sleep 0.05; done'
    echo ready
    echo $$
    sh -c \"trap '' TERM; echo \\$\\$; $busy\" &
    setsid sh -c \"trap '' TERM; echo \\$\\$; $busy\" &
    eval \"$busy\"";

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_comes_in_time_in_a_partition_and_sigkill_before_the_lock_is_free() {
    let (netlock, redis) = (Netlock::start(), Redis::start());
    for (scheme, port) in [("netlock", netlock.port()), ("redis", redis.port())] {
        let partition = Partition::before(port);
        let url = format!("{scheme}://127.0.0.1:{}?ttl=3s", partition.port());
        // The pipe of standard error is full, so that a message would block.
        let script = format!("timeout 30 yes >&2 & exec 2>/dev/null; {STUBBORN}");
        let mut run = Running::script(&url, &["--grace", "1200ms"], &script);
        let unread = run.leave_errors_unread();
        let processes: Vec<i32> = (0..3).map(|_| run.line().parse().unwrap()).collect();
        assert!(processes.iter().all(|process| runs(*process)));

        let next = connect(&format!("{scheme}://127.0.0.1:{port}"))
            .await
            .unwrap();
        let lock = next.lock("a", LockOptions::new()).unwrap();
        let mut waiting = JoinSet::new();
        waiting.spawn(async move {
            let guard = lock.acquire().await.unwrap();
            let granted = clock::now();
            let alive = processes.into_iter().filter(|process| runs(*process));
            (alive.collect::<Vec<_>>(), granted, guard)
        });
        partition.cut();
        assert_eq!(run.line(), "asked");
        let asked = clock::now();
        let (alive, granted, _guard) = waiting.join_next().await.unwrap().unwrap();
        assert!(
            alive.is_empty(),
            "{alive:?} run beside the next holder on {scheme}"
        );
        // The grace and the stop margin of 250 ms, less what a busy machine takes to report it.
        let before = granted.since(asked);
        assert!(
            before >= Duration::from_millis(400),
            "SIGTERM came only {before:?} before"
        );
        drop(unread);
        assert_eq!(run.code(), Some(74), "{scheme}");
    }
}

#[tokio::test]
async fn success_is_not_reported_after_a_loss() {
    let netlock = Netlock::start();
    let partition = Partition::before(netlock.port());
    let url = format!("netlock://127.0.0.1:{}?ttl=2s", partition.port());
    let mut run = Running::script(
        &url,
        &[],
        "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done",
    );
    partition.cut();
    assert_eq!(run.code(), Some(74));
}

#[tokio::test]
async fn an_evicted_command_is_killed_at_once() {
    let netlock = Netlock::start();
    let mut run = Running::script(&netlock.url(), &[], STUBBORN);
    let command: i32 = run.line().parse().unwrap();
    let sync = connect(&netlock.url()).await.unwrap();
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    let claim = lock.inspect().await.unwrap().entries[0].claim;
    lock.evict(claim).await.unwrap();
    assert_eq!(run.code(), Some(74));
    assert!(!runs(command));
}

/// The store has forgotten the lock, and nothing was noticed while the command ran.
#[tokio::test]
async fn a_loss_that_the_release_finds_is_reported() {
    let redis = Redis::start();
    let url = format!("redis://127.0.0.1:{}", redis.port());
    let mut run = Running::script(&url, &[], "echo ready; sleep 0.5");
    redis.tell("FLUSHALL");
    assert_eq!(run.code(), Some(74));
}
