//! The thread `netlock-log`: brings the log to the disk, and makes the next one.

use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use distsync_core::spi::locked;
use distsync_core::{Error, ErrorKind, Result};
use tokio::sync::watch;
use tracing::warn;

use super::error::die;
use super::folder::Folder;
use super::log::Log;

/// How often the log goes to the disk when nobody waits for it.
const RHYTHM: Duration = Duration::from_millis(100);

/// The way to the thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Syncer {
    shared: Arc<Shared>,
    synced: watch::Receiver<u64>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    work: Mutex<Work>,
    changed: Condvar,
}

#[derive(Debug)]
struct Work {
    /// The log that is written.
    file: Arc<File>,
    /// How much of all logs is with the system.
    written: u64,
    /// Logs before this generation can go once the folder is on the disk.
    replaced: Option<u64>,
    next: Making,
    /// The thread waits for work.
    idle: bool,
    stop: bool,
}

#[derive(Debug, Default)]
enum Making {
    #[default]
    None,
    Wanted(Vec<u8>),
    Underway,
    Failed,
    Ready(Log),
}

/// How far the next log is.
#[derive(Debug)]
pub(super) enum Next {
    /// Nobody has asked for one.
    None,
    /// It is being made.
    Making,
    /// It could not be made.
    Failed,
    /// It is on the disk.
    Ready {
        /// It.
        log: Log,
    },
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        locked(&self.work)
    }
}

impl Syncer {
    /// Starts the thread. `at_once`: somebody waits for each byte.
    pub(super) fn start(folder: Arc<Folder>, file: Arc<File>, at_once: bool) -> Result<Self> {
        let work = Work {
            file,
            written: 0,
            replaced: None,
            next: Making::None,
            idle: false,
            stop: false,
        };
        let shared = Arc::new(Shared {
            work: Mutex::new(work),
            changed: Condvar::new(),
        });
        let (tell, synced) = watch::channel(0);
        let here = shared.clone();
        let thread = std::thread::Builder::new()
            .name("netlock-log".to_owned())
            .spawn(move || run(&here, &folder, &tell, at_once))
            .map_err(|error| {
                Error::new(
                    ErrorKind::Unavailable,
                    "cannot start the thread that writes the log",
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

    /// How much of all logs is on the disk.
    pub(super) fn synced(&self) -> watch::Receiver<u64> {
        self.synced.clone()
    }

    /// So much is with the system now; more than before.
    pub(super) fn written(&self, written: u64) {
        let mut work = self.shared.work();
        work.written = written;
        if work.idle {
            self.shared.changed.notify_one();
        }
    }

    /// Another log is written from now on.
    pub(super) fn replaced(&self, file: Arc<File>, generation: u64) {
        let mut work = self.shared.work();
        (work.file, work.replaced) = (file, Some(generation));
        self.shared.changed.notify_one();
    }

    /// Makes a log that begins with these bytes.
    pub(super) fn make_next(&self, start: Vec<u8>) {
        self.shared.work().next = Making::Wanted(start);
        self.shared.changed.notify_one();
    }

    /// How far the next log is; who hears that it is ready or failed hears it once.
    pub(super) fn next(&self) -> Next {
        let mut work = self.shared.work();
        match std::mem::take(&mut work.next) {
            Making::None => Next::None,
            Making::Failed => Next::Failed,
            Making::Ready(log) => Next::Ready { log },
            underway => {
                work.next = underway;
                Next::Making
            }
        }
    }
}

impl Drop for Syncer {
    /// Waits for the thread, which may be writing: the folder is free afterwards.
    fn drop(&mut self) {
        self.shared.work().stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the thread that writes the log has panicked");
        }
    }
}

fn run(shared: &Shared, folder: &Folder, tell: &watch::Sender<u64>, at_once: bool) {
    let mut synced = 0;
    loop {
        let mut work = shared.work();
        while !work.stop
            && work.written == synced
            && work.replaced.is_none()
            && !matches!(work.next, Making::Wanted(_))
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
        if let Making::Wanted(start) = &mut work.next {
            let start = std::mem::take(start);
            work.next = Making::Underway;
            drop(work);
            let made = make(folder, &start);
            shared.work().next = made;
            continue;
        }
        if !at_once {
            work = pause(shared, work);
        }
        let (file, written, replaced) = (work.file.clone(), work.written, work.replaced.take());
        drop(work);
        file.sync_data().unwrap_or_else(|error| die(&error));
        if let Some(generation) = replaced {
            folder.sync().unwrap_or_else(|error| die(&error));
            if let Err(error) = folder.remove_logs_before(generation) {
                warn!(%error, "an old log cannot be removed");
            }
        }
        synced = written;
        tell.send_replace(written);
    }
}

/// Waits for more to write, or the stop.
fn pause<'a>(shared: &'a Shared, work: MutexGuard<'a, Work>) -> MutexGuard<'a, Work> {
    let waited = shared
        .changed
        .wait_timeout_while(work, RHYTHM, |work| !work.stop);
    waited.unwrap_or_else(PoisonError::into_inner).0
}

fn make(folder: &Folder, start: &[u8]) -> Making {
    match folder.next_log().and_then(|file| Log::begin(file, start)) {
        Ok(log) => Making::Ready(log),
        Err(error) => {
            warn!(%error, "the next log cannot be made: the old one grows on");
            folder.drop_next_log();
            Making::Failed
        }
    }
}
