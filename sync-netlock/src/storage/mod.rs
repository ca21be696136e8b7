//! A table that outlives its process: each change goes into a log before anybody is told of it.
//!
//! The log is a file of ours because no store that we tried is cheap enough for a table that is
//! changed a million times a second: see decision 4 in docs/decisions for the figures. A log begins
//! with the changes that make the table as it was then, and goes on with those since. When it has
//! grown to several times that size, the next one is made in the background.
//!
//! What is promised rests on five things. A change is with the system before it is answered, so the
//! end of the process loses nothing. The head of a log names the kernel's run, so a server knows
//! whether the machine went down since. How much of the log was acknowledged is noted beside it, so
//! a log that lost its end is found out. Room is taken ahead of time, for releases too: when there
//! is none, the table grants nothing more. And a write to the disk that fails ends the process,
//! because what the disk has is unknown then.

mod active;
mod check;
mod error;
mod folder;
mod full;
mod grace;
mod journal;
mod log;
mod options;
mod record;
mod recovery;
mod rotation;
mod syncer;
mod tail;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use distsync_core::Result;
use distsync_core::spi::clock::{self, Moment};
use tokio::sync::watch;
use tracing::{error, info};

pub(crate) use journal::{LogPosition, LogWriter};
pub use options::{Durability, StorageOptions};

use crate::engine::{Limits, LockTable};
use crate::epoch;
use active::{ActiveLog, replace_at};
use error::{unreadable, unusable, would_forget};
use folder::{Folder, Notes, Unusable};
use grace::RecentTtls;
use record::{Frame, Record};
use recovery::{Ending, recover};
use syncer::Syncer;
use tail::Tail;

/// About how long the frames of a new log are, and how much memory stays with a frame, in bytes.
const FRAME: usize = 1 << 20;
/// A frame of this length is worth a write of its own, in bytes. Shorter ones wait for those of
/// other visits.
const WORTH_A_WRITE: usize = 2 << 10;

/// What keeps one table.
#[derive(Debug)]
pub(crate) struct Storage {
    folder: Arc<Folder>,
    durability: Durability,
    /// A log that is shorter than this is left alone.
    log_bytes: u64,
    notes: Notes,
    boot: u128,
    /// Until when nothing is granted, after a restart that may have forgotten grants.
    grace: Option<Moment>,
    recent_ttls: RecentTtls,
    /// The longest TTL that clients can ask for.
    ttl_max: Duration,
    /// When it is looked next which TTLs are in use.
    review_at: Moment,
    active: Option<ActiveLog>,
}

type Table = LockTable<LogWriter>;

impl Storage {
    /// Opens a folder, and makes its table.
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
        // Before anything is granted: the tokens of this run are above all of the last.
        folder
            .write_notes(notes)
            .and_then(|()| folder.set_room_aside())
            .map_err(|error| unusable(path, error.into()))?;
        let floor = epoch::floor().max(epoch::floor_of(notes.epoch));
        let table = LockTable::with_journal(limits.clone(), floor, LogWriter::default());
        let (boot, now) = (boot_id(), clock::now());
        let mut recent_ttls = RecentTtls::default();
        recent_ttls.see(notes.longest_ttl, now);
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
        };
        let table = match options.durability {
            Durability::Memory => storage.start_empty(table, path),
            Durability::Async | Durability::Fsync => storage.start(table, path),
        }?;
        Ok((table, storage))
    }

    /// Another number after each start that may have forgotten something.
    pub(crate) fn incarnation(&self) -> u64 {
        self.notes.incarnation
    }

    /// The identity of the folder's table, which is `given` if the folder has none yet.
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
            return Err(unusable(path, would_forget()));
        }
        if !self.notes.longest_ttl.is_zero() {
            self.give_grace(&mut table);
        }
        self.note_durability()
            .map_err(|error| unusable(path, error.into()))?;
        table.journal().on = true;
        Ok(table)
    }

    fn start(&mut self, mut table: Table, path: &Path) -> Result<Table> {
        let io = |error: std::io::Error| unusable(path, error.into());
        let (mut generation, mut ending) = (0, Ending::Whole);
        let tail = Arc::new(Tail::open(&self.folder).map_err(io)?);
        match self.folder.newest_log().map_err(io)? {
            Some((newest, bytes)) => {
                generation = newest;
                let acknowledged = tail.of(newest).map_err(io)?;
                ending = recover(&mut table, &bytes, self.boot, acknowledged, clock::now())
                    .map_err(|why| unusable(path, Unusable::Strange(unreadable(newest, &why))))?;
                let stats = table.stats();
                info!(
                    sessions = stats.sessions,
                    claims = stats.claims,
                    ?ending,
                    "the table is back"
                );
            }
            // A server with durability `memory` ran here, or its log was taken away.
            None if !self.notes.longest_ttl.is_zero() => ending = Ending::LostTail,
            None => {}
        }
        let is_forgetful = match ending {
            Ending::Whole => false,
            // All that was answered was on the disk before.
            Ending::PowerFailure => self.notes.durability != Durability::Fsync,
            Ending::LostTail => true,
        };
        let is_grace_pending = is_forgetful || self.notes.is_grace_pending;
        // Before the old log goes away, which says that something is missing.
        let incarnation = if is_forgetful {
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
        table.follow(epoch::floor_of(self.notes.epoch));
        let log = self.write_log(&table, generation + 1, &tail).map_err(io)?;
        // After everything is on the disk that an earlier run may not have brought there.
        self.note_durability().map_err(io)?;
        table.journal().on = true;
        let is_fsync = self.durability == Durability::Fsync;
        self.active = Some(ActiveLog {
            syncer: Syncer::start(self.folder.clone(), log.file(), is_fsync)?,
            replace_at: replace_at(&log, self.log_bytes),
            log,
            generation: generation + 1,
            tail,
            written: 0,
            since: None,
        });
        if is_grace_pending {
            self.give_grace(&mut table);
        } else {
            // The last answers may never have been given.
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

    /// To be called after the table was visited. What has to be [written](Self::write) before
    /// anybody is told; `None`: nothing.
    pub(crate) fn keep(&mut self, table: &mut Table) -> Option<LogPosition> {
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
        let is_worth_it = frame.len() >= WORTH_A_WRITE;
        if is_worth_it {
            self.write_all(table);
        }
        Some(LogPosition {
            end,
            is_written: is_worth_it || pending == 0,
        })
    }

    /// Hands the changes of all visits up to a mark to the system, if nobody has done so since.
    pub(crate) fn write(&mut self, table: &mut Table, mark: LogPosition) {
        if self
            .active
            .as_ref()
            .is_some_and(|active| active.written < mark.end)
        {
            self.write_all(table);
        }
    }

    fn write_all(&mut self, table: &mut Table) {
        let frame = &mut table.journal().frame;
        let Some(active) = self.active.as_mut().filter(|_| !frame.is_empty()) else {
            return;
        };
        active.append(frame.sealed());
        frame.clear(FRAME);
        self.turn_over(table);
    }

    /// What tells when a mark is on the disk.
    pub(crate) fn synced(&self) -> Option<watch::Receiver<u64>> {
        let active = self.active.as_ref()?;
        (self.durability == Durability::Fsync).then(|| active.syncer.synced())
    }

    /// Which log is written.
    #[cfg(test)]
    fn generation(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| active.generation)
    }

    /// Bytes that are not on the disk yet.
    pub(crate) fn lag(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| {
            active
                .written
                .saturating_sub(*active.syncer.synced().borrow())
        })
    }

    /// Nothing will change any more: brings all of it to the disk, and says so in the log.
    pub(crate) fn end(&mut self, table: &mut Table) {
        self.write_all(table);
        let Some(active) = self.active.take() else {
            return;
        };
        let ActiveLog {
            mut log, syncer, ..
        } = active;
        drop(syncer);
        let mut end = Frame::default();
        end.push(Record::End);
        let ended = log
            .file()
            .sync_data()
            .and_then(|()| log.append(end.sealed()))
            .and_then(|()| log.file().sync_data());
        if let Err(error) = ended {
            error!(%error, "the log has no proper end");
        }
    }
}

/// The kernel's run, or a new number each time where it has no name.
fn boot_id() -> u128 {
    clock::boot().unwrap_or_else(|| distsync_core::ClaimId::random().bits())
}
