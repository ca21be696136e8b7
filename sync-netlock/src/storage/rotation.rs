//! From one log to the next: the next one begins with the whole table, and is made in the
//! background.

use std::io;

use tracing::warn;

use super::error::die;
use super::full::headroom;
use super::log::Log;
use super::record::{Frame, Record};
use super::syncer::Next;
use super::tail::Tail;
use super::{FRAME, Storage, Table};

impl Storage {
    /// Writes a whole new log, and puts it in the place of the old one.
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
            // The newest log counts, so the others only take up room.
            warn!(%error, "an old log cannot be removed");
        }
    }

    /// Begins the next log when this one is long, and takes it into use when it is ready.
    pub(super) fn turn_over(&mut self, table: &Table) {
        let Some(active) = &mut self.active else {
            return;
        };
        if active.since.is_none() {
            if active.log.len() >= active.replace_at {
                active.since = Some(Vec::new());
                active.syncer.make_next(snapshot(table, self.boot));
            }
            return;
        }
        let generation = active.generation + 1;
        match active.syncer.next() {
            Next::None | Next::Making => {}
            Next::Failed => active.put_off_replacement(),
            Next::Ready { mut log } => {
                let since = active.since.take().unwrap_or_default();
                let installed = log
                    .append(&since)
                    .and_then(|()| log.reserve(headroom(table)))
                    .and_then(|()| active.tail.note(generation, log.len()))
                    .and_then(|()| self.folder.install_next_log(generation));
                match installed {
                    Ok(()) => active.go_on_with(log, self.log_bytes),
                    // The newest log counts at the next start, and it would not have what is
                    // written from now on.
                    Err(error) if self.folder.has_log(generation) => die(&error),
                    Err(error) => {
                        warn!(%error, "the next log is not used: the old one grows on");
                        self.folder.drop_next_log();
                        active.put_off_replacement();
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
