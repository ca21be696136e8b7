//! A backend around a backend, with a network that can be cut, made to fail, or made to lose replies; and with counters.

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
    /// Requests vanish, those under way too. When the network is back they fail, as on a connection that broke.
    Cut,
    /// Requests fail at once.
    Failing,
    /// Requests arrive, and their replies are lost.
    LosingReplies,
    /// Requests are answered by an error that is not worth a retry, though they take effect; but withdrawals do not.
    Refusing,
    /// Each request meets a fault of its own, or none.
    Disturbed,
}

/// What happens to one request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It arrives, and so does its answer.
    Answered,
    /// No answer comes.
    Silent { arrives: bool },
    /// The answer is an error.
    Failed { arrives: bool, passes: bool },
}

/// The network of one client, as its case controls it.
#[derive(Clone, Debug)]
pub struct Network {
    state: Arc<watch::Sender<State>>,
    renewals: Arc<AtomicU64>,
    enqueues: Arc<AtomicU64>,
    withdrawal_delay: Arc<AtomicU64>,
    enqueue_delay: Arc<AtomicU64>,
    /// Requests that are on their way although nobody waits for them.
    late: Arc<Mutex<JoinSet<()>>>,
    random: Arc<Mutex<StdRng>>,
    incarnation: Arc<AtomicU64>,
    /// How many of the next openings of a session lose their replies.
    unanswered_openings: Arc<AtomicU64>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            state: Arc::new(watch::Sender::new(State::Up)),
            renewals: Arc::default(),
            enqueues: Arc::default(),
            withdrawal_delay: Arc::default(),
            enqueue_delay: Arc::default(),
            late: Arc::default(),
            random: Arc::new(Mutex::new(StdRng::seed_from_u64(0))),
            incarnation: Arc::default(),
            unanswered_openings: Arc::default(),
        }
    }
}

impl Network {
    /// Requests and replies vanish from now on.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Requests fail at once from now on.
    pub fn fail(&self) {
        self.state.send_replace(State::Failing);
    }

    /// Requests arrive from now on, and their replies do not.
    pub fn lose_replies(&self) {
        self.state.send_replace(State::LosingReplies);
    }

    /// The next request that opens a session arrives, and its reply does not.
    pub fn lose_reply_of_opening(&self) {
        self.unanswered_openings.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the reply to this opening is lost.
    fn loses_opening(&self) -> bool {
        let left = |openings: u64| openings.checked_sub(1);
        self.unanswered_openings.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }

    /// Requests are answered from now on by an error that is not worth a retry. They take effect all the same, except for
    /// withdrawals: the worst for a caller who gives up.
    pub fn refuse(&self) {
        self.state.send_replace(State::Refusing);
    }

    /// Each request from now on is answered, fails for good, fails in a way that passes, or is not answered at all, at random; and
    /// when it is not answered properly it may have taken effect all the same.
    pub fn disturb(&self, seed: u64) {
        *locked(&self.random) = StdRng::seed_from_u64(seed);
        self.state.send_replace(State::Disturbed);
    }

    /// The store is another from now on, which may have forgotten something.
    pub fn fail_over(&self) {
        self.incarnation.fetch_add(1, Ordering::Relaxed);
    }

    /// All is well again.
    pub fn heal(&self) {
        self.state.send_replace(State::Up);
    }

    /// Withdrawals take this much longer.
    pub fn delay_withdrawals(&self, delay: Duration) {
        self.withdrawal_delay.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Requests that put a claim in line arrive this much later, also if nobody waits for them any more.
    pub fn delay_enqueues(&self, delay: Duration) {
        self.enqueue_delay.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Resolves when all requests that were late have arrived.
    pub async fn arrivals(&self) {
        let late = std::mem::take(&mut *locked(&self.late));
        late.join_all().await;
    }

    /// How many renewals were sent.
    #[must_use]
    pub fn renewals(&self) -> u64 {
        self.renewals.load(Ordering::Relaxed)
    }

    /// How many times a claim was put in line or asked about.
    #[must_use]
    pub fn enqueues(&self) -> u64 {
        self.enqueues.load(Ordering::Relaxed)
    }

    fn fate(&self, state: State) -> Fate {
        match state {
            State::Up => Fate::Answered,
            State::Cut => Fate::Silent { arrives: false },
            State::Failing => Fate::Failed { arrives: false, passes: true },
            State::LosingReplies => Fate::Failed { arrives: true, passes: true },
            State::Refusing => Fate::Failed { arrives: true, passes: false },
            State::Disturbed => {
                let mut random = locked(&self.random);
                let arrives = random.random();
                match random.random_range(0..10) {
                    0..4 => Fate::Answered,
                    4..6 => Fate::Silent { arrives },
                    6..8 => Fate::Failed { arrives, passes: true },
                    _ => Fate::Failed { arrives, passes: false },
                }
            }
        }
    }

    async fn carry<T>(&self, request: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let mut state = self.state.subscribe();
        let now = *state.borrow_and_update();
        let fate = self.fate(now);
        if let Fate::Answered | Fate::Silent { arrives: true } | Fate::Failed { arrives: true, .. } = fate {
            let answer = tokio::select! {
                biased;
                _ = state.wait_for(|state| *state == State::Cut && now != State::Cut) => None,
                answer = request => Some(answer),
            };
            match (fate, answer) {
                (Fate::Answered, Some(answer)) => return answer,
                (Fate::Failed { passes, .. }, Some(_)) => return Err(failure(passes)),
                _ => {}
            }
        } else if let Fate::Failed { passes, .. } = fate {
            return Err(failure(passes));
        }
        // Vanished: the caller sees silence, and in the end a broken connection.
        let _ = state.wait_for(|state| !matches!(state, State::Cut | State::Disturbed)).await;
        Err(down())
    }
}

fn failure(passes: bool) -> Error {
    if passes {
        return down();
    }
    Error::new(ErrorKind::Store, "the test's store refuses this").with_maybe_applied()
}

fn down() -> Error {
    Error::new(ErrorKind::Unavailable, "the test's network is down").with_maybe_applied().retryable()
}

/// The backend around the backend.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Backend>,
    network: Network,
}

impl Faulty {
    /// `inner` behind `network`.
    #[must_use]
    pub fn new(inner: Arc<dyn Backend>, network: Network) -> Self {
        Self { inner, network }
    }
}

#[async_trait]
impl Backend for Faulty {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn for_keeper(&self) -> Arc<dyn Backend> {
        Arc::new(Self { inner: self.inner.for_keeper(), network: self.network.clone() })
    }

    fn incarnation(&self) -> u64 {
        self.inner.incarnation() + self.network.incarnation.load(Ordering::Relaxed)
    }

    async fn open(&self, spec: &SessionSpec) -> Result<Session> {
        let opened = self.network.carry(self.inner.open(spec)).await;
        if opened.is_ok() && self.network.loses_opening() { Err(down()) } else { opened }
    }

    async fn renew(&self, session: &Session) -> Result<Renewal> {
        self.network.renewals.fetch_add(1, Ordering::Relaxed);
        self.network.carry(self.inner.renew(session)).await
    }

    async fn close(&self, session: &Session) -> Result<()> {
        self.network.carry(self.inner.close(session)).await
    }

    async fn enqueue(&self, claim: &Claim) -> Result<Standing> {
        self.network.enqueues.fetch_add(1, Ordering::Relaxed);
        let delay = self.network.enqueue_delay.load(Ordering::Relaxed);
        if delay > 0 {
            let (inner, late) = (self.inner.clone(), claim.clone());
            locked(&self.network.late).spawn(async move {
                tokio::time::sleep(Duration::from_millis(delay)).await;
                let _ = inner.enqueue(&late).await;
            });
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        self.network.carry(self.inner.enqueue(claim)).await
    }

    async fn granted(&self, claim: &Claim) -> Result<Standing> {
        self.network.carry(self.inner.granted(claim)).await
    }

    async fn update(&self, claim: &Claim, value: Bytes) -> Result<bool> {
        self.network.carry(self.inner.update(claim, value)).await
    }

    async fn withdraw(&self, claim: &Claim) -> Result<Withdrawn> {
        if *self.network.state.borrow() == State::Refusing {
            return Err(failure(false));
        }
        let delay = Duration::from_millis(self.network.withdrawal_delay.load(Ordering::Relaxed));
        self.network
            .carry(async {
                tokio::time::sleep(delay).await;
                self.inner.withdraw(claim).await
            })
            .await
    }

    async fn evict(&self, name: &LockName, claim: ClaimId) -> Result<Withdrawn> {
        self.network.carry(self.inner.evict(name, claim)).await
    }

    async fn evictions(&self, session: &Session) -> Result<Vec<ClaimId>> {
        self.network.carry(self.inner.evictions(session)).await
    }

    async fn queue(&self, name: &LockName) -> Result<Queue> {
        self.network.carry(self.inner.queue(name)).await
    }

    async fn changed(&self, name: &LockName, after: Revision) -> Result<Queue> {
        self.network.carry(self.inner.changed(name, after)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<LockName>> {
        self.network.carry(self.inner.list(prefix)).await
    }
}
