//! One connection. Callers put requests into a buffer. One task, the driver, writes them to the
//! socket and reads the replies.
//!
//! Callers and the driver share a mutex that is held for a few instructions at a time. A caller
//! wakes the driver only if it sleeps, so the requests of many callers are sent in one write. The
//! driver wakes the callers of all replies from one read together.

mod close_reason;
mod driver;
mod silence;

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use distsync_core::spi::home::Home;
use distsync_core::spi::{ClaimId, Departure, Session, SessionId, locked};
use distsync_core::{Error, ErrorKind, Result};
use foldhash::fast::RandomState;

use super::{Ended, KnownCluster};
use crate::engine::{Command, Reply};
use crate::replies::{Replies, Replying};
use crate::wire::{VERSION, encode, encode_command, proto};
pub(super) use close_reason::{CloseReason, Leader, lost};
pub(super) use driver::drive;

/// The most bytes of requests in the buffer. Further requests fail, so that the buffer is bounded.
const OUT_MAX: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Connection {
    state: Mutex<State>,
    /// Mirrors `state.closed`, to be read without the mutex.
    closed: AtomicBool,
    /// The runtime on which the driver runs.
    home: Home,
    /// The cluster, whose members the server names.
    cluster: Arc<KnownCluster>,
}

#[derive(Debug, Default)]
struct State {
    /// Requests that the driver has not taken yet.
    out: Vec<u8>,
    replies: Replies,
    /// The numbers of sessions on this connection.
    sessions: HashMap<SessionId, u32, RandomState>,
    last_session: u32,
    /// Sessions that have ended. Shared with the client.
    ended: Ended,
    /// The session of the last request, with its number. Nearly all requests name one session.
    recent: Option<(SessionId, u32)>,
    /// The shortest TTL of these sessions, and of earlier ones.
    shortest_ttl: Option<Duration>,
    greeting: Greeting,
    /// Wakes the driver. `None` while the driver is awake.
    driver: Option<Waker>,
    closed: Option<CloseReason>,
}

/// The state of the greeting, which precedes all other replies.
#[derive(Debug, Default)]
enum Greeting {
    /// The `Hello` is in the buffer or was sent.
    #[default]
    Sent,
    /// As `Sent`, and a caller waits for the reply.
    Awaited(Waker),
    Done(proto::Welcome),
}

/// The id of the `Hello`. Like the ids below, it differs from all ids of [`Replies`], whose
/// generations start at 1.
const HELLO: u64 = 1;
/// The id of pings.
const PING: u64 = 2;
/// The id of requests whose reply is ignored.
const IGNORED: u64 = 3;

impl State {
    fn check(&self) -> Result<()> {
        match &self.closed {
            Some(reason) => Err(reason.request_error()),
            None if self.out.len() > OUT_MAX => Err(Error::new(
                ErrorKind::Unavailable,
                "too many requests wait to be sent, because the server or the network is slow: try later",
            )
            .with_backend("netlock")
            .retryable()),
            None => Ok(()),
        }
    }

    /// Returns the number of a session on this connection. Attaches to the session first if this
    /// connection does not know it, unless the request that follows `opens` it.
    fn number(&mut self, session: &Session, opens: bool) -> u32 {
        if let Some((id, number)) = self.recent
            && id == session.id
        {
            return number;
        }
        if let Some(number) = self.sessions.get(&session.id) {
            self.recent = Some((session.id, *number));
            return *number;
        }
        self.detach_ended();
        self.last_session += 1;
        let number = self.last_session;
        self.sessions.insert(session.id, number);
        let shortest = self.shortest_ttl.unwrap_or(session.ttl);
        self.shortest_ttl = Some(shortest.min(session.ttl));
        if !opens {
            let attach = Command::Attach {
                session: session.id,
                secret: session.secret,
            };
            encode_command(IGNORED, number, attach, &mut self.out);
        }
        number
    }

    /// Gives the numbers of ended sessions back: the server has a limit for each connection.
    fn detach_ended(&mut self) {
        let ended = std::mem::take(&mut *locked(&self.ended));
        for session in ended {
            if let Some(number) = self.sessions.remove(&session) {
                self.recent = None;
                encode_command(IGNORED, number, Command::Detach { session }, &mut self.out);
            }
        }
    }
}

impl Connection {
    pub(super) fn new(
        token: Option<&str>,
        home: Home,
        cluster: Arc<KnownCluster>,
        ended: Ended,
    ) -> Self {
        let mut state = State {
            ended,
            ..State::default()
        };
        let token = token.unwrap_or_default().to_owned();
        let hello = proto::request::Body::Hello(proto::Hello {
            version: VERSION,
            token,
            to_member: false,
        });
        encode(
            &proto::Request {
                id: HELLO,
                body: Some(hello),
            },
            &mut state.out,
        );
        Self {
            state: Mutex::new(state),
            closed: AtomicBool::new(false),
            home,
            cluster,
        }
    }

    /// Notes where the members of the cluster are, if the server has said so.
    fn learn(&self, members: Vec<String>) {
        // Those of a server that was not checked yet do not count.
        if !members.is_empty() && self.cluster.table.get().is_some() {
            *locked(&self.cluster.members) = members;
        }
    }

    /// Returns whether the caller is on the runtime of the driver.
    pub(super) fn is_here(&self) -> bool {
        self.home.is_here()
    }

    /// Waits for a reply. If the runtime of the driver does not run, closes this connection
    /// instead.
    pub(super) async fn await_reply<T>(&self, reply: impl Future<Output = Result<T>>) -> Result<T> {
        // By reference, so that the reply is stored once.
        let mut reply = pin!(reply);
        self.home
            .answer(reply.as_mut())
            .await
            .unwrap_or_else(|error| {
                self.close(error.message().into());
                Err(error.with_backend("netlock"))
            })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Closes the connection. Its pending requests fail with this reason.
    pub(super) fn close(&self, reason: CloseReason) {
        let (wakers, departures) = {
            let mut state = self.state();
            if state.closed.is_some() {
                return;
            }
            state.closed = Some(reason);
            self.closed.store(true, Ordering::Release);
            let (mut wakers, departures) = state.replies.close();
            if let Greeting::Awaited(waker) = std::mem::take(&mut state.greeting) {
                wakers.push(waker);
            }
            wakers.extend(state.driver.take());
            (wakers, departures)
        };
        drop(departures);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Returns what the server said about the leader, if it closed this connection because it does
    /// not lead its cluster.
    pub(super) fn leader(&self) -> Option<Leader> {
        let state = self.state();
        state
            .closed
            .as_ref()
            .and_then(|reason| reason.leader.clone())
    }

    /// Waits for the server's reply to the greeting.
    pub(super) async fn greet(&self) -> Result<proto::Welcome> {
        poll_fn(|cx| {
            let mut state = self.state();
            if let Greeting::Done(welcome) = &state.greeting {
                return Poll::Ready(Ok(welcome.clone()));
            }
            if let Some(reason) = &state.closed {
                return Poll::Ready(Err(reason.greeting_error()));
            }
            state.greeting = Greeting::Awaited(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Sends a command. The task of `cx` is woken when the first reply has arrived.
    pub(super) fn send(
        self: Arc<Self>,
        session: Option<&Session>,
        command: Command<'_>,
        cx: &Context<'_>,
    ) -> Result<PendingReply> {
        let (claim, is_watch) = match command {
            Command::Enqueue { claim, .. } | Command::EnqueueAll { claim, .. } => {
                (Some(claim), false)
            }
            Command::Changed { .. } | Command::Evictions { .. } => (None, true),
            _ => (None, false),
        };
        let (request, driver) = {
            let mut state = self.state();
            state.check()?;
            let opens = matches!(command, Command::Open { .. });
            let number = session.map_or(0, |session| state.number(session, opens));
            if let Command::Close { session } = command {
                state.sessions.remove(&session);
                state.recent = None;
            }
            let request = state.replies.open(claim, Some(cx.waker().clone()));
            encode_command(request, number, command, &mut state.out);
            (request, state.driver.take())
        };
        if let Some(driver) = driver {
            driver.wake();
        }
        Ok(PendingReply {
            connection: self,
            request,
            is_watch,
            received: false,
        })
    }

    /// Sends the withdrawal of a departure, unless the driver may not run soon.
    ///
    /// The keeper notices within a tenth of a second if the driver does not run at all. On another
    /// runtime, or outside of one, the keeper is faster.
    pub(super) fn depart(&self, departure: Departure) {
        let Some(claim) = departure.claim().filter(|_| self.home.is_here()) else {
            return;
        };
        let (session, claim) = (claim.session, claim.id);
        let driver = {
            let mut state = self.state();
            if state.check().is_err() {
                // The departure is dropped after the mutex is unlocked.
                None
            } else {
                let number = state.number(&session, false);
                let request = state.replies.depart(departure);
                let withdraw = Command::Withdraw {
                    session: session.id,
                    claim,
                };
                encode_command(request, number, withdraw, &mut state.out);
                state.driver.take()
            }
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    pub(super) fn give_back_departures(&self) {
        let departures = self.state().replies.take_departures();
        drop(departures);
    }

    /// Waits for the second reply to an `Enqueue`.
    pub(super) async fn second_reply(&self, claim: ClaimId) -> Result<Reply> {
        let reply = self.take_second(claim).await;
        reply.ok_or_else(|| lost("the connection on which this claim waited was lost"))
    }

    /// Cancels a request. Tells the server only about watches: it replies to others soon anyway.
    fn cancel(&self, request: u64, is_watch: bool) {
        let driver = {
            let mut state = self.state();
            state.replies.cancel(request);
            if !is_watch || state.closed.is_some() {
                return;
            }
            encode_command(IGNORED, 0, Command::Forget { request }, &mut state.out);
            state.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

impl Replying for Connection {
    fn with_replies<T>(&self, act: impl FnOnce(&mut Replies) -> T) -> T {
        act(&mut self.state().replies)
    }
}

/// The first reply to a request. Dropping it cancels the request.
#[derive(Debug)]
pub(super) struct PendingReply {
    connection: Arc<Connection>,
    request: u64,
    /// The server keeps the request until an event occurs.
    is_watch: bool,
    received: bool,
}

impl PendingReply {
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Reply>> {
        let reply = {
            let mut state = self.connection.state();
            match state.replies.poll_first(self.request, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(reply)) => Ok(reply),
                Poll::Ready(None) => Err(match &state.closed {
                    Some(reason) => reason.request_error(),
                    None => lost("the request was cancelled"),
                }),
            }
        };
        self.received = true;
        Poll::Ready(reply)
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        if !self.received {
            self.connection.cancel(self.request, self.is_watch);
        }
    }
}
