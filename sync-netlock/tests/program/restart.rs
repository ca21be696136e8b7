//! What a server that keeps its table brings back, and what it does not grant in doubt.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use sync_core::{Handle, LockOptions, Sync, clock};
use tempfile::TempDir;

use super::server::{NETLOCKD, Netlockd, acquire, complaint};

const TTL: Duration = Duration::from_secs(3);

/// A server and its folder.
struct Kept {
    folder: TempDir,
    durability: &'static str,
    server: Netlockd,
}

impl Kept {
    fn start(durability: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Self::start_on(folder.path(), durability, "127.0.0.1:0");
        Self { folder, durability, server }
    }

    fn start_on(folder: &Path, durability: &str, address: &str) -> Netlockd {
        let folder = folder.to_str().unwrap();
        Netlockd::start_at(address, &["--data-dir", folder, "--durability", durability])
    }

    /// The server ends, `meanwhile` happens, and it starts again at the same address.
    fn restart(self, signal: Signal, meanwhile: impl FnOnce(&Path)) -> Self {
        let Self { folder, durability, server } = self;
        let address = server.address().to_owned();
        server.end(signal);
        meanwhile(folder.path());
        let server = Self::start_on(folder.path(), durability, &address);
        Self { folder, durability, server }
    }
}

/// The newest log of a folder.
fn log_of(folder: &Path) -> PathBuf {
    let logs = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    logs.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("log-")).max().unwrap()
}

/// Makes a log look as if the kernel had been started again since: the head names another run of it.
fn as_if_the_machine_went_down(folder: &Path) {
    let log = OpenOptions::new().read(true).write(true).open(log_of(folder)).unwrap();
    let mut length = [0; 4];
    log.read_exact_at(&mut length, 0).unwrap();
    let mut frame = vec![0; 8 + u32::from_le_bytes(length) as usize];
    log.read_exact_at(&mut frame, 0).unwrap();
    // Behind the frame's head: the record's kind, the version, and the kernel's run.
    frame[8 + 1 + 4] ^= 1;
    let checksum = crc32fast::hash(&frame[8..]);
    frame[4..8].copy_from_slice(&checksum.to_le_bytes());
    log.write_all_at(&frame, 0).unwrap();
}

async fn waits_for(client: &Handle, name: &str, entries: usize) {
    let lock = client.lock(name, LockOptions::new()).unwrap();
    let deadline = clock::now().after(Duration::from_secs(20));
    while lock.inspect().await.unwrap().entries.len() != entries {
        assert!(clock::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn holders_and_waiters_keep_their_places_whatever_ends_the_server() {
    for (durability, signal) in
        [("async", Signal::KILL), ("async", Signal::TERM), ("fsync", Signal::KILL), ("fsync", Signal::TERM)]
    {
        let kept = Kept::start(durability);
        let (first, second, third) =
            (kept.server.connect(TTL).await, kept.server.connect(TTL).await, kept.server.connect(TTL).await);
        let guard = acquire(&first, "a").await;
        let other = acquire(&first, "b").await;
        let order = std::sync::Mutex::new(Vec::new());
        let stand = async |client: &Handle, ahead: usize| {
            waits_for(&third, "a", ahead).await;
            let guard = acquire(client, "a").await;
            order.lock().unwrap().push(ahead);
            guard.release().await.unwrap();
            guard.token()
        };
        let play = async {
            waits_for(&third, "a", 3).await;
            other.release().await.unwrap();
            let kept = kept.restart(signal, |_| {});
            assert_eq!(guard.check(Duration::ZERO).unwrap(), guard.token(), "{durability} {signal:?}");
            // Longer than the TTL: it is renewed at the new server.
            tokio::time::sleep(TTL).await;
            assert_eq!(guard.check(Duration::ZERO).unwrap(), guard.token(), "{durability} {signal:?}");
            assert!(acquire(&third, "b").await.token() > other.token(), "what was given back is free");
            assert_eq!(guard.release().await.unwrap(), sync_core::Release::Done);
            kept
        };
        let (kept, second_token, third_token) = tokio::join!(play, stand(&second, 1), stand(&third, 2));
        assert!(guard.token() < second_token && second_token < third_token);
        assert_eq!(*order.lock().unwrap(), [1, 2], "{durability} {signal:?}: first come, first served");
        drop(kept);
    }
}

#[tokio::test]
async fn after_a_power_failure_nothing_is_granted_until_every_session_of_before_has_ended() {
    let kept = Kept::start("async");
    let client = kept.server.connect(TTL).await;
    let guard = acquire(&client, "a").await;
    let kept = kept.restart(Signal::KILL, as_if_the_machine_went_down);
    let since = clock::now();
    let fresh = kept.server.connect(TTL).await;
    let lock = fresh.lock("b", LockOptions::new()).unwrap();
    let error = lock.try_acquire().await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("the server has restarted"), "{error}");
    let _later = acquire(&fresh, "b").await;
    assert!(clock::now().since(since) > TTL / 2, "a lock of before could still be held");
    assert_eq!(guard.check(Duration::ZERO).unwrap(), guard.token(), "what was not forgotten is held");
}

#[tokio::test]
async fn without_a_log_nothing_is_granted_for_as_long_as_a_lock_of_before_can_be_held() {
    let kept = Kept::start("memory");
    let client = kept.server.connect(TTL).await;
    let guard = acquire(&client, "a").await;
    let kept = kept.restart(Signal::KILL, |_| {});
    let fresh = kept.server.connect(TTL).await;
    let again = acquire(&fresh, "a").await;
    assert!(guard.check(Duration::ZERO).is_err(), "granted while the holder of before believed in it");
    assert!(again.token() > guard.token());
}

#[tokio::test]
async fn a_hundred_thousand_held_locks_are_back() {
    const LOCKS: usize = 100_000;
    let kept = Kept::start("async");
    let client = kept.server.connect(Duration::from_secs(60)).await;
    let mut guards = Vec::new();
    for start in (0..LOCKS).step_by(500) {
        let batch = (start..start + 500).map(|number| {
            let lock = client.lock(&format!("lock-{number}"), LockOptions::new()).unwrap();
            async move { lock.acquire().await.unwrap() }
        });
        guards.extend(futures_util::future::join_all(batch).await);
    }
    let kept = kept.restart(Signal::KILL, |_| {});
    let fresh = kept.server.connect(TTL).await;
    for number in [0, LOCKS / 2, LOCKS - 1] {
        let lock = fresh.lock(&format!("lock-{number}"), LockOptions::new()).unwrap();
        assert!(lock.try_acquire().await.unwrap().is_none(), "held before, held after");
        assert_eq!(lock.inspect().await.unwrap().entries[0].token, Some(guards[number].token()));
    }
    client.close().await.unwrap();
}

#[test]
fn a_folder_that_cannot_be_used_is_named_with_the_reason() {
    let kept = Kept::start("async");
    let folder = kept.folder.path().to_str().unwrap();
    let start = ["--listen", "127.0.0.1:0", "--data-dir", folder];
    assert!(complaint(&start).contains("another server runs on the data folder"));
    let kept = {
        let Kept { folder, durability, server } = kept;
        server.end(Signal::TERM);
        (folder, durability)
    };
    let folder = kept.0.path().to_str().unwrap();
    let said = complaint(&["--listen", "127.0.0.1:0", "--data-dir", folder, "--durability", "memory"]);
    assert!(said.contains("it holds a log"), "{said}");
    let log = log_of(kept.0.path());
    std::fs::write(&log, "something else").unwrap();
    let said = complaint(&["--listen", "127.0.0.1:0", "--data-dir", folder]);
    assert!(said.contains("is damaged at byte 0") && said.contains("backup"), "{said}");
    let said = complaint(&["--listen", "127.0.0.1:0", "--data-dir", "/proc/nothing/here"]);
    assert!(said.contains("may it be written"), "{said}");
    let said = complaint(&["--listen", "127.0.0.1:0", "--durability", "fsync"]);
    assert!(said.contains("without a `data_dir`"), "{said}");
}

/// A server whose folder is on a file system of a few megabytes, in a mount namespace of its own; and the same folder from
/// here.
fn on_a_small_disk(address: &str, mount: &Path) -> (Netlockd, PathBuf) {
    let script = "mount -t tmpfs -o size=12m tmpfs \"$1\" && exec \"$2\" --listen \"$3\" --log warn --data-dir \"$1/data\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    command.arg(mount).arg(NETLOCKD).arg(address);
    let server = Netlockd::spawn(command);
    let seen = PathBuf::from(format!("/proc/{}/root{}", server.pid(), mount.display()));
    (server, seen)
}

#[tokio::test]
async fn a_full_disk_refuses_grants_and_still_releases_and_recovers_when_there_is_room() {
    let place = tempfile::tempdir().unwrap();
    let (server, disk) = on_a_small_disk("127.0.0.1:0", place.path());
    let client = server.connect(Duration::from_secs(30)).await;
    let guard = acquire(&client, "held").await;
    let filler = disk.join("filler");
    let file = std::fs::File::create(&filler).unwrap();
    let mut at = 0;
    while file.write_at(&[1; 4096], at).is_ok_and(|written| written > 0) {
        at += 4096;
    }
    drop(file);
    // What room the log has left is used up by grants and releases; then there is no more.
    let lock = client.lock("a", LockOptions::new().with_value(vec![7; 1024])).unwrap();
    let deadline = clock::now().after(Duration::from_secs(60));
    let error = loop {
        assert!(clock::now() < deadline, "the disk is never full");
        match lock.acquire().await {
            Ok(guard) => drop(guard.release().await.unwrap()),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("the server's disk is full"), "{error}");
    assert_eq!(guard.release().await.unwrap(), sync_core::Release::Done, "releases go on");
    assert!(client.lock("held", LockOptions::new()).unwrap().inspect().await.unwrap().entries.is_empty());
    std::fs::remove_file(filler).unwrap();
    let again = acquire_when_there_is_room(&client, "held").await;
    assert!(again.token() > guard.token());
}

async fn acquire_when_there_is_room(client: &Handle, name: &str) -> sync_core::Guard {
    let lock = client.lock(name, LockOptions::new()).unwrap();
    let deadline = clock::now().after(Duration::from_secs(30));
    loop {
        match lock.acquire().await {
            Ok(guard) => return guard,
            Err(error) => assert!(error.is_retryable() && clock::now() < deadline, "{error}"),
        }
    }
}
