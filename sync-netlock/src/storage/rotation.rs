//! Replaces the log by a new one that begins with a snapshot of the table.

use std::io;

use tracing::warn;

use super::error::abort;
use super::full::headroom;
use super::log::Log;
use super::record::{Frame, Record};
use super::syncer::NextLog;
use super::tail::Tail;
use super::{FRAME, Storage, Table};

impl Storage {
    /// Writes and syncs a new log, and installs it in place of the old one. Used at startup.
    pub(super) fn write_log(&self, table: &Table, generation: u64, tail: &Tail) -> io::Result<Log> {
        let written = (|| -> io::Result<Log> {
            let mut log = Log::begin(self.folder.next_log()?, &snapshot(table, self.boot))?;
            log.reserve(headroom(table))?;
            tail.note(generation, log.len())?;
            self.folder.install_next_log(generation)?;
            self.folder.sync()?;
            Ok(log)
        })();
        if written.is_err() {
            self.folder.drop_next_log();
        }
        let log = written?;
        self.remove_logs_before(generation);
        Ok(log)
    }

    fn remove_logs_before(&self, generation: u64) {
        if let Err(error) = self.folder.remove_logs_before(generation) {
            // Only the newest log is read, so an old one does no harm.
            warn!(%error, "cannot remove an old log: remove it by hand, it only takes up space");
        }
    }

    /// Starts to build the next log when the active one is long, and switches to it when it is
    /// ready.
    pub(super) fn rotate(&mut self, table: &Table) {
        let Some(active) = &mut self.active else {
            return;
        };
        if active.since_snapshot.is_none() {
            if active.log.len() >= active.rotate_at {
                active.since_snapshot = Some(Vec::new());
                active.syncer.build_next(snapshot(table, self.boot));
            }
            return;
        }
        let generation = active.generation + 1;
        match active.syncer.next() {
            NextLog::None | NextLog::Building => {}
            NextLog::Failed => active.postpone_rotation(),
            NextLog::Ready(mut log) => {
                let since = active.since_snapshot.take().unwrap_or_default();
                let installed = log
                    .append(&since)
                    .and_then(|()| log.reserve(headroom(table)))
                    .and_then(|()| active.tail.note(generation, log.len()))
                    .and_then(|()| self.folder.install_next_log(generation));
                match installed {
                    Ok(()) => active.switch_to(log, self.log_bytes),
                    // The next start would read the new log, which lacks all further changes.
                    Err(error) if self.folder.has_log(generation) => abort(&error),
                    Err(error) => {
                        warn!(%error, "cannot install the next log: the server continues with the old one");
                        self.folder.drop_next_log();
                        active.postpone_rotation();
                    }
                }
            }
        }
    }
}

/// Returns the start of a log: the changes that create the table as it is now.
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
