//! Persistence of the lock table: a log of its changes, from which a restarted server restores it.
//!
//! The log is a file format of our own, because no embedded store that we tried is fast enough for
//! a table that changes a million times a second. Decision 4 in docs/decisions has the figures. A
//! log begins with a snapshot, written as the changes that create it, and continues with all
//! changes since. When the log has grown to several times the size of its snapshot, the next log is
//! built while the table is in use, and replaces it.
//!
//! The guarantees follow from five rules:
//!
//! 1. A change is handed to the operating system before its reply is sent. The end of the process
//!    therefore loses nothing.
//! 2. The head of a log contains the boot id of the kernel. A server therefore knows whether the
//!    machine has gone down since.
//! 3. The number of acknowledged bytes is noted beside the log. A log that lost its end is
//!    therefore detected.
//! 4. Disk space is reserved before it is needed, also for releases. Without it, the table grants
//!    nothing more.
//! 5. A failed write to the log ends the process, because the contents of the disk are unknown
//!    afterwards.
//!
//! A *visit* is one locked access to the table, in which it may apply many commands.

mod active;
mod check;
mod error;
mod folder;
mod full;
mod gathering;
mod grace;
mod journal;
mod log;
mod options;
mod preparer;
mod record;
mod recovery;
mod room;
mod syncer;
mod tail;
#[cfg(test)]
mod tests;
mod turnover;

/// What the log of a member of a cluster shares with the log of a single server.
#[cfg(feature = "cluster")]
pub(crate) mod cluster {
    pub(crate) use super::boot_id;
    pub(crate) use super::error::{abort, unusable};
    pub(crate) use super::folder::{Folder, Unusable};
    pub(crate) use super::journal::LogWriter;
    pub(crate) use super::log::Log;
    pub(crate) use super::record::{
        Found, Frame, InvalidRecord, Record, Records, read, write_frame,
    };
    pub(crate) use super::recovery::is_last;
    pub(crate) use super::tail::Tail;
}

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use distsync_core::Result;
use distsync_core::spi::clock::{self, Moment};
use tokio::sync::watch;
use tracing::{error, info};

pub(crate) use journal::{LogPosition, LogWriter};
pub use options::{Durability, StorageOptions};

use crate::engine::{Durations, Limits, LockTable};
use crate::epoch;
use active::{ActiveLog, Next, rotate_at};
use error::{unreadable, unusable, would_ignore_log};
use folder::{Folder, Notes, Unusable};
use gathering::Gathering;
use grace::RecentTtls;
use preparer::Preparer;
use record::{Frame, Record};
use recovery::{LogEnd, recover};
use syncer::Syncer;
use tail::Tail;

/// The approximate size of the frames of a snapshot, in bytes. Also the most memory that a frame
/// keeps when it is cleared.
const FRAME: usize = 1 << 20;
/// The size from which a frame is written at the end of its visit, in bytes. Shorter frames are
/// written together with those of other visits, if there are any.
const WRITE_MIN: usize = 2 << 10;

/// The persistence of one table.
#[derive(Debug)]
pub(crate) struct Storage {
    folder: Arc<Folder>,
    durability: Durability,
    /// A log that is shorter than this is not replaced.
    log_bytes: u64,
    notes: Notes,
    boot: u128,
    /// The end of the grace period: until then nothing is granted, because a restart may have lost
    /// grants.
    grace: Option<Moment>,
    recent_ttls: RecentTtls,
    /// The longest TTL that the server accepts.
    ttl_max: Duration,
    /// When to check next which TTLs are in use.
    review_at: Moment,
    active: Option<ActiveLog>,
    gathering: Gathering,
    /// A part of the table on its way to the next log.
    slice: Frame,
}

type Table = LockTable<LogWriter>;

impl Storage {
    /// Opens a data folder, and restores its table.
    pub(crate) fn open(options: &StorageOptions, limits: &Limits) -> Result<(Table, Self)> {
        let path = &options.folder;
        let folder = Folder::open(path).map_err(|why| unusable(path, why))?;
        let old = folder
            .notes()
            .map_err(|why| unusable(path, why))?
            .unwrap_or_default();
        let notes = Notes {
            epoch: epoch::now().max(old.epoch + 1),
            ..old
        };
        // Store the epoch before anything is granted, so that the tokens of the next run are above
        // all tokens of this one.
        folder
            .write_notes(notes)
            .and_then(|()| folder.set_room_aside())
            .map_err(|error| unusable(path, error.into()))?;
        let floor = epoch::floor().max(epoch::floor_of(notes.epoch));
        let table = LockTable::with_journal(limits.clone(), floor, LogWriter::default());
        let (boot, now) = (boot_id(), clock::now());
        let mut recent_ttls = RecentTtls::default();
        recent_ttls.record(notes.longest_ttl, now);
        let mut storage = Self {
            folder: Arc::new(folder),
            durability: options.durability,
            log_bytes: options.log_bytes,
            notes,
            boot,
            grace: None,
            recent_ttls,
            ttl_max: limits.ttl_max,
            review_at: now,
            active: None,
            gathering: Gathering::default(),
            slice: Frame::default(),
        };
        let table = match options.durability {
            Durability::Memory => storage.start_empty(table, path),
            Durability::Async | Durability::Fsync => storage.start(table, path),
        }?;
        Ok((table, storage))
    }

    /// Returns a number that changes at each start that may have lost acknowledged changes.
    pub(crate) fn incarnation(&self) -> u64 {
        self.notes.incarnation
    }

    /// Returns the longest TTL that a grace period has to cover.
    #[cfg(feature = "program")]
    pub(crate) fn longest_ttl(&self) -> Duration {
        self.notes.longest_ttl
    }

    /// Returns the identity of the table. Stores `given`, or a new identity, if the folder has
    /// none.
    pub(crate) fn identity(&self, given: Option<u128>) -> Result<u128> {
        self.folder
            .identity(given)
            .map_err(|why| unusable(&self.folder.path, why))
    }

    fn start_empty(&mut self, mut table: Table, path: &Path) -> Result<Table> {
        if self
            .folder
            .newest_log()
            .map_err(|error| unusable(path, error.into()))?
            .is_some()
        {
            return Err(unusable(path, would_ignore_log()));
        }
        if !self.notes.longest_ttl.is_zero() {
            self.begin_grace(&mut table);
        }
        self.note_durability()
            .map_err(|error| unusable(path, error.into()))?;
        table.journal().enabled = true;
        Ok(table)
    }

    fn start(&mut self, mut table: Table, path: &Path) -> Result<Table> {
        let io = |error: std::io::Error| unusable(path, error.into());
        let (mut generation, mut end) = (0, LogEnd::Complete);
        let tail = Arc::new(Tail::open(&self.folder).map_err(io)?);
        match self.folder.newest_log().map_err(io)? {
            Some((newest, bytes)) => {
                generation = newest;
                let acknowledged = tail.of(newest).map_err(io)?;
                end = recover(&mut table, &bytes, self.boot, acknowledged, clock::now())
                    .map_err(|why| unusable(path, Unusable::Invalid(unreadable(newest, &why))))?;
                let stats = table.stats();
                info!(
                    sessions = stats.sessions,
                    claims = stats.claims,
                    ?end,
                    "the table is restored"
                );
            }
            // The last run had the durability `memory`, or the log was removed.
            None if !self.notes.longest_ttl.is_zero() => end = LogEnd::LostTail,
            None => {}
        }
        let has_lost_changes = match end {
            LogEnd::Complete => false,
            // With fsync, every acknowledged change was on the disk.
            LogEnd::PowerFailure => self.notes.durability != Durability::Fsync,
            LogEnd::LostTail => true,
        };
        let is_grace_pending = has_lost_changes || self.notes.is_grace_pending;
        // Note the loss before the old log is replaced, which is the only other evidence of it.
        let incarnation = if has_lost_changes {
            self.notes.epoch
        } else {
            self.notes.incarnation
        };
        self.note(Notes {
            is_grace_pending,
            incarnation,
            ..self.notes
        })
        .map_err(io)?;
        table.skip_tokens_to(epoch::floor_of(self.notes.epoch));
        let log = self.write_log(&table, generation + 1, &tail).map_err(io)?;
        // Note the new durability after the new log is on the disk: until then, the promise of the
        // earlier run is the valid one.
        self.note_durability().map_err(io)?;
        table.journal().enabled = true;
        let is_fsync = self.durability == Durability::Fsync;
        let syncer = Syncer::start(log.file(), is_fsync)?;
        let (folder, room) = (self.folder.clone(), log.room().clone());
        let preparer = Preparer::start(folder, syncer.handle(), room, is_fsync)?;
        preparer.fill(&log, rotate_at(&log, self.log_bytes));
        self.active = Some(ActiveLog {
            rotate_at: rotate_at(&log, self.log_bytes),
            log,
            generation: generation + 1,
            tail,
            written: 0,
            next: Next::None,
            preparer,
            syncer,
        });
        table.resume_isolations();
        if is_grace_pending {
            self.begin_grace(&mut table);
        } else {
            // The last run may have ended after a release and before the grant that follows from
            // it.
            table.thaw(&mut Vec::new());
        }
        Ok(table)
    }

    fn note_durability(&mut self) -> std::io::Result<()> {
        self.note(Notes {
            durability: self.durability,
            ..self.notes
        })
    }

    /// Collects the changes of a visit. Called at its end. Returns the position up to which the log
    /// has to be [written](Self::write) before replies are sent, or `None` if there is no log.
    pub(crate) fn end_visit(&mut self, table: &mut Table) -> Option<LogPosition> {
        self.note_longest_ttl(table);
        let frame = &mut table.journal().frame;
        let Some(active) = &self.active else {
            frame.clear(FRAME);
            return None;
        };
        let pending = if frame.is_empty() {
            0
        } else {
            frame.len() as u64
        };
        let end = active.written + pending;
        let writes_now = frame.len() >= WRITE_MIN || (pending > 0 && !self.gathering.waits());
        if writes_now {
            self.write_all(table);
        }
        Some(LogPosition {
            end,
            is_written: writes_now || pending == 0,
        })
    }

    /// Writes the log up to a position, unless another call has written it since.
    pub(crate) fn write(&mut self, table: &mut Table, position: LogPosition) {
        let Some(active) = &self.active else { return };
        if active.written < position.end {
            let end = active.written + table.journal().frame.len() as u64;
            self.gathering.note(end > position.end);
            self.write_all(table);
        }
    }

    fn write_all(&mut self, table: &mut Table) {
        let LogWriter { frame, beside, .. } = table.journal();
        let Some(active) = self.active.as_mut().filter(|_| !frame.is_empty()) else {
            return;
        };
        let beside_bytes = match beside {
            Some(beside) if !beside.is_empty() => beside.sealed(),
            _ => &[],
        };
        active.append(frame.sealed(), beside_bytes);
        frame.clear(FRAME);
        if let Some(beside) = beside {
            beside.clear(FRAME);
        }
        self.turn_over(table);
    }

    /// Returns the number of bytes on the disk, as a watch. `None` if replies need not wait for it.
    pub(crate) fn synced(&self) -> Option<watch::Receiver<u64>> {
        let active = self.active.as_ref()?;
        (self.durability == Durability::Fsync).then(|| active.syncer.synced())
    }

    /// Returns the generation of the active log.
    #[cfg(test)]
    fn generation(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| active.generation)
    }

    /// Returns how long the syncs of the active log have taken.
    pub(crate) fn syncs(&self) -> Durations {
        let active = self.active.as_ref();
        active.map_or_else(Durations::default, |active| active.syncer.syncs())
    }

    /// Returns how many written bytes are not on the disk yet.
    pub(crate) fn lag(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| {
            active
                .written
                .saturating_sub(*active.syncer.synced().borrow())
        })
    }

    /// Writes and syncs the log, and marks it as complete. Called when the server stops, after the
    /// last change of the table.
    pub(crate) fn end(&mut self, table: &mut Table) {
        self.write_all(table);
        let Some(active) = self.active.take() else {
            return;
        };
        let ActiveLog {
            mut log,
            next,
            preparer,
            syncer,
            ..
        } = active;
        if preparer.stop()
            && let Next::Complete(next) = next
        {
            log = next;
        }
        drop(syncer);
        let mut end = Frame::default();
        end.push(Record::End);
        let ended = log
            .file()
            .sync_data()
            .and_then(|()| log.append(end.sealed()))
            .and_then(|_| log.file().sync_data());
        if let Err(error) = ended {
            error!(%error, "cannot complete the log: the next start may have to wait for a grace period");
        }
    }
}

/// Returns the boot id of the kernel, or a random number where the system has none.
pub(crate) fn boot_id() -> u128 {
    clock::boot().unwrap_or_else(|| distsync_core::ClaimId::random().bits())
}
