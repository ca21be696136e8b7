//! The state that all connections share: the table, the outboxes of connections, and the task that
//! ends sessions on time.

mod outbox;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
#[cfg(feature = "cluster")]
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use distsync_core::Result;
use distsync_core::spi::clock::{self, Moment};
use distsync_core::spi::{Secret, locked};
use foldhash::fast::RandomState;
use tokio::sync::{Notify, watch};

use super::audit::Audit;
use super::isolator::prepare_isolation;
use super::metrics::{ClusterSnapshot, Snapshot, Traffic};
use super::options::ServerOptions;
use super::principal_counts::PrincipalCounts;
use crate::engine::{
    Command, Durations, Effect, Freeze, LockTable, Reply, Requester, SLICE_PAUSE, Stats,
};
use crate::epoch;
use crate::storage::{Durability, LogPosition, LogWriter, Storage};
use crate::wire::proto;
use outbox::Waiting;
pub(super) use outbox::{Behind, Outbox};

#[derive(Debug)]
pub(super) struct Hub {
    pub(super) options: ServerOptions,
    /// The identity of the table.
    pub(super) table: u128,
    /// A number that changes at each start that may have lost acknowledged changes.
    pub(super) incarnation: u64,
    state: Mutex<HubState>,
    roster: Mutex<Roster>,
    /// Wakes the task that ends sessions: it has to run earlier, or the server stops.
    wake_expiry: Notify,
    pub(super) audit: Audit,
    /// Wakes the isolator: a client has to be isolated, the leadership has ended, or the server
    /// stops.
    pub(super) to_isolate: Notify,
    pub(super) traffic: Traffic,
    /// Bytes of long replies that clients have not read yet.
    pub(super) unread: PrincipalCounts,
    /// Connections that have greeted.
    pub(super) connected: PrincipalCounts,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<super::tls::ServerSide>,
    /// The number of bytes of the log on the disk, if replies have to wait for that.
    synced: Option<watch::Receiver<u64>>,
    #[cfg(feature = "cluster")]
    pub(super) member: Option<super::member::Member>,
    stopped: AtomicBool,
}

#[derive(Debug)]
pub(super) struct HubState {
    pub(super) table: LockTable<LogWriter>,
    storage: Option<Storage>,
    /// When the task that ends sessions runs next.
    pub(super) next_run: Moment,
    /// Whether that task retries a full disk.
    retries_full: bool,
    /// Effects of visits by callers that cannot wait for the log. That task delivers them.
    left: Vec<Effect>,
    /// What the visits to the table of a member of a cluster have changed.
    #[cfg(feature = "cluster")]
    pub(super) batches: Option<super::member::Batches>,
}

/// The table is that of a leader which was deposed, or there is none: replies may not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotLeading;

impl HubState {
    /// Returns the leadership that the table is of, or `None` if this member of a cluster does not
    /// lead. The table of a single server is that of leadership 0.
    pub(super) fn leadership(&self) -> Option<u64> {
        #[cfg(feature = "cluster")]
        if let Some(batches) = &self.batches {
            return batches.leadership();
        }
        Some(0)
    }

    /// Returns the leadership that the table is of, also while clients are sent away because no
    /// majority confirms it.
    pub(super) fn table_of(&self) -> Option<u64> {
        #[cfg(feature = "cluster")]
        if let Some(batches) = &self.batches {
            return batches.term();
        }
        Some(0)
    }

    fn grants(&self) -> bool {
        self.table.frozen().is_none() && self.leadership().is_some()
    }

    fn is_full(&self) -> bool {
        self.table.frozen() == Some(Freeze::Full)
    }
}

/// All connections, by number. A number is used once.
#[derive(Debug, Default)]
struct Roster {
    last: u64,
    outboxes: HashMap<u64, Arc<Outbox>, RandomState>,
    /// The connections that have not greeted, the oldest first.
    ungreeted: BTreeSet<u64>,
}

impl Roster {
    /// Asks the oldest connection that has not greeted to end. Returns whether there was one.
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

/// How far the number of connections may exceed the limit, while connections that were asked to end
/// do so.
const DISPLACED_MAX: usize = 256;

/// The registration of a connection. Dropping it removes the connection.
#[derive(Debug)]
pub(super) struct Registration {
    hub: Arc<Hub>,
    pub(super) connection: u64,
    pub(super) outbox: Arc<Outbox>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.hub.leave(self.connection);
        let from = Requester {
            connection: self.connection,
            ..Requester::HOST
        };
        self.hub.visit(|HubState { table, left, .. }| {
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
        prepare_isolation(&options, &mut table);
        Ok(Self {
            table: identity,
            incarnation: storage.as_ref().map_or(0, Storage::incarnation),
            audit: Audit::open(options.audit.as_deref())?,
            traffic: Traffic::default(),
            unread: PrincipalCounts::default(),
            connected: PrincipalCounts::default(),
            to_isolate: Notify::new(),
            #[cfg(feature = "tls")]
            tls: options
                .tls
                .clone()
                .map(super::tls::ServerSide::new)
                .transpose()?,
            options,
            synced: storage.as_ref().and_then(Storage::synced),
            #[cfg(feature = "cluster")]
            member: None,
            state: Mutex::new(HubState {
                #[cfg(feature = "cluster")]
                batches: None,
                table,
                storage,
                next_run: Moment::from_nanos(u64::MAX),
                retries_full: false,
                left: Vec::new(),
            }),
            roster: Mutex::default(),
            wake_expiry: Notify::new(),
            stopped: AtomicBool::new(false),
        })
    }

    /// Creates the hub of a member of a cluster.
    #[cfg(feature = "cluster")]
    pub(super) fn of_member(options: ServerOptions, member: super::member::Member) -> Result<Self> {
        let mut hub = Self::new(options)?;
        let state = hub.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.table = member.no_table();
        state.batches = Some(super::member::Batches::default());
        hub.incarnation = member.incarnation();
        hub.member = Some(member);
        Ok(hub)
    }

    #[cfg(feature = "cluster")]
    pub(super) fn state(&self) -> MutexGuard<'_, HubState> {
        locked(&self.state)
    }

    /// Wakes the connections and the programs that have to end, because the server does not lead
    /// any more.
    #[cfg(feature = "cluster")]
    pub(super) fn wake_connections(&self) {
        self.to_isolate.notify_one();
        for outbox in locked(&self.roster).outboxes.values() {
            outbox.filled.notify_one();
        }
    }

    /// Returns whether the server is a member of a cluster.
    pub(super) fn is_member(&self) -> bool {
        #[cfg(feature = "cluster")]
        return self.member.is_some();
        #[cfg(not(feature = "cluster"))]
        false
    }

    /// Returns whether a connection has to end, because the leadership is over whose table it has
    /// used.
    pub(super) fn is_deposed(&self, leadership: u64) -> bool {
        #[cfg(feature = "cluster")]
        if let Some(member) = &self.member {
            return !member.leads_in(leadership);
        }
        let _ = leadership;
        false
    }

    /// Waits for a moment, until a client can be served or told by whom it can be.
    pub(super) async fn settled(&self) {
        #[cfg(feature = "cluster")]
        if let Some(member) = &self.member {
            member.settled().await;
        }
    }

    /// Returns where clients reach the leader, and a text that says so.
    pub(super) fn leader(&self) -> (String, String) {
        #[cfg(feature = "cluster")]
        if let Some(member) = &self.member {
            return member.leader();
        }
        (
            String::new(),
            "the server does not lead: try again".to_owned(),
        )
    }

    /// Returns a number that rises with each change of the members of the cluster.
    pub(super) fn membership(&self) -> u64 {
        #[cfg(feature = "cluster")]
        if let Some(member) = &self.member {
            return member.consensus.membership();
        }
        0
    }

    /// Returns the name of this member of a cluster, and where clients reach all members.
    pub(super) fn members(&self) -> (String, Vec<String>) {
        #[cfg(feature = "cluster")]
        if let Some(member) = &self.member {
            return member.members();
        }
        Default::default()
    }

    /// Checks whether a hub could be created with these options, and changes nothing.
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

    /// Returns the values of all metrics.
    pub(super) fn snapshot(&self) -> Snapshot {
        let connections = locked(&self.roster).outboxes.len();
        let member_syncs = self.member_syncs();
        let state = locked(&self.state);
        Snapshot {
            stats: state.table.stats(),
            counters: state.table.counters(),
            connections,
            log_lag: state.storage.as_ref().map_or(0, Storage::lag),
            syncs: state.storage.as_ref().map(Storage::syncs).or(member_syncs),
            isolating: state.table.isolating(),
            grants: state.grants(),
            traffic: self.traffic.snapshot(),
            certificate_expiry: self.certificate_expiry(),
            cluster: self.cluster(),
        }
    }

    /// Returns how long the writes of the log have taken, if the server is a member of a cluster.
    fn member_syncs(&self) -> Option<Durations> {
        #[cfg(feature = "cluster")]
        let syncs = self
            .member
            .as_ref()
            .map(|member| member.consensus.observations().writes);
        #[cfg(not(feature = "cluster"))]
        let syncs = None;
        syncs
    }

    /// Returns the metrics of the cluster, if the server is a member of one.
    pub(super) fn cluster(&self) -> Option<ClusterSnapshot> {
        #[cfg(feature = "cluster")]
        return self.member.as_ref().map(super::member::Member::snapshot);
        #[cfg(not(feature = "cluster"))]
        None
    }

    /// Returns when the server's certificate expires, as a Unix timestamp.
    fn certificate_expiry(&self) -> Option<i64> {
        #[cfg(feature = "tls")]
        let expiry = self.tls.as_ref().and_then(super::tls::ServerSide::expiry);
        #[cfg(not(feature = "tls"))]
        let expiry = None;
        expiry
    }

    pub(super) fn grants(&self) -> bool {
        locked(&self.state).grants()
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
                outbox.recheck_token.store(true, Ordering::Relaxed);
                outbox.filled.notify_one();
            }
        }
    }

    /// Returns which changes survive a restart.
    pub(super) fn durability(&self) -> proto::Durability {
        #[cfg(feature = "cluster")]
        if self.member.is_some() {
            return proto::Durability::Fsync;
        }
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
        locked(&self.state).table.stats()
    }

    /// Registers a connection, if there is room. If there is none, the oldest connection that has
    /// not greeted has to make room, so that peers that never greet cannot exclude clients.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Registration> {
        let mut roster = locked(&self.roster);
        let (connections, max) = (roster.outboxes.len(), self.options.connections);
        if connections >= max + DISPLACED_MAX || (connections >= max && !roster.displace_one()) {
            return None;
        }
        roster.last += 1;
        let (connection, outbox) = (roster.last, Arc::<Outbox>::default());
        roster.outboxes.insert(connection, outbox.clone());
        roster.ungreeted.insert(connection);
        Some(Registration {
            hub: self.clone(),
            connection,
            outbox,
        })
    }

    /// Marks a connection as greeted. It no longer has to make room for others.
    pub(super) fn greeted(&self, connection: u64) {
        locked(&self.roster).ungreeted.remove(&connection);
    }

    fn leave(&self, connection: u64) {
        let mut roster = locked(&self.roster);
        roster.outboxes.remove(&connection);
        roster.ungreeted.remove(&connection);
    }

    /// Visits the table. Its replies may be sent only after the log is [stored](Self::stored) up to
    /// the returned position.
    pub(super) fn visit<T>(
        &self,
        work: impl FnOnce(&mut HubState) -> T,
    ) -> (T, Option<LogPosition>) {
        let mut state = locked(&self.state);
        let state = &mut *state;
        state.table.begin_visit();
        if let Some(storage) = &mut state.storage {
            storage.begin_visit(&mut state.table);
        }
        let result = work(state);
        let position = match &mut state.storage {
            Some(storage) => storage.end_visit(&mut state.table),
            None => self.end_member_visit(state),
        };
        if state
            .table
            .next_deadline()
            .is_some_and(|due| due < state.next_run)
            || (state.is_full() && !state.retries_full)
            || !state.left.is_empty()
        {
            self.wake_expiry.notify_one();
        }
        if state.table.has_isolations() {
            self.to_isolate.notify_one();
        }
        (result, position)
    }

    /// Ends a visit to a table without a storage of its own.
    #[cfg_attr(
        not(feature = "cluster"),
        allow(clippy::unused_self, reason = "members only")
    )]
    fn end_member_visit(&self, state: &mut HubState) -> Option<LogPosition> {
        #[cfg(feature = "cluster")]
        if let (Some(member), Some(batches)) = (&self.member, &mut state.batches) {
            return Some(member.end_visit(batches, &mut state.table));
        }
        let _ = state;
        None
    }

    /// Waits until the log is stored up to a position, as the durability requires. In a cluster,
    /// waits until the changes up to there are committed, and until a majority has confirmed that
    /// this server leads, in a round that began after the visit.
    ///
    /// # Errors
    /// The server has been deposed. Nothing that the visit replied may be sent.
    pub(super) async fn stored(
        &self,
        position: Option<LogPosition>,
    ) -> std::result::Result<(), NotLeading> {
        let Some(position) = position else {
            return Ok(());
        };
        #[cfg(feature = "cluster")]
        if let Some(member) = &self.member {
            return member.completed(position).await;
        }
        if !position.is_written() {
            // Let other connections visit the table first, so that one write covers all of them.
            tokio::task::yield_now().await;
            let mut state = locked(&self.state);
            let state = &mut *state;
            if let Some(storage) = &mut state.storage {
                storage.write(&mut state.table, position);
            }
        }
        if let Some(synced) = &self.synced {
            position.on_disk(synced.clone()).await;
        }
        Ok(())
    }

    /// Completes the log after the server has stopped.
    pub(super) fn end(&self) {
        let mut state = locked(&self.state);
        if let Some(mut storage) = state.storage.take() {
            storage.end(&mut state.table);
        }
    }

    /// Delivers replies to the outboxes of their connections. Drops replies for closed connections,
    /// whose clients will repeat the requests.
    pub(super) fn post(&self, effects: &mut Vec<Effect>) {
        if effects.is_empty() {
            return;
        }
        let roster = locked(&self.roster);
        let mut effects = effects.drain(..).peekable();
        while let Some(first) = effects.next() {
            let connection = first.to.connection;
            let Some(outbox) = roster.outboxes.get(&connection) else {
                continue;
            };
            // Effects for the same connection come together, because it registers its requests
            // together. One visit to its outbox is enough for them.
            let mut waiting = locked(&outbox.waiting);
            let was_empty = waiting.is_empty();
            let mut next = Some(first);
            while let Some(Effect { to, reply }) = next {
                self.put(outbox, &mut waiting, to.request, reply);
                next = effects.next_if(|effect| effect.to.connection == connection);
            }
            drop(waiting);
            if was_empty || outbox.overflowed.load(Ordering::Relaxed) {
                outbox.filled.notify_one();
            }
        }
    }

    fn put(&self, outbox: &Outbox, waiting: &mut Waiting, request: u64, reply: Reply) {
        let share = |bytes, what| {
            let (principal, max) = (
                outbox.principal.get().cloned(),
                self.options.unread_per_principal,
            );
            self.unread.share_of(what, principal, bytes, max)
        };
        if !waiting.add(request, reply, self.options.outbox_max, share) {
            outbox.overflowed.store(true, Ordering::Relaxed);
        }
    }

    /// Ends all tasks and connections.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        #[cfg(feature = "cluster")]
        if let Some(member) = &self.member {
            member.stop();
        }
        self.wake_expiry.notify_one();
        self.to_isolate.notify_one();
        for outbox in locked(&self.roster).outboxes.values() {
            outbox.filled.notify_one();
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// How often the space of a full disk is checked.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// Ends sessions on time, does the periodic work of the storage, and delivers effects that were
/// left.
pub(super) async fn expire(hub: Arc<Hub>) {
    let mut effects = Vec::new();
    while !hub.is_stopped() {
        let ((due, is_behind), position) = hub.visit(|state| {
            let now = clock::now();
            effects.append(&mut state.left);
            state
                .table
                .apply(now, Requester::HOST, Command::Tick, &mut effects);
            state.next_run = Moment::from_nanos(u64::MAX);
            if let Some(storage) = &mut state.storage {
                storage.maintain(&mut state.table, &mut effects);
                state.next_run = storage.next_maintenance();
            }
            state.retries_full = state.is_full();
            state.next_run = state
                .table
                .next_deadline()
                .map_or(state.next_run, |due| due.min(state.next_run));
            if state.retries_full {
                state.next_run = state.next_run.min(now.after(FULL_RETRY));
            }
            (state.next_run, state.table.has_backlog())
        });
        match hub.stored(position).await {
            Ok(()) => hub.post(&mut effects),
            // The connections of the leadership end.
            Err(NotLeading) => effects.clear(),
        }
        if is_behind {
            // Other tasks and threads visit the table between two slices.
            let resume = clock::now().after(SLICE_PAUSE);
            while clock::now() < resume {
                tokio::task::yield_now().await;
            }
            continue;
        }
        tokio::select! {
            () = clock::sleep_until(due) => {}
            () = hub.wake_expiry.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests;
