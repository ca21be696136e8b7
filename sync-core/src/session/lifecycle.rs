//! The life of one session, from its opening to its end: a task of the keeper.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::options::OnLost;
use crate::session::call::{with_retries, with_timeout};
use crate::session::departure::Departures;
use crate::session::errors::{isolated, silent, ticket_ended};
use crate::session::live::LiveSession;
use crate::session::timeouts::{PATIENCE, Timeouts};
use crate::spi::backend::{Backend, Renewal, Session, SessionSpec};
use crate::spi::clock;
use crate::telemetry;
use crate::types::error::{Error, ErrorKind, Result};
use crate::types::loss::Loss;
use crate::types::nonce::jitter;

/// How the keeper obtains a session.
#[derive(Debug)]
pub(super) enum Beginning {
    /// Opens a new session.
    Open(SessionSpec),
    /// Resumes a session that was opened elsewhere: renews it once, and afterwards only on request.
    Resume(Session),
}

/// Opens, renews and closes one session. Cancelling `all` ends all sessions.
pub(super) async fn run_session(
    backend: Arc<dyn Backend>,
    beginning: Beginning,
    all: CancellationToken,
    on_lost: OnLost,
    timeouts: Timeouts,
    departures: Arc<Departures>,
    reply: oneshot::Sender<Result<Arc<LiveSession>>>,
) {
    let (sent, ending) = (clock::now(), all.child_token());
    let session = match begin(&*backend, &beginning, timeouts).await {
        Ok(session) => Arc::new(LiveSession::opened(
            session,
            sent,
            ending.clone(),
            on_lost,
            timeouts,
            departures,
            &backend.capabilities(),
        )),
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
    backend.forget(session.session());
}

async fn begin(
    backend: &dyn Backend,
    beginning: &Beginning,
    timeouts: Timeouts,
) -> Result<Session> {
    let opening = timeouts.opening();
    match beginning {
        // Two attempts, because the first may only discover that an old connection is broken. No
        // more than two, so that a wrong address is reported at once.
        Beginning::Open(spec) => match with_timeout(opening, backend.open(spec)).await {
            Err(error) if error.is_retryable() => with_timeout(opening, backend.open(spec)).await,
            opened => opened,
        },
        Beginning::Resume(session) => match with_retries(opening, || backend.renew(session)).await?
        {
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
                let lag = clock::now().since(agenda.wake_at);
                telemetry::renewed(session.store(), id, lag);
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
        let queue = with_timeout(PATIENCE, backend.queue(&claim.name)).await?;
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
            // `renew` notices the loss, and ends this task. A further request could fail at once,
            // and this loop would then not yield.
            Ok(Err(error)) if error.kind() == ErrorKind::Isolated => {
                session.lose(Loss::Isolated);
                return std::future::pending().await;
            }
            // Do not wait for the renewal that would find it: the store may grant the claims to
            // others already.
            Ok(Err(error)) if error.kind() == ErrorKind::SessionLost => {
                warn!(session = %session.session().id, "session lost: it has ended in the store");
                session.lose(Loss::SessionLost);
                return std::future::pending().await;
            }
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

/// Makes one attempt to close a session, with retries within [`PATIENCE`]. Every error
/// is retried, because a session that remains blocks others.
async fn close_now(backend: &dyn Backend, session: &LiveSession) -> Result<()> {
    with_retries(PATIENCE, || async {
        backend
            .close(session.session())
            .await
            .map_err(Error::retryable)
    })
    .await
}
