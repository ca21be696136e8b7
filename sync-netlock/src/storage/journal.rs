//! Encodes the changes of the table, and the positions in the log that replies depend on.

use std::time::Duration;

use tokio::sync::watch;

use super::record::{Frame, Record};
use crate::engine::{Change, Journal};

/// The journal of a table: encodes its changes into a frame of the log.
#[derive(Debug, Default)]
pub(crate) struct LogWriter {
    /// False while the table is being restored, when its changes are in the log already.
    pub(super) enabled: bool,
    pub(super) frame: Frame,
    /// The changes that the next log needs too, while the table is being written to it.
    pub(super) beside: Option<Frame>,
    /// The longest TTL of the sessions opened since the last review.
    pub(super) longest_ttl: Duration,
}

/// The size of changes at which a visit ends early, in bytes, so that they fit into the reserved
/// space.
const LONG: usize = 256 << 10;

impl LogWriter {
    /// Creates a journal that records from the start.
    #[cfg(feature = "cluster")]
    pub(crate) fn recording() -> Self {
        Self {
            enabled: true,
            ..Self::default()
        }
    }

    /// Returns the length of the records of the changes since the last call of `take_records`.
    #[cfg(feature = "cluster")]
    pub(crate) fn records_len(&self) -> usize {
        self.frame.records().len()
    }

    /// Takes the records of the changes since the last call.
    #[cfg(feature = "cluster")]
    pub(crate) fn take_records(&mut self) -> Vec<u8> {
        let records = self.frame.records().to_vec();
        self.frame.clear(0);
        records
    }

    /// Returns whether the changes should be written before the table changes further.
    pub(crate) fn is_long(&self) -> bool {
        self.frame.len() >= LONG
    }
}

impl Journal for LogWriter {
    fn record(&mut self, change: Change<'_>) {
        if !self.enabled {
            return;
        }
        if let Change::Opened { terms, .. } = change {
            self.longest_ttl = self.longest_ttl.max(terms.ttl);
        }
        self.frame.push(Record::Change(change));
        if let Some(beside) = &mut self.beside {
            beside.push(Record::Change(change));
        }
    }

    fn record_undumped(&mut self, change: Change<'_>) {
        if self.enabled {
            self.frame.push(Record::Change(change));
        }
    }
}

/// The position up to which the log has to be written, and with fsync be on the disk, before the
/// replies of a visit are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogPosition {
    pub(super) end: u64,
    /// Whether the log was written up to here when the visit ended.
    pub(super) is_written: bool,
}

impl LogPosition {
    /// Returns the position of a batch of visits, in the journal of the leader of a cluster.
    #[cfg(feature = "cluster")]
    pub(crate) fn of_batch(batch: u64) -> Self {
        Self {
            end: batch,
            is_written: true,
        }
    }

    /// Returns the number of the batch.
    #[cfg(feature = "cluster")]
    pub(crate) fn batch(self) -> u64 {
        self.end
    }

    pub(crate) fn is_written(self) -> bool {
        self.is_written
    }

    /// Waits until the log is on the disk up to this position.
    pub(crate) async fn on_disk(self, mut synced: watch::Receiver<u64>) {
        // An error means that the server has stopped, so it sends no more replies.
        let _ = synced.wait_for(|synced| *synced >= self.end).await;
    }
}
