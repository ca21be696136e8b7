//! The thread `netlock-next`, which prepares everything that visits should not wait for: the room
//! of the active log, and the next log on the disk.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use distsync_core::Result;
use distsync_core::spi::locked;
use tracing::{debug, warn};

use super::error::{abort, no_thread};
use super::folder::Folder;
use super::log::Log;
use super::room::Room;
use super::syncer::SyncerHandle;

/// While the next log is written, it is synced whenever it has grown by this much, so that its last
/// sync is short.
const SYNC_STEP: u64 = 8 << 20;
/// The last sync of the next log begins when less than this is not on the disk, or after
/// [`SYNC_ROUNDS`].
const SYNC_REST: u64 = 1 << 20;
const SYNC_ROUNDS: usize = 8;
/// How much of the room beyond the length at which a log is replaced is filled with zeros: its
/// replacement takes time.
const FILL_BEYOND: u64 = 256 << 10;

/// The state of the next log. The visits to the table write it, and the thread creates and installs
/// it.
#[derive(Debug, Default)]
pub(super) enum NextLog {
    /// None is wanted.
    #[default]
    None,
    /// It has to be created.
    Wanted,
    /// It is empty, and visits may write it.
    Created(Log),
    /// Visits write the table to it.
    Written(Arc<Room>),
    /// It contains everything, and has to be installed as the log of this generation.
    Complete(Arc<Room>, u64),
    /// It is being installed, which can no longer be cancelled.
    Committed,
    /// The next start reads it.
    Installed,
    /// It could not be created or installed.
    Failed,
    /// It has to be removed.
    Cancelled,
}

#[derive(Debug)]
struct Work {
    /// The room of the active log.
    active: Arc<Room>,
    is_active_short: bool,
    next: NextLog,
    /// The next log has grown, or its room is short.
    has_next_grown: bool,
    /// Logs that were removed. Closing one frees its space, which takes time.
    to_close: Vec<Log>,
    stop: bool,
}

impl Work {
    fn is_idle(&self) -> bool {
        let next = match self.next {
            NextLog::Wanted | NextLog::Complete(..) | NextLog::Cancelled => true,
            NextLog::Written(_) => self.has_next_grown,
            _ => false,
        };
        !(self.stop || self.is_active_short || next || !self.to_close.is_empty())
    }
}

#[derive(Debug)]
struct Shared {
    work: Mutex<Work>,
    changed: Condvar,
    folder: Arc<Folder>,
    syncer: SyncerHandle,
    /// Whether the room of logs is filled with zeros.
    fills: bool,
}

/// A handle to the thread. Dropping it stops the thread.
#[derive(Debug)]
pub(super) struct Preparer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Preparer {
    /// Starts the thread for this active log. `fills`: fill the room of logs with zeros.
    pub(super) fn start(
        folder: Arc<Folder>,
        syncer: SyncerHandle,
        active: Arc<Room>,
        fills: bool,
    ) -> Result<Self> {
        let work = Work {
            active,
            is_active_short: true,
            next: NextLog::None,
            has_next_grown: false,
            to_close: Vec::new(),
            stop: false,
        };
        let shared = Arc::new(Shared {
            work: Mutex::new(work),
            changed: Condvar::new(),
            folder,
            syncer,
            fills,
        });
        let thread_shared = shared.clone();
        let thread = std::thread::Builder::new()
            .name("netlock-next".to_owned())
            .spawn(move || thread_shared.run())
            .map_err(no_thread)?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Fills the room of a log with zeros from now on, if syncs are frequent. The log is replaced
    /// at the length `rotate_at`.
    pub(super) fn fill(&self, log: &Log, rotate_at: u64) {
        if self.shared.fills {
            log.room().fill_up_to(rotate_at + FILL_BEYOND);
        }
    }

    /// Requests more room for the active log.
    pub(super) fn prepare_active(&self) {
        self.shared.work().is_active_short = true;
        self.shared.changed.notify_one();
    }

    /// Requests that the next log is synced as far as it is written, and gets more room.
    pub(super) fn prepare_next(&self) {
        self.shared.work().has_next_grown = true;
        self.shared.changed.notify_one();
    }

    /// Requests an empty next log.
    pub(super) fn create_next(&self) {
        self.set_next(NextLog::Wanted);
    }

    /// Returns the next log once it is created.
    pub(super) fn created(&self) -> Created {
        let mut work = self.shared.work();
        match std::mem::take(&mut work.next) {
            NextLog::Created(log) => {
                work.next = NextLog::Written(log.room().clone());
                Created::Log(log)
            }
            NextLog::Failed => Created::Failed,
            other => {
                work.next = other;
                Created::NotYet
            }
        }
    }

    /// Requests that the next log, which is complete, is installed as the log of this generation.
    pub(super) fn install_next(&self, room: Arc<Room>, generation: u64) {
        self.set_next(NextLog::Complete(room, generation));
    }

    /// Returns how far the installation of the next log is. `Done` and `Failed` are returned once.
    pub(super) fn installation(&self) -> Installation {
        let mut work = self.shared.work();
        let installation = match work.next {
            NextLog::Installed => Installation::Done,
            NextLog::Failed => Installation::Failed,
            _ => return Installation::Underway,
        };
        work.next = NextLog::None;
        installation
    }

    /// Returns whether the next start may read the next log, so that it must not lack a change.
    pub(super) fn is_committed(&self) -> bool {
        let next = &self.shared.work().next;
        matches!(next, NextLog::Committed | NextLog::Installed)
    }

    /// Cancels the next log. Returns false if it is too late.
    pub(super) fn cancel_next(&self) -> bool {
        let mut work = self.shared.work();
        if matches!(work.next, NextLog::Committed | NextLog::Installed) {
            return false;
        }
        work.next = NextLog::Cancelled;
        drop(work);
        self.shared.changed.notify_one();
        true
    }

    /// Continues with the room of another active log, and closes the earlier one.
    pub(super) fn replaced(&self, active: Arc<Room>, earlier: Log) {
        let mut work = self.shared.work();
        work.active = active;
        work.is_active_short = true;
        work.to_close.push(earlier);
        drop(work);
        self.shared.changed.notify_one();
    }

    /// Closes a log that was removed.
    pub(super) fn close(&self, log: Log) {
        self.shared.work().to_close.push(log);
        self.shared.changed.notify_one();
    }

    /// Returns whether the thread has to do something before the visits continue to replace the
    /// log.
    #[cfg(test)]
    pub(super) fn is_busy(&self) -> bool {
        matches!(
            self.shared.work().next,
            NextLog::Wanted | NextLog::Complete(..) | NextLog::Committed | NextLog::Cancelled
        )
    }

    /// Stops the thread. Returns whether the next log was installed.
    pub(super) fn stop(mut self) -> bool {
        self.join();
        matches!(self.shared.work().next, NextLog::Installed)
    }

    fn set_next(&self, next: NextLog) {
        self.shared.work().next = next;
        self.shared.changed.notify_one();
    }

    fn join(&mut self) {
        self.shared.work().stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the thread that prepares the next log has panicked");
        }
    }
}

impl Drop for Preparer {
    /// Waits for the thread, so that nothing writes to the folder afterwards.
    fn drop(&mut self) {
        self.join();
    }
}

/// Whether the next log is created.
#[derive(Debug)]
pub(super) enum Created {
    NotYet,
    Log(Log),
    Failed,
}

/// How far the installation of the next log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Installation {
    Underway,
    Done,
    Failed,
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        locked(&self.work)
    }

    fn run(&self) {
        // The offset up to which the next log is on the disk.
        let mut synced = 0;
        loop {
            let waited = self.changed.wait_while(self.work(), |work| work.is_idle());
            let mut work = waited.unwrap_or_else(PoisonError::into_inner);
            if work.stop {
                return;
            }
            // Dropped at the end of this round, when the work is not locked.
            let to_close = std::mem::take(&mut work.to_close);
            if std::mem::take(&mut work.is_active_short) {
                let active = work.active.clone();
                drop(work);
                prepare(&active);
                continue;
            }
            match &work.next {
                NextLog::Wanted => {
                    synced = 0;
                    drop(work);
                    self.create();
                }
                NextLog::Written(room) if work.has_next_grown => {
                    let room = room.clone();
                    work.has_next_grown = false;
                    drop(work);
                    prepare(&room);
                    if room.end() >= synced + SYNC_STEP {
                        let end = room.end();
                        // The last sync reports an error.
                        if room.file().sync_data().is_ok() {
                            synced = end;
                        }
                    }
                }
                NextLog::Complete(room, generation) => {
                    let (room, generation) = (room.clone(), *generation);
                    drop(work);
                    self.install(&room, generation, synced);
                }
                NextLog::Cancelled => {
                    work.next = NextLog::None;
                    drop(work);
                    self.folder.drop_next_log();
                }
                _ => drop(work),
            }
            drop(to_close);
        }
    }

    /// Changes the state of the next log, unless visits have changed it, which have cancelled it.
    /// Returns whether it was changed.
    fn advance(&self, is_expected: fn(&NextLog) -> bool, next: NextLog) -> bool {
        let mut work = self.work();
        let is_expected = is_expected(&work.next);
        if is_expected {
            work.next = next;
        }
        is_expected
    }

    fn fail(&self, is_expected: fn(&NextLog) -> bool, error: &io::Error) {
        warn!(%error, "cannot build the next log: the server continues with the old one");
        self.folder.drop_next_log();
        self.advance(is_expected, NextLog::Failed);
    }

    fn create(&self) {
        let is_wanted = |next: &NextLog| matches!(next, NextLog::Wanted);
        let created = self.folder.next_log().and_then(|file| {
            let log = Log::new(file);
            log.room().prepare()?;
            Ok(log)
        });
        match created {
            Ok(log) => {
                self.advance(is_wanted, NextLog::Created(log));
            }
            Err(error) => self.fail(is_wanted, &error),
        }
    }

    /// Installs the next log. From the moment at which the next start may read it, every sync of
    /// the active log has to sync it too.
    fn install(&self, room: &Arc<Room>, generation: u64, mut synced: u64) {
        let is_underway =
            |next: &NextLog| matches!(next, NextLog::Complete(..) | NextLog::Committed);
        let written = (|| {
            for _ in 0..SYNC_ROUNDS {
                let end = room.end();
                if end <= synced + SYNC_REST {
                    break;
                }
                room.file().sync_data()?;
                synced = end;
            }
            room.prepare()?;
            self.syncer.sync_also(Some(room.file().clone()));
            room.file().sync_all()
        })();
        if let Err(error) = written {
            self.syncer.sync_also(None);
            return self.fail(is_underway, &error);
        }
        if !self.advance(is_underway, NextLog::Committed) {
            self.syncer.sync_also(None);
            return;
        }
        if let Err(error) = self.folder.install_next_log(generation) {
            // The next start would read the new log, which will lack all further changes.
            if self.folder.has_log(generation) {
                abort(&error);
            }
            self.syncer.sync_also(None);
            return self.fail(is_underway, &error);
        }
        self.folder.sync().unwrap_or_else(|error| abort(&error));
        self.folder.discard_logs_before(generation);
        self.advance(is_underway, NextLog::Installed);
    }
}

fn prepare(room: &Room) {
    if let Err(error) = room.prepare() {
        // A visit that needs the room tries again, and reports the error.
        debug!(%error, "cannot prepare the room of the log");
    }
}
