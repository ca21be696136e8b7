//! What the table tells of its changes, as bytes; and up to where they have to be kept.

use std::time::Duration;

use tokio::sync::watch;

use super::record::{Frame, Record};
use crate::engine::{Change, Journal};

/// Turns changes into bytes, where anybody wants them.
#[derive(Debug, Default)]
pub(crate) struct LogWriter {
    /// Nobody wants them otherwise.
    pub(super) on: bool,
    pub(super) frame: Frame,
    pub(super) longest_ttl: Duration,
}

/// A visit to the table ends early when its changes are this long, in bytes, so that they fit into
/// the room set aside.
const LONG: usize = 256 << 10;

impl LogWriter {
    /// Whether so much has changed that it should be written before anything else changes.
    pub(crate) fn is_long(&self) -> bool {
        self.frame.len() >= LONG
    }
}

impl Journal for LogWriter {
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

/// Up to where the log has to be kept before somebody is told of what a visit has found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogPosition {
    pub(super) end: u64,
    /// Whether it is with the system.
    pub(super) is_written: bool,
}

impl LogPosition {
    pub(crate) fn is_written(self) -> bool {
        self.is_written
    }

    /// Resolves when so much is on the disk.
    pub(crate) async fn on_disk(self, mut synced: watch::Receiver<u64>) {
        // The other end goes away when the server has stopped, and nobody is told anything any
        // more.
        let _ = synced.wait_for(|synced| *synced >= self.end).await;
    }
}
