//! The keeper: a dedicated thread that renews sessions and does background work.
//!
//! Renewals must survive user code that blocks the runtime's workers, so they do not run on the
//! user's runtime. The keeper owns one task for each session, from its opening to its end, and one
//! for each withdrawal in the background (of a dropped guard, or a cancelled `acquire` or
//! `release`). When it is stopped, it closes its sessions first; no task outlives it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::live::LiveSession;
use crate::options::OnLost;
use crate::session::arrivals::Late;
use crate::session::call::{with_retries, with_timeout};
use crate::session::errors::{closed, isolated, silent, ticket_ended};
use crate::spi::backend::{Backend, Claim, Renewal, Session, SessionSpec};
use crate::spi::clock;
use crate::spi::mutex::locked;
use crate::types::error::{Error, ErrorKind, Result};
use crate::types::loss::Loss;
use crate::types::nonce::jitter;
use crate::types::queue::Withdrawn;

/// How long a request whose caller has given up may still arrive at the store: until the kernel
/// stops retransmitting unacknowledged data (`tcp_retries2` of Linux: 924 s).
const LATEST_ARRIVAL: Duration = Duration::from_secs(960);

/// The first pause before a withdrawal in the background is retried; it doubles up to the timeout
/// of a request.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug)]
enum Job {
    Begin {
        beginning: Beginning,
        reply: oneshot::Sender<Result<Arc<LiveSession>>>,
    },
    ReleaseAll {
        done: oneshot::Sender<()>,
    },
    Withdraw {
        claim: Claim,
        session: Arc<LiveSession>,
        late: Late,
    },
}

/// How the keeper obtains a session.
#[derive(Debug)]
enum Beginning {
    /// Opens a new session.
    Open(SessionSpec),
    /// Resumes a session that was opened elsewhere: renews it once, and afterwards only on request.
    Resume(Session),
}

/// A handle to the keeper's thread. Sending a job never blocks and needs no runtime.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    jobs: mpsc::UnboundedSender<Job>,
    stop: CancellationToken,
    ended: CancellationToken,
    /// Disconnected when the thread has ended, for blocking callers, which cannot await `ended`.
    thread: Arc<Mutex<std::sync::mpsc::Receiver<()>>>,
}

impl Keeper {
    /// Starts the thread. `backend` is called from that thread only.
    pub(crate) fn start(backend: Arc<dyn Backend>, on_lost: OnLost) -> Result<Self> {
        let (jobs, inbox) = mpsc::unbounded_channel();
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let name = backend.capabilities().backend;
        let failed = move |error: std::io::Error| {
            Error::new(
                ErrorKind::Unavailable,
                "cannot start the thread that renews sessions: check the limits on threads and open files",
            )
            .with_backend(name)
            .with_source(error)
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let keeper_loop = KeeperLoop {
            backend,
            on_lost,
            current: stop.child_token(),
            stop: stop.clone(),
            lives: JoinSet::new(),
            withdrawals: JoinSet::new(),
        };
        let announce = ended.clone().drop_guard();
        let (running, thread) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .name("distsync-keeper".to_owned())
            .spawn(move || {
                run(&runtime, keeper_loop, inbox, announce);
                drop(running);
            })
            .map_err(failed)?;
        Ok(Self {
            jobs,
            stop,
            ended,
            thread: Arc::new(Mutex::new(thread)),
        })
    }

    /// Opens a session, which the keeper renews from then on.
    pub(crate) async fn open(&self, spec: SessionSpec) -> Result<Arc<LiveSession>> {
        self.begin(Beginning::Open(spec)).await
    }

    /// Resumes a session that was opened elsewhere, without renewing it periodically.
    pub(crate) async fn resume(&self, session: Session) -> Result<Arc<LiveSession>> {
        self.begin(Beginning::Resume(session)).await
    }

    async fn begin(&self, beginning: Beginning) -> Result<Arc<LiveSession>> {
        let (reply, answer) = oneshot::channel();
        self.jobs
            .send(Job::Begin { beginning, reply })
            .map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Ends all sessions and waits for their end. New sessions can be opened afterwards.
    pub(crate) async fn release_all(&self) -> Result<()> {
        let (done, ended) = oneshot::channel();
        self.jobs
            .send(Job::ReleaseAll { done })
            .map_err(|_| closed())?;
        ended.await.map_err(|_| closed())
    }

    /// Withdraws a claim in the background, and retries until its session ends.
    ///
    /// A request that is `late` may still be on its way on another connection, and arrive after
    /// the withdrawal.
    pub(crate) fn withdraw(&self, claim: Claim, session: Arc<LiveSession>, late: Late) {
        // Fails if the thread has ended. Its sessions, and this claim, have then ended too.
        let _ = self.jobs.send(Job::Withdraw {
            claim,
            session,
            late,
        });
    }

    /// Ends all sessions and the thread. Blocks until they have ended, at most for `patience`.
    pub(crate) fn stop(&self, patience: Duration) {
        self.stop.cancel();
        // Nothing is ever sent: this returns when the thread ends and drops the sender, or at the
        // timeout.
        let _ = locked(&self.thread).recv_timeout(patience);
    }

    /// Ends all sessions and the thread, and waits until they have ended.
    pub(crate) async fn stopped(&self) {
        self.stop.cancel();
        self.ended.cancelled().await;
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }
}

fn run(
    runtime: &Runtime,
    keeper_loop: KeeperLoop,
    inbox: mpsc::UnboundedReceiver<Job>,
    _announce: tokio_util::sync::DropGuard,
) {
    runtime.block_on(keeper_loop.serve(inbox));
}

/// The state of the keeper's thread.
struct KeeperLoop {
    backend: Arc<dyn Backend>,
    on_lost: OnLost,
    stop: CancellationToken,
    /// Cancelled to end all sessions that are open now.
    current: CancellationToken,
    lives: JoinSet<()>,
    withdrawals: JoinSet<()>,
}

impl KeeperLoop {
    async fn serve(mut self, mut inbox: mpsc::UnboundedReceiver<Job>) {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                job = inbox.recv() => match job {
                    Some(job) => self.start(job).await,
                    None => break,
                },
                Some(_) = self.lives.join_next() => {}
                Some(_) = self.withdrawals.join_next() => {}
            }
        }
        self.stop.cancel();
        self.end_sessions().await;
    }

    /// Ends all sessions. Closing a session ends its claims, so pending withdrawals are aborted.
    async fn end_sessions(&mut self) {
        self.current.cancel();
        self.current = self.stop.child_token();
        self.withdrawals.shutdown().await;
        while self.lives.join_next().await.is_some() {}
    }

    async fn start(&mut self, job: Job) {
        let backend = self.backend.clone();
        match job {
            Job::Begin { beginning, reply } => {
                self.lives.spawn(live(
                    backend,
                    beginning,
                    self.current.clone(),
                    self.on_lost,
                    reply,
                ));
            }
            Job::Withdraw {
                claim,
                session,
                late,
            } => {
                self.withdrawals
                    .spawn(withdraw(backend, claim, session, late));
            }
            Job::ReleaseAll { done } => {
                self.end_sessions().await;
                let _ = done.send(());
            }
        }
    }
}

/// Opens, renews and closes one session. Cancelling `all` ends all sessions.
async fn live(
    backend: Arc<dyn Backend>,
    beginning: Beginning,
    all: CancellationToken,
    on_lost: OnLost,
    reply: oneshot::Sender<Result<Arc<LiveSession>>>,
) {
    let (sent, ending) = (clock::now(), all.child_token());
    let session = match begin(&*backend, &beginning).await {
        Ok(session) => {
            let has_key_slots = backend.capabilities().key_slots;
            Arc::new(LiveSession::opened(
                session,
                sent,
                ending.clone(),
                on_lost,
                has_key_slots,
            ))
        }
        Err(error) => {
            let _ = reply.send(Err(error.with_backend(backend.capabilities().backend)));
            return;
        }
    };
    if let Beginning::Resume(_) = beginning {
        session.stop_renewing();
    }
    debug!(session = %session.session().id, ttl = ?session.session().ttl, "session begun");
    // Read before the session can hold anything, so that no later fail-over is taken for the start.
    let incarnation = backend.incarnation();
    if reply.send(Ok(session.clone())).is_err() {
        ending.cancel();
    }
    tokio::select! {
        biased;
        () = ending.cancelled() => close(&*backend, &session, &all).await,
        () = renew(&*backend, &session, incarnation) => {}
        () = beat(&session) => {}
        () = heed_evictions(&*backend, &session) => {}
    }
}

async fn begin(backend: &dyn Backend, beginning: &Beginning) -> Result<Session> {
    match beginning {
        // Two attempts, because the first may only discover that an old connection is broken. No
        // more than two, so that a wrong address is reported at once.
        Beginning::Open(spec) => match with_timeout(backend.open(spec)).await {
            Err(error) if error.is_retryable() => with_timeout(backend.open(spec)).await,
            opened => opened,
        },
        Beginning::Resume(session) => match with_retries(|| backend.renew(session)).await? {
            Renewal::Renewed { ttl } => Ok(Session { ttl, ..*session }),
            Renewal::Isolated => Err(isolated()),
            Renewal::Expired => Err(ticket_ended()),
        },
    }
}

/// Renews the session until it is lost.
async fn renew(backend: &dyn Backend, session: &LiveSession, mut incarnation: u64) {
    let id = session.session().id;
    let mut spread = jitter();
    // Claims are confirmed twice after a fail-over: the old server may grant a request that was in
    // progress after the first confirmation.
    let mut confirmations = 0;
    loop {
        let agenda = session.agenda(spread);
        tokio::select! {
            biased;
            () = clock::sleep_until(agenda.wake_at) => {}
            () = session.moved.notified() => {
                if session.loss().is_some() { return }
                continue;
            }
        }
        if let Some(loss) = session.loss() {
            warn!(session = %id, %loss, "session lost");
            return;
        }
        if !agenda.renews {
            continue;
        }
        spread = jitter();
        let sent = clock::now();
        match tokio::time::timeout(session.patience(), backend.renew(session.session())).await {
            Ok(Ok(Renewal::Renewed { ttl })) => {
                let now = backend.incarnation();
                if now != incarnation {
                    (incarnation, confirmations) = (now, 2);
                }
                // The session survived, but its claims may not have: confirm them before the
                // session counts as renewed.
                if confirmations > 0 {
                    if let Err(error) = confirm(backend, session).await {
                        warn!(session = %id, %error, "cannot confirm the claims of this session: all of them are at risk");
                        session.failed(spread);
                        continue;
                    }
                    confirmations -= 1;
                }
                session.renewed(ttl, sent);
            }
            Ok(Ok(Renewal::Isolated)) => {
                session.lose(Loss::Isolated);
                warn!(session = %id, "session lost: the store has isolated this client");
                return;
            }
            Ok(Ok(Renewal::Expired)) => {
                session.lose(Loss::SessionLost);
                warn!(session = %id, "session lost: it has ended in the store");
                return;
            }
            Ok(Err(error)) => {
                warn!(session = %id, %error, "renewal failed: all claims of this session are at risk");
                session.failed(spread);
            }
            Err(_) => {
                warn!(session = %id, "renewal timed out: all claims of this session are at risk");
                session.failed(spread);
            }
        }
    }
}

/// How many claims are confirmed concurrently.
const CONFIRMED_AT_ONCE: usize = 16;

/// Checks that the store still has the claims held under a session, and revokes those that it has
/// lost. A fail-over can preserve the session and lose its latest claims.
async fn confirm(backend: &dyn Backend, session: &LiveSession) -> Result<()> {
    let checks = session.held().into_iter().map(|hold| async move {
        let claim = hold.claim();
        let queue = with_timeout(backend.queue(&claim.name)).await?;
        let is_there = queue.holders().any(|entry| entry.claim == claim.id);
        // A release in progress explains a missing claim. This is checked after the reply, because
        // the release may have begun before it.
        if !is_there && !hold.is_releasing() && session.evicted(claim.id) {
            warn!(name = %claim.name, claim = %claim.id, "claim lost: the store no longer has it");
        }
        Ok(())
    });
    tokio::time::timeout(
        session.patience(),
        stream::iter(checks)
            .buffer_unordered(CONFIRMED_AT_ONCE)
            .try_collect(),
    )
    .await
    .unwrap_or_else(|_| Err(silent(session.patience())))
}

/// Wakes the session's requests at each beat, so that they can time out.
async fn beat(session: &LiveSession) {
    loop {
        tokio::time::sleep(session.beat()).await;
        session.pulse();
    }
}

/// Notifies holders of evictions until the session is lost.
async fn heed_evictions(backend: &dyn Backend, session: &LiveSession) {
    if !backend.capabilities().reports_evictions {
        session.lost().await;
        return;
    }
    loop {
        match session
            .while_live(backend.evictions(session.session()))
            .await
        {
            Ok(Ok(claims)) => {
                for claim in claims {
                    if session.evicted(claim) {
                        warn!(%claim, "claim evicted");
                    }
                }
            }
            Ok(Err(error)) if error.kind() == ErrorKind::Isolated => session.lose(Loss::Isolated),
            Ok(Err(error)) => {
                debug!(session = %session.session().id, %error, "cannot watch for evictions at the moment");
                tokio::time::sleep((session.ttl() / 12).mul_f64(0.5 + jitter())).await;
            }
            Err(_) => {
                // The session is lost. `renew` notices and logs it, and ends this task.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Closes a session in the store. Retries until the session's TTL has passed, because its claims
/// block others until then. Once `all` is cancelled, a caller waits for this, so there is only one
/// more attempt.
async fn close(backend: &dyn Backend, session: &LiveSession, all: &CancellationToken) {
    if !session.is_live() {
        return;
    }
    session.lose(Loss::Closed);
    if session.outlives_the_handle() {
        return;
    }
    let id = session.session().id;
    let over = clock::now().after(session.ttl());
    loop {
        let is_last = all.is_cancelled() || clock::now() >= over;
        match close_now(backend, session).await {
            Ok(()) => {
                debug!(session = %id, "session closed");
                return;
            }
            Err(error) if is_last => {
                info!(session = %id, %error, "session not closed: it remains in the store until its ttl expires");
                return;
            }
            Err(error) => debug!(session = %id, %error, "session not closed: retrying"),
        }
        tokio::select! {
            () = all.cancelled() => {}
            () = tokio::time::sleep(session.request_patience().mul_f64(0.5 + jitter() / 2.0)) => {}
        }
    }
}

/// Makes one attempt to close a session, with retries within the timeout of a request. Every error
/// is retried, because a session that remains blocks others.
async fn close_now(backend: &dyn Backend, session: &LiveSession) -> Result<()> {
    with_retries(|| async {
        backend
            .close(session.session())
            .await
            .map_err(Error::retryable)
    })
    .await
}

/// Withdraws a claim. Retries until the store confirms it or the session is lost, which ends the
/// claim as well. Every error is retried: the session is renewed meanwhile, so a remaining claim
/// would block its name indefinitely.
///
/// If a request that enqueues the claim may still arrive, the withdrawal is repeated, at intervals
/// of half the elapsed time, until none can arrive any more. An outage that the session survives is
/// shorter than its TTL, so a request that the store reads at the end of the outage is found within
/// half a TTL.
async fn withdraw(backend: Arc<dyn Backend>, claim: Claim, session: Arc<LiveSession>, late: Late) {
    let began = clock::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let pause = match session.request(backend.withdraw(&claim)).await {
            Err(_) => return,
            Ok(Some(Ok(withdrawn))) => {
                let age = clock::now().since(began);
                match (late, withdrawn) {
                    (Late::None, Withdrawn::Absent) => return,
                    (Late::None, _) => {
                        session.release_key_slot(&claim);
                        return;
                    }
                    (Late::TheOnly, Withdrawn::Held | Withdrawn::Waiting) => return,
                    _ if age > LATEST_ARRIVAL => return,
                    _ => (age / 2).max(FIRST_PAUSE),
                }
            }
            failed => {
                if let Some(Err(error)) = failed.ok().flatten()
                    && !error.is_retryable()
                    && session.is_first(error.kind())
                {
                    warn!(name = %claim.name, %error, "cannot withdraw a claim yet: retrying until the session ends");
                }
                let now = pause;
                pause = (pause * 2).min(session.request_patience());
                now.mul_f64(0.5 + jitter())
            }
        };
        if session.while_live(tokio::time::sleep(pause)).await.is_err() {
            return;
        }
    }
}
