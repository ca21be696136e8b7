//! From an acquire request to a guard.
//!
//! An [`AcquireRequest`] is what a lock or an election asks for. [`AcquireRequest::run`] makes
//! attempts, one for each session: an attempt puts a [`QueuedClaim`] into the store's queue and
//! ends with a guard, with a busy name, or with the loss of its session, after which the next
//! attempt begins.
//!
//! The common case, a free name under an open session, is kept small: it makes one request, and all
//! other cases run in boxed futures, so that an acquire does not carry room for them.

use std::sync::Arc;
use std::time::Duration;

use tracing::{Instrument, warn};

use crate::locks::context::Context;
use crate::locks::guard::Guard;
use crate::locks::queued_claim::{FirstReply, QueuedClaim};
use crate::locks::request::{AcquireRequest, Attempt};
use crate::locks::unsuccessful::{Progress, contended, session_ended};
use crate::options::Wait;
use crate::session::call::pause_for_outage;
use crate::session::live::LiveSession;
use crate::spi::backend::Claim;
use crate::spi::clock;
use crate::spi::home::check_runtime;
use crate::telemetry::{AcquireRecord, acquire_span};
use crate::types::error::{Error, Result};
use crate::types::loss::Loss;

impl AcquireRequest {
    /// Acquires; an error if the name is taken and the request does not wait.
    pub(crate) async fn acquire(&self, context: &Arc<Context>, wait: Wait) -> Result<Guard> {
        match self.run(context, wait).await? {
            Attempt::Held(guard) => Ok(guard),
            Attempt::Busy(holder) => Err(context
                .call(self.operation, &self.name)
                .explain(contended(&holder))),
        }
    }

    /// Makes attempts until one is granted, or for as long as `wait` says.
    pub(crate) async fn run(&self, context: &Arc<Context>, wait: Wait) -> Result<Attempt> {
        let Some(mut queued) = self.queued_at_once(context, wait) else {
            return Box::pin(self.run_in_full(context, wait, None)).await;
        };
        match queued.granted_at_once().await {
            Ok(attempt) => Ok(attempt),
            Err(first) => Box::pin(self.run_in_full(context, wait, Some((queued, first)))).await,
        }
    }

    /// Returns a claim of the open session, if nothing has to precede or accompany its first
    /// request: the common case.
    fn queued_at_once<'a>(
        &'a self,
        context: &'a Arc<Context>,
        wait: Wait,
    ) -> Option<QueuedClaim<'a>> {
        let queues_locally = self.queues_locally && context.local_queue.is_some();
        if matches!(wait, Wait::For(_))
            || self.owns_session()
            || queues_locally
            || context.telemetry.is_observed()
            || context.backend.joining().is_some()
            || check_runtime().is_err()
        {
            return None;
        }
        let session = context.current(self.on_disconnect)?;
        Some(self.queued(context, session, wait == Wait::Forever))
    }

    /// Makes attempts. `begun` is the first one, and the outcome of its first request.
    async fn run_in_full(
        &self,
        context: &Arc<Context>,
        wait: Wait,
        begun: Option<(QueuedClaim<'_>, FirstReply)>,
    ) -> Result<Attempt> {
        let explain = |error: Error| context.call(self.operation, &self.name).explain(error);
        check_runtime().map_err(explain)?;
        let ended = if context.telemetry.is_observed() {
            Box::pin(self.run_recorded(context, wait, begun)).await
        } else {
            self.run_for(context, wait, begun).await
        };
        ended.map_err(explain)
    }

    /// Reports the request and its outcome.
    async fn run_recorded(
        &self,
        context: &Arc<Context>,
        wait: Wait,
        begun: Option<(QueuedClaim<'_>, FirstReply)>,
    ) -> Result<Attempt> {
        let store = context.telemetry;
        let span = acquire_span(store, &self.name, self.mode);
        let recorded = async {
            let record = AcquireRecord::begin(store, &self.name);
            let ended = self.run_for(context, wait, begun).await;
            match &ended {
                Ok(Attempt::Held(guard)) => record.granted(guard.token()),
                Ok(Attempt::Busy(_)) => record.busy(),
                Err(error) => record.failed(error),
            }
            ended
        };
        recorded.instrument(span).await
    }

    async fn run_for(
        &self,
        context: &Arc<Context>,
        wait: Wait,
        begun: Option<(QueuedClaim<'_>, FirstReply)>,
    ) -> Result<Attempt> {
        if let Wait::For(patience) = wait {
            return Box::pin(self.run_within(context, patience)).await;
        }
        let waits = wait == Wait::Forever;
        self.attempts(context, waits, &mut Progress::default(), begun)
            .await
    }

    async fn run_within(&self, context: &Arc<Context>, patience: Duration) -> Result<Attempt> {
        let mut progress = Progress::for_timeout();
        let deadline = clock::now().after(patience);
        match clock::until(deadline, self.attempts(context, true, &mut progress, None)).await {
            Some(ended) => ended,
            None => Err(progress
                .timed_out(&*context.backend, &self.name, patience)
                .await),
        }
    }

    async fn attempts(
        &self,
        context: &Arc<Context>,
        waits: bool,
        progress: &mut Progress,
        mut begun: Option<(QueuedClaim<'_>, FirstReply)>,
    ) -> Result<Attempt> {
        // Kept until the claim is granted, so that the next request of this handle joins then.
        let _turn = match &context.local_queue {
            Some(queue) if waits && self.queues_locally => {
                Some(Box::new(Box::pin(queue.turn(&self.name)).await?))
            }
            _ => None,
        };
        let mut was_queued = false;
        loop {
            let (mut queued, first) = match begun.take() {
                Some((queued, first)) => (queued, Some(first)),
                None => match self.session(context).await {
                    Ok(session) => {
                        progress.begin(&session);
                        (self.queued(context, session, waits), None)
                    }
                    // Once queued, keep waiting: if an outage outlasts the session we lose our
                    // position, but we do not give up.
                    Err(error) if was_queued && error.is_retryable() => {
                        warn!(name = %self.name, %error, "cannot open a session: still waiting for one");
                        progress.failed(error);
                        Box::pin(pause_for_outage()).await;
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            let granted = queued.granted(first, progress).await;
            drop(queued);
            let loss = match granted {
                Ok(Ok(ended)) => return Ok(ended),
                Ok(Err(loss)) => loss,
                Err(error) if was_queued && error.is_retryable() => {
                    warn!(name = %self.name, %error, "cannot queue again: still trying");
                    progress.failed(error);
                    Box::pin(pause_for_outage()).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if !waits || loss == Loss::Closed {
                return Err(session_ended(loss));
            }
            warn!(name = %self.name, %loss, "session lost while queued: queueing again at the end");
            was_queued = true;
        }
    }

    async fn session(&self, context: &Context) -> Result<Arc<LiveSession>> {
        if self.owns_session() {
            let ttl = self.own_ttl(context.session_ttl());
            return Box::pin(context.open(ttl, self.on_disconnect)).await;
        }
        match context.current(self.on_disconnect) {
            Some(session) => Ok(session),
            None => Box::pin(context.session(self.on_disconnect)).await,
        }
    }

    fn queued<'a>(
        &'a self,
        context: &'a Arc<Context>,
        session: Arc<LiveSession>,
        waits: bool,
    ) -> QueuedClaim<'a> {
        let claim = Claim {
            id: session.claim_id(&self.name),
            session: *session.session(),
            name: self.name.clone(),
            also: self.also.clone(),
            any: self.any,
            mode: self.mode,
            waits,
            client: context.client.clone(),
            value: self.value.clone(),
            token: None,
        };
        QueuedClaim::new(self, context, session, claim)
    }
}
