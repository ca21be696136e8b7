//! Races of many sessions for one name. A store whose read and write are not atomic fails here.
//!
//! Each session has its own connection. A [`Ledger`] records each hold from the arrival of its
//! grant until just before its end is requested, so two holds that overlap in the ledger also
//! overlapped in the store.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::conformance::stage::{SOON, eventually};
use crate::conformance::{Stage, bare};
use crate::spi::backend::{Backend, Claim, Session, Standing};
use crate::spi::clock;
use crate::spi::mutex::locked;
use crate::spi::order::Run;
use crate::types::error::Result;
use crate::types::ids::ClaimId;
use crate::types::mode::Mode;
use crate::types::names::LockName;
use crate::types::token::Token;

/// The number of sessions in a race.
const RACERS: usize = 8;
/// The maximum number of rounds.
const ROUNDS: usize = 300;
/// The time after which a race on a slow store ends, even if rounds are left.
const LONG_ENOUGH: Duration = Duration::from_secs(12);
/// The timeout of a request or a wait. No holder holds for longer than a few milliseconds.
const TURN: Duration = Duration::from_secs(20);
const STUCK: &str = "no answer within 20 s: a waiter was lost, or the store is stuck";

/// All holds of one name.
#[derive(Debug, Default)]
struct Ledger {
    /// The holds that have begun and whose end has not been requested.
    now: HashMap<ClaimId, (Mode, Token)>,
    /// The claims whose end was requested. A grant that arrives afterwards is ignored.
    ended: HashSet<ClaimId>,
    newest: Option<Token>,
    newest_exclusive: Option<Token>,
    grants: usize,
}

impl Ledger {
    /// Records that a grant has arrived.
    fn begin(&mut self, claim: &Claim, token: Token) {
        if self.ended.contains(&claim.id) {
            return;
        }
        let mut run = Run::default();
        let fits = self.now.values().all(|(mode, _)| run.admit(*mode)) && run.admits(claim.mode);
        assert!(
            fits,
            "{:?} with {token:?} was granted beside {:?}",
            claim.mode, self.now
        );
        // All earlier holds that exclude this one have ended, and must have lower tokens.
        let earlier = if claim.mode == Mode::Exclusive {
            self.newest
        } else {
            self.newest_exclusive
        };
        assert!(
            Some(token) > earlier,
            "{token:?} ({:?}) was granted after {earlier:?}",
            claim.mode
        );
        self.newest = self.newest.max(Some(token));
        if claim.mode == Mode::Exclusive {
            self.newest_exclusive = Some(token);
        }
        self.grants += 1;
        self.now.insert(claim.id, (claim.mode, token));
    }

    /// Records that the end of a claim is about to be requested.
    fn end(&mut self, claim: ClaimId) {
        self.now.remove(&claim);
        self.ended.insert(claim);
    }
}

/// Starts each round for all racers at the same moment, until the maximum of rounds or time is
/// reached.
#[derive(Debug)]
struct Start {
    barrier: Barrier,
    over: AtomicBool,
    end: clock::Moment,
}

impl Start {
    fn new() -> Arc<Self> {
        let end = clock::now().after(LONG_ENOUGH);
        Arc::new(Self {
            barrier: Barrier::new(RACERS),
            over: AtomicBool::new(false),
            end,
        })
    }

    /// Returns `false` to all racers once the race is over.
    async fn next(&self, round: usize) -> bool {
        if self.barrier.wait().await.is_leader() {
            self.over.store(
                round >= ROUNDS || clock::now() >= self.end,
                Ordering::SeqCst,
            );
        }
        self.barrier.wait().await;
        !self.over.load(Ordering::SeqCst)
    }
}

/// A session that takes part in the race, on its own connection.
struct Racer {
    stage: Stage,
    backend: Arc<dyn Backend>,
    session: Session,
    name: LockName,
    ledger: Arc<Mutex<Ledger>>,
    start: Arc<Start>,
    random: StdRng,
}

impl Racer {
    fn claim(&self, mode: Mode, waits: bool) -> Claim {
        Claim {
            mode,
            waits,
            ..bare::claim(self.session, self.name.clone())
        }
    }

    async fn enqueue(&self, claim: &Claim) -> Standing {
        let standing = with_retries(|| self.backend.enqueue(claim)).await;
        self.note(claim, &standing);
        standing
    }

    /// Waits for the grant of a claim. Returns `None` if the connection on which it waits is lost:
    /// enqueue it again.
    async fn granted(&self, claim: &Claim) -> Option<Standing> {
        let granted = tokio::time::timeout(TURN, self.backend.granted(claim)).await;
        match granted.unwrap_or_else(|_| panic!("{STUCK}")) {
            Ok(standing) => {
                self.note(claim, &standing);
                Some(standing)
            }
            Err(error) if error.is_retryable() => None,
            Err(error) => panic!("the store answers in a race: {error}"),
        }
    }

    fn note(&self, claim: &Claim, standing: &Standing) {
        if let Standing::Granted { token } = standing {
            locked(&self.ledger).begin(claim, *token);
        }
    }

    /// Enqueues a claim and waits for its grant. Returns `false` if another racer ended the claim.
    async fn acquire(&self, claim: &Claim) -> bool {
        loop {
            let mut standing = Some(self.enqueue(claim).await);
            if let Some(Standing::Waiting { .. }) = standing {
                standing = self.granted(claim).await;
            }
            match standing {
                Some(Standing::Granted { .. }) => return true,
                Some(Standing::Gone { .. }) => return false,
                Some(Standing::Waiting { .. }) | None => {}
                Some(other) => panic!("{claim:?} waits, and was answered {other:?}"),
            }
        }
    }

    async fn withdraw(&self, claim: &Claim) {
        locked(&self.ledger).end(claim.id);
        with_retries(|| self.backend.withdraw(claim)).await;
    }

    async fn close(&self) {
        with_retries(|| self.backend.close(&self.session)).await;
    }

    /// Ends the session with all of its claims, and opens a new one.
    async fn start_again(&mut self, claim: &Claim) {
        locked(&self.ledger).end(claim.id);
        self.close().await;
        self.session = open(&self.stage, &*self.backend).await;
    }

    /// Evicts a random claim of the queue.
    async fn evict_any(&mut self) {
        let queue = with_retries(|| self.backend.queue(&self.name)).await;
        if queue.entries.is_empty() {
            return;
        }
        let claim = queue.entries[self.random.random_range(0..queue.entries.len())].claim;
        locked(&self.ledger).end(claim);
        with_retries(|| self.backend.evict(&self.name, claim)).await;
    }

    /// Pauses for a short random time.
    async fn pause(&mut self) {
        match self.random.random_range(0..3) {
            0 => {}
            1 => tokio::task::yield_now().await,
            _ => {
                tokio::time::sleep(Duration::from_micros(self.random.random_range(0..2_000))).await
            }
        }
    }

    fn any_mode(&mut self) -> Mode {
        match self.random.random_range(0..6) {
            0..3 => Mode::Exclusive,
            3..5 => Mode::Shared,
            _ => Mode::Permit { of: 2 },
        }
    }

    /// Makes one random step of the mixed race.
    async fn step(&mut self) {
        let mode = self.any_mode();
        match self.random.random_range(0..10) {
            0..3 => {
                let claim = self.claim(mode, false);
                if matches!(self.enqueue(&claim).await, Standing::Granted { .. }) {
                    self.pause().await;
                    self.withdraw(&claim).await;
                }
            }
            3..6 => {
                let claim = self.claim(mode, true);
                self.acquire(&claim).await;
                self.pause().await;
                self.withdraw(&claim).await;
            }
            // A wait that ends, by cancellation or its limit, around the moment of its grant.
            6..8 => {
                let claim = self.claim(mode, true);
                if matches!(self.enqueue(&claim).await, Standing::Waiting { .. }) {
                    let limit = Duration::from_micros(self.random.random_range(0..4_000));
                    let _ = tokio::time::timeout(limit, self.granted(&claim)).await;
                }
                self.withdraw(&claim).await;
            }
            8 => {
                let claim = self.claim(mode, true);
                self.enqueue(&claim).await;
                self.pause().await;
                self.start_again(&claim).await;
            }
            _ => {
                if self.stage.capabilities().evict {
                    self.evict_any().await;
                }
            }
        }
    }
}

/// Retries a request after transient errors.
async fn with_retries<T, F: Future<Output = Result<T>>>(mut request: impl FnMut() -> F) -> T {
    let answer = tokio::time::timeout(TURN, async {
        loop {
            match request().await {
                Err(error) if error.is_retryable() => tokio::task::yield_now().await,
                answer => return answer.expect("the store answers in a race"),
            }
        }
    });
    answer.await.unwrap_or_else(|_| panic!("{STUCK}"))
}

/// Opens a session that outlasts the race, because it is not renewed.
async fn open(stage: &Stage, backend: &dyn Backend) -> Session {
    let ttl = Duration::from_secs(300).min(stage.capabilities().ttl_max);
    let spec = bare::spec(ttl);
    with_retries(|| backend.open(&spec)).await
}

/// Runs all racers to their end, and checks that they leave nothing behind.
async fn race<F: Future<Output = ()> + Send + 'static>(stage: &Stage, run: impl Fn(Racer) -> F) {
    let (ledger, start) = (Arc::new(Mutex::new(Ledger::default())), Start::new());
    let mut racers = JoinSet::new();
    for seed in 0..RACERS {
        let backend = stage.backend().await;
        let session = open(stage, &*backend).await;
        racers.spawn(run(Racer {
            stage: stage.clone(),
            name: stage.claim(session, "race").name,
            backend,
            session,
            ledger: ledger.clone(),
            start: start.clone(),
            random: StdRng::seed_from_u64(seed as u64),
        }));
    }
    racers.join_all().await;
    let grants = locked(&ledger).grants;
    assert!(grants >= RACERS, "only {grants} grants in the whole race");
    let backend = stage.backend().await;
    let session = open(stage, &*backend).await;
    let claim = stage.claim(session, "race");
    eventually(SOON, "the queue is empty after the race", || async {
        let queue = with_retries(|| backend.queue(&claim.name)).await;
        queue.entries.is_empty()
    })
    .await;
    let standing = with_retries(|| backend.enqueue(&claim)).await;
    assert!(
        matches!(standing, Standing::Granted { .. }),
        "not free after the race: {standing:?}"
    );
    with_retries(|| backend.close(&session)).await;
}

/// If many sessions try a free name at the same moment, exactly one is granted.
pub async fn law_11_one_of_many_gets_a_free_name(stage: Stage) {
    race(&stage, |racer| async move {
        let mut round = 0;
        while racer.start.next(round).await {
            let claim = racer.claim(Mode::Exclusive, false);
            let held = matches!(racer.enqueue(&claim).await, Standing::Granted { .. });
            // No claim is withdrawn before all sessions have tried.
            racer.start.barrier.wait().await;
            if held {
                racer.withdraw(&claim).await;
            }
            round += 1;
        }
        racer.close().await;
    })
    .await;
}

/// If more sessions than there are permits try at the same moment, all permits are granted.
pub async fn law_11_all_free_permits_are_granted_to_tries(stage: Stage) {
    const PERMITS: u16 = 3;
    let granted = Arc::new(AtomicUsize::new(0));
    race(&stage, |racer| {
        let granted = granted.clone();
        async move {
            let mut round = 0;
            while racer.start.next(round).await {
                let claim = racer.claim(Mode::Permit { of: PERMITS }, false);
                let held = matches!(racer.enqueue(&claim).await, Standing::Granted { .. });
                granted.fetch_add(usize::from(held), Ordering::SeqCst);
                // No claim is withdrawn before all sessions have tried.
                if racer.start.barrier.wait().await.is_leader() {
                    let granted = granted.swap(0, Ordering::SeqCst);
                    assert_eq!(
                        granted,
                        usize::from(PERMITS),
                        "permits granted to {RACERS} tries"
                    );
                }
                if held {
                    racer.withdraw(&claim).await;
                }
                round += 1;
            }
            racer.close().await;
        }
    })
    .await;
}

/// If many sessions request a free name at the same moment, in any modes, all are granted: one
/// after the other, or together where the modes allow it.
pub async fn law_11_all_of_many_get_a_free_name_in_turn(stage: Stage) {
    race(&stage, |mut racer| async move {
        let mut round = 0;
        while racer.start.next(round).await {
            let mode = racer.any_mode();
            let claim = racer.claim(mode, true);
            assert!(
                racer.acquire(&claim).await,
                "{claim:?} has ended, but no racer ended it"
            );
            racer.pause().await;
            racer.withdraw(&claim).await;
            round += 1;
        }
        racer.close().await;
    })
    .await;
}

/// Acquires, tries, releases, cancellations, timeouts, ends of sessions and evictions at the same
/// moment: mutual exclusion holds, tokens rise, no waiter is lost, and nothing is left behind.
pub async fn law_11_everything_at_once_at_one_name(stage: Stage) {
    race(&stage, |mut racer| async move {
        let mut round = 0;
        while racer.start.next(round).await {
            racer.step().await;
            round += 1;
        }
        racer.close().await;
    })
    .await;
}
