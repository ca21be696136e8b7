//! Standing in line: from a wish to a guard.
//!
//! The usual way, a free name under an open session, is kept small: what is rare stands in futures of its own, boxed, so
//! that each acquire does not carry room for all of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tracing::{debug, warn};

use crate::locks::context::Context;
use crate::locks::guard::Guard;
use crate::locks::ticket::Ticket;
use crate::options::{OnDisconnect, OnWait, Wait, Waiting};
use crate::session::Health;
use crate::session::call::{Ended, breathe, wait_for_better_times};
use crate::session::errors::ticket_ended;
use crate::session::hold::Hold;
use crate::session::live::LiveSession;
use crate::spi::backend::{Claim, Gone, Standing};
use crate::spi::clock::{self, Moment};
use crate::spi::home::runtime;
use crate::types::error::{Error, ErrorKind, Result};
use crate::types::loss::Loss;
use crate::types::mode::Mode;
use crate::types::names::LockName;
use crate::types::queue::Entry;
use crate::types::token::Token;

/// How long a wait that was too short may take more, to look who holds.
const LOOK: Duration = Duration::from_millis(300);

/// What a lock or an election asks for, each time anew.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) operation: &'static str,
    pub(crate) name: LockName,
    pub(crate) also: Vec<LockName>,
    pub(crate) any: bool,
    pub(crate) mode: Mode,
    pub(crate) ttl: Option<Duration>,
    pub(crate) on_disconnect: OnDisconnect,
    pub(crate) value: Bytes,
    pub(crate) on_wait: Option<OnWait>,
}

/// What a waiter knows, for the error of a wait that was too short.
#[derive(Default)]
struct Seen {
    holder: Option<Box<Entry>>,
    /// When the store said who holds.
    at: Moment,
    session: Option<Arc<LiveSession>>,
    /// Why the last request failed, unless one has succeeded since.
    trouble: Option<Error>,
}

impl Seen {
    /// The store has answered.
    fn answered(&mut self, holder: Option<Box<Entry>>) {
        (self.holder, self.trouble, self.at) = (holder, None, clock::now());
    }

    fn is_out_of_reach(&self) -> bool {
        let is_healthy = |session: &Arc<LiveSession>| session.health() == Health::Held;
        self.trouble.is_some() || self.session.as_ref().is_some_and(|session| !is_healthy(session))
    }
}

/// How a try went.
#[derive(Debug)]
pub(crate) enum Turn {
    Held(Guard),
    Busy(Option<Box<Entry>>),
}

/// How one place in line ended.
enum Outcome {
    /// With the name, if it is one of several.
    Granted(Token, Option<LockName>),
    Busy(Option<Box<Entry>>),
    /// The session ended before the grant: another place, under another session.
    Lost(Loss),
}

impl Wish {
    /// Stands in line until granted, or as long as `wait` says.
    pub(crate) async fn stand(&self, shared: &Arc<Context>, wait: Wait) -> Result<Turn> {
        runtime().map_err(|error| shared.call(self.operation, &self.name).explain(error))?;
        let outcome = match wait {
            Wait::Forever => self.turn(shared, true, &mut Seen::default()).await,
            Wait::Never => self.turn(shared, false, &mut Seen::default()).await,
            Wait::For(patience) => Box::pin(self.turn_within(shared, patience)).await,
        };
        outcome.map_err(|error| shared.call(self.operation, &self.name).explain(error))
    }

    async fn turn_within(&self, shared: &Arc<Context>, patience: Duration) -> Result<Turn> {
        let mut seen = Seen::default();
        let deadline = clock::now().after(patience);
        match clock::until(deadline, self.turn(shared, true, &mut seen)).await {
            Some(turn) => turn,
            None => Err(self.too_short(shared, patience, seen).await),
        }
    }

    /// The error of a wait that was too short.
    async fn too_short(&self, shared: &Context, patience: Duration, mut seen: Seen) -> Error {
        if seen.is_out_of_reach() {
            let why = seen.trouble.as_ref().map_or("its session is not renewed", Error::message);
            let problem = format!("not granted within {patience:?}, and the store is out of reach: {why}");
            let error = Error::new(ErrorKind::Timeout, problem);
            return match seen.trouble {
                Some(trouble) => error.because(trouble),
                None => error,
            };
        }
        if let Some(age) = seen.holder.as_mut().and_then(|holder| holder.age.as_mut()) {
            *age += clock::now().since(seen.at);
        }
        if seen.holder.is_none() {
            // Not every store tells a waiter who holds.
            let queue = tokio::time::timeout(LOOK, shared.backend.queue(&self.name)).await;
            let holder = queue.ok().and_then(Result::ok).and_then(|queue| queue.holders().next().cloned());
            seen.holder = holder.map(Box::new);
        }
        Error::new(
            ErrorKind::Timeout,
            format!("not granted within {patience:?}{}: wait longer, or try later", HeldBy(&seen.holder)),
        )
    }

    async fn session(&self, shared: &Context) -> Result<Arc<LiveSession>> {
        if self.is_alone() {
            return Box::pin(shared.open(self.ttl.unwrap_or(shared.session_ttl()), self.on_disconnect)).await;
        }
        match shared.current(self.on_disconnect) {
            Some(session) => Ok(session),
            None => Box::pin(shared.session(self.on_disconnect)).await,
        }
    }

    /// Whether each claim has a session to itself.
    fn is_alone(&self) -> bool {
        self.is_limited() || self.outlives_the_handle()
    }

    /// Whether the session of a claim runs out unless extended.
    fn is_limited(&self) -> bool {
        self.ttl.is_some()
    }

    /// Whether a claim is left to its TTL when the handle is closed.
    fn outlives_the_handle(&self) -> bool {
        self.on_disconnect == OnDisconnect::Ignore
    }

    async fn turn(&self, shared: &Arc<Context>, waits: bool, seen: &mut Seen) -> Result<Turn> {
        let mut again = false;
        loop {
            let session = match self.session(shared).await {
                Ok(session) => session,
                // Who has stood in line once goes on: an outage that outlasts the session ends the place, not the wait.
                Err(error) if again && error.is_retryable() => {
                    warn!(name = %self.name, %error, "no session: still waiting for one");
                    seen.trouble = Some(error);
                    Box::pin(wait_for_better_times()).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            seen.session = Some(session.clone());
            let claim = Claim {
                id: session.claim_id(&self.name),
                session: *session.session(),
                name: self.name.clone(),
                also: self.also.clone(),
                any: self.any,
                mode: self.mode,
                waits,
                client: shared.client.clone(),
                value: self.value.clone(),
                token: None,
            };
            let place =
                Place { wish: self, shared, session, claim: Some(claim), unanswered: AtomicU32::new(0) };
            match place.wait(seen).await? {
                Outcome::Granted(token, name) => match place.into_guard(token, name).await? {
                    Some(guard) => return Ok(Turn::Held(guard)),
                    None if waits => {}
                    None => return Err(lost(Loss::Expired)),
                },
                Outcome::Busy(holder) => {
                    place.leave_nothing();
                    return Ok(Turn::Busy(holder));
                }
                Outcome::Lost(loss) => {
                    place.leave_nothing();
                    if !waits || loss == Loss::Closed {
                        return Err(lost(loss));
                    }
                    warn!(name = %self.name, %loss, "session lost in line: starting again at the end of it");
                    again = true;
                }
            }
        }
    }
}

fn lost(loss: Loss) -> Error {
    match loss {
        Loss::Closed => Error::new(
            ErrorKind::Closed,
            "the handle was closed, or released everything: connect or acquire again",
        ),
        loss => {
            Error::new(ErrorKind::SessionLost, format!("the session ended ({loss}): try again")).retryable()
        }
    }
}

/// A place in line. Dropped with the future that waits, it is given up in the background.
struct Place<'a> {
    wish: &'a Wish,
    shared: &'a Arc<Context>,
    session: Arc<LiveSession>,
    /// Gone once the place needs no giving up.
    claim: Option<Claim>,
    /// How many requests for the claim the store has not answered.
    unanswered: AtomicU32,
}

impl Place<'_> {
    async fn wait(&self, seen: &mut Seen) -> Result<Outcome> {
        let Some(claim) = &self.claim else { return Ok(Outcome::Lost(Loss::Closed)) };
        let backend = &self.shared.backend;
        let call = self.shared.call(self.wish.operation, &claim.name);
        let mut in_line = false;
        loop {
            let ask = || {
                self.unanswered.fetch_add(1, Ordering::Relaxed);
                backend.enqueue(claim)
            };
            // A try does not wait behind a crowd that joins.
            let joining = match backend.joining(&claim.name).filter(|_| claim.waits) {
                Some(limit) => match self.session.while_live(limit.acquire()).await {
                    Ok(permit) => permit.ok(),
                    Err(loss) => return Ok(Outcome::Lost(loss)),
                },
                None => None,
            };
            let mut standing = match call.persist(&self.session, ask).await {
                Ended::Answered(Ok(standing)) => standing,
                // Out of reach for now, but the place in line lives as long as the session does.
                Ended::Answered(Err(error)) if in_line && error.is_retryable() => {
                    seen.trouble = Some(error);
                    continue;
                }
                Ended::Answered(Err(error)) => return Err(error),
                Ended::Lost(loss) => return Ok(Outcome::Lost(loss)),
            };
            self.unanswered.fetch_sub(1, Ordering::Relaxed);
            drop(joining);
            if let Standing::Waiting { position, holder: ahead } = standing {
                if let Some(on_wait) = self.wish.on_wait.as_ref().filter(|_| !in_line) {
                    on_wait.tell(Waiting { position, holder: ahead.as_deref().cloned() });
                }
                in_line = true;
                seen.answered(ahead);
                standing = match self.session.while_live(backend.granted(claim)).await {
                    Ok(Ok(standing)) => standing,
                    // The connection broke, not the claim: ask again by its id.
                    Ok(Err(error)) if error.is_retryable() => {
                        debug!(name = %claim.name, %error, "waiting in line was interrupted");
                        seen.trouble = Some(error);
                        Box::pin(breathe()).await;
                        continue;
                    }
                    Ok(Err(error)) => return Err(call.explain(error)),
                    Err(loss) => return Ok(Outcome::Lost(loss)),
                };
            }
            match standing {
                Standing::Granted { token } => return Ok(Outcome::Granted(token, None)),
                Standing::GrantedAny { token, name } => return Ok(Outcome::Granted(token, Some(name))),
                Standing::Busy { holder } => return Ok(Outcome::Busy(holder)),
                Standing::Waiting { .. } => Box::pin(breathe()).await,
                Standing::Gone { why: Gone::Evicted | Gone::Withdrawn } => {
                    return Err(Error::new(
                        ErrorKind::NotHeld,
                        "an operator ended this claim while it stood in line: ask him, or acquire again",
                    ));
                }
                Standing::Gone { why: Gone::SessionLost } => {
                    self.session.lose(Loss::SessionLost);
                    return Ok(Outcome::Lost(Loss::SessionLost));
                }
            }
        }
    }

    /// The grant is checked: `None` if the session is lost by now. A hold limit counts from here.
    async fn into_guard(mut self, token: Token, name: Option<LockName>) -> Result<Option<Guard>> {
        if let (Some(claim), Some(name)) = (&mut self.claim, name) {
            (claim.name, claim.also, claim.any) = (name, Vec::new(), false);
        }
        if self.wish.outlives_the_handle() {
            self.session.outlive_the_handle();
        }
        if self.wish.is_limited() {
            self.session.stop_renewing();
            if let Some(claim) = &self.claim {
                let call = self.shared.call(self.wish.operation, &claim.name);
                Box::pin(call.renew(&*self.shared.backend, &self.session)).await?;
            }
        }
        let Some(claim) = self.claim.take() else { return Ok(None) };
        let hold = Hold::begin(claim, token, self.session.clone(), self.has_arrived());
        Ok(hold.map(|hold| Guard::new(self.shared.clone(), hold, self.wish.is_alone())))
    }

    /// Whether no request for the claim can be on its way any more.
    fn has_arrived(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed) == 0
    }

    /// There is nothing in the store to be given up, other than a session of its own.
    fn leave_nothing(mut self) {
        if let Some(claim) = self.claim.take().filter(|_| self.has_arrived()) {
            self.session.give_back(&claim);
        }
        if self.wish.is_alone() {
            self.session.end();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(claim) = self.claim.take() else { return };
        if self.wish.is_alone() {
            self.session.end();
        } else {
            self.shared.keeper.withdraw(claim, self.session.clone(), self.has_arrived());
        }
    }
}

/// Takes a detached claim up again.
pub(crate) async fn resume(shared: &Arc<Context>, ticket: &Ticket) -> Result<Guard> {
    let call = shared.call("resume", &ticket.name);
    runtime().map_err(|error| call.explain(error))?;
    let session = shared.keeper.resume(ticket.session).await.map_err(|error| call.explain(error))?;
    let queue = match call.once(|| shared.backend.queue(&ticket.name)).await {
        Ok(queue) => queue,
        Err(error) => {
            session.let_go();
            return Err(error);
        }
    };
    if !queue.holders().any(|entry| entry.claim == ticket.claim && entry.token == Some(ticket.token)) {
        session.let_go();
        return Err(call.explain(ticket_ended()));
    }
    let claim = Claim {
        id: ticket.claim,
        session: *session.session(),
        name: ticket.name.clone(),
        also: Vec::new(),
        any: false,
        mode: ticket.mode,
        waits: false,
        client: shared.client.clone(),
        value: Bytes::new(),
        token: Some(ticket.token),
    };
    match Hold::begin(claim, ticket.token, session, true) {
        Some(hold) => Ok(Guard::new(shared.clone(), hold, true)),
        None => Err(call.explain(ticket_ended())),
    }
}

/// `, held by X` where the holder is known.
struct HeldBy<'a>(&'a Option<Box<Entry>>);

impl std::fmt::Display for HeldBy<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(entry) => {
                write!(f, ", held by {}", entry.client.escape_debug())?;
                if let Some(age) = entry.age {
                    write!(f, " for {age:.1?}")?;
                }
                if entry.is_isolating { f.write_str(", whose client is being isolated") } else { Ok(()) }
            }
            None => Ok(()),
        }
    }
}

/// The error of a caller who did not want to wait.
pub(crate) fn contended(holder: &Option<Box<Entry>>) -> Error {
    Error::new(ErrorKind::Contended, format!("taken{}: wait, or try later", HeldBy(holder)))
}
