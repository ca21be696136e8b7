//! Clients of a cluster that are isolated: by the leader, after the end of their session is
//! committed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use distsync_core::spi::clock;
use distsync_core::{Handle, LockOptions, Sync, SyncOptions};
use distsync_netlock::Client;
use distsync_netlock::wire::proto;
use distsync_netlock::wire::proto::refused::Code;
use distsync_netlock::wire::proto::request::Body as Request;
use distsync_netlock::wire::proto::response::Body as Response;
use tokio_util::task::TaskTracker;

use super::super::raw::{Raw, enqueue, id, session};
use super::super::server::{acquire, run};
use super::members::{Members, PATIENCE};

/// Starts members whose program appends the process ids of its server and of itself to the file
/// `asked` in a folder, and ends when the folder has the file `go`.
fn start(folder: &Path) -> Members {
    let (asked, go) = (folder.join("asked"), folder.join("go"));
    let script = format!(
        "echo $PPID $$ >> {0}; while test -e {0} -a ! -e {1}; do sleep 0.02; done",
        asked.display(),
        go.display()
    );
    let command = format!("isolation.command=['/bin/sh', '-c', '{script}']");
    // So that only the end of the leadership kills the program.
    Members::of(3, &[&command, "isolation.timeout=100s"])
}

/// Returns the process ids of the servers that have run the program, and those of the program.
fn asked(folder: &Path) -> Vec<(u32, u32)> {
    let asked = std::fs::read_to_string(folder.join("asked")).unwrap_or_default();
    let ids = |line: &str| {
        let (server, program) = line.split_once(' ')?;
        Some((server.parse().ok()?, program.parse().ok()?))
    };
    asked.lines().filter_map(ids).collect()
}

/// Waits until a server has run the program this many times. Returns its process id, and that of
/// the program.
async fn asked_times(folder: &Path, times: usize) -> (u32, u32) {
    eventually("the program runs", || asked(folder).len() >= times).await;
    assert_eq!(asked(folder).len(), times);
    asked(folder)[times - 1]
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = clock::now().after(PATIENCE);
    while !condition() {
        assert!(clock::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn pid(members: &Members, member: usize) -> u32 {
    members.slot(member).as_ref().unwrap().process_id()
}

async fn is_isolating(client: &Handle, name: &str) -> bool {
    let lock = client.lock(name, LockOptions::new()).unwrap();
    let queue = lock.inspect().await.unwrap();
    queue.entries.iter().any(|entry| entry.is_isolating)
}

/// The session of the holder has ended by the clock of the stopped leader, and lives at the next
/// one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_leader_isolates_nobody_when_it_wakes() {
    let folder = tempfile::tempdir().unwrap();
    let members = start(folder.path());
    let leader = members.leader().await;
    let ttl = Duration::from_secs(3);
    let options = SyncOptions::new()
        .with_session_ttl(ttl)
        .with_isolation("how to");
    let backend = Client::new(members.config()).backend();
    let sync = Handle::open(backend, options).await.unwrap();
    let held = acquire(&sync, "a").await;
    members.freeze_beyond(leader, ttl).await;
    let woken = clock::now();
    while clock::now() < woken.after(Duration::from_millis(1_500)) {
        held.check(Duration::ZERO).unwrap();
        assert!(asked(folder.path()).is_empty(), "a healthy client");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let logged = members.slot(leader).as_ref().unwrap().logged();
    assert!(logged.contains("does not lead any more"), "{logged}");
    held.release().await.unwrap();
    sync.close().await.unwrap();
    members.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_leader_isolates_a_client_before_it_grants_its_locks() {
    let folder = tempfile::tempdir().unwrap();
    let members = start(folder.path());
    let leader = members.leader().await;
    let open = proto::Open {
        ttl_ms: 500,
        isolation: "how to".to_owned().into(),
        ..session()
    };
    let address = members.address(leader).to_owned();
    tokio::task::spawn_blocking(move || {
        let mut raw = Raw::connect(&address);
        raw.open(open);
        let granted = raw.ask(enqueue(1, 1, "distsync/l/a"));
        assert!(matches!(granted, Response::Granted(_)));
    })
    .await
    .unwrap();
    let other = members.connect(Duration::from_secs(20)).await;
    let waiter = members.connect(Duration::from_secs(20)).await;
    let waiting = TaskTracker::new().spawn(async move {
        let granted = acquire(&waiter, "a").await;
        (granted, waiter)
    });
    let (server, program) = asked_times(folder.path(), 1).await;
    assert_eq!(server, pid(&members, leader), "only the leader runs it");
    assert!(is_isolating(&other, "a").await);

    let url = format!("netlock://{}", members.address(leader));
    let handed_over = tokio::task::spawn_blocking(move || {
        run(&["admin", "--server", &url, "cluster", "step-down"])
            .status
            .success()
    });
    assert!(handed_over.await.unwrap());
    let next = members.leader_except(leader).await;
    let (server, _) = asked_times(folder.path(), 2).await;
    assert_eq!(server, pid(&members, next));
    let program = PathBuf::from(format!("/proc/{program}"));
    eventually("the first program is killed", || !program.exists()).await;
    assert!(is_isolating(&other, "a").await);

    members.kill(next);
    members.leader_except(next).await;
    members.start_one(next);
    asked_times(folder.path(), 3).await;
    assert!(is_isolating(&other, "a").await);
    assert!(!waiting.is_finished());
    std::fs::write(folder.path().join("go"), "").unwrap();
    let granted = tokio::time::timeout(PATIENCE, waiting).await.unwrap();

    // The client is told for good, also by members that learned of it from others.
    let leader = members.leader().await;
    members.kill(leader);
    let last = members.leader().await;
    let address = members.address(last).to_owned();
    let refused = tokio::task::spawn_blocking(move || {
        let attach = proto::Attach {
            session: 1,
            id: id(1),
            secret: id(99),
        };
        Raw::connect(&address).ask(Request::Attach(attach))
    });
    match refused.await.unwrap() {
        Response::Refused(refused) => assert_eq!(refused.code(), Code::Isolated),
        other => panic!("{other:?}"),
    }
    assert_eq!(asked(folder.path()).len(), 3);
    let (granted, waiter) = granted.unwrap();
    granted.release().await.unwrap();
    waiter.close().await.unwrap();
    other.close().await.unwrap();
    members.stop();
}
