//! Where connections meet: the table, the outboxes, and the clock's task.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use distsync_core::Result;
use distsync_core::spi::clock::{self, Moment};
use distsync_core::spi::{Secret, locked};
use tokio::sync::{Notify, watch};

use super::audit::Audit;
use super::metrics::{Reading, Traffic};
use super::options::ServerOptions;
use super::per_principal::{PerPrincipal, Share};
use crate::engine::{Command, Effect, Freeze, LockTable, Reply, Requester, Stats};
use crate::epoch;
use crate::storage::{Durability, LogPosition, LogWriter, Storage};
use crate::wire::{encode_reply, proto};

#[derive(Debug)]
pub(super) struct Hub {
    pub(super) options: ServerOptions,
    /// The identity of the table.
    pub(super) table: u128,
    /// Another number after each start that may have forgotten something.
    pub(super) incarnation: u64,
    desk: Mutex<Desk>,
    roster: Mutex<Roster>,
    /// Wakes the clock's task: a deadline is sooner than it thinks, or the server stops.
    sooner: Notify,
    pub(super) audit: Audit,
    /// Wakes the isolator: somebody has to be isolated, or the server stops.
    pub(super) to_isolate: Notify,
    pub(super) traffic: Traffic,
    /// Bytes of answers that peers have not taken yet.
    pub(super) unread: PerPrincipal,
    /// Connections that have greeted.
    pub(super) connected: PerPrincipal,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<super::tls::ServerSide>,
    /// How much of the log is on the disk, where answers have to wait for that.
    synced: Option<watch::Receiver<u64>>,
    stopped: AtomicBool,
}

#[derive(Debug)]
pub(super) struct Desk {
    pub(super) table: LockTable<LogWriter>,
    storage: Option<Storage>,
    /// When the clock's task looks next.
    armed: Moment,
    /// It knows that the disk is full.
    mending: bool,
    /// What the clock's task has to tell, for those who cannot wait until it is kept.
    left: Vec<Effect>,
}

impl Desk {
    fn is_full(&self) -> bool {
        self.table.frozen() == Some(Freeze::Full)
    }
}

/// The connections, by number. Numbers are not used twice.
#[derive(Debug, Default)]
struct Roster {
    last: u64,
    outboxes: HashMap<u64, Arc<Outbox>>,
    /// The numbers of those that have not greeted, the oldest first.
    ungreeted: BTreeSet<u64>,
}

impl Roster {
    /// Asks the oldest connection that has not greeted to end. Whether there is one.
    fn displace_one(&mut self) -> bool {
        let Some(oldest) = self.ungreeted.pop_first() else {
            return false;
        };
        if let Some(outbox) = self.outboxes.get(&oldest) {
            outbox.displaced.store(true, Ordering::Relaxed);
            outbox.filled.notify_one();
        }
        true
    }
}

/// How many connections more than the limit there may be while connections that were asked to end
/// do so.
const DISPLACED_MAX: usize = 256;

/// Answers that other connections or the clock have for a connection.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    /// The principal of the connection, once it has greeted.
    pub(super) principal: OnceLock<Arc<str>>,
    pub(super) filled: Notify,
    pub(super) overflowed: AtomicBool,
    /// The connection has not greeted, and has to make room for a new one.
    pub(super) displaced: AtomicBool,
    /// Whether the connection's token is still known has to be looked at.
    pub(super) suspected: AtomicBool,
}

/// Encoded answers that wait for a connection.
#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// How many of the bytes are the ends of waits. Each ends one claim's wait, so the limits on
    /// claims bound them, and a client that is granted many locks at one moment is not too slow for
    /// that.
    ends: usize,
    /// The shares of long answers in what waits for the clients of one principal.
    shares: Vec<Share>,
}

impl Waiting {
    /// Adds a reply, and returns whether there was room for it: at most `max` bytes beside the ends
    /// of waits, and a share of what waits for the principal if the reply is long.
    fn add(
        &mut self,
        request: u64,
        reply: Reply,
        max: usize,
        share: impl FnOnce(usize) -> Option<Share>,
    ) -> bool {
        let before = self.bytes.len();
        if matches!(
            reply,
            Reply::Granted { .. } | Reply::GrantedAny { .. } | Reply::Gone { .. }
        ) {
            encode_reply(request, reply, &mut self.bytes);
            self.ends += self.bytes.len() - before;
            return true;
        }
        if before - self.ends > max {
            return false;
        }
        encode_reply(request, reply, &mut self.bytes);
        let added = self.bytes.len() - before;
        if added <= OUTBOX_KEPT {
            return true;
        }
        let share = share(added);
        let has_room = share.is_some();
        self.shares.extend(share);
        if !has_room {
            self.bytes.truncate(before);
            self.bytes.shrink_to(OUTBOX_KEPT);
        }
        has_room
    }
}

impl Outbox {
    /// Waits until the connection has to make room for a new one.
    ///
    /// # Cancel safety
    /// Safe.
    #[cfg(feature = "tls")]
    pub(super) async fn is_displaced(&self) {
        while !self.displaced.load(Ordering::Relaxed) {
            self.filled.notified().await;
        }
    }

    /// Moves what waits to the end of `out`.
    pub(super) fn empty_into(&self, out: &mut Vec<u8>) {
        let mut waiting = locked(&self.waiting);
        if !waiting.bytes.is_empty() {
            out.extend_from_slice(&waiting.bytes);
            waiting.bytes.clear();
            waiting.bytes.shrink_to(OUTBOX_KEPT);
            waiting.ends = 0;
            // The connection counts them from here on.
            waiting.shares.clear();
        }
    }
}

/// How much of an outbox's buffer is kept once it is empty.
const OUTBOX_KEPT: usize = 64 << 10;

/// A connection's place at the hub; given up when dropped.
#[derive(Debug)]
pub(super) struct Place {
    hub: Arc<Hub>,
    pub(super) connection: u64,
    pub(super) outbox: Arc<Outbox>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hub.leave(self.connection);
        let from = Requester {
            connection: self.connection,
            ..Requester::HOST
        };
        self.hub.visit(|Desk { table, left, .. }| {
            table.apply(clock::now(), from, Command::Disconnected, left)
        });
    }
}

impl Hub {
    pub(super) fn new(options: ServerOptions) -> Result<Self> {
        let (mut table, storage) = match &options.storage {
            Some(storage) => {
                let (table, storage) = Storage::open(storage, &options.limits)?;
                (table, Some(storage))
            }
            None => {
                let limits = options.limits.clone();
                (
                    LockTable::with_journal(limits, epoch::floor(), LogWriter::default()),
                    None,
                )
            }
        };
        let identity = match &storage {
            Some(storage) => storage.identity(options.table)?,
            None => options.table.unwrap_or_else(|| Secret::random().expose()),
        };
        if options.isolation.is_some() {
            table.enable_isolation();
        }
        Ok(Self {
            table: identity,
            incarnation: storage.as_ref().map_or(0, Storage::incarnation),
            audit: Audit::open(options.audit.as_deref())?,
            traffic: Traffic::default(),
            unread: PerPrincipal::default(),
            connected: PerPrincipal::default(),
            to_isolate: Notify::new(),
            #[cfg(feature = "tls")]
            tls: options
                .tls
                .clone()
                .map(super::tls::ServerSide::new)
                .transpose()?,
            options,
            synced: storage.as_ref().and_then(Storage::synced),
            desk: Mutex::new(Desk {
                table,
                storage,
                armed: Moment::from_nanos(u64::MAX),
                mending: false,
                left: Vec::new(),
            }),
            roster: Mutex::default(),
            sooner: Notify::new(),
            stopped: AtomicBool::new(false),
        })
    }

    /// Looks whether a hub could be made with these options, and changes nothing.
    pub(super) fn check(options: &ServerOptions) -> Result<()> {
        if let Some(storage) = &options.storage {
            Storage::check(storage, &options.limits, options.table)?;
        }
        Audit::check(options.audit.as_deref())?;
        #[cfg(feature = "tls")]
        options
            .tls
            .clone()
            .map(super::tls::ServerSide::new)
            .transpose()?;
        Ok(())
    }

    /// What it does and has done.
    pub(super) fn reading(&self) -> Reading {
        let connections = locked(&self.roster).outboxes.len();
        let desk = locked(&self.desk);
        Reading {
            stats: desk.table.stats(),
            counters: desk.table.counters(),
            connections,
            log_lag: desk.storage.as_ref().map_or(0, Storage::lag),
            isolating: desk.table.isolating(),
            grants: desk.table.frozen().is_none(),
            traffic: self.traffic.reading(),
        }
    }

    pub(super) fn grants(&self) -> bool {
        locked(&self.desk).table.frozen().is_none()
    }

    /// Reads the certificate and the tokens again, if they have changed.
    pub(super) fn reread(&self) {
        self.audit.reopen();
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            tls.reread();
        }
        if self
            .options
            .access
            .as_ref()
            .is_some_and(|access| access.reread())
        {
            for outbox in locked(&self.roster).outboxes.values() {
                outbox.suspected.store(true, Ordering::Relaxed);
                outbox.filled.notify_one();
            }
        }
    }

    /// What a restart leaves.
    pub(super) fn durability(&self) -> proto::Durability {
        match self
            .options
            .storage
            .as_ref()
            .map(|storage| storage.durability)
        {
            None | Some(Durability::Memory) => proto::Durability::Memory,
            Some(Durability::Async) => proto::Durability::Async,
            Some(Durability::Fsync) => proto::Durability::Fsync,
        }
    }

    pub(super) fn stats(&self) -> Stats {
        locked(&self.desk).table.stats()
    }

    /// A place for one more connection, if there is one. Where there is none, the oldest connection
    /// that has not greeted makes room, so that peers that never greet keep no client out.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Place> {
        let mut roster = locked(&self.roster);
        let (connections, max) = (roster.outboxes.len(), self.options.connections);
        if connections >= max + DISPLACED_MAX || (connections >= max && !roster.displace_one()) {
            return None;
        }
        roster.last += 1;
        let (connection, outbox) = (roster.last, Arc::<Outbox>::default());
        roster.outboxes.insert(connection, outbox.clone());
        roster.ungreeted.insert(connection);
        Some(Place {
            hub: self.clone(),
            connection,
            outbox,
        })
    }

    /// A connection has greeted: it stays until it ends by itself, or is cut for a fault.
    pub(super) fn greeted(&self, connection: u64) {
        locked(&self.roster).ungreeted.remove(&connection);
    }

    fn leave(&self, connection: u64) {
        let mut roster = locked(&self.roster);
        roster.outboxes.remove(&connection);
        roster.ungreeted.remove(&connection);
    }

    /// One visit to the table. Nobody may be told of what it found before the mark is
    /// [kept](Self::kept).
    pub(super) fn visit<T>(&self, work: impl FnOnce(&mut Desk) -> T) -> (T, Option<LogPosition>) {
        let mut desk = locked(&self.desk);
        let desk = &mut *desk;
        if let Some(storage) = &mut desk.storage {
            storage.prepare(&mut desk.table);
        }
        let result = work(desk);
        let mark = match &mut desk.storage {
            Some(storage) => storage.keep(&mut desk.table),
            None => None,
        };
        if desk
            .table
            .next_deadline()
            .is_some_and(|due| due < desk.armed)
            || (desk.is_full() && !desk.mending)
            || !desk.left.is_empty()
        {
            self.sooner.notify_one();
        }
        if desk.table.has_isolations() {
            self.to_isolate.notify_one();
        }
        (result, mark)
    }

    /// Waits until what a visit did is kept as well as the options say.
    pub(super) async fn kept(&self, mark: Option<LogPosition>) {
        let Some(mark) = mark else { return };
        if !mark.is_written() {
            // Other connections that have something to ask visit the table first: one write for all
            // of them.
            tokio::task::yield_now().await;
            let mut desk = locked(&self.desk);
            let desk = &mut *desk;
            if let Some(storage) = &mut desk.storage {
                storage.write(&mut desk.table, mark);
            }
        }
        if let Some(synced) = &self.synced {
            mark.on_disk(synced.clone()).await;
        }
    }

    /// The server has stopped: brings the table to the disk.
    pub(super) fn end(&self) {
        let mut desk = locked(&self.desk);
        if let Some(mut storage) = desk.storage.take() {
            storage.end(&mut desk.table);
        }
    }

    /// Delivers answers for other connections. Those for connections that are gone are dropped:
    /// their clients ask again.
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
        let share = |bytes| {
            let principal = outbox.principal.get().cloned();
            self.unread
                .share(principal, bytes, self.options.unread_per_principal)
        };
        if !locked(&outbox.waiting).add(request, reply, self.options.outbox_max, share) {
            outbox.overflowed.store(true, Ordering::Relaxed);
        }
        outbox.filled.notify_one();
    }

    /// Ends the clock's task and all connections.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.sooner.notify_one();
        self.to_isolate.notify_one();
        for outbox in locked(&self.roster).outboxes.values() {
            outbox.filled.notify_one();
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// How often a full disk is looked at.
const MEND: Duration = Duration::from_secs(1);

/// Lets sessions end on time.
pub(super) async fn expire(hub: Arc<Hub>) {
    let mut effects = Vec::new();
    while !hub.is_stopped() {
        let (due, mark) = hub.visit(|desk| {
            let now = clock::now();
            effects.append(&mut desk.left);
            desk.table
                .apply(now, Requester::HOST, Command::Tick, &mut effects);
            desk.armed = Moment::from_nanos(u64::MAX);
            if let Some(storage) = &mut desk.storage {
                storage.tend(&mut desk.table, &mut effects);
                desk.armed = storage.due();
            }
            desk.mending = desk.is_full();
            desk.armed = desk
                .table
                .next_deadline()
                .map_or(desk.armed, |due| due.min(desk.armed));
            if desk.mending {
                desk.armed = desk.armed.min(now.after(MEND));
            }
            desk.armed
        });
        hub.kept(mark).await;
        hub.post(&mut effects);
        tokio::select! {
            () = clock::sleep_until(due) => {}
            () = hub.sooner.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests;
