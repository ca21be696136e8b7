//! One log file.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::room::Room;

/// A log that is being written. Only its owner appends to it.
#[derive(Debug)]
pub(crate) struct Log {
    room: Arc<Room>,
}

impl Log {
    /// Returns a log in an empty file.
    pub(super) fn new(file: File) -> Self {
        Self {
            room: Arc::new(Room::new(Arc::new(file))),
        }
    }

    /// Starts a log in an empty file with its first records, and syncs it.
    pub(crate) fn begin(file: File, records: &[u8]) -> io::Result<Self> {
        let log = Self::new(file);
        log.append(records)?;
        log.file().sync_all()?;
        Ok(log)
    }

    pub(super) fn room(&self) -> &Arc<Room> {
        &self.room
    }

    pub(crate) fn file(&self) -> Arc<File> {
        self.room.file().clone()
    }

    pub(crate) fn len(&self) -> u64 {
        self.room.end()
    }

    /// Reserves space for `bytes` more bytes, so that later writes cannot fail for lack of space.
    pub(super) fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.room.note_need(bytes);
        self.room.reserve(bytes)
    }

    /// Appends records. Does not sync them. Returns whether the room of the log has to be
    /// [prepared](Room::prepare), once until it is.
    pub(crate) fn append(&self, records: &[u8]) -> io::Result<bool> {
        self.room.reserve(records.len() as u64)?;
        self.room.append(records)
    }
}
