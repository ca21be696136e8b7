//! One claim in the store's queue, from its enqueueing to its grant.

use std::sync::Arc;

use tracing::debug;

use crate::locks::context::Context;
use crate::locks::guard::Guard;
use crate::locks::request::{AcquireRequest, Attempt};
use crate::locks::unsuccessful::{Progress, evicted};
use crate::options::Waiting;
use crate::session::arrivals::{Arrivals, Late};
use crate::session::call::pause_briefly;
use crate::session::hold::Hold;
use crate::session::live::LiveSession;
use crate::spi::backend::{Claim, Gone, Standing};
use crate::telemetry::WaitRecord;
use crate::types::error::Result;
use crate::types::loss::Loss;
use crate::types::names::LockName;
use crate::types::token::Token;

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
    pub(super) async fn granted(self, progress: &mut Progress) -> Result<Result<Attempt, Loss>> {
        match self.wait(progress).await? {
            Ok(Standing::Granted { token }) => self.into_guard(token, None).await,
            Ok(Standing::GrantedAny { token, name }) => self.into_guard(token, Some(name)).await,
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
    async fn wait(&self, progress: &mut Progress) -> Result<Result<Standing, Loss>> {
        let Some(claim) = &self.claim else {
            return Ok(Err(Loss::Closed));
        };
        let backend = &self.context.backend;
        let call = self.context.call(self.request.operation, &claim.name);
        let mut is_queued = false;
        let mut _wait = None;
        loop {
            let enqueue = || {
                self.arrivals.send();
                backend.enqueue(claim)
            };
            // A try does not wait behind a crowd that joins.
            let joining = match backend.joining().filter(|_| claim.waits) {
                Some(limits) => match self.session.while_live(limits.permit(&claim.name)).await {
                    Ok(permit) => Some(permit),
                    Err(loss) => return Ok(Err(loss)),
                },
                None => None,
            };
            let mut standing = match call.persist(&self.session, enqueue).await {
                Ok(Ok(standing)) => standing,
                // The store is out of reach, but the claim is queued for as long as its session
                // lives.
                Ok(Err(error)) if is_queued && error.is_retryable() => {
                    progress.failed(error);
                    continue;
                }
                Ok(Err(error)) => return Err(error),
                Err(loss) => return Ok(Err(loss)),
            };
            self.arrivals.answer();
            drop(joining);
            if let Standing::Waiting { position, holder } = standing {
                if let Some(on_wait) = self.request.on_wait.as_ref().filter(|_| !is_queued) {
                    on_wait.tell(Waiting {
                        position,
                        holder: holder.as_deref().cloned(),
                    });
                }
                if !is_queued {
                    let store = self.context.telemetry;
                    _wait = Some(WaitRecord::begin(store, &claim.name, position));
                }
                is_queued = true;
                progress.answered(holder);
                standing = match self.session.while_live(backend.granted(claim)).await {
                    Ok(Ok(standing)) => standing,
                    // The connection broke, not the claim: ask again by its id.
                    Ok(Err(error)) if error.is_retryable() => {
                        debug!(name = %claim.name, %error, "waiting was interrupted: asking again");
                        progress.failed(error);
                        Box::pin(pause_briefly()).await;
                        continue;
                    }
                    Ok(Err(error)) => return Err(call.explain(error)),
                    Err(loss) => return Ok(Err(loss)),
                };
            }
            if !matches!(standing, Standing::Waiting { .. }) {
                return Ok(Ok(standing));
            }
            Box::pin(pause_briefly()).await;
        }
    }

    /// Makes a guard of a grant, if the session still lives. `name` is the granted one of several.
    /// Hold limits begin here.
    async fn into_guard(
        mut self,
        token: Token,
        name: Option<LockName>,
    ) -> Result<Result<Attempt, Loss>> {
        if let (Some(claim), Some(name)) = (&mut self.claim, name) {
            (claim.name, claim.also, claim.any) = (name, Vec::new(), false);
        }
        if self.request.outlives_the_handle() || self.request.min_hold.is_some() {
            self.session.outlive_the_handle();
        }
        if self.request.has_hold_limit() {
            self.session.stop_renewing();
        }
        if (self.request.has_hold_limit() || self.request.min_hold.is_some())
            && let Some(claim) = &self.claim
        {
            let call = self.context.call(self.request.operation, &claim.name);
            Box::pin(call.renew(&*self.context.backend, &self.session)).await?;
        }
        let Some(claim) = self.claim.take() else {
            return Ok(Err(Loss::Closed));
        };
        let late = self.arrivals.late();
        let hold = Hold::begin(
            claim,
            token,
            self.session.clone(),
            late,
            self.request.limits(),
        );
        if let Some(hold) = hold.as_ref().filter(|hold| hold.has_limits()) {
            self.context.keeper.limit(hold.clone());
        }
        let owns_session = self.request.owns_session();
        Ok(match hold {
            Some(hold) => Ok(Attempt::Held(Guard::new(
                self.context.clone(),
                hold,
                owns_session,
            ))),
            None => Err(self.session.loss().unwrap_or(Loss::Expired)),
        })
    }

    /// Ends the attempt where the store has nothing to withdraw, other than a session of its own.
    /// If a request may still arrive, the claim is withdrawn nevertheless.
    fn abandon(mut self) {
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
