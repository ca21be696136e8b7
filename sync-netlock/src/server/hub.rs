//! Where connections meet: the table, the outboxes, and the clock's task.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sync_core::clock::{self, Moment};
use tokio::sync::Notify;

use super::options::ServerOptions;
use crate::engine::{Command, Effect, LockTable, Reply, Requester, Stats};
use crate::epoch;
use crate::wire::encode_reply;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
pub(super) struct Hub {
    pub(super) options: ServerOptions,
    desk: Mutex<Desk>,
    roster: Mutex<Roster>,
    /// Wakes the clock's task: a deadline is sooner than it thinks, or the server stops.
    sooner: Notify,
    stopped: AtomicBool,
}

#[derive(Debug)]
pub(super) struct Desk {
    pub(super) table: LockTable,
    /// When the clock's task looks next.
    armed: Moment,
}

/// The connections, by number. Numbers are not used twice.
#[derive(Debug, Default)]
struct Roster {
    last: u64,
    outboxes: HashMap<u64, Arc<Outbox>>,
}

/// What others have to tell a connection.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Vec<u8>>,
    pub(super) filled: Notify,
    pub(super) overflowed: AtomicBool,
}

impl Outbox {
    /// Moves what waits to the end of `out`.
    pub(super) fn empty_into(&self, out: &mut Vec<u8>) {
        let mut waiting = locked(&self.waiting);
        if !waiting.is_empty() {
            out.extend_from_slice(&waiting);
            waiting.clear();
        }
    }
}

/// A connection's place at the hub; given up when dropped.
#[derive(Debug)]
pub(super) struct Place {
    hub: Arc<Hub>,
    pub(super) connection: u64,
    pub(super) outbox: Arc<Outbox>,
}

impl Drop for Place {
    fn drop(&mut self) {
        locked(&self.hub.roster).outboxes.remove(&self.connection);
        let from = Requester { connection: self.connection, request: 0 };
        let mut effects = Vec::new();
        self.hub.visit(|desk| desk.table.apply(clock::now(), from, Command::Disconnected, &mut effects));
        self.hub.post(&mut effects);
    }
}

impl Hub {
    pub(super) fn new(options: ServerOptions) -> Self {
        let table = LockTable::new(options.limits.clone(), epoch::floor());
        Self {
            options,
            desk: Mutex::new(Desk { table, armed: Moment::from_nanos(u64::MAX) }),
            roster: Mutex::default(),
            sooner: Notify::new(),
            stopped: AtomicBool::new(false),
        }
    }

    pub(super) fn stats(&self) -> Stats {
        locked(&self.desk).table.stats()
    }

    /// A place for one more connection, if there is one.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Place> {
        let mut roster = locked(&self.roster);
        if roster.outboxes.len() >= self.options.connections {
            return None;
        }
        roster.last += 1;
        let (connection, outbox) = (roster.last, Arc::<Outbox>::default());
        roster.outboxes.insert(connection, outbox.clone());
        Some(Place { hub: self.clone(), connection, outbox })
    }

    /// One visit to the table.
    pub(super) fn visit<T>(&self, work: impl FnOnce(&mut Desk) -> T) -> T {
        let mut desk = locked(&self.desk);
        let result = work(&mut desk);
        if desk.table.next_deadline().is_some_and(|due| due < desk.armed) {
            self.sooner.notify_one();
        }
        result
    }

    /// Delivers answers for other connections. Those for connections that are gone are dropped: their clients ask
    /// again.
    pub(super) fn post(&self, effects: &mut Vec<Effect>) {
        if effects.is_empty() {
            return;
        }
        let roster = locked(&self.roster);
        for Effect { to, reply } in effects.drain(..) {
            if let Some(outbox) = roster.outboxes.get(&to.connection) {
                self.put(outbox, to.request, reply);
            }
        }
    }

    fn put(&self, outbox: &Outbox, request: u64, reply: Reply) {
        let mut waiting = locked(&outbox.waiting);
        if waiting.len() > self.options.outbox_max {
            outbox.overflowed.store(true, Ordering::Relaxed);
        } else {
            encode_reply(request, reply, &mut waiting);
        }
        outbox.filled.notify_one();
    }

    /// Ends the clock's task and all connections.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.sooner.notify_one();
        for outbox in locked(&self.roster).outboxes.values() {
            outbox.filled.notify_one();
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// Lets sessions end on time.
pub(super) async fn expire(hub: Arc<Hub>) {
    let from = Requester { connection: 0, request: 0 };
    let mut effects = Vec::new();
    while !hub.is_stopped() {
        let due = hub.visit(|desk| {
            desk.table.apply(clock::now(), from, Command::Tick, &mut effects);
            desk.armed = desk.table.next_deadline().unwrap_or(Moment::from_nanos(u64::MAX));
            desk.armed
        });
        hub.post(&mut effects);
        tokio::select! {
            () = clock::sleep_until(due) => {}
            () = hub.sooner.notified() => {}
        }
    }
}
