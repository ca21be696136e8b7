//! Blocking queries: few at a time, each shared by all waiters for the same keys.
//!
//! A blocking query occupies a connection, and an agent serves 200 connections for each client
//! address by default. Consul continues a query after its client has disconnected, so a query whose
//! waiters have left is not dropped: it keeps its slot until it ends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use distsync_core::spi::locked;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::http::{Http, Read, Scope};

/// The number of queries at a time. Waiters without a slot wait for one in order of arrival, which
/// is the order of the queue if all wait for one name, and read by themselves meanwhile.
const SLOTS: usize = 16;
/// The shortest time between two reads of a waiter without a slot ...
const LOOK: Duration = Duration::from_secs(1);
/// ... and how much longer it is for each other waiter: together they read at most 200 times a
/// second.
const LOOK_FOR_EACH: Duration = Duration::from_millis(5);

/// The blocking queries of a client.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    shared: Arc<Shared>,
    waiting: AtomicUsize,
    /// Owns the queries. A query without waiters ends after [`HOLD`](crate::http::HOLD).
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Shared {
    slots: Arc<Semaphore>,
    running: Mutex<HashMap<(Scope, u64), Told>>,
}

/// What a query has read; `None` until it has.
type Told = watch::Receiver<Option<Arc<Read>>>;

impl Default for Shared {
    fn default() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(SLOTS)),
            running: Mutex::default(),
        }
    }
}

/// Removes a query from the list when it ends, or when its runtime does.
struct Running {
    shared: Arc<Shared>,
    query: (Scope, u64),
    _slot: OwnedSemaphorePermit,
}

impl Drop for Running {
    fn drop(&mut self) {
        locked(&self.shared.running).remove(&self.query);
    }
}

impl Watches {
    /// Waits until `scope` may be newer than `after`, or Consul has held the query for as long as
    /// it may. What was read then, unless that failed.
    pub(crate) async fn newer(
        &self,
        http: &Arc<Http>,
        scope: Scope,
        after: u64,
    ) -> Option<Arc<Read>> {
        let query = (scope, after);
        let running = locked(&self.shared.running).get(&query).cloned();
        let mut told = match running {
            Some(told) => told,
            None => {
                // The semaphore is never closed.
                let slot = self.shared.slots.clone().acquire_owned().await.ok()?;
                self.start(http.clone(), query, slot)
            }
        };
        told.wait_for(Option::is_some).await.ok()?.clone()
    }

    fn start(&self, http: Arc<Http>, query: (Scope, u64), slot: OwnedSemaphorePermit) -> Told {
        let mut running = locked(&self.shared.running);
        if let Some(told) = running.get(&query) {
            return told.clone();
        }
        let (tell, told) = watch::channel(None);
        running.insert(query.clone(), told.clone());
        let running = Running {
            shared: self.shared.clone(),
            query,
            _slot: slot,
        };
        self.tasks.spawn(async move {
            let (scope, after) = &running.query;
            let mut read = http.read(scope, Some(*after)).await;
            // Consul holds a query for a limited time. Its waiters keep the slot, because they are
            // ahead of all waiters without one, and the next of a long queue would otherwise be
            // late.
            while read.as_ref().is_ok_and(|read| read.index == *after) && tell.receiver_count() > 1
            {
                read = http.read(scope, Some(*after)).await;
            }
            if let Err(error) = &read {
                debug!(%error, "a blocking query failed");
                // The waiters then read by themselves and report the error.
                tokio::time::sleep(LOOK).await;
            }
            drop(running);
            tell.send_replace(read.ok().map(Arc::new));
        });
        told
    }

    /// Counts one more waiter, until the count is dropped.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(&self.waiting)
    }
}

/// A counted waiter.
pub(crate) struct Waiting<'a>(&'a AtomicUsize);

impl Waiting<'_> {
    /// Returns how long to wait before a read of one's own.
    pub(crate) fn pause(&self) -> Duration {
        let waiting = u32::try_from(self.0.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        LOOK.max(LOOK_FOR_EACH.saturating_mul(waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
