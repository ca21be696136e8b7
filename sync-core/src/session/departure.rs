//! Withdrawals that a backend sends without a waiting caller: the releases of dropped guards.
//!
//! A store that can, sends such a withdrawal on the connection of the caller, together with the
//! requests of other callers. That costs neither a task nor a switch to the keeper's thread, and
//! the next request of the same caller follows it on the same connection.
//!
//! The keeper remains responsible. A [`Departure`] that is dropped without a confirmation, for
//! instance with its connection, becomes a withdrawal of the keeper. While there are departures, a
//! task of the keeper looks at them every [`LOOK`], and takes them back if the store has confirmed
//! none meanwhile: the runtime of the connection may be blocked or not driven.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::session::hold::Hold;
use crate::session::job::Job;
use crate::spi::backend::{Backend, Claim};
use crate::spi::departure::{Departing, Departure};
use crate::types::queue::Withdrawn;

/// The time after which the keeper takes departures back if none was confirmed meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// The departures of one handle.
#[derive(Debug)]
pub(crate) struct Departures {
    /// Weak, because the keeper ends with the last sender of jobs, and owns this.
    jobs: mpsc::WeakUnboundedSender<Job>,
    begun: AtomicU64,
    ended: AtomicU64,
    /// Whether a task of the keeper looks at them.
    is_watched: AtomicBool,
}

impl Departures {
    pub(super) fn new(jobs: mpsc::WeakUnboundedSender<Job>) -> Self {
        Self {
            jobs,
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            is_watched: AtomicBool::new(false),
        }
    }

    /// Lets `backend` withdraw the claim of a guard that has ended. No request that enqueues the
    /// claim may still be on its way.
    pub(crate) fn begin(self: &Arc<Self>, backend: &Arc<dyn Backend>, hold: Arc<Hold>) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        backend.depart(Departure::new(hold));
        if let Some(watch) = self.watch() {
            let backend = backend.clone();
            self.send(Job::Watch { watch, backend });
        }
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = self.jobs.upgrade() {
            // Fails if the keeper has ended, and all claims with it.
            let _ = jobs.send(job);
        }
    }

    fn are_pending(&self) -> bool {
        self.ended.load(Ordering::SeqCst) != self.begun.load(Ordering::SeqCst)
    }

    /// Returns a watch if one is needed and there is none.
    fn watch(self: &Arc<Self>) -> Option<Watch> {
        let is_needed = self.are_pending()
            && !self.is_watched.load(Ordering::SeqCst)
            && !self.is_watched.swap(true, Ordering::SeqCst);
        is_needed.then(|| Watch(self.clone()))
    }
}

/// The only watch over the departures of a handle. Without it, the next departure starts another.
#[derive(Debug)]
pub(super) struct Watch(Arc<Departures>);

impl Watch {
    /// Takes departures back whenever the store confirms none, until none is left: a task of the
    /// keeper.
    pub(super) async fn run(mut self, backend: Arc<dyn Backend>) {
        loop {
            let before = self.0.ended.load(Ordering::SeqCst);
            tokio::time::sleep(LOOK).await;
            if !self.0.are_pending() {
                let departures = self.0.clone();
                drop(self);
                // One may have begun before the watch ended.
                match departures.watch() {
                    Some(watch) => self = watch,
                    None => return,
                }
            } else if self.0.ended.load(Ordering::SeqCst) == before {
                backend.give_back_departures();
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.is_watched.store(false, Ordering::SeqCst);
    }
}

impl Departing for Hold {
    fn claim(&self) -> &Claim {
        Self::claim(self)
    }

    fn departed(&self, confirmed: Option<Withdrawn>) {
        let departures = self.session().departures();
        match confirmed {
            Some(Withdrawn::Absent) => {}
            Some(_) => self.session().release_key_slot(Self::claim(self)),
            None => {
                departures.send(Job::Withdraw {
                    claim: Self::claim(self).clone(),
                    session: self.session().clone(),
                    late: self.late(),
                });
            }
        }
        departures.ended.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keeper aborts its tasks when all sessions end, even before their first poll.
    #[test]
    fn a_watch_that_ends_early_lets_the_next_departure_start_another() {
        let (jobs, _inbox) = mpsc::unbounded_channel();
        let departures = Arc::new(Departures::new(jobs.downgrade()));
        assert!(departures.watch().is_none(), "there is no departure");
        departures.begun.fetch_add(1, Ordering::SeqCst);
        let watch = departures.watch();
        assert!(watch.is_some());
        assert!(departures.watch().is_none(), "there is a watch");
        drop(watch);
        assert!(departures.watch().is_some());
    }
}
