//! The keeper: a thread of its own that renews sessions and carries out what nobody waits for.
//!
//! Renewals must survive user code that blocks the runtime's workers, so they do not run on the user's runtime. The
//! keeper owns one task for each session, from its opening to its end, and one for each withdrawal that its caller left
//! to it (a dropped guard, a cancelled `acquire` or `release`). It ends when told to stop, after it has closed its
//! sessions; nothing outlives it.

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
use crate::session::call::{patient, patiently};
use crate::session::errors::closed;
use crate::session::errors::isolated;
use crate::session::errors::silent;
use crate::session::errors::ticket_ended;
use crate::spi::backend::{Backend, Claim, Renewal, Session, SessionSpec};
use crate::spi::clock;
use crate::spi::mutex::locked;
use crate::types::error::{Error, ErrorKind, Result};
use crate::types::loss::Loss;
use crate::types::nonce::jitter;
use crate::types::queue::Withdrawn;

/// For how long a request whose caller has given up may still arrive at the store: until the kernel stops repeating what a
/// peer does not acknowledge (`tcp_retries2` of Linux: 924 s).
const LATEST_ARRIVAL: Duration = Duration::from_secs(960);

/// The first pause before something is tried again that nobody waits for; it doubles up to the time that one request may take.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug)]
enum Job {
    Begin { beginning: Beginning, reply: oneshot::Sender<Result<Arc<LiveSession>>> },
    ReleaseAll { done: oneshot::Sender<()> },
    Withdraw { claim: Claim, session: Arc<LiveSession>, arrived: bool },
}

/// How the life of a session begins here.
#[derive(Debug)]
enum Beginning {
    /// It is opened.
    Open(SessionSpec),
    /// It was opened elsewhere: it is renewed once, and no more unless told to.
    Resume(Session),
}

/// The way to the keeper's thread. Sending never blocks and needs no runtime.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    jobs: mpsc::UnboundedSender<Job>,
    stop: CancellationToken,
    ended: CancellationToken,
    /// Disconnected when the thread has ended: for those who cannot wait for `ended`.
    thread: Arc<Mutex<std::sync::mpsc::Receiver<()>>>,
}

impl Keeper {
    /// Starts the thread. `backend` is called from it alone.
    pub(crate) fn start(backend: Arc<dyn Backend>, on_lost: OnLost) -> Result<Self> {
        let (jobs, inbox) = mpsc::unbounded_channel();
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let name = backend.capabilities().backend;
        let failed = move |error: std::io::Error| {
            Error::new(ErrorKind::Unavailable, "cannot start the thread that renews sessions")
                .with_backend(name)
                .with_source(error)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
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
        Ok(Self { jobs, stop, ended, thread: Arc::new(Mutex::new(thread)) })
    }

    /// Opens a session, and renews it from then on.
    pub(crate) async fn open(&self, spec: SessionSpec) -> Result<Arc<LiveSession>> {
        self.begin(Beginning::Open(spec)).await
    }

    /// Takes up a session that was opened elsewhere, and does not renew it.
    pub(crate) async fn resume(&self, session: Session) -> Result<Arc<LiveSession>> {
        self.begin(Beginning::Resume(session)).await
    }

    async fn begin(&self, beginning: Beginning) -> Result<Arc<LiveSession>> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job::Begin { beginning, reply }).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Ends all sessions, and waits for that. New ones can be opened afterwards.
    pub(crate) async fn release_all(&self) -> Result<()> {
        let (done, told) = oneshot::channel();
        self.jobs.send(Job::ReleaseAll { done }).map_err(|_| closed())?;
        told.await.map_err(|_| closed())
    }

    /// Withdraws a claim in the background, and does not give up before its session does. `arrived`: the store has answered
    /// for it. If not, the request that puts it in line may still be on its way, on another connection, and come after the
    /// withdrawal.
    pub(crate) fn withdraw(&self, claim: Claim, session: Arc<LiveSession>, arrived: bool) {
        // No thread, no session: then the claim has ended with it.
        let _ = self.jobs.send(Job::Withdraw { claim, session, arrived });
    }

    /// Ends all sessions and the thread, and blocks until that is done, at most for `patience`.
    pub(crate) fn stop(&self, patience: Duration) {
        self.stop.cancel();
        // Nothing is ever sent: this returns when the sender goes with the thread, or after the time.
        let _ = locked(&self.thread).recv_timeout(patience);
    }

    /// Ends all sessions and the thread, and waits for that.
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
    /// Ends the sessions that live now.
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
                    Some(job) => self.take(job).await,
                    None => break,
                },
                Some(_) = self.lives.join_next() => {}
                Some(_) = self.withdrawals.join_next() => {}
            }
        }
        self.stop.cancel();
        self.end_sessions().await;
    }

    /// Each session closes itself and ends its claims with it: there is no need to withdraw them one by one.
    async fn end_sessions(&mut self) {
        self.current.cancel();
        self.current = self.stop.child_token();
        self.withdrawals.shutdown().await;
        while self.lives.join_next().await.is_some() {}
    }

    async fn take(&mut self, job: Job) {
        let backend = self.backend.clone();
        match job {
            Job::Begin { beginning, reply } => {
                self.lives.spawn(live(backend, beginning, self.current.clone(), self.on_lost, reply));
            }
            Job::Withdraw { claim, session, arrived } => {
                self.withdrawals.spawn(withdraw(backend, claim, session, arrived));
            }
            Job::ReleaseAll { done } => {
                self.end_sessions().await;
                let _ = done.send(());
            }
        }
    }
}

/// The life of one session: opened, renewed, closed. `all` ends those of all sessions.
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
            Arc::new(LiveSession::opened(session, sent, ending.clone(), on_lost, has_key_slots))
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
    if reply.send(Ok(session.clone())).is_err() {
        ending.cancel();
    }
    tokio::select! {
        biased;
        () = ending.cancelled() => close(&*backend, &session, &all).await,
        () = renew(&*backend, &session) => {}
        () = beat(&session) => {}
        () = heed_evictions(&*backend, &session) => {}
    }
}

async fn begin(backend: &dyn Backend, beginning: &Beginning) -> Result<Session> {
    match beginning {
        // Two attempts: the first may only find that an old connection is broken. No more than two, so
        // that a wrong address is reported at once.
        Beginning::Open(spec) => match patient(backend.open(spec)).await {
            Err(error) if error.is_retryable() => patient(backend.open(spec)).await,
            opened => opened,
        },
        Beginning::Resume(session) => match patiently(|| backend.renew(session)).await? {
            Renewal::Renewed { ttl } => Ok(Session { ttl, ..*session }),
            Renewal::Isolated => Err(isolated()),
            Renewal::Expired => Err(ticket_ended()),
        },
    }
}

/// Renews until the session is lost.
async fn renew(backend: &dyn Backend, session: &LiveSession) {
    let id = session.session().id;
    let mut spread = jitter();
    // Looked at twice: a request under way while the store changed may be granted by the old one after the first look.
    let (mut incarnation, mut looks) = (backend.incarnation(), 0);
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
                    (incarnation, looks) = (now, 2);
                }
                // The session lives, which says nothing of its claims: what they are worth is known first.
                if looks > 0 {
                    if let Err(error) = confirm(backend, session).await {
                        warn!(session = %id, %error, "cannot confirm what is held: all of it is at risk");
                        session.failed(spread);
                        continue;
                    }
                    looks -= 1;
                }
                session.renewed(ttl, sent);
            }
            Ok(Ok(Renewal::Isolated)) => {
                session.lose(Loss::Isolated);
                warn!(session = %id, "session lost: the store has this client isolated");
                return;
            }
            Ok(Ok(Renewal::Expired)) => {
                session.lose(Loss::SessionLost);
                warn!(session = %id, "session lost: the store has ended it");
                return;
            }
            Ok(Err(error)) => {
                warn!(session = %id, %error, "renewal failed: all that is held is at risk");
                session.failed(spread);
            }
            Err(_) => {
                warn!(session = %id, "renewal not answered in time: all that is held is at risk");
                session.failed(spread);
            }
        }
    }
}

/// How many claims are looked at at a time.
const CONFIRMED_AT_ONCE: usize = 16;

/// Looks whether the store still has what is held under a session, and revokes what it has not: a fail-over can keep the session
/// and lose its last claims.
async fn confirm(backend: &dyn Backend, session: &LiveSession) -> Result<()> {
    let looks = session.held().into_iter().map(|hold| async move {
        let claim = hold.claim();
        let queue = patient(backend.queue(&claim.name)).await?;
        let is_there = queue.holders().any(|entry| entry.claim == claim.id);
        // A release under way explains it; it is looked at after the answer, for it may have begun before.
        if !is_there && !hold.is_leaving() && session.evicted(claim.id) {
            warn!(name = %claim.name, claim = %claim.id, "lost: the store has forgotten this claim");
        }
        Ok(())
    });
    tokio::time::timeout(
        session.patience(),
        stream::iter(looks).buffer_unordered(CONFIRMED_AT_ONCE).try_collect(),
    )
    .await
    .unwrap_or_else(|_| Err(silent(session.patience())))
}

/// Lets requests under way notice how long they take.
async fn beat(session: &LiveSession) {
    loop {
        tokio::time::sleep(session.beat()).await;
        session.pulse();
    }
}

/// Tells holds of their eviction until the session is lost.
async fn heed_evictions(backend: &dyn Backend, session: &LiveSession) {
    if !backend.capabilities().reports_evictions {
        session.lost().await;
        return;
    }
    loop {
        match session.while_live(backend.evictions(session.session())).await {
            Ok(Ok(claims)) => {
                for claim in claims {
                    if session.evicted(claim) {
                        warn!(%claim, "evicted");
                    }
                }
            }
            Ok(Err(error)) if error.kind() == ErrorKind::Isolated => session.lose(Loss::Isolated),
            Ok(Err(error)) => {
                debug!(session = %session.session().id, %error, "cannot hear of evictions for now");
                tokio::time::sleep((session.ttl() / 12).mul_f64(0.5 + jitter())).await;
            }
            Err(_) => {
                // Lost: the renewals see it as well, and say so.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Ends a session at the store. Retries until the session's TTL has passed, because its claims block
/// others until then. Once `all` is cancelled a caller waits for this, and one attempt is the last.
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
                info!(session = %id, %error, "session not closed: it ends by its ttl");
                return;
            }
            Err(error) => debug!(session = %id, %error, "session not closed: trying again"),
        }
        tokio::select! {
            () = all.cancelled() => {}
            () = tokio::time::sleep(session.request_patience().mul_f64(0.5 + jitter() / 2.0)) => {}
        }
    }
}

/// Asks to end a session, again after errors for as long as one request may take. No error is final: what remains of the session
/// blocks others.
async fn close_now(backend: &dyn Backend, session: &LiveSession) -> Result<()> {
    patiently(|| async { backend.close(session.session()).await.map_err(Error::retryable) }).await
}

/// Withdraws a claim. Retries until the store confirms it or the session is lost, which ends the claim
/// as well. No error is final: the session is renewed meanwhile, so a remaining claim would block its
/// name for as long.
///
/// A claim that may not have arrived yet is looked for again, at pauses of half the time that has passed, until no request can
/// arrive any more. An outage that the session survives is shorter than its TTL, so a request that the store reads at its end
/// is found within half a TTL.
async fn withdraw(backend: Arc<dyn Backend>, claim: Claim, session: Arc<LiveSession>, arrived: bool) {
    let began = clock::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let pause = match session.request(backend.withdraw(&claim)).await {
            Err(_) => return,
            Ok(Some(Ok(Withdrawn::Held | Withdrawn::Waiting))) => {
                if arrived {
                    session.give_back(&claim);
                }
                return;
            }
            Ok(Some(Ok(Withdrawn::Absent))) => {
                let age = clock::now().since(began);
                if arrived || age > LATEST_ARRIVAL {
                    return;
                }
                (age / 2).max(FIRST_PAUSE)
            }
            failed => {
                if let Some(Err(error)) = failed.ok().flatten()
                    && !error.is_retryable()
                    && session.is_first(error.kind())
                {
                    warn!(name = %claim.name, %error, "cannot withdraw a claim yet: trying until the session ends");
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
