//! Requests that wait for an event, by connection, so that they end with their connection.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use super::command::{NO_PRINCIPAL, Requester};
use super::queue::Slot;

/// What a request waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Watched {
    /// A change of this name's queue.
    Name(Slot),
    /// Evictions from this session.
    Session(Slot),
}

/// An index of all waiting requests. Locks and sessions have lists of their own.
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

/// The number of watches by key. A key without watches is absent.
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

    /// Returns all watches of a connection.
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

    /// Returns the number of watches of a connection.
    pub(super) fn count(&self, connection: u64) -> usize {
        self.by_connection.get(connection)
    }

    /// Returns the number of watches of a principal, or 0 for [`NO_PRINCIPAL`].
    pub(super) fn count_of_principal(&self, principal: u64) -> usize {
        self.by_principal.get(principal)
    }
}
