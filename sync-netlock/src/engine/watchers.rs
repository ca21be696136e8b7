//! Requests that wait for an event, by connection, so that they end with their connection.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::command::{NO_PRINCIPAL, Requester};
use super::queue::Slot;

/// What a request waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Watched {
    /// A change of a name's queue.
    Name {
        name: Slot,
        /// The index of the request in the name's list of watchers.
        at: usize,
    },
    /// Evictions from this session.
    Session(Slot),
}

/// An index of all waiting requests. Locks and sessions have lists of their own.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    /// The requests of each connection. A connection without any is absent.
    by_connection: HashMap<u64, HashMap<u64, Watch, RandomState>, RandomState>,
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
    pub(super) fn contains(&self, requester: Requester) -> bool {
        self.by_connection
            .get(&requester.connection)
            .is_some_and(|watches| watches.contains_key(&requester.request))
    }

    /// Adds a request that is not in the index.
    pub(super) fn insert(&mut self, requester: Requester, principal: u64, watched: Watched) {
        self.by_connection
            .entry(requester.connection)
            .or_default()
            .insert(requester.request, Watch { watched, principal });
        if principal != NO_PRINCIPAL {
            self.by_principal.add(principal);
        }
    }

    /// Sets the index of a request in the list of watchers of its name, which has changed.
    pub(super) fn moved(&mut self, requester: Requester, to: usize) {
        if let Some(watches) = self.by_connection.get_mut(&requester.connection)
            && let Some(watch) = watches.get_mut(&requester.request)
            && let Watched::Name { at, .. } = &mut watch.watched
        {
            *at = to;
        }
    }

    pub(super) fn remove(&mut self, requester: Requester) -> Option<Watched> {
        let watches = self.by_connection.get_mut(&requester.connection)?;
        let Watch { watched, principal } = watches.remove(&requester.request)?;
        if watches.is_empty() {
            self.by_connection.remove(&requester.connection);
        }
        if principal != NO_PRINCIPAL {
            self.by_principal.take(principal);
        }
        Some(watched)
    }

    /// Returns a watch of a connection, if it has one.
    pub(super) fn any_of(&self, connection: u64) -> Option<Requester> {
        let request = *self.by_connection.get(&connection)?.keys().next()?;
        Some(Requester {
            connection,
            request,
        })
    }

    /// Returns the number of watches of a connection.
    pub(super) fn count(&self, connection: u64) -> usize {
        self.by_connection.get(&connection).map_or(0, HashMap::len)
    }

    /// Returns the number of watches of a principal, or 0 for [`NO_PRINCIPAL`].
    pub(super) fn count_of_principal(&self, principal: u64) -> usize {
        self.by_principal.get(principal)
    }
}
