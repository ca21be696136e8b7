//! A wrapper around a backend that simulates a faulty network and counts requests.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::breaking::Countdown;
use crate::spi::backend::{Backend, Claim, Renewal, Session, SessionSpec, Standing};
use crate::spi::capabilities::Capabilities;
use crate::spi::mutex::locked;
use crate::types::error::{Error, ErrorKind, Result};
use crate::types::ids::ClaimId;
use crate::types::names::LockName;
use crate::types::queue::{Queue, Revision, Withdrawn};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Up,
    /// Requests are lost, including those in progress. When the network is up again they fail, as
    /// on a broken connection.
    Cut,
    /// Requests fail at once.
    Failing,
    /// Requests arrive, but their replies are lost.
    LosingReplies,
    /// Requests take effect but fail with an error that is not retryable. Withdrawals take no
    /// effect.
    Refusing,
    /// Each request independently meets a random fault, or none.
    Disturbed,
}

/// The outcome of one request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// The request and its reply arrive.
    Answered,
    /// No reply arrives.
    Silent { arrives: bool },
    /// The reply is an error.
    Failed { arrives: bool, retryable: bool },
}

/// The network of one client, controlled by the case.
#[derive(Clone, Debug)]
pub struct Network {
    state: Arc<watch::Sender<State>>,
    renewals: Arc<AtomicU64>,
    enqueues: Arc<AtomicU64>,
    withdrawal_delay: Arc<AtomicU64>,
    enqueue_delay: Arc<AtomicU64>,
    /// How late the next request to enqueue a claim arrives, after its caller got an error.
    straggler: Arc<AtomicU64>,
    /// Delayed requests, which arrive even if their caller has given up.
    late: Arc<Mutex<JoinSet<()>>>,
    random: Arc<Mutex<StdRng>>,
    incarnation: Arc<AtomicU64>,
    /// The number of next requests to open a session whose replies are lost.
    unanswered_openings: Arc<AtomicU64>,
    breaks: Arc<Countdown>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            state: Arc::new(watch::Sender::new(State::Up)),
            renewals: Arc::default(),
            enqueues: Arc::default(),
            withdrawal_delay: Arc::default(),
            enqueue_delay: Arc::default(),
            straggler: Arc::default(),
            late: Arc::default(),
            random: Arc::new(Mutex::new(StdRng::seed_from_u64(0))),
            incarnation: Arc::default(),
            unanswered_openings: Arc::default(),
            breaks: Arc::default(),
        }
    }
}

impl Network {
    /// Loses all requests and replies from now on.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Makes all requests fail at once from now on.
    pub fn fail(&self) {
        self.state.send_replace(State::Failing);
    }

    /// Loses all replies from now on, while requests arrive.
    pub fn lose_replies(&self) {
        self.state.send_replace(State::LosingReplies);
    }

    /// Loses the reply to the next request that opens a session, while the request arrives.
    pub fn lose_reply_of_opening(&self) {
        self.unanswered_openings.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether the reply to this request to open a session is lost.
    fn loses_opening(&self) -> bool {
        let left = |openings: u64| openings.checked_sub(1);
        self.unanswered_openings
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left)
            .is_ok()
    }

    /// Makes all requests fail with an error that is not retryable from now on.
    ///
    /// Requests take effect nevertheless, except for withdrawals: the worst case for a caller that
    /// gives up.
    pub fn refuse(&self) {
        self.state.send_replace(State::Refusing);
    }

    /// Makes each request succeed, fail permanently, fail transiently, or get no reply, at random.
    ///
    /// A request that does not succeed may have taken effect nevertheless.
    pub fn disturb(&self, seed: u64) {
        *locked(&self.random) = StdRng::seed_from_u64(seed);
        self.state.send_replace(State::Disturbed);
    }

    /// Simulates a fail-over: the store has a new incarnation, which may have lost claims.
    pub fn fail_over(&self) {
        self.incarnation.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the countdown to the request at which the connection breaks.
    pub(super) fn breaks(&self) -> &Arc<Countdown> {
        &self.breaks
    }

    /// Removes all faults.
    pub fn heal(&self) {
        self.state.send_replace(State::Up);
    }

    /// Delays withdrawals by `delay`.
    pub fn delay_withdrawals(&self, delay: Duration) {
        self.withdrawal_delay
            .store(millis(delay), Ordering::Relaxed);
    }

    /// Delays requests that enqueue a claim by `delay`. They arrive even if their caller has given
    /// up.
    pub fn delay_enqueues(&self, delay: Duration) {
        self.enqueue_delay.store(millis(delay), Ordering::Relaxed);
    }

    /// Makes the next request to enqueue a claim fail, as if its connection broke. It arrives after
    /// `delay` nevertheless.
    pub fn straggle(&self, delay: Duration) {
        self.straggler.store(millis(delay), Ordering::Relaxed);
    }

    /// Resolves when all delayed requests have arrived.
    pub async fn arrivals(&self) {
        let late = std::mem::take(&mut *locked(&self.late));
        late.join_all().await;
    }

    /// Returns how many renewals were sent.
    #[must_use]
    pub fn renewals(&self) -> u64 {
        self.renewals.load(Ordering::Relaxed)
    }

    /// Returns how many requests to enqueue a claim were sent.
    #[must_use]
    pub fn enqueues(&self) -> u64 {
        self.enqueues.load(Ordering::Relaxed)
    }

    fn fate(&self, state: State) -> Fate {
        match state {
            State::Up => Fate::Answered,
            State::Cut => Fate::Silent { arrives: false },
            State::Failing => Fate::Failed {
                arrives: false,
                retryable: true,
            },
            State::LosingReplies => Fate::Failed {
                arrives: true,
                retryable: true,
            },
            State::Refusing => Fate::Failed {
                arrives: true,
                retryable: false,
            },
            State::Disturbed => {
                let mut random = locked(&self.random);
                let arrives = random.random();
                match random.random_range(0..10) {
                    0..4 => Fate::Answered,
                    4..6 => Fate::Silent { arrives },
                    6..8 => Fate::Failed {
                        arrives,
                        retryable: true,
                    },
                    _ => Fate::Failed {
                        arrives,
                        retryable: false,
                    },
                }
            }
        }
    }

    async fn transmit<T>(&self, request: impl Future<Output = Result<T>> + Send) -> Result<T> {
        if let Some(arrives) = self.breaks.breaks_now() {
            if arrives {
                let _ = request.await;
            }
            return Err(down());
        }
        let mut state = self.state.subscribe();
        let now = *state.borrow_and_update();
        let fate = self.fate(now);
        if let Fate::Answered
        | Fate::Silent { arrives: true }
        | Fate::Failed { arrives: true, .. } = fate
        {
            let answer = tokio::select! {
                biased;
                _ = state.wait_for(|state| *state == State::Cut && now != State::Cut) => None,
                answer = request => Some(answer),
            };
            match (fate, answer) {
                (Fate::Answered, Some(answer)) => return answer,
                (Fate::Failed { retryable, .. }, Some(_)) => return Err(failure(retryable)),
                _ => {}
            }
        } else if let Fate::Failed { retryable, .. } = fate {
            return Err(failure(retryable));
        }
        // Lost: the caller gets no reply, and finally a broken connection.
        let _ = state
            .wait_for(|state| !matches!(state, State::Cut | State::Disturbed))
            .await;
        Err(down())
    }
}

fn millis(delay: Duration) -> u64 {
    u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)
}

fn failure(retryable: bool) -> Error {
    if retryable {
        return down();
    }
    Error::new(ErrorKind::Store, "the simulated store rejects this request").with_maybe_applied()
}

fn down() -> Error {
    Error::unanswered("the simulated network is down")
}

/// A backend whose requests pass through a simulated [`Network`].
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Backend>,
    network: Network,
}

impl Faulty {
    /// Wraps `inner`, whose requests then pass through `network`.
    #[must_use]
    pub fn new(inner: Arc<dyn Backend>, network: Network) -> Self {
        Self { inner, network }
    }

    /// Enqueues a claim after `delay`, even if its caller has given up.
    fn enqueue_late(&self, claim: &Claim, delay: Duration) {
        let (inner, late) = (self.inner.clone(), claim.clone());
        locked(&self.network.late).spawn(async move {
            tokio::time::sleep(delay).await;
            let _ = inner.enqueue(&late).await;
        });
    }
}

#[async_trait]
impl Backend for Faulty {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn for_keeper(&self) -> Arc<dyn Backend> {
        Arc::new(Self {
            inner: self.inner.for_keeper(),
            network: self.network.clone(),
        })
    }

    fn incarnation(&self) -> u64 {
        self.inner.incarnation() + self.network.incarnation.load(Ordering::Relaxed)
    }

    async fn open(&self, spec: &SessionSpec) -> Result<Session> {
        let opened = self.network.transmit(self.inner.open(spec)).await;
        if opened.is_ok() && self.network.loses_opening() {
            Err(down())
        } else {
            opened
        }
    }

    async fn renew(&self, session: &Session) -> Result<Renewal> {
        self.network.renewals.fetch_add(1, Ordering::Relaxed);
        self.network.transmit(self.inner.renew(session)).await
    }

    async fn close(&self, session: &Session) -> Result<()> {
        self.network.transmit(self.inner.close(session)).await
    }

    fn forget(&self, session: &Session) {
        self.inner.forget(session);
    }

    async fn enqueue(&self, claim: &Claim) -> Result<Standing> {
        self.network.enqueues.fetch_add(1, Ordering::Relaxed);
        let straggler = self.network.straggler.swap(0, Ordering::Relaxed);
        if straggler > 0 {
            self.enqueue_late(claim, Duration::from_millis(straggler));
            return Err(down());
        }
        let delay = Duration::from_millis(self.network.enqueue_delay.load(Ordering::Relaxed));
        if !delay.is_zero() {
            self.enqueue_late(claim, delay);
            tokio::time::sleep(delay).await;
        }
        self.network.transmit(self.inner.enqueue(claim)).await
    }

    async fn granted(&self, claim: &Claim) -> Result<Standing> {
        self.network.transmit(self.inner.granted(claim)).await
    }

    async fn update(&self, claim: &Claim, value: Bytes) -> Result<bool> {
        self.network.transmit(self.inner.update(claim, value)).await
    }

    async fn withdraw(&self, claim: &Claim) -> Result<Withdrawn> {
        if *self.network.state.borrow() == State::Refusing {
            return Err(failure(false));
        }
        let delay = Duration::from_millis(self.network.withdrawal_delay.load(Ordering::Relaxed));
        self.network
            .transmit(async {
                tokio::time::sleep(delay).await;
                self.inner.withdraw(claim).await
            })
            .await
    }

    async fn evict(&self, name: &LockName, claim: ClaimId) -> Result<Withdrawn> {
        self.network.transmit(self.inner.evict(name, claim)).await
    }

    async fn evictions(&self, session: &Session) -> Result<Vec<ClaimId>> {
        self.network.transmit(self.inner.evictions(session)).await
    }

    async fn queue(&self, name: &LockName) -> Result<Queue> {
        self.network.transmit(self.inner.queue(name)).await
    }

    async fn changed(&self, name: &LockName, after: Revision) -> Result<Queue> {
        self.network.transmit(self.inner.changed(name, after)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<LockName>> {
        self.network.transmit(self.inner.list(prefix)).await
    }
}
