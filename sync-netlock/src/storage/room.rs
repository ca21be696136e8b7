//! The room of a log: disk space that is reserved ahead of its end, and with fsync also filled with
//! zeros.
//!
//! Reserved space alone makes each sync change the metadata of the file, which costs another write
//! to the disk. The sync of a part that was filled before writes its data only.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use distsync_core::spi::locked;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};

use super::full::is_full;

/// How much space is reserved at a time.
const STEP: u64 = 4 << 20;
/// How much space is reserved at a time on a disk that has less than [`STEP`] left.
const SMALL_STEP: u64 = 64 << 10;
/// The thread that prepares the room reserves more when less than this is left beyond the need of
/// the next visit.
const AHEAD: u64 = 2 << 20;
/// How much of the room is filled with zeros ahead of the end of the log.
const ZEROS_AHEAD: u64 = 8 << 20;
/// How many zeros are written and synced at a time. A sync of the log that runs at that time waits
/// for them.
const ZEROS: u64 = 512 << 10;
/// How many zeros are written at a time. An append that runs at that time waits for them.
const ZEROS_WRITE: usize = 64 << 10;

/// The room of one log.
#[derive(Debug)]
pub(super) struct Room {
    file: Arc<File>,
    /// The end of the log.
    end: AtomicU64,
    /// How many bytes beyond the end the next visit needs.
    need: AtomicU64,
    /// The offset up to which space is reserved.
    reserved: AtomicU64,
    reserving: Mutex<()>,
    /// The offset up to which the room is filled. Changes while `filling` is locked.
    filled: AtomicU64,
    filling: Mutex<()>,
    /// The offset up to which the room is filled at most. 0 if it is not filled.
    fill_max: AtomicU64,
    /// The room has to be prepared.
    is_short: AtomicBool,
    /// The length of the log at which the disk is full.
    #[cfg(test)]
    pub(super) disk: AtomicU64,
}

impl Room {
    pub(super) fn new(file: Arc<File>) -> Self {
        Self {
            file,
            end: AtomicU64::new(0),
            need: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
            reserving: Mutex::default(),
            filled: AtomicU64::new(0),
            filling: Mutex::default(),
            fill_max: AtomicU64::new(0),
            is_short: AtomicBool::new(false),
            #[cfg(test)]
            disk: AtomicU64::new(u64::MAX),
        }
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Fills the room up to this offset from now on.
    pub(super) fn fill_up_to(&self, offset: u64) {
        self.fill_max.store(offset, Ordering::Relaxed);
    }

    /// Notes the need of the next visit.
    pub(super) fn note_need(&self, bytes: u64) {
        self.need.store(bytes, Ordering::Relaxed);
    }

    /// Reserves space for `bytes` more bytes, unless the thread that prepares the room has done so.
    pub(super) fn reserve(&self, bytes: u64) -> io::Result<()> {
        #[cfg(test)]
        if self.end() + bytes > self.disk.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.end() + bytes <= self.reserved.load(Ordering::Acquire) {
            return Ok(());
        }
        let _reserving = locked(&self.reserving);
        self.extend(bytes)
    }

    /// Reserves space if there is too little. Called with `reserving` locked.
    fn extend(&self, bytes: u64) -> io::Result<()> {
        let reserved = self.reserved.load(Ordering::Acquire);
        let Some(needed) = (self.end() + bytes)
            .checked_sub(reserved)
            .filter(|more| *more > 0)
        else {
            return Ok(());
        };
        match self.allocate(reserved, needed.next_multiple_of(STEP)) {
            Err(error) if is_full(&error) => {
                self.allocate(reserved, needed.next_multiple_of(SMALL_STEP))
            }
            allocated => allocated,
        }
    }

    fn allocate(&self, from: u64, bytes: u64) -> io::Result<()> {
        match retry_on_intr(|| fallocate(&self.file, FallocateFlags::empty(), from, bytes)) {
            Ok(()) => {}
            // The file system cannot allocate.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                write_zeros(&self.file, from, from + bytes)?;
            }
            Err(error) => return Err(error.into()),
        }
        self.reserved.store(from + bytes, Ordering::Release);
        Ok(())
    }

    /// Returns the offset up to which the room should be filled.
    fn fill_wanted(&self) -> u64 {
        (self.end() + ZEROS_AHEAD)
            .min(self.fill_max.load(Ordering::Relaxed))
            .min(self.reserved.load(Ordering::Acquire))
    }

    /// Notes that the log ends here. Returns whether the room has to be prepared, once until it is.
    fn note_end(&self, end: u64) -> bool {
        self.end.store(end, Ordering::Release);
        let need = end + self.need.load(Ordering::Relaxed) + AHEAD;
        let is_short = need > self.reserved.load(Ordering::Acquire)
            || self.filled.load(Ordering::Acquire) + ZEROS_AHEAD / 2 < self.fill_wanted();
        is_short && !self.is_short.swap(true, Ordering::AcqRel)
    }

    /// Writes records at the end of the log. Returns whether the room has to be prepared, once
    /// until it is.
    pub(super) fn append(&self, records: &[u8]) -> io::Result<bool> {
        let at = self.end();
        let end = at + records.len() as u64;
        if end > self.filled.load(Ordering::Acquire) {
            // Keep zeros from overwriting the records.
            let _filling = locked(&self.filling);
            let filled = self.filled.load(Ordering::Acquire);
            self.filled.store(filled.max(end), Ordering::Release);
        }
        self.file.write_all_at(records, at)?;
        Ok(self.note_end(end))
    }

    /// Prepares the room ahead of the end of the log. Called by one thread.
    pub(super) fn prepare(&self) -> io::Result<()> {
        {
            let _reserving = locked(&self.reserving);
            self.extend(self.need.load(Ordering::Relaxed) + AHEAD)?;
        }
        while self.filled.load(Ordering::Acquire) < self.fill_wanted() {
            let until = (self.filled.load(Ordering::Acquire) + ZEROS).min(self.fill_wanted());
            loop {
                let _filling = locked(&self.filling);
                let from = self.filled.load(Ordering::Acquire);
                if from >= until {
                    break;
                }
                let to = until.min(from + ZEROS_WRITE as u64);
                write_zeros(&self.file, from, to)?;
                self.filled.store(to, Ordering::Release);
            }
            self.file.sync_data()?;
        }
        self.is_short.store(false, Ordering::Release);
        Ok(())
    }
}

fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = [0; ZEROS_WRITE];
    let mut at = from;
    while at < to {
        let length = usize::try_from(to - at).map_or(zeros.len(), |left| left.min(zeros.len()));
        file.write_all_at(&zeros[..length], at)?;
        at += length as u64;
    }
    Ok(())
}
