//! A server on a disk that loses what was not synced: power failures, and syncs that fail.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use distsync_core::spi::{ClaimId, clock};
use distsync_core::{Handle, LockOptions, Sync, Token};
use futures_util::future::join_all;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::server::{NETLOCKD, Netlockd, acquire};

const TTL: Duration = Duration::from_secs(3);

/// The disk: its folder, and the library that simulates the losses.
pub(crate) struct LosingDisk {
    place: TempDir,
    durability: &'static str,
}

impl LosingDisk {
    pub(crate) fn new(durability: &'static str) -> Self {
        let disk = Self {
            place: tempfile::tempdir().unwrap(),
            durability,
        };
        std::fs::create_dir(disk.path("kept")).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program/losing_disk.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-D_FILE_OFFSET_BITS=64", "-o"]);
        compiler.arg(disk.path("library.so")).arg(source);
        assert!(
            compiler
                .status()
                .expect("a C compiler, as Rust itself needs one")
                .success()
        );
        disk.boot("first");
        disk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Makes a command run on this disk.
    pub(crate) fn put_under(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", self.path("library.so"))
            .env("LOSING_DISK", self.path("kept"))
            .env("LOSING_BOOT", self.path("boot"));
    }

    /// Starts another boot of the kernel.
    fn boot(&self, run: &str) {
        std::fs::write(
            self.path("boot"),
            format!("{:032x}", crc32fast::hash(run.as_bytes())),
        )
        .unwrap();
    }

    fn start(&self, address: &str) -> Netlockd {
        self.start_with(address, &[])
    }

    fn start_with(&self, address: &str, variables: &[(&str, &str)]) -> Netlockd {
        let mut command = Command::new(NETLOCKD);
        self.put_under(&mut command);
        command
            .args([
                "--listen",
                address,
                "--log",
                "warn",
                "--durability",
                self.durability,
                "--data-dir",
            ])
            .arg(self.path("data"))
            // A log with this limit is replaced often.
            .args(["--set", "log_bytes=2000"])
            .envs(variables.iter().copied())
            .stderr(Stdio::null());
        Netlockd::spawn(command)
    }

    /// Simulates a power failure: everything that was not synced is lost, including names of files.
    /// Starts a server again at the same address.
    fn lose_power(&self, server: Netlockd, run: &str) -> Netlockd {
        let address = server.address().to_owned();
        server.end(Signal::KILL);
        let data = self.path("data");
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::create_dir(&data).unwrap();
        let entries = std::fs::read_to_string(self.path("kept/entries")).unwrap();
        let files: Vec<_> = entries
            .lines()
            .map(|line| {
                let (inode, name) = line.split_once(' ').unwrap();
                (
                    name,
                    std::fs::read(self.path("kept").join(inode)).unwrap_or_default(),
                )
            })
            .collect();
        for (name, bytes) in files {
            std::fs::write(data.join(name), &bytes).unwrap();
            // The synced contents stay, although the file has another inode number now.
            let inode = std::fs::metadata(data.join(name)).unwrap().ino();
            std::fs::write(self.path("kept").join(inode.to_string()), bytes).unwrap();
        }
        self.boot(run);
        self.start(&address)
    }
}

/// A grant whose reply a client has received.
struct Told {
    name: String,
    claim: ClaimId,
    token: Token,
    /// `None`: it was released, and the reply to that has not arrived.
    is_held: Option<bool>,
}

/// Acquires until the server goes down, and releases every other lock.
async fn contend(
    client: &Handle,
    number: usize,
    told: &Mutex<Vec<Told>>,
    goes_down: &CancellationToken,
) {
    for round in 0.. {
        let name = format!("{number}-{round}");
        let lock = client.lock(&name, LockOptions::new()).unwrap();
        let Some(acquired) = goes_down.run_until_cancelled(lock.acquire()).await else {
            return;
        };
        // A reply during the failure of the server does not count.
        let Ok(guard) = acquired else {
            return goes_down.cancelled().await;
        };
        let index = {
            let mut told = told.lock().unwrap();
            told.push(Told {
                name,
                claim: guard.claim(),
                token: guard.token(),
                is_held: Some(true),
            });
            told.len() - 1
        };
        if round % 2 == 0 {
            told.lock().unwrap()[index].is_held = None;
            if let Some(Ok(_)) = goes_down.run_until_cancelled(guard.release()).await {
                told.lock().unwrap()[index].is_held = Some(false);
            }
        }
        // Dropping the guard would release the lock.
        std::mem::forget(guard);
    }
}

/// Checks that a server knows everything that clients were told.
async fn check(told: &[Told], observer: &Handle) {
    for Told {
        name,
        claim,
        token,
        is_held,
    } in told
    {
        let queue = observer
            .lock(name, LockOptions::new())
            .unwrap()
            .inspect()
            .await
            .unwrap();
        let found = queue
            .entries
            .iter()
            .find(|entry| entry.claim == *claim)
            .map(|entry| entry.token);
        match is_held {
            Some(true) => assert_eq!(
                found,
                Some(Some(*token)),
                "{name} was granted, and is forgotten"
            ),
            Some(false) => assert_eq!(found, None, "{name} was given back, and is held"),
            None => {}
        }
    }
}

#[tokio::test]
async fn with_fsync_acknowledged_changes_survive_a_power_failure() {
    let disk = LosingDisk::new("fsync");
    let mut server = disk.start("127.0.0.1:0");
    let mut newest = None;
    for run in ["second", "third", "fourth"] {
        let client = server.connect(TTL).await;
        // Nothing is granted during the grace period after a power failure.
        acquire(&client, "first").await.release().await.unwrap();
        let (told, goes_down) = (Mutex::new(Vec::new()), CancellationToken::new());
        let load = join_all((0..8).map(|number| contend(&client, number, &told, &goes_down)));
        let failure = async {
            let deadline = clock::now().after(Duration::from_secs(60));
            while told.lock().unwrap().len() < 300 {
                assert!(
                    clock::now() < deadline,
                    "only {} grants",
                    told.lock().unwrap().len()
                );
                tokio::task::yield_now().await;
            }
            // Fail in the middle of the load.
            server.signal(Signal::KILL);
            goes_down.cancel();
        };
        tokio::join!(load, failure);
        server = disk.lose_power(server, run);
        let observer = server.connect(TTL).await;
        let told = told.into_inner().unwrap();
        check(&told, &observer).await;
        let last = told.iter().map(|told| told.token).max();
        assert!(last > newest, "tokens rise over a power failure");
        newest = last;
        client.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_grant_that_a_power_failure_loses_is_not_granted_again_in_time() {
    let disk = LosingDisk::new("async");
    let mut server = disk.start("127.0.0.1:0");
    for run in 0..10 {
        let (client, name) = (server.connect(TTL).await, format!("a-{run}"));
        let guard = acquire(&client, &name).await;
        server.signal(Signal::KILL);
        server = disk.lose_power(server, &run.to_string());
        let other = server.connect(TTL).await;
        let lock = other.lock(&name, LockOptions::new()).unwrap();
        let is_forgotten = lock.inspect().await.unwrap().holders().next().is_none();
        assert!(
            is_forgotten || guard.check(Duration::ZERO).is_ok(),
            "what is kept is held"
        );
        if is_forgotten {
            let again = acquire(&other, &name).await;
            assert!(
                guard.check(Duration::ZERO).is_err(),
                "granted while its holder believed in it"
            );
            assert!(again.token() > guard.token());
            return;
        }
        // It was synced just before the failure, so try again.
        client.close().await.unwrap();
    }
    panic!("nothing is ever forgotten: the disk is none that loses");
}

#[tokio::test]
async fn a_failed_sync_or_write_ends_the_server_and_grants_nothing() {
    for (durability, fault) in [
        ("fsync", "fails"),
        ("async", "fails"),
        ("fsync", "writes-fail"),
        ("async", "writes-fail"),
    ] {
        let disk = LosingDisk::new(durability);
        let mut server = disk.start("127.0.0.1:0");
        let client = server.connect(TTL).await;
        drop(acquire(&client, "a").await);
        std::fs::write(disk.path("kept").join(fault), "").unwrap();
        let lock = client.lock("b", LockOptions::new()).unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(1), lock.acquire()).await;
        let may_be_told = (durability, fault) == ("async", "fails");
        assert!(
            may_be_told || !matches!(answer, Ok(Ok(_))),
            "{durability}: granted, and {fault}"
        );
        assert_eq!(
            server.ended().signal(),
            Some(Signal::ABORT.as_raw()),
            "{durability}: {fault}"
        );
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_replaced_is_continued_and_complete() {
    let disk = LosingDisk::new("async");
    let server = disk.start("127.0.0.1:0");
    let client = server.connect(Duration::from_secs(60)).await;
    let address = server.address().to_owned();
    std::fs::write(disk.path("kept/renames-fail"), "").unwrap();
    let mut guards = Vec::new();
    // Much more than the log has before it is replaced.
    for number in 0..500 {
        let name = number.to_string();
        let guard = acquire(&client, &name).await;
        guards.push((name, guard));
    }
    let (released, held) = guards.split_at(250);
    for (_, guard) in released {
        guard.release().await.unwrap();
    }
    server.end(Signal::KILL);
    std::fs::remove_file(disk.path("kept/renames-fail")).unwrap();
    let server = disk.start(&address);
    let observer = server.connect(TTL).await;
    let token = async |name: &str| {
        let queue = observer
            .lock(name, LockOptions::new())
            .unwrap()
            .inspect()
            .await
            .unwrap();
        queue.entries.first().and_then(|entry| entry.token)
    };
    for (name, _) in released {
        assert_eq!(token(name).await, None, "it was given back, and is held");
    }
    for (name, guard) in held {
        assert_eq!(
            token(name).await,
            Some(guard.token()),
            "it was granted, and is forgotten"
        );
    }
}

#[tokio::test]
async fn a_kill_at_any_step_of_replacing_the_log_loses_nothing() {
    // The start of the server does the first of each of these, and later ones replace the log.
    let steps = [
        "open log.next after 2",
        "pwrite log.next before 3",
        "pwrite log.next after 6",
        "pwrite log.next after 12",
        "pwrite log.next before 30",
        "fsync log.next before 3",
        "fsync log.next after 3",
        "rename log.next before 2",
        "rename log.next after 2",
        "rename log.next after 5",
        "unlink log-1 before 1",
        "unlink log-2 after 1",
        "pwrite tail before 90",
        "pwrite log-3 before 5",
    ];
    for (number, step) in steps.into_iter().enumerate() {
        let durability = ["async", "fsync"][number % 2];
        let disk = LosingDisk::new(durability);
        let mut server = disk.start_with("127.0.0.1:0", &[("LOSING_KILL", step)]);
        let address = server.address().to_owned();
        let client = server.connect(TTL).await;
        let (told, goes_down) = (Mutex::new(Vec::new()), CancellationToken::new());
        let load = join_all((0..8).map(|number| contend(&client, number, &told, &goes_down)));
        let ended = async {
            let status = tokio::task::spawn_blocking(move || server.ended()).await;
            goes_down.cancel();
            status.unwrap()
        };
        let (_, status) = tokio::join!(load, ended);
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{step}");
        let server = disk.start(&address);
        let observer = server.connect(TTL).await;
        check(&told.into_inner().unwrap(), &observer).await;
        let lock = observer.lock("now", LockOptions::new()).unwrap();
        assert!(
            lock.try_acquire().await.unwrap().is_some(),
            "{step}: nothing was lost, so the server grants at once"
        );
        client.close().await.unwrap();
    }
}
