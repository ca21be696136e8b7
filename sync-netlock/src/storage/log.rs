//! One log file: room is taken ahead of time, so that what has been granted can also be written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};

use super::full::is_full;

/// By how much a log grows.
const STEP: u64 = 4 << 20;
/// By how much it grows where the disk has no room for a whole step.
const SMALL_STEP: u64 = 64 << 10;

/// A log that is being written.
#[derive(Debug)]
pub(super) struct Log {
    file: Arc<File>,
    /// Where the next record goes.
    end: u64,
    /// Up to here the system has promised room.
    room: u64,
}

impl Log {
    /// A log in an empty file, and its first records, which are on the disk then.
    pub(super) fn begin(file: File, records: &[u8]) -> io::Result<Self> {
        let mut log = Self {
            file: Arc::new(file),
            end: 0,
            room: 0,
        };
        log.append(records)?;
        log.file.sync_all()?;
        Ok(log)
    }

    pub(super) fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    pub(super) fn len(&self) -> u64 {
        self.end
    }

    /// Makes sure that `bytes` more can be written.
    pub(super) fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        if self.end + bytes <= self.room {
            return Ok(());
        }
        let needed = self.end + bytes - self.room;
        match self.take_room(needed.next_multiple_of(STEP)) {
            Err(error) if is_full(&error) => self.take_room(needed.next_multiple_of(SMALL_STEP)),
            taken => taken,
        }
    }

    fn take_room(&mut self, more: u64) -> io::Result<()> {
        match retry_on_intr(|| fallocate(&self.file, FallocateFlags::empty(), self.room, more)) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.fill(more)?,
            Err(error) => return Err(error.into()),
        }
        self.room += more;
        Ok(())
    }

    /// Room the slow way, where the file system knows no other.
    fn fill(&self, bytes: u64) -> io::Result<()> {
        let zeros = vec![0; 64 << 10];
        for at in (self.room..self.room + bytes).step_by(zeros.len()) {
            self.file.write_all_at(&zeros, at)?;
        }
        Ok(())
    }

    /// Hands records to the system.
    pub(super) fn append(&mut self, records: &[u8]) -> io::Result<()> {
        self.reserve(records.len() as u64)?;
        self.file.write_all_at(records, self.end)?;
        self.end += records.len() as u64;
        Ok(())
    }
}
