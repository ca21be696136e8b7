//! Restarts of a server with a data folder: it restores its table, and grants nothing that may be
//! held.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use distsync_core::spi::clock;
use distsync_core::{Handle, LockOptions, Sync};
use rustix::process::Signal;
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
        Self {
            folder,
            durability,
            server,
        }
    }

    fn start_on(folder: &Path, durability: &str, address: &str) -> Netlockd {
        let folder = folder.to_str().unwrap();
        Netlockd::start_at(address, &["--data-dir", folder, "--durability", durability])
    }

    /// Stops the server, runs `meanwhile`, and starts the server again at the same address.
    fn restart(self, signal: Signal, meanwhile: impl FnOnce(&Path)) -> Self {
        let Self {
            folder,
            durability,
            server,
        } = self;
        let address = server.address().to_owned();
        server.end(signal);
        meanwhile(folder.path());
        let server = Self::start_on(folder.path(), durability, &address);
        Self {
            folder,
            durability,
            server,
        }
    }
}

/// Returns the path of the newest log of a folder.
fn log_of(folder: &Path) -> PathBuf {
    let logs = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    logs.filter(|path| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("log-")
    })
    .max()
    .unwrap()
}

/// Changes the boot id in the head of a log, as if the machine had been restarted since.
fn as_if_the_machine_went_down(folder: &Path) {
    let log = OpenOptions::new()
        .read(true)
        .write(true)
        .open(log_of(folder))
        .unwrap();
    let mut length = [0; 4];
    log.read_exact_at(&mut length, 0).unwrap();
    let mut frame = vec![0; 8 + u32::from_le_bytes(length) as usize];
    log.read_exact_at(&mut frame, 0).unwrap();
    // After the head of the frame come the kind of the record, the version and the boot id.
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
async fn holders_and_waiters_keep_their_positions_over_any_restart() {
    for (durability, signal) in [
        ("async", Signal::KILL),
        ("async", Signal::TERM),
        ("fsync", Signal::KILL),
        ("fsync", Signal::TERM),
    ] {
        let kept = Kept::start(durability);
        let (first, second, third) = (
            kept.server.connect(TTL).await,
            kept.server.connect(TTL).await,
            kept.server.connect(TTL).await,
        );
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
            assert_eq!(
                guard.check(Duration::ZERO).unwrap(),
                guard.token(),
                "{durability} {signal:?}"
            );
            // This is longer than the TTL, so the session has to be renewed at the new server.
            tokio::time::sleep(TTL).await;
            assert_eq!(
                guard.check(Duration::ZERO).unwrap(),
                guard.token(),
                "{durability} {signal:?}"
            );
            assert!(
                acquire(&third, "b").await.token() > other.token(),
                "what was given back is free"
            );
            assert_eq!(guard.release().await.unwrap(), distsync_core::Release::Done);
            kept
        };
        let (kept, second_token, third_token) =
            tokio::join!(play, stand(&second, 1), stand(&third, 2));
        assert!(guard.token() < second_token && second_token < third_token);
        assert_eq!(
            *order.lock().unwrap(),
            [1, 2],
            "{durability} {signal:?}: first come, first served"
        );
        drop(kept);
    }
}

#[tokio::test]
async fn after_a_power_failure_nothing_is_granted_until_earlier_sessions_have_ended() {
    let kept = Kept::start("async");
    let client = kept.server.connect(TTL).await;
    let guard = acquire(&client, "a").await;
    let kept = kept.restart(Signal::KILL, as_if_the_machine_went_down);
    let since = clock::now();
    let fresh = kept.server.connect(TTL).await;
    let lock = fresh.lock("b", LockOptions::new()).unwrap();
    let error = lock.try_acquire().await.unwrap_err();
    assert!(
        error.is_retryable() && error.to_string().contains("the server has restarted"),
        "{error}"
    );
    let _later = acquire(&fresh, "b").await;
    assert!(
        clock::now().since(since) > TTL / 2,
        "a lock of before could still be held"
    );
    assert_eq!(
        guard.check(Duration::ZERO).unwrap(),
        guard.token(),
        "what was not forgotten is held"
    );
}

#[tokio::test]
async fn without_a_log_nothing_is_granted_while_an_earlier_lock_can_be_held() {
    let kept = Kept::start("memory");
    let client = kept.server.connect(TTL).await;
    let guard = acquire(&client, "a").await;
    let kept = kept.restart(Signal::KILL, |_| {});
    let fresh = kept.server.connect(TTL).await;
    let again = acquire(&fresh, "a").await;
    assert!(
        guard.check(Duration::ZERO).is_err(),
        "granted while the holder of before believed in it"
    );
    assert!(again.token() > guard.token());
}

#[tokio::test]
async fn a_hundred_thousand_held_locks_are_restored() {
    const LOCKS: usize = 100_000;
    let kept = Kept::start("async");
    let client = kept.server.connect(Duration::from_secs(60)).await;
    let mut guards = Vec::new();
    for start in (0..LOCKS).step_by(500) {
        let batch = (start..start + 500).map(|number| {
            let lock = client
                .lock(&format!("lock-{number}"), LockOptions::new())
                .unwrap();
            async move { lock.acquire().await.unwrap() }
        });
        guards.extend(futures_util::future::join_all(batch).await);
    }
    let kept = kept.restart(Signal::KILL, |_| {});
    let fresh = kept.server.connect(TTL).await;
    for number in [0, LOCKS / 2, LOCKS - 1] {
        let lock = fresh
            .lock(&format!("lock-{number}"), LockOptions::new())
            .unwrap();
        assert!(
            lock.try_acquire().await.unwrap().is_none(),
            "held before, held after"
        );
        assert_eq!(
            lock.inspect().await.unwrap().entries[0].token,
            Some(guards[number].token())
        );
    }
    client.close().await.unwrap();
}

#[test]
fn the_error_for_an_unusable_folder_names_it_and_the_reason() {
    let kept = Kept::start("async");
    let folder = kept.folder.path().to_str().unwrap();
    let start = ["--listen", "127.0.0.1:0", "--data-dir", folder];
    assert!(complaint(&start).contains("another server runs on the data folder"));
    let kept = {
        let Kept {
            folder,
            durability,
            server,
        } = kept;
        server.end(Signal::TERM);
        (folder, durability)
    };
    let folder = kept.0.path().to_str().unwrap();
    let said = complaint(&[
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        folder,
        "--durability",
        "memory",
    ]);
    assert!(said.contains("it contains a log"), "{said}");
    let log = log_of(kept.0.path());
    std::fs::write(&log, "something else").unwrap();
    let said = complaint(&["--listen", "127.0.0.1:0", "--data-dir", folder]);
    assert!(
        said.contains("is damaged at byte 0") && said.contains("backup"),
        "{said}"
    );
    let said = complaint(&[
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        "/proc/nothing/here",
    ]);
    assert!(said.contains("check its permissions"), "{said}");
    let said = complaint(&["--listen", "127.0.0.1:0", "--durability", "fsync"]);
    assert!(said.contains("without a `data_dir`"), "{said}");
}

/// Checks that the server is in its grace period after a restart, and grants nothing.
async fn assert_settling(server: &Netlockd, name: &str) {
    let fresh = server.connect(TTL).await;
    let error = fresh
        .lock(name, LockOptions::new())
        .unwrap()
        .try_acquire()
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("the server has restarted"),
        "{error}"
    );
    fresh.close().await.unwrap();
}

/// Returns the start and the end of the last frame of a log.
fn last_frame(log: &[u8]) -> (usize, usize) {
    let (mut start, mut end) = (0, 0);
    loop {
        let length = u32::from_le_bytes(log[end..end + 4].try_into().unwrap());
        if length == 0 {
            return (start, end);
        }
        (start, end) = (end, end + 8 + length as usize);
    }
}

#[tokio::test]
async fn a_log_that_lost_its_end_causes_a_grace_period() {
    let ttl = Duration::from_secs(8);
    for loss in [
        "truncated",
        "cut and padded",
        "overwritten by zeros",
        "damaged",
    ] {
        let kept = Kept::start("async");
        let client = kept.server.connect(ttl).await;
        let guard = acquire(&client, "a").await;
        let kept = kept.restart(Signal::KILL, |folder| {
            let path = log_of(folder);
            let (bytes, log) = (
                std::fs::read(&path).unwrap(),
                OpenOptions::new().write(true).open(path),
            );
            let ((start, end), log) = (last_frame(&bytes), log.unwrap());
            match loss {
                "damaged" => log
                    .write_all_at(&[bytes[end - 1] ^ 1], end as u64 - 1)
                    .unwrap(),
                "overwritten by zeros" => log
                    .write_all_at(&vec![0; end - start], start as u64)
                    .unwrap(),
                _ => log.set_len(start as u64).unwrap(),
            }
            if loss == "cut and padded" {
                log.set_len(bytes.len() as u64).unwrap();
            }
        });
        assert_settling(&kept.server, "a").await;
        assert!(
            kept.server.logged().contains("the log lost its end"),
            "{loss}: {}",
            kept.server.logged()
        );
        let fresh = kept.server.connect(TTL).await;
        let again = acquire(&fresh, "a").await;
        assert!(
            guard.check(Duration::ZERO).is_err(),
            "{loss}: granted while its holder believed in it"
        );
        assert!(again.token() > guard.token());
    }
}

#[tokio::test]
async fn with_fsync_a_power_failure_loses_nothing_and_needs_no_grace_period() {
    let kept = Kept::start("fsync");
    let client = kept.server.connect(Duration::from_secs(60)).await;
    let guard = acquire(&client, "a").await;
    let kept = kept.restart(Signal::KILL, as_if_the_machine_went_down);
    let fresh = kept.server.connect(TTL).await;
    let other = fresh
        .lock("b", LockOptions::new())
        .unwrap()
        .try_acquire()
        .await
        .unwrap();
    assert!(other.is_some(), "granted at once");
    let held = fresh.lock("a", LockOptions::new()).unwrap();
    assert!(
        held.try_acquire().await.unwrap().is_none(),
        "what was granted is held"
    );
    assert_eq!(guard.check(Duration::ZERO).unwrap(), guard.token());
}

#[tokio::test]
async fn a_grace_period_after_async_is_kept_over_runs_of_any_durability() {
    let mut kept = Kept::start("async");
    let client = kept.server.connect(Duration::from_secs(10)).await;
    acquire(&client, "a").await.release().await.unwrap();
    client.close().await.unwrap();
    kept.durability = "fsync";
    kept = kept.restart(Signal::KILL, as_if_the_machine_went_down);
    assert_settling(&kept.server, "b").await;
    for (signal, meanwhile) in [
        (Signal::KILL, (|_| {}) as fn(&Path)),
        (Signal::TERM, |_| {}),
        (Signal::KILL, as_if_the_machine_went_down),
    ] {
        kept = kept.restart(signal, meanwhile);
        assert_settling(&kept.server, "b").await;
    }
    let fresh = kept.server.connect(TTL).await;
    acquire(&fresh, "b").await.release().await.unwrap();
    notes_become(kept.folder.path(), |notes| !notes.contains("grace pending")).await;
    let kept = kept.restart(Signal::KILL, as_if_the_machine_went_down);
    let fresh = kept.server.connect(TTL).await;
    let lock = fresh.lock("b", LockOptions::new()).unwrap();
    assert!(
        lock.try_acquire().await.unwrap().is_some(),
        "the grace is over, and fsync needs none"
    );
}

async fn notes_become(folder: &Path, good: impl Fn(&str) -> bool) {
    let deadline = clock::now().after(Duration::from_secs(60));
    loop {
        let notes = std::fs::read_to_string(folder.join("notes")).unwrap();
        if good(&notes) {
            return;
        }
        assert!(clock::now() < deadline, "{notes}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_grace_period_is_no_longer_than_the_ttls_in_recent_use() {
    let kept = Kept::start("async");
    kept.server
        .connect(Duration::from_secs(8))
        .await
        .close()
        .await
        .unwrap();
    let _short = kept.server.connect(TTL).await;
    notes_become(kept.folder.path(), |notes| {
        notes.contains("longest_ttl_ms 3750\n")
    })
    .await;
    let kept = kept.restart(Signal::KILL, as_if_the_machine_went_down);
    assert!(
        kept.server.logged().contains("grace=3.75s"),
        "{}",
        kept.server.logged()
    );
}

/// A file system of a few megabytes, in a mount namespace that outlives its servers.
pub(crate) struct SmallDisk {
    place: TempDir,
    /// The process that keeps the namespace. It exits when its standard input is closed.
    keeper: std::process::Child,
}

impl SmallDisk {
    pub(crate) fn mount(size: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs -o size=$2 tmpfs \"$1\" && echo mounted && exec cat";
        let mut command = Command::new("unshare");
        command.args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            script,
            "sh",
        ]);
        command
            .arg(place.path())
            .arg(size)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut keeper = command.spawn().unwrap();
        let mut said = [0; 8];
        keeper
            .stdout
            .take()
            .unwrap()
            .read_exact(&mut said)
            .expect("a mount namespace of our own");
        Self { place, keeper }
    }

    fn start(&self, address: &str) -> Netlockd {
        let mut command = self.command();
        command
            .args(["--listen", address, "--log", "warn", "--data-dir"])
            .arg(self.inside("data"));
        Netlockd::spawn(command)
    }

    /// Returns a command that runs netlockd in the namespace.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--user", "--mount", "--preserve-credentials", "--target"]);
        command.arg(self.keeper.id().to_string()).arg(NETLOCKD);
        command
    }

    /// Returns a path in it, as seen from its namespace.
    pub(crate) fn inside(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Returns a path in it, as seen from this namespace.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let place = self.place.path().display();
        PathBuf::from(format!("/proc/{}/root{place}/{name}", self.keeper.id()))
    }

    /// Writes a file that fills the file system.
    pub(crate) fn fill(&self) {
        let file = std::fs::File::create(self.path("filler")).unwrap();
        let mut at = 0;
        while file
            .write_at(&[1; 4096], at)
            .is_ok_and(|written| written > 0)
        {
            at += 4096;
        }
    }

    pub(crate) fn free(&self) {
        std::fs::remove_file(self.path("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Acquires and releases until the disk of the server is full.
async fn use_up_the_log(client: &Handle) {
    let lock = client
        .lock("a", LockOptions::new().with_value(vec![7; 1024]))
        .unwrap();
    let deadline = clock::now().after(Duration::from_secs(120));
    let error = loop {
        assert!(clock::now() < deadline, "the disk is never full");
        match lock.acquire().await {
            Ok(guard) => drop(guard.release().await.unwrap()),
            Err(error) => break error,
        }
    };
    assert!(
        error.to_string().contains("the server's disk is full"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_grants_again_when_its_full_disk_has_space() {
    // A log takes 4 MiB, so there is no space for a second one.
    let disk = SmallDisk::mount("6m");
    let server = disk.start("127.0.0.1:0");
    let client = server.connect(Duration::from_secs(30)).await;
    let guard = acquire(&client, "held").await;
    disk.fill();
    use_up_the_log(&client).await;
    assert_eq!(
        guard.release().await.unwrap(),
        distsync_core::Release::Done,
        "releases go on"
    );
    assert!(
        client
            .lock("held", LockOptions::new())
            .unwrap()
            .inspect()
            .await
            .unwrap()
            .entries
            .is_empty()
    );
    disk.free();
    let again = acquire_when_there_is_room(&client, "held").await;
    assert!(again.token() > guard.token());
}

#[tokio::test]
async fn a_release_while_the_disk_is_full_is_durable() {
    const LOCKS: usize = 1_000;
    let disk = SmallDisk::mount("12m");
    let server = disk.start("127.0.0.1:0");
    let client = server.connect(Duration::from_secs(60)).await;
    let leaving = server.connect(Duration::from_secs(60)).await;
    let kept = acquire(&client, "kept").await;
    let _left = acquire(&leaving, "left").await;
    let mut released = Vec::new();
    for number in 0..LOCKS {
        released.push(acquire(&client, &format!("released-{number}")).await);
    }
    disk.fill();
    use_up_the_log(&client).await;
    for guard in released {
        assert_eq!(guard.release().await.unwrap(), distsync_core::Release::Done);
    }
    leaving.close().await.unwrap();
    let address = server.address().to_owned();
    server.end(Signal::KILL);
    disk.free();
    let server = disk.start(&address);
    let fresh = server.connect(TTL).await;
    let entries = async |name: &str| {
        fresh
            .lock(name, LockOptions::new())
            .unwrap()
            .inspect()
            .await
            .unwrap()
            .entries
            .len()
    };
    for number in [0, LOCKS / 2, LOCKS - 1] {
        assert_eq!(
            entries(&format!("released-{number}")).await,
            0,
            "it comes back under a living session"
        );
    }
    assert_eq!((entries("left").await, entries("kept").await), (0, 1));
    assert_eq!(kept.check(Duration::ZERO).unwrap(), kept.token());
}

async fn acquire_when_there_is_room(client: &Handle, name: &str) -> distsync_core::Guard {
    let lock = client.lock(name, LockOptions::new()).unwrap();
    let deadline = clock::now().after(Duration::from_secs(30));
    loop {
        match lock.acquire().await {
            Ok(guard) => return guard,
            Err(error) => assert!(error.is_retryable() && clock::now() < deadline, "{error}"),
        }
    }
}
