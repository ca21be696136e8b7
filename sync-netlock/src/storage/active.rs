//! The log that is being written.

use std::sync::Arc;

use super::error::abort;
use super::log::Log;
use super::syncer::Syncer;
use super::tail::Tail;

/// A log is replaced when it is this many times as long as its snapshot.
const LOG_GROWTH: u64 = 4;

/// The log that is being written.
#[derive(Debug)]
pub(super) struct ActiveLog {
    pub(super) log: Log,
    pub(super) generation: u64,
    /// The note of how much of the log was acknowledged.
    pub(super) tail: Arc<Tail>,
    /// The number of bytes written by this run, over all its logs.
    pub(super) written: u64,
    /// The length at which the log is replaced.
    pub(super) rotate_at: u64,
    /// What was written since the snapshot for the next log was taken. `None` if no next log is
    /// being built.
    pub(super) since_snapshot: Option<Vec<u8>>,
    pub(super) syncer: Syncer,
}

impl ActiveLog {
    pub(super) fn append(&mut self, records: &[u8]) {
        self.log
            .append(records)
            .and_then(|()| self.tail.note(self.generation, self.log.len()))
            .unwrap_or_else(|error| abort(&error));
        self.written += records.len() as u64;
        self.syncer.written(self.written);
        if let Some(since) = &mut self.since_snapshot {
            since.extend_from_slice(records);
        }
    }

    /// Postpones the rotation after the next log could not be built or installed.
    pub(super) fn postpone_rotation(&mut self) {
        self.since_snapshot = None;
        self.rotate_at = self.log.len() * 2;
    }

    /// Continues with the next log, which contains everything that this one does.
    pub(super) fn switch_to(&mut self, log: Log, log_bytes: u64) {
        self.generation += 1;
        self.syncer.replaced(log.file(), self.generation);
        self.rotate_at = rotate_at(&log, log_bytes);
        self.log = log;
        self.since_snapshot = None;
    }
}

/// Returns the length at which a new log is to be replaced.
pub(super) fn rotate_at(log: &Log, log_bytes: u64) -> u64 {
    (log.len() * LOG_GROWTH).max(log_bytes)
}
