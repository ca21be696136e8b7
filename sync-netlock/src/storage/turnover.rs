//! Replaces the log by a new one that begins with a snapshot of the table.
//!
//! The visits to the table do it step by step, so that none of them takes long. A visit that writes
//! to the log also does the next step:
//!
//! 1. It requests an empty next log from the [preparer](super::preparer).
//! 2. It writes the next slice of the table to the next log. The changes between two slices are
//!    written there too, except the arrivals that later slices contain.
//! 3. After the last slice, the next log contains everything. From then on, all changes are written
//!    to both logs, until the preparer has synced and installed the next one.
//! 4. It continues with the next log alone.

use std::io;

use super::active::Next;
use super::full::headroom;
use super::log::Log;
use super::preparer::Created;
use super::record::{Frame, Record};
use super::tail::Tail;
use super::{FRAME, Storage, Table};

/// The number of sessions, names and claims in one slice of the table. A slice takes about 0.1 ms.
#[cfg(not(test))]
const SLICE: usize = 1_024;
/// Few, so that many changes happen between the slices.
#[cfg(test)]
const SLICE: usize = 2;

impl Storage {
    /// Writes and syncs a new log, and installs it in place of the old one. Used at startup.
    pub(super) fn write_log(&self, table: &Table, generation: u64, tail: &Tail) -> io::Result<Log> {
        let written = (|| -> io::Result<Log> {
            let log = Log::begin(self.folder.next_log()?, &snapshot(table, self.boot))?;
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
        self.folder.discard_logs_before(generation);
        Ok(log)
    }

    /// Does the next step of replacing the log, if it is long. Called after all changes are
    /// written.
    pub(super) fn turn_over(&mut self, table: &mut Table) {
        let Some(active) = &mut self.active else {
            return;
        };
        match &active.next {
            Next::None if active.log.len() >= active.rotate_at => {
                active.preparer.create_next();
                active.next = Next::Requested;
            }
            Next::Requested => match active.preparer.created() {
                Created::NotYet => {}
                Created::Failed => active.postpone_rotation(),
                Created::Log(log) => {
                    table.begin_dump();
                    table.journal().beside = Some(Frame::default());
                    active.next = Next::Dumping(log);
                    let mut head = Frame::default();
                    head.push(Record::Head { boot: self.boot });
                    active.append_to_next(head.sealed());
                }
            },
            Next::Dumping(_) => {
                let slice = &mut self.slice;
                let is_complete =
                    table.dump_slice(SLICE, |change| slice.push(Record::Change(change)));
                if is_complete {
                    slice.push(Record::Complete);
                }
                if !slice.is_empty() {
                    active.append_to_next(slice.sealed());
                    slice.clear(FRAME);
                }
                if is_complete {
                    active.complete_next(self.log_bytes);
                }
            }
            Next::Complete(_) => active.switch(self.log_bytes),
            Next::None => {}
        }
        if table.journal().beside.is_some() && !matches!(active.next, Next::Dumping(_)) {
            table.cancel_dump();
            table.journal().beside = None;
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
