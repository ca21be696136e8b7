//! The lock table in the process of its clients: `memory:`.
//!
//! A call locks the table and applies its command at once. A thread ends sessions that expire: it
//! sleeps until the table's next deadline, and exits after the last handle of the store is dropped.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use distsync_core::spi::{Backend, ClaimId, Departure, Session, clock, locked};
use distsync_core::{Capabilities, Error, ErrorKind, Result};

use crate::backend::{Netlock, Transport};
use crate::engine::{Command, Effect, Limits, LockTable, Reply, Requester, SLICE_PAUSE};
use crate::epoch;
use crate::replies::{Delivered, Replies, Replying};

/// A lock store in this process, for tests, single-process programs and first steps.
#[derive(Clone, Debug)]
pub struct Embedded {
    store: Arc<Store>,
}

impl Embedded {
    /// Creates a store that only this value and its clones use.
    #[must_use]
    pub fn private() -> Self {
        let store = Arc::new(Store {
            state: Mutex::new(EmbeddedState {
                table: LockTable::new(Limits::default(), epoch::floor()),
                replies: Replies::default(),
                effects: Vec::new(),
                clock: clock::Source::current(),
            }),
            // 0 is the expiry thread's.
            connections: AtomicU64::new(1),
            deadline_changed: Condvar::new(),
        });
        let watched = Arc::downgrade(&store);
        let spawned = std::thread::Builder::new()
            .name("distsync-memory".to_owned())
            .spawn(move || expire(&watched));
        if let Err(error) = spawned {
            tracing::error!(
                %error,
                "cannot start the thread that ends sessions: they expire only when a call is made"
            );
        }
        Self { store }
    }

    /// Returns the store with this name, which all callers in this process share.
    #[must_use]
    pub fn named(name: &str) -> Self {
        static NAMED: OnceLock<Mutex<HashMap<String, Weak<Store>>>> = OnceLock::new();
        let mut named = locked(NAMED.get_or_init(Mutex::default));
        named.retain(|_, store| store.strong_count() > 0);
        if let Some(store) = named.get(name).and_then(Weak::upgrade) {
            return Self { store };
        }
        let fresh = Self::private();
        named.insert(name.to_owned(), Arc::downgrade(&fresh.store));
        fresh
    }

    /// Returns a backend over this store.
    #[must_use]
    pub fn backend(&self) -> Arc<dyn Backend> {
        let id = self.store.connections.fetch_add(1, Ordering::Relaxed);
        Arc::new(Netlock(Attached(Arc::new(Connection {
            store: self.store.clone(),
            id,
        }))))
    }
}

/// A backend and its instance for the keeper. Dropping both is a disconnection, as on a server.
#[derive(Clone, Debug)]
struct Attached(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    store: Arc<Store>,
    id: u64,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let wakers = self
            .store
            .state()
            .apply(self.requester(0), Command::Disconnected);
        self.store.deadline_changed.notify_one();
        wake(wakers);
    }
}

impl Connection {
    /// Applies a command as a request that `open` adds, and returns the id of the request.
    fn apply(&self, command: Command<'_>, open: impl FnOnce(&mut Replies) -> u64) -> u64 {
        let (request, delivered) = {
            let mut state = self.store.state();
            let before = state.table.next_deadline();
            let request = open(&mut state.replies);
            let delivered = state.apply(self.requester(request), command);
            if state.table.next_deadline() != before {
                self.store.deadline_changed.notify_one();
            }
            (request, delivered)
        };
        wake(delivered);
        request
    }

    fn requester(&self, request: u64) -> Requester {
        Requester {
            connection: self.id,
            request,
        }
    }
}

#[derive(Debug)]
struct Store {
    state: Mutex<EmbeddedState>,
    /// The number of connections so far.
    connections: AtomicU64,
    /// Notifies the expiry thread that the next deadline has changed.
    deadline_changed: Condvar,
}

#[derive(Debug)]
struct EmbeddedState {
    table: LockTable,
    replies: Replies,
    effects: Vec<Effect>,
    /// The clock of the thread that created the store.
    clock: clock::Source,
}

impl Store {
    fn state(&self) -> MutexGuard<'_, EmbeddedState> {
        locked(&self.state)
    }
}

impl Replying for Store {
    fn with_replies<T>(&self, act: impl FnOnce(&mut Replies) -> T) -> T {
        act(&mut self.state().replies)
    }
}

impl EmbeddedState {
    /// Applies a command in a visit of its own, and delivers all replies. The rest is done after
    /// the mutex is unlocked.
    fn apply(&mut self, from: Requester, command: Command<'_>) -> Vec<Delivered> {
        self.table.begin_visit();
        let reply = self
            .table
            .apply(self.clock.now(), from, command, &mut self.effects);
        self.effects
            .extend(reply.map(|reply| Effect { to: from, reply }));
        let replies = &mut self.replies;
        self.effects
            .drain(..)
            .filter_map(|effect| replies.deliver(effect.to.request, effect.reply))
            .collect()
    }
}

fn wake(delivered: Vec<Delivered>) {
    delivered.into_iter().for_each(Delivered::finish);
}

/// How often the expiry thread checks that its store is still in use. The thread keeps an unused
/// store in memory for at most this long.
const IN_USE_CHECK: Duration = Duration::from_millis(500);

/// How often the expiry thread looks at a clock that a test moves.
const MOVED_CHECK: Duration = Duration::from_millis(2);

/// The shortest sleep of the expiry thread, so that it does not spin on a deadline that is due.
const SLEEP_MIN: Duration = Duration::from_millis(1);

/// The requester of the expiry thread, which takes no replies.
const NOBODY: Requester = Requester {
    connection: 0,
    request: 0,
};

fn expire(store: &Weak<Store>) {
    while let Some(store) = store.upgrade() {
        let mut state = store.state();
        let wakers = state.apply(NOBODY, Command::Tick);
        let sleep = state.table.next_deadline().map_or(IN_USE_CHECK, |due| {
            due.since(state.clock.now()).min(IN_USE_CHECK)
        });
        let sleep = if state.table.has_backlog() {
            SLICE_PAUSE
        } else if state.clock.is_moved() {
            MOVED_CHECK
        } else {
            sleep.max(SLEEP_MIN)
        };
        if wakers.is_empty() {
            drop(store.deadline_changed.wait_timeout(state, sleep));
        } else {
            drop(state);
            wake(wakers);
        }
    }
}

/// A pending call. Dropping it cancels its request.
struct PendingCall<'a> {
    connection: &'a Connection,
    request: u64,
    answered: bool,
}

impl Drop for PendingCall<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let request = self.request;
            let mut state = self.connection.store.state();
            state.replies.cancel(request);
            let from = self.connection.requester(request);
            let wakers = state.apply(from, Command::Forget { request });
            drop(state);
            wake(wakers);
        }
    }
}

impl Transport for Attached {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new("memory");
        capabilities.survives_restart = false;
        capabilities.durable_grants = false;
        capabilities.release_on_disconnect = true;
        capabilities.isolates = true;
        capabilities.several_at_once = true;
        capabilities
    }

    fn for_keeper(&self) -> Self {
        self.clone()
    }

    async fn call<'a>(
        &'a self,
        _session: Option<&'a Session>,
        command: Command<'a>,
    ) -> Result<Reply> {
        let claim = match command {
            Command::Enqueue { claim, .. } | Command::EnqueueAll { claim, .. } => Some(claim),
            _ => None,
        };
        let request = self.0.apply(command, |replies| replies.open(claim, None));
        let mut pending = PendingCall {
            connection: &self.0,
            request,
            answered: false,
        };
        let reply = poll_fn(|cx| self.0.store.state().replies.poll_first(request, cx)).await;
        pending.answered = true;
        reply.ok_or_else(|| {
            Error::new(ErrorKind::Protocol, "the request got no reply").with_backend("memory")
        })
    }

    fn depart(&self, departure: Departure) {
        let Some(claim) = departure.claim() else {
            return;
        };
        let withdraw = Command::Withdraw {
            session: claim.session.id,
            claim: claim.id,
        };
        self.0.apply(withdraw, |replies| replies.depart(departure));
    }

    /// There are none: the table replies at once.
    fn give_back_departures(&self) {}

    async fn second_reply(&self, claim: ClaimId) -> Result<Reply> {
        let reply = self.0.store.take_second(claim).await;
        reply.ok_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                "this claim is not in the queue: acquire again",
            )
            .with_backend("memory")
            .retryable()
        })
    }
}
