//! From one log to the next: the next one begins with the whole table, and is made in the background.

use tracing::warn;

use super::log::Log;
use super::record::{Frame, Record};
use super::syncer::Next;
use super::{FRAME, HEADROOM, Storage, Table};

impl Storage {
    /// Writes a whole new log, and puts it in the place of the old one.
    pub(super) fn write_log(&self, table: &Table, generation: u64) -> std::io::Result<Log> {
        let written = (|| -> std::io::Result<Log> {
            let mut log = Log::begin(self.folder.next_log()?, &snapshot(table, self.boot))?;
            log.reserve(HEADROOM)?;
            self.folder.install_next_log(generation)?;
            self.folder.sync()?;
            Ok(log)
        })();
        if written.is_err() {
            self.folder.drop_next_log();
        }
        let log = written?;
        self.folder.remove_logs_before(generation)?;
        Ok(log)
    }

    /// Begins the next log when this one is long, and takes it into use when it is ready.
    pub(super) fn turn_over(&mut self, table: &Table) {
        let Some(active) = self.active.as_mut().filter(|active| !active.gap) else { return };
        if active.since.is_none() {
            if active.log.len() >= active.replace_at {
                active.since = Some(Vec::new());
                active.syncer.make_next(snapshot(table, self.boot));
            }
            return;
        }
        match active.syncer.next() {
            Next::None | Next::Making => {}
            Next::Failed => {
                active.since = None;
                active.replace_at = active.log.len() * 2;
            }
            Next::Ready { mut log } => {
                let since = active.since.take().unwrap_or_default();
                let installed = log
                    .append(&since)
                    .and_then(|()| log.reserve(HEADROOM))
                    .and_then(|()| self.folder.install_next_log(active.generation + 1));
                match installed {
                    Ok(()) => active.go_on_with(log, self.log_bytes),
                    Err(error) => {
                        warn!(%error, "the next log is not used");
                        self.folder.drop_next_log();
                    }
                }
            }
        }
    }
}

/// The changes that make a table, as the start of a log.
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
