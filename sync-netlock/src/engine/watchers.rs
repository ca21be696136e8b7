//! Who waits to hear of what, by connection, so that a connection's watches end with it.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use super::command::{NO_PRINCIPAL, Requester};
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
    of: BTreeMap<Requester, Watch>,
    by_connection: Counts,
    /// Without [`NO_PRINCIPAL`].
    by_principal: Counts,
}

#[derive(Clone, Copy, Debug)]
struct Watch {
    watched: Watched,
    principal: u64,
}

/// How many watches there are of each. One without any is not kept.
#[derive(Debug, Default)]
struct Counts(HashMap<u64, usize, RandomState>);

impl Counts {
    fn get(&self, of: u64) -> usize {
        self.0.get(&of).copied().unwrap_or(0)
    }

    fn add(&mut self, of: u64) {
        *self.0.entry(of).or_default() += 1;
    }

    fn take(&mut self, of: u64) {
        let Some(count) = self.0.get_mut(&of) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.0.remove(&of);
        }
    }
}

impl Watchers {
    pub(super) fn insert(&mut self, requester: Requester, principal: u64, watched: Watched) {
        self.remove(requester);
        self.of.insert(requester, Watch { watched, principal });
        self.by_connection.add(requester.connection);
        if principal != NO_PRINCIPAL {
            self.by_principal.add(principal);
        }
    }

    pub(super) fn remove(&mut self, requester: Requester) -> Option<Watched> {
        let Watch { watched, principal } = self.of.remove(&requester)?;
        self.by_connection.take(requester.connection);
        if principal != NO_PRINCIPAL {
            self.by_principal.take(principal);
        }
        Some(watched)
    }

    /// All watches of a connection.
    pub(super) fn of_connection(&self, connection: u64) -> Vec<Requester> {
        let (first, last) = (
            Requester {
                connection,
                request: 0,
            },
            Requester {
                connection,
                request: u64::MAX,
            },
        );
        self.of
            .range(first..=last)
            .map(|(requester, _)| *requester)
            .collect()
    }

    /// How many watches a connection has.
    pub(super) fn count(&self, connection: u64) -> usize {
        self.by_connection.get(connection)
    }

    /// How many watches a principal has; 0 for [`NO_PRINCIPAL`].
    pub(super) fn count_of_principal(&self, principal: u64) -> usize {
        self.by_principal.get(principal)
    }
}
