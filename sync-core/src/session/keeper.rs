//! The keeper: a dedicated thread that renews sessions and does background work.
//!
//! Renewals must survive user code that blocks the runtime's workers, so they do not run on the
//! user's runtime. The keeper owns one task for each session, from its opening to its end, one for
//! each withdrawal in the background (of a dropped guard, or a cancelled `acquire` or `release`),
//! and one for each hold with limits. When it is stopped, it closes its sessions first; no task
//! outlives it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::options::OnLost;
use crate::session::arrivals::Late;
use crate::session::departure::Departures;
use crate::session::errors::closed;
use crate::session::hold::Hold;
use crate::session::job::Job;
use crate::session::lifecycle::{Beginning, run_session};
use crate::session::limits::enforce;
use crate::session::live::LiveSession;
use crate::session::timeouts::Timeouts;
use crate::session::withdrawal::withdraw;
use crate::spi::backend::{Backend, Claim, Session, SessionSpec};
use crate::spi::clock;
use crate::spi::mutex::locked;
use crate::types::error::{Error, ErrorKind, Result};

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
    pub(crate) fn start(
        backend: Arc<dyn Backend>,
        on_lost: OnLost,
        timeouts: Timeouts,
    ) -> Result<Self> {
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
            timeouts,
            current: stop.child_token(),
            stop: stop.clone(),
            departures: Arc::new(Departures::new(jobs.downgrade())),
            lives: JoinSet::new(),
            withdrawals: JoinSet::new(),
        };
        let announce = ended.clone().drop_guard();
        let (running, thread) = std::sync::mpsc::channel();
        let clock = clock::Source::current();
        std::thread::Builder::new()
            .name("distsync-keeper".to_owned())
            .spawn(move || {
                clock.install();
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

    /// Enforces the limits of a hold.
    pub(crate) fn limit(&self, hold: Arc<Hold>) {
        // Fails if the thread has ended. Its sessions, and this hold, have then ended too.
        let _ = self.jobs.send(Job::Limit { hold });
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
    timeouts: Timeouts,
    stop: CancellationToken,
    /// Cancelled to end all sessions that are open now.
    current: CancellationToken,
    departures: Arc<Departures>,
    lives: JoinSet<()>,
    /// Withdrawals, the watch over departures, and the limits of holds.
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
                self.lives.spawn(run_session(
                    backend,
                    beginning,
                    self.current.clone(),
                    self.on_lost,
                    self.timeouts,
                    self.departures.clone(),
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
            Job::Watch { watch, backend } => {
                self.withdrawals.spawn(watch.run(backend));
            }
            Job::Limit { hold } => {
                self.withdrawals.spawn(enforce(backend, hold));
            }
            Job::ReleaseAll { done } => {
                self.end_sessions().await;
                let _ = done.send(());
            }
        }
    }
}
