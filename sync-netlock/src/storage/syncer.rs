//! The thread `netlock-log`, which syncs the log to the disk and builds the next log.

use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use distsync_core::spi::{clock, locked};
use distsync_core::{Error, ErrorKind, Result};
use tokio::sync::watch;
use tracing::warn;

use super::error::abort;
use super::folder::Folder;
use super::log::Log;
use crate::engine::Durations;

/// How often the log is synced when no reply waits for it. `Durability::Async` promises this
/// interval.
const SYNC_INTERVAL: Duration = Duration::from_millis(100);

/// A handle to the thread. Dropping it stops the thread.
#[derive(Debug)]
pub(super) struct Syncer {
    shared: Arc<Shared>,
    synced: watch::Receiver<u64>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    work: Mutex<Work>,
    /// How long the syncs of the log have taken.
    syncs: Mutex<Durations>,
    changed: Condvar,
}

#[derive(Debug)]
struct Work {
    /// The active log.
    file: Arc<File>,
    /// The number of bytes written, over all logs.
    written: u64,
    /// Logs before this generation can be removed after the folder is synced.
    replaced: Option<u64>,
    /// The snapshot for the next log, if one was requested and is not being built yet.
    requested: Option<Vec<u8>>,
    next: NextLog,
    /// Whether the thread waits for work.
    idle: bool,
    stop: bool,
}

/// The state of the next log.
#[derive(Debug, Default)]
pub(super) enum NextLog {
    /// It was not requested.
    #[default]
    None,
    /// It is requested or being built.
    Building,
    /// It could not be built.
    Failed,
    /// It is on the disk.
    Ready(Log),
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        locked(&self.work)
    }
}

impl Syncer {
    /// Starts the thread. It syncs each write `at_once` if replies wait for it.
    pub(super) fn start(folder: Arc<Folder>, file: Arc<File>, at_once: bool) -> Result<Self> {
        let work = Work {
            file,
            written: 0,
            replaced: None,
            requested: None,
            next: NextLog::None,
            idle: false,
            stop: false,
        };
        let shared = Arc::new(Shared {
            work: Mutex::new(work),
            syncs: Mutex::default(),
            changed: Condvar::new(),
        });
        let (synced_sender, synced) = watch::channel(0);
        let thread_shared = shared.clone();
        let thread = std::thread::Builder::new()
            .name("netlock-log".to_owned())
            .spawn(move || run(&thread_shared, &folder, &synced_sender, at_once))
            .map_err(|error| {
                Error::new(
                    ErrorKind::Unavailable,
                    "cannot start the thread that syncs the log: raise the limit of threads",
                )
                .with_backend("netlock")
                .with_source(error)
            })?;
        Ok(Self {
            shared,
            synced,
            thread: Some(thread),
        })
    }

    /// Returns how long the syncs of the log have taken.
    pub(super) fn syncs(&self) -> Durations {
        *locked(&self.shared.syncs)
    }

    /// Returns the number of bytes on the disk, over all logs, as a watch.
    pub(super) fn synced(&self) -> watch::Receiver<u64> {
        self.synced.clone()
    }

    /// Reports the number of bytes written, over all logs, after each write.
    pub(super) fn written(&self, written: u64) {
        let mut work = self.shared.work();
        work.written = written;
        if work.idle {
            self.shared.changed.notify_one();
        }
    }

    /// Reports that another log was installed. Its bytes are in `written` from now on.
    pub(super) fn replaced(&self, file: Arc<File>, generation: u64) {
        let mut work = self.shared.work();
        (work.file, work.replaced) = (file, Some(generation));
        self.shared.changed.notify_one();
    }

    /// Requests a next log that begins with this snapshot.
    pub(super) fn build_next(&self, snapshot: Vec<u8>) {
        let mut work = self.shared.work();
        (work.requested, work.next) = (Some(snapshot), NextLog::Building);
        self.shared.changed.notify_one();
    }

    /// Returns the state of the next log. `Failed` and `Ready` are returned once.
    pub(super) fn next(&self) -> NextLog {
        let mut work = self.shared.work();
        match std::mem::take(&mut work.next) {
            NextLog::Building => {
                work.next = NextLog::Building;
                NextLog::Building
            }
            done => done,
        }
    }
}

impl Drop for Syncer {
    /// Waits for the thread, so that nothing writes to the folder afterwards.
    fn drop(&mut self) {
        self.shared.work().stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the thread that syncs the log has panicked");
        }
    }
}

fn run(shared: &Shared, folder: &Folder, synced_sender: &watch::Sender<u64>, at_once: bool) {
    let mut synced = 0;
    loop {
        let mut work = shared.work();
        while !work.stop
            && work.written == synced
            && work.replaced.is_none()
            && work.requested.is_none()
        {
            work.idle = true;
            work = shared
                .changed
                .wait(work)
                .unwrap_or_else(PoisonError::into_inner);
            work.idle = false;
        }
        if work.stop {
            return;
        }
        if let Some(snapshot) = work.requested.take() {
            drop(work);
            let built = build(folder, &snapshot);
            shared.work().next = built;
            continue;
        }
        if !at_once {
            work = pause(shared, work);
        }
        let (file, written, replaced) = (work.file.clone(), work.written, work.replaced.take());
        drop(work);
        let start = clock::now();
        file.sync_data().unwrap_or_else(|error| abort(&error));
        locked(&shared.syncs).record(clock::now().since(start));
        if let Some(generation) = replaced {
            folder.sync().unwrap_or_else(|error| abort(&error));
            if let Err(error) = folder.remove_logs_before(generation) {
                warn!(%error, "cannot remove an old log: remove it by hand, it only takes up space");
            }
        }
        synced = written;
        synced_sender.send_replace(written);
    }
}

/// Waits for [`SYNC_INTERVAL`], or until the thread is stopped, so that one sync covers many
/// writes.
fn pause<'a>(shared: &'a Shared, work: MutexGuard<'a, Work>) -> MutexGuard<'a, Work> {
    let waited = shared
        .changed
        .wait_timeout_while(work, SYNC_INTERVAL, |work| !work.stop);
    waited.unwrap_or_else(PoisonError::into_inner).0
}

fn build(folder: &Folder, snapshot: &[u8]) -> NextLog {
    let built = folder
        .next_log()
        .and_then(|file| Log::begin(file, snapshot));
    match built {
        Ok(log) => NextLog::Ready(log),
        Err(error) => {
            warn!(%error, "cannot build the next log: the server continues with the old one");
            folder.drop_next_log();
            NextLog::Failed
        }
    }
}
