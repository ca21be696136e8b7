//! The log under way.

use super::error::die;
use super::log::Log;
use super::syncer::Syncer;

/// A log is replaced when it is this many times as long as it began.
const LOG_GROWTH: u64 = 4;
/// The log under way.
#[derive(Debug)]
pub(super) struct ActiveLog {
    pub(super) log: Log,
    pub(super) generation: u64,
    /// Bytes handed to the system so far, in all logs of this run.
    pub(super) written: u64,
    /// When the log is to be replaced.
    pub(super) replace_at: u64,
    /// What was written since the next log was begun.
    pub(super) since: Option<Vec<u8>>,
    /// Something was not written: only a new log mends that.
    pub(super) gap: bool,
    pub(super) syncer: Syncer,
}

impl ActiveLog {
    pub(super) fn append(&mut self, records: &[u8]) {
        self.log.append(records).unwrap_or_else(|error| die(&error));
        self.written += records.len() as u64;
        self.syncer.written(self.written);
        if let Some(since) = &mut self.since {
            since.extend_from_slice(records);
        }
    }

    /// Goes on with another log, that lacks nothing.
    pub(super) fn go_on_with(&mut self, log: Log, log_bytes: u64) {
        self.generation += 1;
        self.syncer.replaced(log.file(), self.generation);
        self.replace_at = replace_at(&log, log_bytes);
        self.log = log;
        (self.since, self.gap) = (None, false);
    }
}

/// How long a log may become.
pub(super) fn replace_at(log: &Log, log_bytes: u64) -> u64 {
    (log.len() * LOG_GROWTH).max(log_bytes)
}
