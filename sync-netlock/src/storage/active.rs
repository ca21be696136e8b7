//! The log that is being written.

use std::io;
use std::sync::Arc;

use tracing::warn;

use super::error::abort;
use super::log::Log;
use super::preparer::{Installation, Preparer};
use super::syncer::Syncer;
use super::tail::Tail;

/// A log is replaced when it is this many times as long as its snapshot.
const LOG_GROWTH: u64 = 4;

/// The log that is being written, and the one that will replace it.
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
    pub(super) next: Next,
    // Before the syncer, which the preparer uses.
    pub(super) preparer: Preparer,
    pub(super) syncer: Syncer,
}

/// The next log.
#[derive(Debug)]
pub(super) enum Next {
    /// The log is not being replaced.
    None,
    /// It was requested.
    Requested,
    /// The table is being written to it, in slices, and the changes between them.
    Dumping(Log),
    /// It contains everything that the active log does, and gets the same changes.
    Complete(Log),
}

impl ActiveLog {
    /// Appends the changes of visits. `beside`: the changes that the next log needs while the table
    /// is being written to it.
    pub(super) fn append(&mut self, changes: &[u8], beside: &[u8]) {
        let next = match &self.next {
            Next::Dumping(next) if !beside.is_empty() => next.append(beside),
            Next::Complete(next) => next.append(changes),
            _ => Ok(false),
        };
        if let Err(error) = &next
            && !self.give_up_next(error)
        {
            // The next start would read the next log, which lacks a change.
            abort(error);
        }
        let is_short = self
            .log
            .append(changes)
            .and_then(|is_short| self.note_tail().map(|()| is_short))
            .unwrap_or_else(|error| abort(&error));
        if is_short {
            self.preparer.prepare_active();
        }
        if next.is_ok_and(|is_short| is_short) {
            self.preparer.prepare_next();
        }
        self.written += changes.len() as u64;
        self.syncer.written(self.written);
    }

    /// Appends a part of the table to the next log.
    pub(super) fn append_to_next(&mut self, slice: &[u8]) {
        let Next::Dumping(next) = &self.next else {
            return;
        };
        match next.append(slice) {
            Ok(true) => self.preparer.prepare_next(),
            Ok(false) => {}
            Err(error) => {
                if !self.give_up_next(&error) {
                    abort(&error);
                }
            }
        }
    }

    /// Has the next log installed, after the whole table is in it.
    pub(super) fn complete_next(&mut self, log_bytes: u64) {
        let Next::Dumping(next) = std::mem::replace(&mut self.next, Next::None) else {
            return;
        };
        let (room, rotate_at) = (next.room().clone(), rotate_at(&next, log_bytes));
        self.preparer.fill(&next, rotate_at);
        self.next = Next::Complete(next);
        self.note_tail().unwrap_or_else(|error| abort(&error));
        self.preparer.install_next(room, self.generation + 1);
    }

    /// Notes how much of the log is about to be acknowledged.
    pub(super) fn note_tail(&self) -> io::Result<()> {
        let length = self.log.len();
        match &self.next {
            Next::Complete(next) => self.tail.note_both(self.generation, length, next.len()),
            _ => self.tail.note(self.generation, length),
        }
    }

    /// Reserves space for the changes of a visit.
    pub(super) fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        if let Next::Dumping(next) | Next::Complete(next) = &self.next {
            next.room().note_need(bytes);
        }
        if let Err(error) = self.log.reserve(bytes) {
            // The space of the next log may suffice.
            self.give_up_next(&error);
            return self.log.reserve(bytes);
        }
        match &self.next {
            Next::Complete(next) if self.preparer.is_committed() => next.reserve(bytes),
            _ => Ok(()),
        }
    }

    /// Gives up the next log after an error, if there is one. Returns false if that is not
    /// possible, because the next start may read it.
    fn give_up_next(&mut self, error: &io::Error) -> bool {
        if let Next::None = self.next {
            return true;
        }
        if !self.preparer.cancel_next() {
            return false;
        }
        warn!(%error, "cannot build the next log: the server continues with the old one");
        self.postpone_rotation();
        true
    }

    /// Postpones the rotation after the next log could not be built or installed.
    pub(super) fn postpone_rotation(&mut self) {
        if let Next::Dumping(log) | Next::Complete(log) =
            std::mem::replace(&mut self.next, Next::None)
        {
            self.preparer.close(log);
        }
        self.rotate_at = self.log.len() * 2;
    }

    /// Continues with the next log once it is installed.
    pub(super) fn switch(&mut self, log_bytes: u64) {
        match self.preparer.installation() {
            Installation::Underway => {}
            Installation::Failed => self.postpone_rotation(),
            Installation::Done => {
                let Next::Complete(next) = std::mem::replace(&mut self.next, Next::None) else {
                    return;
                };
                self.generation += 1;
                self.rotate_at = rotate_at(&next, log_bytes);
                let earlier = std::mem::replace(&mut self.log, next);
                self.syncer.replaced(self.log.file());
                self.preparer.replaced(self.log.room().clone(), earlier);
            }
        }
    }
}

/// Returns the length at which a new log is to be replaced.
pub(super) fn rotate_at(log: &Log, log_bytes: u64) -> u64 {
    (log.len() * LOG_GROWTH).max(log_bytes)
}
