//! When which session has to be looked at.

use std::collections::BTreeSet;

use sync_core::clock::Moment;

use super::line::Slot;

/// One entry a session, at its `armed` time.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    due: BTreeSet<(Moment, Slot)>,
}

impl Deadlines {
    pub(super) fn arm(&mut self, at: Moment, session: Slot) {
        self.due.insert((at, session));
    }

    pub(super) fn disarm(&mut self, at: Moment, session: Slot) {
        self.due.remove(&(at, session));
    }

    pub(super) fn first(&self) -> Option<Moment> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes out the first session that is due at `now`.
    pub(super) fn pop(&mut self, now: Moment) -> Option<Slot> {
        if self.first()? > now {
            return None;
        }
        self.due.pop_first().map(|(_, session)| session)
    }
}
