//! The thread `netlock-log`, which syncs the log to the disk.

use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use distsync_core::Result;
use distsync_core::spi::{clock, locked};
use tokio::sync::watch;
use tracing::warn;

use super::error::{abort, no_thread};
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
    /// The log that is replacing it, if the next start may read that one.
    also: Option<Arc<File>>,
    /// Whether the thread waits for work.
    idle: bool,
    stop: bool,
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        locked(&self.work)
    }
}

impl Syncer {
    /// Starts the thread. It syncs each write `at_once` if replies wait for it.
    pub(super) fn start(file: Arc<File>, at_once: bool) -> Result<Self> {
        let work = Work {
            file,
            written: 0,
            also: None,
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
            .spawn(move || run(&thread_shared, &synced_sender, at_once))
            .map_err(no_thread)?;
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

    /// Continues with another log, which contains everything that the one before does.
    pub(super) fn replaced(&self, file: Arc<File>) {
        let mut work = self.shared.work();
        (work.file, work.also) = (file, None);
    }

    /// Returns a handle for the thread that installs the next log.
    pub(super) fn handle(&self) -> SyncerHandle {
        SyncerHandle(self.shared.clone())
    }
}

/// A handle for the thread that installs the next log.
#[derive(Debug)]
pub(super) struct SyncerHandle(Arc<Shared>);

impl SyncerHandle {
    /// Syncs this log together with the active one from the next sync on.
    pub(super) fn sync_also(&self, file: Option<Arc<File>>) {
        self.0.work().also = file;
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

fn run(shared: &Shared, synced_sender: &watch::Sender<u64>, at_once: bool) {
    let mut synced = 0;
    loop {
        let mut work = shared.work();
        while !work.stop && work.written == synced {
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
        if !at_once {
            work = pause(shared, work);
        }
        let (file, also, written) = (work.file.clone(), work.also.clone(), work.written);
        drop(work);
        let start = clock::now();
        for file in [Some(file), also].into_iter().flatten() {
            file.sync_data().unwrap_or_else(|error| abort(&error));
        }
        locked(&shared.syncs).record(clock::now().since(start));
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
