//! One log file. It reserves disk space ahead of its end, so that later writes cannot fail for lack
//! of space.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};

use super::full::is_full;

/// How much space is reserved at a time.
const STEP: u64 = 4 << 20;
/// How much space is reserved at a time on a disk that has less than [`STEP`] left.
const SMALL_STEP: u64 = 64 << 10;

/// A log that is being written.
#[derive(Debug)]
pub(crate) struct Log {
    file: Arc<File>,
    /// The offset of the next record.
    end: u64,
    /// The offset up to which space is reserved.
    room: u64,
}

impl Log {
    /// Starts a log in an empty file with its first records, and syncs it.
    pub(crate) fn begin(file: File, records: &[u8]) -> io::Result<Self> {
        let mut log = Self {
            file: Arc::new(file),
            end: 0,
            room: 0,
        };
        log.append(records)?;
        log.file.sync_all()?;
        Ok(log)
    }

    pub(crate) fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    pub(crate) fn len(&self) -> u64 {
        self.end
    }

    /// Reserves space for `bytes` more bytes.
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

    /// Reserves space by writing zeros, on file systems without `fallocate`.
    fn fill(&self, bytes: u64) -> io::Result<()> {
        let zeros = vec![0; 64 << 10];
        for at in (self.room..self.room + bytes).step_by(zeros.len()) {
            self.file.write_all_at(&zeros, at)?;
        }
        Ok(())
    }

    /// Appends records. Does not sync them.
    pub(crate) fn append(&mut self, records: &[u8]) -> io::Result<()> {
        self.reserve(records.len() as u64)?;
        self.file.write_all_at(records, self.end)?;
        self.end += records.len() as u64;
        Ok(())
    }
}
