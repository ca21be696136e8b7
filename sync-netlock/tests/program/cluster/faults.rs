//! Members that hang, lose their disks, are cut off, or are away for long.

use std::process::{Command, Stdio};
use std::time::Duration;

use distsync_core::spi::clock;
use distsync_core::{Guard, Handle, LockOptions, Sync};
use rustix::process::Signal;
use tokio_util::task::TaskTracker;

use super::super::restart::SmallDisk;
use super::super::server::acquire;
use super::members::{Members, PATIENCE};

const TTL: Duration = Duration::from_secs(6);

pub(super) async fn waiters(client: &Handle, name: &str) -> usize {
    let lock = client.lock(name, LockOptions::new()).unwrap();
    lock.inspect().await.unwrap().entries.len()
}

/// Waits until the members have granted a lock.
pub(super) async fn granted(client: &Handle, name: &str) -> Guard {
    let lock = client.lock(name, LockOptions::new()).unwrap();
    let deadline = clock::now().after(PATIENCE);
    loop {
        match lock.acquire().await {
            Ok(guard) => return guard,
            Err(error) => assert!(error.is_retryable() && clock::now() < deadline, "{error}"),
        }
    }
}

/// A leader that was stopped for longer than a TTL believes that the session has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_leader_costs_no_session_and_ends_none_when_it_wakes() {
    let members = Members::start();
    let leader = members.leader().await;
    let ttl = Duration::from_secs(3);
    let (sync, other) = (members.connect(ttl).await, members.connect(ttl).await);
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    let held = lock.acquire().await.unwrap();
    let waiting = TaskTracker::new().spawn(async move {
        let guard = acquire(&other, "a").await;
        (guard, other)
    });
    while waiters(&sync, "a").await < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The connections to a stopped server are silent. The session is renewed over a new one.
    members.freeze_beyond(leader, ttl).await;
    let woken = clock::now();
    while clock::now() < woken.after(Duration::from_secs(1)) {
        held.check(Duration::ZERO).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let queue = lock.inspect().await.unwrap();
    assert_eq!(queue.entries.len(), 2, "{queue:?}");
    assert_eq!(queue.entries[0].claim, held.claim());
    let token = held.token();
    held.release().await.unwrap();
    let (next, other) = waiting.await.unwrap();
    assert!(next.token() > token);
    let logged = members.slot(leader).as_ref().unwrap().logged();
    assert!(logged.contains("does not lead any more"), "{logged}");
    next.release().await.unwrap();
    other.close().await.unwrap();
    sync.close().await.unwrap();
    members.stop();
}

/// A leader whose messages are lost serves nobody, and the others go on without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_serves_nobody() {
    let members = Members::on_a_network();
    let leader = members.leader().await;
    let client = members.connect(TTL).await;
    let held = acquire(&client, "held").await;
    members.network().cut(&[leader]);
    members.leader_except(leader).await;
    let deadline = clock::now().after(PATIENCE);
    while members.leads(leader) {
        assert!(clock::now() < deadline, "the old leader greets clients");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let next = granted(&client, "next").await;
    assert!(next.token() > held.token());
    members.network().heal();
    tokio::time::sleep(Duration::from_secs(1)).await;
    held.check(Duration::ZERO).unwrap();
    for guard in [held, next] {
        guard.release().await.unwrap();
    }
    client.close().await.unwrap();
    members.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_members_lose_two_and_a_minority_serves_nobody() {
    let members = Members::of(5, &[]);
    let client = members.connect(Duration::from_secs(30)).await;
    let held = acquire(&client, "held").await;
    for _ in 0..2 {
        let leader = members.leader().await;
        members.kill(leader);
    }
    let next = granted(&client, "next").await;
    assert!(next.token() > held.token());
    let third = members.leader().await;
    members.kill(third);
    let deadline = clock::now().after(Duration::from_secs(3));
    while clock::now() < deadline {
        for member in members.all().filter(|&member| members.is_running(member)) {
            assert!(!members.leads(member), "two of five serve");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    members.start_one(third);
    held.check(Duration::ZERO).unwrap();
    let last = granted(&client, "last").await;
    assert!(last.token() > next.token());
    assert_eq!(waiters(&client, "held").await, 1);
    for guard in [held, next, last] {
        guard.release().await.unwrap();
    }
    client.close().await.unwrap();
    members.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_member_ends_and_the_others_go_on() {
    let members = Members::start();
    let leader = members.leader().await;
    let wiped = (leader + 1) % 3;
    members.kill(wiped);
    std::fs::remove_dir_all(members.folder(wiped)).unwrap();
    let mut command = members.command(wiped);
    let ended = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let ended = tokio::task::spawn_blocking(|| ended.unwrap().wait_with_output().unwrap());
    let ended = tokio::time::timeout(PATIENCE, ended)
        .await
        .unwrap()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success(), "{said}");
    assert!(said.contains("emptied"), "{said}");
    // This client knows the follower that is left, and finds the leader by it.
    let client = members.connect_by((leader + 2) % 3, TTL).await;
    acquire(&client, "a").await.release().await.unwrap();
    client.close().await.unwrap();
    members.stop();
}

/// Acquires and releases with values, so that the logs of the members grow by about this many
/// bytes.
async fn write(client: &Handle, bytes: usize) {
    const VALUE: usize = 1 << 10;
    let options = LockOptions::new().with_value(vec![7; VALUE]);
    let locks = (0..16).map(|at| client.lock(&format!("w-{at}"), options.clone()).unwrap());
    let each = bytes / VALUE / 16;
    let writing = locks.map(|lock| async move {
        for _ in 0..each {
            lock.acquire().await.unwrap().release().await.unwrap();
        }
    });
    futures_util::future::join_all(writing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_for_long_gets_a_snapshot_under_load() {
    let members = Members::of(3, &["log_bytes=100000"]);
    let leader = members.leader().await;
    let client = members.connect(TTL).await;
    let held = acquire(&client, "held").await;
    let away = (leader + 1) % 3;
    members.kill(away);
    write(&client, 800_000).await;
    let load = async {
        members.start_one(away);
        // Without the third member, the one that was away has to follow.
        let other = (leader + 2) % 3;
        write(&client, 100_000).await;
        members.kill(other);
        write(&client, 100_000).await;
    };
    load.await;
    held.check(Duration::ZERO).unwrap();
    // It knows what was granted before, if it leads.
    members.kill(leader);
    members.start_one((leader + 2) % 3);
    let next = granted(&client, "next").await;
    assert!(next.token() > held.token());
    assert_eq!(waiters(&client, "held").await, 1);
    held.check(Duration::ZERO).unwrap();
    let has_a_snapshot = std::fs::read_dir(members.folder(away))
        .unwrap()
        .any(|entry| {
            let name = entry.unwrap().file_name();
            name.to_string_lossy().starts_with("snapshot")
        });
    assert!(has_a_snapshot);
    for guard in [held, next] {
        guard.release().await.unwrap();
    }
    client.close().await.unwrap();
    members.stop();
}

/// A member that cannot write ends. It comes back when its disk has space.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_a_follower_costs_that_member() {
    let disk = SmallDisk::mount("12m");
    let members = Members::start();
    let leader = members.leader().await;
    let client = members.connect(TTL).await;
    let held = acquire(&client, "held").await;
    let full = (leader + 1) % 3;
    assert!(members.slot(full).take().unwrap().end(Signal::TERM));
    // It moves to the small disk with what it has stored.
    let copied = Command::new("cp")
        .arg("-r")
        .arg(members.folder(full))
        .arg(disk.path("data"))
        .status();
    assert!(copied.unwrap().success());
    let start = || {
        let mut command = disk.command();
        members.arguments(full, &disk.inside("data"), &mut command);
        members.spawn(full, command);
    };
    start();
    disk.fill();
    write(&client, 6_000_000).await;
    let status = members.slot(full).as_mut().unwrap().ended();
    assert!(!status.success());
    let logged = members.slot(full).take().unwrap().logged();
    assert!(
        logged.contains("cannot write the log of the cluster"),
        "{logged}"
    );
    held.check(Duration::ZERO).unwrap();
    disk.free();
    start();
    // Without the third member, the one on the small disk has to follow.
    members.kill((leader + 2) % 3);
    let next = granted(&client, "next").await;
    assert!(next.token() > held.token());
    for guard in [held, next] {
        guard.release().await.unwrap();
    }
    client.close().await.unwrap();
    members.stop();
}
