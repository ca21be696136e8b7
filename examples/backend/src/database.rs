//! The connection to the file, on a thread of its own: SQLite blocks, and a runtime must not.

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use distsync::spi::clock;
use distsync::{Error, Moment, Result};
use rusqlite::{Connection, TransactionBehavior, params};
use tokio::sync::{oneshot, watch};

use crate::config::Config;
use crate::error::Failure;
use crate::rows;

/// How often a step tries to lock the file, once a millisecond: for longer than the core waits for
/// an answer. SQLite's own handler sleeps for up to 100 ms, and a crowd would starve some of its
/// members.
const TRIES: i32 = 5_000;

/// How many numbers belong to one boot: enough for 100,000 changes a second for five years. Tokens
/// last for 500,000 boots.
const NUMBERS: i64 = 1 << 44;

type Job = Box<dyn FnOnce(Result<&mut Connection, Failure>) + Send>;

/// A handle of the thread. The thread ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Database {
    /// For errors.
    path: String,
    jobs: mpsc::Sender<Job>,
    /// The version of the file that the thread has seen last.
    version: watch::Receiver<i64>,
}

impl Database {
    /// Starts the thread. The first step opens the file.
    pub(crate) fn start(config: &Config) -> Self {
        let (jobs, waiting) = mpsc::channel();
        let (seen, version) = watch::channel(0);
        let (path, poll) = (config.path.clone(), config.poll);
        // Without the thread there is no receiver, and each step fails with `NoThread`.
        let _ = thread::Builder::new()
            .name("distsync-sqlite".to_owned())
            .spawn(move || serve(&path, poll, &waiting, &seen));
        Self {
            path: config.path.display().to_string(),
            jobs,
            version,
        }
    }

    /// Runs a step that changes something, with the lock of the file.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        step: impl FnOnce(&Connection, Moment) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        self.run(move |connection| write(connection, step)).await
    }

    /// Runs a step that only reads, on one snapshot of the file. It waits for no other step.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        step: impl FnOnce(&Connection, Moment) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        self.run(move |connection| read(connection, step)).await
    }

    /// Runs a job on the thread. If the caller is gone before it begins, it is skipped.
    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            if !answer.is_closed() {
                let _ = answer.send(connection.and_then(job));
            }
        });
        let outcome = match self.jobs.send(job) {
            Ok(()) => answered.await.unwrap_or(Err(Failure::NoThread)),
            Err(_) => Err(Failure::NoThread),
        };
        outcome.map_err(|failure| Error::from(failure).with_address(&self.path))
    }

    /// Returns a receiver that is notified of each change of the file, and of failures to look.
    /// Subscribe before the step whose outcome may change.
    pub(crate) fn changes(&self) -> Changes {
        let mut version = self.version.clone();
        version.mark_unchanged();
        Changes(version)
    }
}

/// A subscription to the changes of a file. While there is one, the thread looks for them.
pub(crate) struct Changes(watch::Receiver<i64>);

impl Changes {
    /// Waits for the next change.
    pub(crate) async fn next(&mut self) -> Result<()> {
        self.0.changed().await.map_err(|_| Failure::NoThread.into())
    }
}

/// Runs the jobs of a handle, and looks at the file while there are subscriptions.
fn serve(path: &Path, poll: Duration, jobs: &mpsc::Receiver<Job>, seen: &watch::Sender<i64>) {
    let mut connection = None;
    // One receiver is the handle's own.
    let is_watched = || seen.receiver_count() > 1;
    loop {
        let job = match is_watched() {
            false => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            true => jobs.recv_timeout(poll),
        };
        if let Err(RecvTimeoutError::Disconnected) = job {
            return;
        }
        if connection.is_none() {
            match open(path) {
                Ok(opened) => connection = Some(opened),
                Err(failure) => {
                    if let Ok(job) = job {
                        job(Err(failure));
                    }
                    continue;
                }
            }
        }
        let Some(connection) = &mut connection else {
            continue;
        };
        if let Ok(job) = job {
            job(Ok(connection));
        }
        if is_watched() {
            match read(connection, |file, _| rows::version(file)) {
                Ok(version) => {
                    seen.send_if_modified(|seen| std::mem::replace(seen, version) != version);
                }
                // Wake the waiters: their own steps return the error.
                Err(_) => seen.send_modify(|_| ()),
            }
        }
    }
}

/// Opens the file and creates its tables. Ends all sessions if the machine has been rebooted.
fn open(path: &Path) -> Result<Connection, Failure> {
    let boot = clock::boot().ok_or(Failure::NoBoot)?.to_be_bytes();
    let mut connection = Connection::open(path)?;
    connection.busy_handler(Some(|tries| {
        thread::sleep(Duration::from_millis(1));
        tries < TRIES
    }))?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // Only the first handle of a boot changes something here. It waits for the disk, because the
    // numbers of this boot must not be used again. Whatever a power failure takes from the file
    // later is of no use in the next boot.
    connection.pragma_update(None, "synchronous", "full")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(include_str!("schema.sql"))?;
    transaction.execute("INSERT OR IGNORE INTO store VALUES (1, ?, 0)", [boot])?;
    let begin = "UPDATE store SET boot = ?1, version = version + ?2 WHERE boot <> ?1";
    if transaction.execute(begin, params![boot, NUMBERS])? > 0 {
        transaction.execute("DELETE FROM sessions", [])?;
    }
    transaction.commit()?;
    connection.pragma_update(None, "synchronous", "normal")?;
    Ok(connection)
}

/// Ends the sessions that have expired, then runs a step, in a transaction that has locked the file
/// before its first read.
fn write<T>(
    connection: &mut Connection,
    step: impl FnOnce(&Connection, Moment) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Read after the lock was taken: the wait for it may have been long.
    let now = clock::now();
    rows::expire(&transaction, now)?;
    let outcome = step(&transaction, now)?;
    transaction.commit()?;
    Ok(outcome)
}

/// Runs a step on a snapshot. If sessions have expired, it runs as a [`write`], which ends them.
fn read<T>(
    connection: &mut Connection,
    step: impl FnOnce(&Connection, Moment) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let now = clock::now();
    let snapshot = connection.transaction()?;
    if rows::is_any_due(&snapshot, now)? {
        drop(snapshot);
        return write(connection, step);
    }
    step(&snapshot, now)
}
