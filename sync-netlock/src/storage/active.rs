//! The log under way.

use std::sync::Arc;

use super::error::die;
use super::log::Log;
use super::syncer::Syncer;
use super::tail::Tail;

/// A log is replaced when it is this many times as long as it began.
const LOG_GROWTH: u64 = 4;

/// The log under way.
#[derive(Debug)]
pub(super) struct ActiveLog {
    pub(super) log: Log,
    pub(super) generation: u64,
    /// Where the end of the log is noted.
    pub(super) tail: Arc<Tail>,
    /// Bytes handed to the system so far, in all logs of this run.
    pub(super) written: u64,
    /// When the log is to be replaced.
    pub(super) replace_at: u64,
    /// What was written since the next log was begun.
    pub(super) since: Option<Vec<u8>>,
    pub(super) syncer: Syncer,
}

impl ActiveLog {
    pub(super) fn append(&mut self, records: &[u8]) {
        self.log
            .append(records)
            .and_then(|()| self.tail.note(self.generation, self.log.len()))
            .unwrap_or_else(|error| die(&error));
        self.written += records.len() as u64;
        self.syncer.written(self.written);
        if let Some(since) = &mut self.since {
            since.extend_from_slice(records);
        }
    }

    /// The next log could not be made or taken into use.
    pub(super) fn put_off_replacement(&mut self) {
        self.since = None;
        self.replace_at = self.log.len() * 2;
    }

    /// Goes on with another log, that lacks nothing.
    pub(super) fn go_on_with(&mut self, log: Log, log_bytes: u64) {
        self.generation += 1;
        self.syncer.replaced(log.file(), self.generation);
        self.replace_at = replace_at(&log, log_bytes);
        self.log = log;
        self.since = None;
    }
}

/// How long a log may become.
pub(super) fn replace_at(log: &Log, log_bytes: u64) -> u64 {
    (log.len() * LOG_GROWTH).max(log_bytes)
}
