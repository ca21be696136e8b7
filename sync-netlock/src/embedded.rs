//! The lock table inside of the process: `memory:`.
//!
//! Calls lock the table and act at once. Sessions end by a thread that sleeps until the table's
//! next deadline; it ends with the last handle of the store.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, Weak};
use std::task::Waker;
use std::time::Duration;

use distsync_core::spi::{Backend, ClaimId, Session, clock, locked};
use distsync_core::{Capabilities, Error, ErrorKind, Result};

use crate::backend::{Carrier, Netlock};
use crate::engine::{Command, Effect, Limits, LockTable, Reply, Requester};
use crate::epoch;
use crate::replies::Replies;

/// A lock store in this process, for tests, for single-process programs, and to start with.
#[derive(Clone, Debug)]
pub struct Embedded {
    store: Arc<Store>,
}

impl Embedded {
    /// A store private to this value and its clones.
    #[must_use]
    pub fn private() -> Self {
        let store = Arc::new(Store {
            desk: Mutex::new(Desk {
                table: LockTable::new(Limits::default(), epoch::floor()),
                replies: Replies::default(),
                effects: Vec::new(),
            }),
            sooner: Condvar::new(),
        });
        let watched = Arc::downgrade(&store);
        let spawned = std::thread::Builder::new()
            .name("distsync-memory".to_owned())
            .spawn(move || expire(&watched));
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread to end sessions: a crashed holder is noticed at the next call only");
        }
        Self { store }
    }

    /// The store that everybody in this process shares who gives this name.
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

    /// The backend over this store.
    #[must_use]
    pub fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(Netlock(self.clone()))
    }
}

#[derive(Debug)]
struct Store {
    desk: Mutex<Desk>,
    /// Tells the thread that the next deadline may be sooner than it thinks.
    sooner: Condvar,
}

#[derive(Debug)]
struct Desk {
    table: LockTable,
    replies: Replies,
    effects: Vec<Effect>,
}

impl Store {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        locked(&self.desk)
    }
}

impl Desk {
    /// Applies a command and delivers what comes of it; returns whom to wake once the desk is free
    /// again.
    fn apply(&mut self, request: u64, command: Command<'_>) -> Vec<Waker> {
        let from = Requester {
            connection: 0,
            request,
        };
        let reply = self
            .table
            .apply(clock::now(), from, command, &mut self.effects);
        self.effects
            .extend(reply.map(|reply| Effect { to: from, reply }));
        let replies = &mut self.replies;
        self.effects
            .drain(..)
            .filter_map(|effect| replies.deliver(effect.to.request, effect.reply))
            .collect()
    }
}

fn wake(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

/// How often the thread looks whether its store is still in use.
const LOOK: Duration = Duration::from_millis(500);

fn expire(store: &Weak<Store>) {
    while let Some(store) = store.upgrade() {
        let mut desk = store.desk();
        let wakers = desk.apply(0, Command::Tick);
        let nap = desk
            .table
            .next_deadline()
            .map_or(LOOK, |due| due.since(clock::now()).min(LOOK));
        if wakers.is_empty() {
            // Not past the look: a store that is not in use any more frees its memory and this
            // thread.
            drop(
                store
                    .sooner
                    .wait_timeout(desk, nap.max(Duration::from_millis(1))),
            );
        } else {
            drop(desk);
            wake(wakers);
        }
    }
}

/// A call under way; dropped, it is forgotten.
struct Calling<'a> {
    store: &'a Store,
    request: u64,
    answered: bool,
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let mut desk = self.store.desk();
            desk.replies.give_up(self.request);
            let wakers = desk.apply(
                0,
                Command::Forget {
                    request: self.request,
                },
            );
            drop(desk);
            wake(wakers);
        }
    }
}

impl Carrier for Embedded {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new("memory");
        capabilities.survives_restart = false;
        capabilities.durable_grants = false;
        // Holder and store end together.
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
        let (request, wakers) = {
            let mut desk = self.store.desk();
            let before = desk.table.next_deadline();
            let request = desk.replies.open(claim);
            let wakers = desk.apply(request, command);
            if desk.table.next_deadline() != before {
                self.store.sooner.notify_one();
            }
            (request, wakers)
        };
        wake(wakers);
        let mut calling = Calling {
            store: &self.store,
            request,
            answered: false,
        };
        let reply = poll_fn(|cx| self.store.desk().replies.poll_first(request, cx)).await;
        calling.answered = true;
        reply.ok_or_else(|| {
            Error::new(ErrorKind::Protocol, "the request was not answered").with_backend("memory")
        })
    }

    async fn second(&self, claim: ClaimId) -> Result<Reply> {
        let reply = poll_fn(|cx| self.store.desk().replies.poll_second(claim, cx)).await;
        reply.ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, "this claim does not stand in line")
                .with_backend("memory")
                .retryable()
        })
    }
}
