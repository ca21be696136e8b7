//! The thread `netlock-raft-log`, which writes the log of a node and syncs it to the disk.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use distsync_core::spi::clock::{self, Moment};
use distsync_core::spi::locked;
use tracing::{error, warn};

use crate::cluster::consensus::Failure;
use crate::engine::Durations;
use crate::storage::cluster::{Folder, Log, Tail};

/// Called when a frame is on the disk, or cannot be written.
pub(super) type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Work for the thread. It is done in the order in which it was given.
pub(super) enum Job {
    /// Write and sync a frame.
    Write { frame: Vec<u8>, done: Done },
    /// Continue with a new log, which begins with these frames.
    Replace { frames: Vec<u8> },
}

/// A handle to the thread. Dropping it waits until all work is done.
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    shared: Arc<Disk>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// The state of the disk, as the thread reports it.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// When the thread began the write or sync that it is in.
    busy_since: Mutex<Option<Moment>>,
    /// The length of the log, in bytes.
    length: AtomicU64,
    /// How long the writes of the log have taken, until they were on the disk.
    writes: Mutex<Durations>,
}

/// What the thread owns.
pub(super) struct Files {
    pub(super) folder: Folder,
    pub(super) log: Log,
    pub(super) tail: Tail,
    pub(super) generation: u64,
}

impl Disk {
    /// Returns how long the writes of the log have taken, until they were on the disk.
    pub(crate) fn writes(&self) -> Durations {
        *locked(&self.writes)
    }
}

impl Writer {
    pub(super) fn start(files: Files, failure: Failure) -> io::Result<Self> {
        let (jobs, work) = mpsc::channel();
        let shared = Arc::new(Disk::default());
        shared.length.store(files.log.len(), Ordering::Relaxed);
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("netlock-raft-log".to_owned())
            .spawn(move || run(files, &work, &of_thread, &failure))?;
        Ok(Self {
            jobs: Some(jobs),
            shared,
            thread: Some(thread),
        })
    }

    pub(super) fn give(&self, job: Job) {
        // Without the thread, the job is dropped, and its caller learns that nobody will do it.
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
    }

    /// Returns since when the disk has not completed a write or a sync, if it is in one.
    pub(super) fn busy_since(&self) -> Option<Moment> {
        *locked(&self.shared.busy_since)
    }

    /// Returns what the thread tells about the disk.
    pub(super) fn disk(&self) -> Arc<Disk> {
        self.shared.clone()
    }

    /// Returns the length of the log, in bytes.
    pub(super) fn length(&self) -> u64 {
        self.shared.length.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the thread that writes the log of the cluster has panicked");
        }
    }
}

fn run(mut files: Files, work: &mpsc::Receiver<Job>, shared: &Disk, failure: &Failure) {
    let mut failed = None;
    for job in work {
        let start = clock::now();
        *locked(&shared.busy_since) = Some(start);
        let result = match (failed, job) {
            // Nothing is known about the end of the log any more.
            (Some(kind), Job::Write { done, .. }) => {
                done(Err(io::Error::from(kind)));
                Ok(())
            }
            (Some(_), Job::Replace { .. }) => Ok(()),
            (None, Job::Write { frame, done }) => match files.write(&frame) {
                Ok(()) => {
                    locked(&shared.writes).record(clock::now().since(start));
                    shared.length.store(files.log.len(), Ordering::Relaxed);
                    done(Ok(()));
                    Ok(())
                }
                Err(error) => {
                    failed = Some(error.kind());
                    // Before the replication learns of it, which ends this process too.
                    log_failure(&error);
                    done(Err(io::Error::from(error.kind())));
                    Err(error)
                }
            },
            (None, Job::Replace { frames }) => files.replace(&frames).inspect_err(|error| {
                failed = Some(error.kind());
                log_failure(error);
            }),
        };
        *locked(&shared.busy_since) = None;
        shared.length.store(files.log.len(), Ordering::Relaxed);
        if let Err(error) = result {
            failure(&error);
        }
    }
}

fn log_failure(error: &io::Error) {
    error!(%error, "cannot write the log of the cluster: this node ends");
}

impl Files {
    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        self.log.append(frame)?;
        self.log.file().sync_data()?;
        // The frame is acknowledged after this note.
        self.tail.note(self.generation, self.log.len())
    }

    /// Replaces the log. An error means that it is unknown which of the two logs is valid.
    fn replace(&mut self, frames: &[u8]) -> io::Result<()> {
        let next = self
            .folder
            .next_log()
            .and_then(|file| Log::begin(file, frames))
            .and_then(|log| self.tail.note(self.generation + 1, log.len()).map(|()| log));
        let log = match next {
            Ok(log) => log,
            Err(error) => {
                warn!(%error, "cannot replace the log of the cluster: it continues to grow");
                self.folder.drop_next_log();
                return Ok(());
            }
        };
        self.folder.install_next_log(self.generation + 1)?;
        self.folder.sync()?;
        self.generation += 1;
        self.log = log;
        if let Err(error) = self.folder.remove_logs_before(self.generation) {
            warn!(%error, "cannot remove an old log: remove it by hand, it only takes up space");
        }
        Ok(())
    }
}
