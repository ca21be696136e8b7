//! Who waits to hear of what, by connection, so that a connection's watches end with it.

use std::collections::BTreeMap;

use super::command::Requester;
use super::line::Slot;

/// What somebody waits to hear of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Watched {
    /// A change of this name's queue.
    Name(Slot),
    /// Evictions from this session.
    Session(Slot),
}

/// The index beside the locks' and sessions' own lists.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    of: BTreeMap<Requester, Watched>,
}

impl Watchers {
    pub(super) fn insert(&mut self, requester: Requester, watched: Watched) {
        self.of.insert(requester, watched);
    }

    pub(super) fn remove(&mut self, requester: Requester) -> Option<Watched> {
        self.of.remove(&requester)
    }

    /// All watches of a connection.
    pub(super) fn of_connection(&self, connection: u64) -> Vec<Requester> {
        let (first, last) =
            (Requester { connection, request: 0 }, Requester { connection, request: u64::MAX });
        self.of.range(first..=last).map(|(requester, _)| *requester).collect()
    }

    pub(super) fn count(&self, connection: u64) -> usize {
        let (first, last) =
            (Requester { connection, request: 0 }, Requester { connection, request: u64::MAX });
        self.of.range(first..=last).count()
    }
}
