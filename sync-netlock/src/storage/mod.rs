//! A table that outlives its process: each change goes into a log before anybody is told of it.
//!
//! The log is a file of ours because no store that we tried is cheap enough for a table that is changed a million times a
//! second: see decision 4 in docs/decisions for the figures. A log begins with the changes that make the table as it was then, and
//! goes on with those since. When it has grown to several times that size, the next one is made in the background.
//!
//! What is promised rests on four things. A change is with the system before it is answered, so the end of the process
//! loses nothing. The head of a log names the kernel's run, so a server knows whether the machine went down since. Room
//! is taken ahead of time: when there is none, the table grants nothing more. And a write to the disk that fails ends
//! the process, for nobody knows what the disk has then.

mod folder;
mod log;
mod options;
mod record;
mod recovery;
mod syncer;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sync_core::clock::{self, Moment};
use sync_core::{Error, ErrorKind, Result};
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

pub use options::{Durability, StorageOptions};

use crate::engine::{Change, Effect, Freeze, Journal, Limits, LockTable};
use crate::epoch;
use folder::{Folder, Notes, Unusable};
use log::Log;
use record::{Frame, Record};
use recovery::{Ending, Unreadable, recover};
use syncer::{Next, Syncer};

/// A log is replaced when it is this many times as long as it began.
const LOG_GROWTH: u64 = 4;
/// About how long the frames of a new log are, and how much memory stays with a frame, in bytes.
const FRAME: usize = 1 << 20;
/// The room that has to be there before the table is visited: for the frame that is not written yet, and for what the visit
/// changes, which is more only if thousands of claims are granted at once.
const HEADROOM: u64 = 2 * FRAME as u64;

/// Turns changes into bytes, where anybody wants them.
#[derive(Debug, Default)]
pub(crate) struct Scribe {
    /// Nobody wants them otherwise.
    on: bool,
    frame: Frame,
    longest_ttl: Duration,
}

impl Journal for Scribe {
    fn record(&mut self, change: Change<'_>) {
        if !self.on {
            return;
        }
        if let Change::Opened { terms, .. } = change {
            self.longest_ttl = self.longest_ttl.max(terms.ttl);
        }
        self.frame.push(Record::Change(change));
    }
}

/// A frame of this length is worth a write of its own, in bytes. Shorter ones wait for those of other visits.
const WORTH_A_WRITE: usize = 2 << 10;

/// Up to where the log has to be kept before somebody is told of what a visit has found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    end: u64,
    /// Whether it is with the system.
    is_written: bool,
}

impl Mark {
    pub(crate) fn is_written(self) -> bool {
        self.is_written
    }

    /// Resolves when so much is on the disk.
    pub(crate) async fn on_disk(self, mut synced: watch::Receiver<u64>) {
        // The other end goes away when the server has stopped, and nobody is told anything any more.
        let _ = synced.wait_for(|synced| *synced >= self.end).await;
    }
}

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
    keeping: Option<Keeping>,
}

/// The log under way.
#[derive(Debug)]
struct Keeping {
    log: Log,
    generation: u64,
    /// Bytes handed to the system so far, in all logs of this run.
    written: u64,
    /// When the log is to be replaced.
    replace_at: u64,
    /// What was written since the next log was begun.
    since: Option<Vec<u8>>,
    /// Something was not written: only a new log mends that.
    gap: bool,
    syncer: Syncer,
}

impl Keeping {
    fn append(&mut self, records: &[u8]) {
        self.log.append(records).unwrap_or_else(|error| die(&error));
        self.written += records.len() as u64;
        self.syncer.written(self.written);
        if let Some(since) = &mut self.since {
            since.extend_from_slice(records);
        }
    }

    /// Goes on with another log, that lacks nothing.
    fn go_on_with(&mut self, log: Log, log_bytes: u64) {
        self.generation += 1;
        self.syncer.replaced(log.file(), self.generation);
        self.replace_at = replace_at(&log, log_bytes);
        self.log = log;
        (self.since, self.gap) = (None, false);
    }
}

/// How long a log may become.
fn replace_at(log: &Log, log_bytes: u64) -> u64 {
    (log.len() * LOG_GROWTH).max(log_bytes)
}

type Table = LockTable<Scribe>;

impl Storage {
    /// Opens a folder, and makes its table.
    pub(crate) fn open(options: &StorageOptions, limits: &Limits) -> Result<(Table, Self)> {
        let path = &options.folder;
        let folder = Folder::open(path).map_err(|why| unusable(path, why))?;
        let old = folder.notes().map_err(|why| unusable(path, why))?.unwrap_or_default();
        let notes = Notes { epoch: epoch::now().max(old.epoch + 1), ..old };
        // Before anything is granted: the tokens of this run are above all of the last.
        folder.write_notes(notes).map_err(|error| unusable(path, error.into()))?;
        let floor = epoch::floor().max(epoch::floor_of(notes.epoch));
        let table = LockTable::with_journal(limits.clone(), floor, Scribe::default());
        let boot = boot_id();
        let mut storage = Self {
            folder: Arc::new(folder),
            durability: options.durability,
            log_bytes: options.log_bytes,
            notes,
            boot,
            grace: None,
            keeping: None,
        };
        let table = match options.durability {
            Durability::Memory => storage.start_empty(table, path),
            Durability::Async | Durability::Fsync => storage.start(table, path),
        }?;
        Ok((table, storage))
    }

    /// The identity of the folder's table, which is `given` if the folder has none yet.
    pub(crate) fn identity(&self, given: Option<u128>) -> Result<u128> {
        self.folder.identity(given).map_err(|why| unusable(&self.folder.path, why))
    }

    fn start_empty(&mut self, mut table: Table, path: &Path) -> Result<Table> {
        if self.folder.newest_log().map_err(|error| unusable(path, error.into()))?.is_some() {
            let why = "it holds a log, that a server with durability `memory` would forget: use `async` or `fsync`, or \
                       another folder";
            return Err(unusable(path, Unusable::Strange(why.to_owned())));
        }
        if !self.notes.longest_ttl.is_zero() {
            self.give_grace(&mut table);
        }
        table.journal().on = true;
        Ok(table)
    }

    fn start(&mut self, mut table: Table, path: &Path) -> Result<Table> {
        let io = |error: std::io::Error| unusable(path, error.into());
        let (mut generation, mut ending) = (0, Ending::Whole);
        match self.folder.newest_log().map_err(io)? {
            Some((newest, bytes)) => {
                generation = newest;
                ending = recover(&mut table, &bytes, self.boot, clock::now())
                    .map_err(|why| unusable(path, Unusable::Strange(unreadable(newest, &why))))?;
                let stats = table.stats();
                info!(sessions = stats.sessions, claims = stats.claims, ?ending, "the table is back");
            }
            // A server with durability `memory` ran here, or its log was taken away.
            None if !self.notes.longest_ttl.is_zero() => ending = Ending::Torn,
            None => {}
        }
        table.follow(epoch::floor_of(self.notes.epoch));
        let log = self.write_log(&table, generation + 1).map_err(io)?;
        table.journal().on = true;
        let is_fsync = self.durability == Durability::Fsync;
        self.keeping = Some(Keeping {
            syncer: Syncer::start(self.folder.clone(), log.file(), is_fsync)?,
            replace_at: replace_at(&log, self.log_bytes),
            log,
            generation: generation + 1,
            written: 0,
            since: None,
            gap: false,
        });
        match ending {
            Ending::Torn => self.give_grace(&mut table),
            // The last answers may never have been given.
            Ending::Whole => table.thaw(&mut Vec::new()),
        }
        Ok(table)
    }

    fn give_grace(&mut self, table: &mut Table) {
        let grace = self.notes.longest_ttl;
        warn!(
            ?grace,
            "locks of before may have been forgotten: nothing is granted until their sessions have ended"
        );
        let until = clock::now().after(grace);
        self.grace = Some(until);
        table.freeze(Freeze::Grace { until });
    }

    /// Writes a whole new log, and puts it in the place of the old one.
    fn write_log(&self, table: &Table, generation: u64) -> std::io::Result<Log> {
        let written = (|| -> std::io::Result<Log> {
            let mut log = Log::begin(self.folder.next_log()?, &snapshot(table, self.boot))?;
            log.reserve(HEADROOM)?;
            self.folder.install_next_log(generation)?;
            self.folder.sync()?;
            Ok(log)
        })();
        if written.is_err() {
            self.folder.drop_next_log();
        }
        let log = written?;
        self.folder.remove_logs_before(generation)?;
        Ok(log)
    }

    /// To be called before the table is visited: makes sure that what the visit changes can be written.
    pub(crate) fn prepare(&mut self, table: &mut Table) {
        let Some(keeping) = &mut self.keeping else { return };
        if !keeping.gap
            && let Err(error) = keeping.log.reserve(HEADROOM)
        {
            self.run_out(table, &error);
        }
    }

    /// To be called after the table was visited. What has to be [written](Self::write) before anybody is told; `None`:
    /// nothing.
    pub(crate) fn keep(&mut self, table: &mut Table) -> Option<Mark> {
        self.note_longest_ttl(table);
        let frame = &mut table.journal().frame;
        let Some(keeping) = &self.keeping else {
            frame.clear(FRAME);
            return None;
        };
        if keeping.gap {
            // Nothing that a full disk still allows has to be remembered.
            frame.clear(FRAME);
        }
        let pending = if frame.is_empty() { 0 } else { frame.len() as u64 };
        let end = keeping.written + pending;
        let is_worth_it = frame.len() >= WORTH_A_WRITE;
        if is_worth_it {
            self.write_all(table);
        }
        Some(Mark { end, is_written: is_worth_it || pending == 0 })
    }

    /// Hands the changes of all visits up to a mark to the system, if nobody has done so since.
    pub(crate) fn write(&mut self, table: &mut Table, mark: Mark) {
        if self.keeping.as_ref().is_some_and(|keeping| keeping.written < mark.end) {
            self.write_all(table);
        }
    }

    fn write_all(&mut self, table: &mut Table) {
        let frame = &mut table.journal().frame;
        let Some(keeping) = self.keeping.as_mut().filter(|_| !frame.is_empty()) else { return };
        keeping.append(frame.sealed());
        frame.clear(FRAME);
        self.turn_over(table);
    }

    /// A session with a longer TTL than any before may have begun: a grace has to be that long. `false`: there is no room to
    /// note it.
    fn note_longest_ttl(&mut self, table: &mut Table) -> bool {
        let longest_ttl = table.journal().longest_ttl;
        if longest_ttl <= self.notes.longest_ttl {
            return true;
        }
        // In steps, so that clients who each ask for a bit more do not make a write each.
        let notes = Notes { longest_ttl: longest_ttl.mul_f64(1.25), ..self.notes };
        match self.folder.write_notes(notes) {
            Ok(()) => self.notes = notes,
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                self.run_out(table, &error);
                return false;
            }
            Err(error) => die(&error),
        }
        true
    }

    fn run_out(&mut self, table: &mut Table, error: &std::io::Error) {
        if table.frozen() != Some(Freeze::Full) {
            error!(%error, "no room in the data folder: nothing is granted until there is some");
        }
        table.freeze(Freeze::Full);
        let frame = &mut table.journal().frame;
        if let Some(keeping) = self.keeping.as_mut().filter(|keeping| !keeping.gap) {
            // Visits of before are about to be told of, and room was taken for them.
            if !frame.is_empty() {
                keeping.append(frame.sealed());
            }
            frame.clear(FRAME);
            keeping.gap = true;
            keeping.since = None;
        }
    }

    /// Begins the next log when this one is long, and takes it into use when it is ready.
    fn turn_over(&mut self, table: &Table) {
        let Some(keeping) = self.keeping.as_mut().filter(|keeping| !keeping.gap) else { return };
        if keeping.since.is_none() {
            if keeping.log.len() >= keeping.replace_at {
                keeping.since = Some(Vec::new());
                keeping.syncer.make_next(snapshot(table, self.boot));
            }
            return;
        }
        match keeping.syncer.next() {
            Next::None | Next::Making => {}
            Next::Failed => {
                keeping.since = None;
                keeping.replace_at = keeping.log.len() * 2;
            }
            Next::Ready { mut log } => {
                let since = keeping.since.take().unwrap_or_default();
                let installed = log
                    .append(&since)
                    .and_then(|()| log.reserve(HEADROOM))
                    .and_then(|()| self.folder.install_next_log(keeping.generation + 1));
                match installed {
                    Ok(()) => keeping.go_on_with(log, self.log_bytes),
                    Err(error) => {
                        warn!(%error, "the next log is not used");
                        self.folder.drop_next_log();
                    }
                }
            }
        }
    }

    /// Tries to keep the table again after there was no room for it: if there is, it grants again.
    pub(crate) fn mend(&mut self, table: &mut Table, effects: &mut Vec<Effect>) {
        if !self.note_longest_ttl(table) || !self.close_gap(table) {
            return;
        }
        info!("there is room in the data folder again");
        match self.grace.filter(|until| *until > clock::now()) {
            Some(until) => table.freeze(Freeze::Grace { until }),
            None => table.thaw(effects),
        }
    }

    /// Goes on with a log that lacks nothing, if there is room for one.
    fn close_gap(&mut self, table: &Table) -> bool {
        let Some(keeping) = &self.keeping else { return true };
        // The file of the next log may be in use.
        if matches!(keeping.syncer.next(), Next::Making) {
            return false;
        }
        let written = self.write_log(table, keeping.generation + 1);
        if let Err(error) = &written {
            debug!(%error, "still no room in the data folder");
        }
        let (Ok(log), Some(keeping)) = (written, &mut self.keeping) else { return false };
        keeping.go_on_with(log, self.log_bytes);
        true
    }

    /// What tells when a mark is on the disk.
    pub(crate) fn synced(&self) -> Option<watch::Receiver<u64>> {
        let keeping = self.keeping.as_ref()?;
        (self.durability == Durability::Fsync).then(|| keeping.syncer.synced())
    }

    /// Which log is written.
    #[cfg(test)]
    fn generation(&self) -> u64 {
        self.keeping.as_ref().map_or(0, |keeping| keeping.generation)
    }

    /// Bytes that are not on the disk yet.
    pub(crate) fn lag(&self) -> u64 {
        self.keeping
            .as_ref()
            .map_or(0, |keeping| keeping.written.saturating_sub(*keeping.syncer.synced().borrow()))
    }

    /// Nothing will change any more: brings all of it to the disk, and says so in the log.
    pub(crate) fn end(&mut self, table: &mut Table) {
        self.write_all(table);
        let Some(keeping) = self.keeping.take() else { return };
        let Keeping { mut log, gap, syncer, .. } = keeping;
        drop(syncer);
        if gap {
            return;
        }
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

/// The changes that make a table, as the start of a log.
fn snapshot(table: &Table, boot: u128) -> Vec<u8> {
    let (mut bytes, mut frame) = (Vec::new(), Frame::default());
    let mut put = |record: Record<'_>| {
        frame.push(record);
        if frame.len() >= FRAME || record == Record::Complete {
            bytes.extend_from_slice(frame.sealed());
            frame.clear(FRAME * 2);
        }
    };
    put(Record::Head { boot });
    table.dump(|change| put(Record::Change(change)));
    put(Record::Complete);
    bytes
}

/// What the disk has is unknown now, and every further answer could be a lie.
fn die(error: &std::io::Error) -> ! {
    error!(%error, "the log cannot be written: the server ends");
    std::process::abort();
}

/// The kernel's run, or a new number each time where it has no name.
fn boot_id() -> u128 {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .ok()
        .and_then(|text| u128::from_str_radix(&text.trim().replace('-', ""), 16).ok())
        .unwrap_or_else(|| sync_core::ClaimId::random().bits())
}

fn unreadable(generation: u64, why: &Unreadable) -> String {
    match why {
        Unreadable::Damaged { at, how } => format!(
            "log-{generation} is damaged at byte {at} ({how}), and good records follow: bring the folder back from a backup, \
             or begin with an empty one once every session of before has ended"
        ),
        Unreadable::Version(version) => format!(
            "log-{generation} was written by another version of netlock (format {version}): use that version"
        ),
    }
}

fn unusable(path: &Path, why: Unusable) -> Error {
    let folder = path.display();
    let error = match why {
        Unusable::InUse => {
            Error::new(ErrorKind::Unavailable, format!("another server runs on the data folder {folder}"))
        }
        Unusable::Strange(what) => {
            Error::new(ErrorKind::Store, format!("the data folder {folder} cannot be used: {what}"))
        }
        Unusable::Io(error) => {
            let problem =
                format!("the data folder {folder} cannot be used: may it be written, and is there room?");
            Error::new(ErrorKind::Unavailable, problem).because(error)
        }
    };
    error.on("netlock")
}
