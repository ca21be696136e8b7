//! One claim in the store's queue, from its enqueueing to its grant.

use std::sync::Arc;

use tracing::debug;

use crate::locks::context::Context;
use crate::locks::guard::Guard;
use crate::locks::request::{AcquireRequest, Attempt};
use crate::locks::unsuccessful::{Progress, evicted};
use crate::options::Waiting;
use crate::session::arrivals::{Arrivals, Late};
use crate::session::call::{Call, pause_briefly};
use crate::session::hold::Hold;
use crate::session::live::LiveSession;
use crate::spi::backend::{Claim, Gone, Standing};
use crate::telemetry::WaitRecord;
use crate::types::error::Result;
use crate::types::loss::Loss;
use crate::types::names::LockName;
use crate::types::queue::Entry;
use crate::types::token::Token;

/// The outcome of a request under a session, as of `LiveSession::request`.
pub(super) type FirstReply = Result<Option<Result<Standing>>, Loss>;

/// A claim that is on its way to the queue, or in it. Dropped before its grant, for instance with
/// the future that waits, it is withdrawn in the background.
pub(super) struct QueuedClaim<'a> {
    request: &'a AcquireRequest,
    context: &'a Arc<Context>,
    session: Arc<LiveSession>,
    /// `None` once there is nothing to withdraw.
    claim: Option<Claim>,
    /// The requests that enqueue the claim.
    arrivals: Arrivals,
}

impl<'a> QueuedClaim<'a> {
    pub(super) fn new(
        request: &'a AcquireRequest,
        context: &'a Arc<Context>,
        session: Arc<LiveSession>,
        claim: Claim,
    ) -> Self {
        Self {
            request,
            context,
            session,
            claim: Some(claim),
            arrivals: Arrivals::default(),
        }
    }

    /// Enqueues the claim and waits for its grant. The inner error is the loss of its session.
    ///
    /// `first` is the outcome of the first request, if it was made already.
    pub(super) async fn granted(
        &mut self,
        first: Option<FirstReply>,
        progress: &mut Progress,
    ) -> Result<Result<Attempt, Loss>> {
        let standing = self.wait(first, progress).await?;
        if self.request.owns_session()
            && let Ok(Standing::Granted { .. } | Standing::GrantedAny { .. }) = &standing
        {
            Box::pin(self.begin_limits()).await?;
        }
        match standing {
            Ok(Standing::Granted { token }) => Ok(self.guard(token, None)),
            Ok(Standing::GrantedAny { token, name }) => Ok(self.guard(token, Some(name))),
            Ok(Standing::Busy { holder }) => {
                self.abandon();
                Ok(Ok(Attempt::Busy(holder)))
            }
            Ok(Standing::Gone {
                why: Gone::Evicted | Gone::Withdrawn,
            }) => Err(evicted()),
            // `wait` does not end while the claim waits.
            Ok(
                Standing::Gone {
                    why: Gone::SessionLost,
                }
                | Standing::Waiting { .. },
            ) => {
                self.session.lose(Loss::SessionLost);
                // If the handle has closed the session, that is the reason.
                let loss = self.session.loss().unwrap_or(Loss::SessionLost);
                self.abandon();
                Ok(Err(loss))
            }
            Err(loss) => {
                self.abandon();
                Ok(Err(loss))
            }
        }
    }

    /// Enqueues the claim and waits until it is queued no longer.
    async fn wait(
        &self,
        first: Option<FirstReply>,
        progress: &mut Progress,
    ) -> Result<Result<Standing, Loss>> {
        let Some(claim) = &self.claim else {
            // It was granted, and its session was lost before it was held.
            let loss = first.and_then(Result::err);
            return Ok(Err(loss.unwrap_or(Loss::Expired)));
        };
        match self.enqueue(claim, first).await {
            Ok(Ok(Standing::Waiting { position, holder })) => {
                Box::pin(self.wait_in_queue(claim, position, holder, progress)).await
            }
            Ok(Ok(standing)) => Ok(Ok(standing)),
            Ok(Err(error)) => Err(error),
            Err(loss) => Ok(Err(loss)),
        }
    }

    /// Makes the first request of a claim whose store has no limit on requests that join a queue.
    /// Returns the guard if the claim is granted at once, and otherwise the outcome of the request.
    ///
    /// This is the common case, and allocates nothing but the request itself.
    pub(super) async fn granted_at_once(&mut self) -> Result<Attempt, FirstReply> {
        let Some(claim) = &self.claim else {
            return Err(Err(Loss::Closed));
        };
        self.arrivals.send();
        let first = self.session.request(self.context.backend.enqueue(claim));
        match first.await {
            Ok(Some(Ok(Standing::Granted { token }))) => {
                self.arrivals.answer();
                self.guard(token, None).map_err(Err)
            }
            first => Err(first),
        }
    }

    fn call<'c>(&self, claim: &'c Claim) -> Call<'c> {
        self.context.call(self.request.operation, &claim.name)
    }

    /// Asks the store to enqueue the claim, or to find it in the queue. The outer error is the loss
    /// of the session.
    async fn enqueue(
        &self,
        claim: &Claim,
        first: Option<FirstReply>,
    ) -> Result<Result<Standing>, Loss> {
        let backend = &self.context.backend;
        // A try does not wait behind a crowd that joins.
        let _joining = match backend.joining().filter(|_| claim.waits) {
            Some(limits) => {
                let permit = self.session.while_live(limits.permit(&claim.name));
                Some(Box::new(Box::pin(permit).await?))
            }
            None => None,
        };
        let enqueue = || {
            self.arrivals.send();
            backend.enqueue(claim)
        };
        let call = self.call(claim);
        let standing = match first {
            None => call.persist(&self.session, enqueue).await?,
            Some(first) => call.persist_after(first, &self.session, enqueue).await?,
        };
        if standing.is_ok() {
            self.arrivals.answer();
        }
        Ok(standing)
    }

    /// Waits for the grant of a claim that is queued.
    async fn wait_in_queue(
        &self,
        claim: &Claim,
        position: u32,
        mut holder: Option<Box<Entry>>,
        progress: &mut Progress,
    ) -> Result<Result<Standing, Loss>> {
        if let Some(on_wait) = &self.request.on_wait {
            on_wait.tell(Waiting {
                position,
                holder: holder.as_deref().cloned(),
            });
        }
        let _wait = WaitRecord::begin(self.context.telemetry, &claim.name, position);
        loop {
            progress.answered(holder);
            let granted = self.context.backend.granted(claim);
            match self.session.while_live(granted).await {
                Ok(Ok(Standing::Waiting { .. })) => {}
                Ok(Ok(standing)) => return Ok(Ok(standing)),
                // The connection broke, not the claim: ask again by its id.
                Ok(Err(error)) if error.is_retryable() => {
                    debug!(name = %claim.name, %error, "waiting was interrupted: asking again");
                    progress.failed(error);
                }
                Ok(Err(error)) => return Err(self.call(claim).explain(error)),
                Err(loss) => return Ok(Err(loss)),
            }
            holder = loop {
                pause_briefly().await;
                match self.enqueue(claim, None).await {
                    Ok(Ok(Standing::Waiting { holder, .. })) => break holder,
                    Ok(Ok(standing)) => return Ok(Ok(standing)),
                    // The store is out of reach, but the claim is queued for as long as its session
                    // lives.
                    Ok(Err(error)) if error.is_retryable() => progress.failed(error),
                    Ok(Err(error)) => return Err(error),
                    Err(loss) => return Ok(Err(loss)),
                }
            };
        }
    }

    /// Begins the limits of a hold that was granted now.
    async fn begin_limits(&self) -> Result<()> {
        if self.request.outlives_the_handle() || self.request.min_hold.is_some() {
            self.session.outlive_the_handle();
        }
        if self.request.has_hold_limit() {
            self.session.stop_renewing();
        }
        if (self.request.has_hold_limit() || self.request.min_hold.is_some())
            && let Some(claim) = &self.claim
        {
            let call = self.call(claim);
            call.renew(&*self.context.backend, &self.session).await?;
        }
        Ok(())
    }

    /// Makes a guard of a grant, if the session still lives. `name` is the granted one of several.
    fn guard(&mut self, token: Token, name: Option<LockName>) -> Result<Attempt, Loss> {
        let mut claim = self.claim.take().ok_or(Loss::Closed)?;
        if let Some(name) = name {
            (claim.name, claim.also, claim.any) = (name, Vec::new(), false);
        }
        let hold = Hold::begin(
            claim,
            token,
            self.session.clone(),
            self.arrivals.late(),
            self.request.limits(),
        );
        let hold = hold?;
        if hold.has_limits() {
            self.context.keeper.limit(hold.clone());
        }
        let owns_session = self.request.owns_session();
        let guard = Guard::new(self.context.clone(), hold, owns_session);
        Ok(Attempt::Held(guard))
    }

    /// Ends the attempt where the store has nothing to withdraw, other than a session of its own.
    /// If a request may still arrive, the claim is withdrawn nevertheless.
    fn abandon(&mut self) {
        if self.arrivals.late() != Late::None {
            return;
        }
        if let Some(claim) = self.claim.take() {
            self.session.release_key_slot(&claim);
        }
        if self.request.owns_session() {
            self.session.end();
        }
    }
}

impl Drop for QueuedClaim<'_> {
    fn drop(&mut self) {
        let Some(claim) = self.claim.take() else {
            return;
        };
        if self.request.owns_session() {
            self.session.end();
        } else {
            self.context
                .keeper
                .withdraw(claim, self.session.clone(), self.arrivals.late());
        }
    }
}
