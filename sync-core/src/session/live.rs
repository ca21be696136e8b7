//! One open session, shared by the keeper that renews it and the claims that are held under it.
//!
//! Invariant: once one observer has seen the session as lost, it is lost for all observers and
//! forever.

mod request;

use std::collections::{HashMap, HashSet};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::validity::{Health, Validity};
use crate::options::OnLost;
use crate::session::departure::Departures;
use crate::session::hold::Hold;
use crate::session::key_slots::KeySlots;
use crate::session::on_lost;
use crate::session::timeouts::Timeouts;
use crate::session::waiters::Waiters;
use crate::spi::backend::{Claim, Session};
use crate::spi::capabilities::Capabilities;
use crate::spi::clock::{self, Moment};
use crate::spi::mutex::locked;
use crate::telemetry::Store;
use crate::types::error::{ErrorKind, Result};
use crate::types::ids::ClaimId;
use crate::types::loss::Loss;
use crate::types::names::LockName;

/// The number of beats within which a request must be answered.
const BEATS: u64 = 4;

#[derive(Debug)]
pub(crate) struct LiveSession {
    session: Session,
    /// The name of the store, for telemetry.
    store: Store,
    validity: Mutex<Validity>,
    /// Mirrors the validity's deadline in nanoseconds, 0 once lost, so that a check costs no lock.
    revoke_at: AtomicU64,
    /// The claims held under this session, to be notified of its loss.
    holds: Mutex<HashMap<ClaimId, Arc<Hold>, RandomState>>,
    /// Woken when the session is lost.
    lost: Waiters,
    /// The requests in progress, woken at each beat, and when the session is lost.
    pulse: Waiters,
    /// The number of beats so far: a coarse clock for the timeouts of requests that needs no timer
    /// each.
    beats: AtomicU64,
    /// Wakes the keeper when the deadline has moved or renewals stop.
    pub(super) moved: Notify,
    /// Whether the keeper renews. A session with a hold limit is not renewed, so that it expires.
    renewing: AtomicBool,
    /// Tells the keeper to close the session.
    ending: CancellationToken,
    /// Whether the keeper lets the session expire, instead of closing it, when the handle is
    /// closed.
    outlives: AtomicBool,
    on_lost: OnLost,
    timeouts: Timeouts,
    /// The withdrawals of dropped guards. Shared by the sessions of a handle.
    departures: Arc<Departures>,
    /// The key slots in use, where the store has them.
    key_slots: Option<KeySlots>,
    /// The kinds of errors that were logged. Each is logged once, because many claims may fail with
    /// the same error repeatedly.
    logged: Mutex<HashSet<ErrorKind, RandomState>>,
}

impl LiveSession {
    pub(crate) fn opened(
        session: Session,
        sent: Moment,
        ending: CancellationToken,
        on_lost: OnLost,
        timeouts: Timeouts,
        departures: Arc<Departures>,
        capabilities: &Capabilities,
    ) -> Self {
        let validity = Validity::opened(session.ttl, sent);
        Self {
            session,
            store: Store::of(capabilities.backend),
            revoke_at: AtomicU64::new(validity.revoke_at().as_nanos()),
            validity: Mutex::new(validity),
            holds: Mutex::default(),
            lost: Waiters::default(),
            pulse: Waiters::default(),
            beats: AtomicU64::new(0),
            moved: Notify::new(),
            renewing: AtomicBool::new(true),
            ending,
            outlives: AtomicBool::new(false),
            on_lost,
            timeouts,
            departures,
            key_slots: capabilities.key_slots.then(KeySlots::default),
            logged: Mutex::default(),
        }
    }

    pub(crate) fn departures(&self) -> &Arc<Departures> {
        &self.departures
    }

    pub(crate) fn store(&self) -> Store {
        self.store
    }

    /// Returns an id for a new claim of this session.
    pub(crate) fn claim_id(&self, name: &LockName) -> ClaimId {
        match &self.key_slots {
            Some(slots) => ClaimId::with_key_slot(slots.take(name)),
            None => ClaimId::random(),
        }
    }

    /// Releases the key slot of a claim that has ended. No request about the claim may reach the
    /// store any more.
    pub(crate) fn release_key_slot(&self, claim: &Claim) {
        if let Some(slots) = &self.key_slots {
            slots.release(&claim.name, claim.id.key_slot());
        }
    }

    /// Returns whether this is the first error of its kind under this session.
    pub(super) fn is_first(&self, kind: ErrorKind) -> bool {
        locked(&self.logged).insert(kind)
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Returns until when the session is known to be alive, or `None` once it is lost. Reads the
    /// clock.
    pub(crate) fn valid_until(&self) -> Option<Moment> {
        let revoke_at = Moment::from_nanos(self.revoke_at.load(Ordering::Acquire));
        if clock::now() < revoke_at {
            return Some(revoke_at);
        }
        match self.health() {
            Health::Lost(_) => None,
            _ => Some(Moment::from_nanos(self.revoke_at.load(Ordering::Acquire))),
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.valid_until().is_some()
    }

    /// Returns whether no loss has been observed so far.
    ///
    /// Does not read the clock, so it may be out of date. Callers use it only where a later check
    /// of the grant corrects the decision.
    pub(crate) fn seems_live(&self) -> bool {
        self.revoke_at.load(Ordering::Acquire) != 0
    }

    /// Returns why the session was lost, if it was.
    pub(crate) fn loss(&self) -> Option<Loss> {
        match self.health() {
            Health::Lost(loss) => Some(loss),
            _ => None,
        }
    }

    pub(crate) fn health(&self) -> Health {
        let health = locked(&self.validity).health(clock::now());
        self.announce(health);
        health
    }

    /// Returns the moment until which the store certainly keeps the claims, without a margin.
    pub(crate) fn lease_end(&self) -> Moment {
        locked(&self.validity).lease_end()
    }

    pub(crate) fn ttl(&self) -> Duration {
        locked(&self.validity).ttl()
    }

    /// Records a successful renewal that was sent at `sent`. Returns `false` if its reply came too
    /// late.
    pub(crate) fn renewed(&self, ttl: Duration, sent: Moment) -> bool {
        let revived = {
            let mut validity = locked(&self.validity);
            let revived = validity.renewed(ttl, sent, clock::now());
            if revived {
                self.revoke_at
                    .store(validity.revoke_at().as_nanos(), Ordering::Release);
            }
            revived
        };
        self.moved.notify_one();
        revived
    }

    pub(super) fn failed(&self, spread: f64) {
        locked(&self.validity).failed(clock::now(), spread);
    }

    pub(crate) fn lose(&self, loss: Loss) {
        let health = {
            let mut validity = locked(&self.validity);
            let now = clock::now();
            validity.lose(loss, now);
            validity.health(now)
        };
        self.announce(health);
    }

    /// Notifies all holders and requests once the session is lost. Idempotent.
    fn announce(&self, health: Health) {
        let Health::Lost(loss) = health else { return };
        if self.revoke_at.load(Ordering::Acquire) != 0 && !locked(&self.holds).is_empty() {
            // Before any observer is notified, because an observer may end the process in another
            // way.
            on_lost::act(self.on_lost, loss);
        }
        if self.revoke_at.swap(0, Ordering::AcqRel) == 0 {
            return;
        }
        let holds: Vec<_> = locked(&self.holds).drain().map(|(_, hold)| hold).collect();
        for hold in holds {
            hold.lose(loss);
        }
        self.lost.wake();
        self.pulse.wake();
        self.moved.notify_one();
    }

    /// Resolves when the session is lost.
    pub(crate) async fn lost(&self) -> Loss {
        match self.while_live(std::future::pending::<Loss>()).await {
            Ok(loss) | Err(loss) => loss,
        }
    }

    /// Runs `future` until it completes or the session is lost.
    ///
    /// Does not read the clock: the keeper does, and wakes the waiters.
    pub(crate) async fn while_live<F: Future>(&self, future: F) -> Result<F::Output, Loss> {
        let mut future = pin!(future);
        let mut waiter = self.lost.waiter();
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            waiter.register(cx);
            if self.seems_live() {
                return Poll::Pending;
            }
            Poll::Ready(Err(self.loss().unwrap_or(Loss::Expired)))
        })
        .await
    }

    /// Returns the timeout of a request under this session: a third of its TTL, at most that of
    /// the options. It is exact to a quarter.
    pub(crate) fn request_patience(&self) -> Duration {
        self.timeouts.request_under(self.session.ttl)
    }

    /// Returns the time between two beats.
    pub(super) fn beat(&self) -> Duration {
        self.request_patience() / u32::try_from(BEATS).unwrap_or(1)
    }

    /// Counts a beat, and wakes the requests in progress.
    pub(super) fn pulse(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
        self.pulse.wake();
    }

    /// Stops the keeper's renewals: from now on only an explicit extension moves the deadline.
    pub(crate) fn stop_renewing(&self) {
        self.renewing.store(false, Ordering::Release);
        self.moved.notify_one();
    }

    /// Makes the keeper close the session in the background, even if it outlives the handle.
    pub(crate) fn end(&self) {
        self.outlives.store(false, Ordering::Release);
        self.ending.cancel();
    }

    /// Lets the session live until its TTL expires when the handle is closed, unless it is
    /// [ended](Self::end).
    pub(crate) fn outlive_the_handle(&self) {
        self.outlives.store(true, Ordering::Release);
    }

    /// Makes the keeper close the session when the handle is closed, which is the default.
    pub(super) fn end_with_the_handle(&self) {
        self.outlives.store(false, Ordering::Release);
    }

    pub(super) fn outlives_the_handle(&self) -> bool {
        self.outlives.load(Ordering::Acquire)
    }

    /// Hands the session over to the holder of a ticket: it is no longer renewed or closed here.
    pub(crate) fn detach(&self) {
        self.stop_renewing();
        self.lose(Loss::Detached);
    }

    /// Revokes a claim that the store no longer has: an operator evicted it, or a fail-over lost
    /// it.
    ///
    /// Returns `false` if the claim is not held under this session.
    pub(super) fn evicted(&self, claim: ClaimId) -> bool {
        self.revoke(claim, Loss::Evicted)
    }

    /// Revokes one claim. Returns `false` if the claim is not held under this session.
    pub(super) fn revoke(&self, claim: ClaimId, loss: Loss) -> bool {
        let Some(hold) = self.forget(claim) else {
            return false;
        };
        on_lost::act(self.on_lost, loss);
        hold.lose(loss);
        true
    }

    /// Returns when the keeper has to renew the session or declare its loss, and whether it renews.
    pub(super) fn agenda(&self, spread: f64) -> Agenda {
        let renews = self.renewing.load(Ordering::Acquire);
        let validity = locked(&self.validity);
        let deadline = validity.revoke_at();
        Agenda {
            wake_at: if renews {
                validity.next_renewal(spread).min(deadline)
            } else {
                deadline
            },
            renews,
        }
    }

    /// Returns the timeout of a renewal that is sent now.
    pub(super) fn patience(&self) -> Duration {
        locked(&self.validity).patience(clock::now())
    }

    /// Registers a new hold, to be notified of the session's loss. If the session has been lost
    /// meanwhile, the hold is notified at once.
    pub(crate) fn register(&self, hold: &Arc<Hold>) {
        locked(&self.holds).insert(hold.claim().id, hold.clone());
        // `announce` sets the deadline to 0 before it drains, so either it sees the hold or this
        // sees the 0.
        if !self.seems_live()
            && let Some(hold) = self.forget(hold.claim().id)
        {
            hold.lose(self.loss().unwrap_or(Loss::Expired));
        }
    }

    /// Returns the claims held under the session.
    pub(super) fn held(&self) -> Vec<Arc<Hold>> {
        locked(&self.holds).values().cloned().collect()
    }

    /// Removes a hold that has ended.
    pub(crate) fn forget(&self, claim: ClaimId) -> Option<Arc<Hold>> {
        locked(&self.holds).remove(&claim)
    }
}

/// The keeper's next action for a session.
#[derive(Debug)]
pub(super) struct Agenda {
    pub(super) wake_at: Moment,
    pub(super) renews: bool,
}
