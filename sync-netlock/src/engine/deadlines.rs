//! The times at which sessions have to be checked for expiry.

use std::collections::BTreeSet;

use distsync_core::spi::clock::Moment;

use super::queue::Slot;

/// An ordered set with one entry for each session, at its `armed` time.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    due: BTreeSet<(Moment, Slot)>,
    /// The first deadline, cached because every command checks it.
    first: Option<Moment>,
}

impl Deadlines {
    pub(super) fn arm(&mut self, at: Moment, session: Slot) {
        self.due.insert((at, session));
        self.note_first();
    }

    pub(super) fn disarm(&mut self, at: Moment, session: Slot) {
        self.due.remove(&(at, session));
        self.note_first();
    }

    fn note_first(&mut self) {
        self.first = self.due.first().map(|(at, _)| *at);
    }

    pub(super) fn first(&self) -> Option<Moment> {
        self.first
    }

    /// Removes and returns the first session that is due at `now`.
    pub(super) fn pop(&mut self, now: Moment) -> Option<Slot> {
        if self.first()? > now {
            return None;
        }
        let popped = self.due.pop_first();
        self.note_first();
        popped.map(|(_, session)| session)
    }
}
