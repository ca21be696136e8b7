//! One connection: requests go into a buffer, and one task writes them and reads the answers.
//!
//! Callers and the task share a mutex that is held for a few instructions. A caller wakes the task
//! only if it sleeps, so requests of many callers travel in one write; the task wakes the callers
//! of all answers of one read together.

mod driver;
mod ending;

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use distsync_core::spi::home::Home;
use distsync_core::spi::{ClaimId, Session, SessionId, locked};
use distsync_core::{Error, ErrorKind, Result};
use foldhash::fast::RandomState;

use crate::engine::{Command, Reply};
use crate::replies::Replies;
use crate::wire::{VERSION, encode, encode_command, proto};
pub(super) use driver::drive;
pub(super) use ending::{Ending, broken};

/// The most that waits to be written. A caller beyond it is refused; nothing is queued without
/// bound.
const OUT_MAX: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Connection {
    state: Mutex<State>,
    /// Mirrors `state.closed`, to look at without the mutex.
    closed: AtomicBool,
    /// Where the task runs.
    home: Home,
}

#[derive(Debug, Default)]
struct State {
    out: Vec<u8>,
    replies: Replies,
    /// This connection's numbers for sessions.
    sessions: HashMap<SessionId, u32, RandomState>,
    last_session: u32,
    greeting: Greeting,
    /// Wakes the task; taken while it is awake.
    driver: Option<Waker>,
    closed: Option<Ending>,
}

#[derive(Debug, Default)]
enum Greeting {
    #[default]
    Awaited,
    Awaiting(Waker),
    Done(proto::Welcome),
}

/// The id of the greeting: never one of [`Replies`], whose generations begin at 1.
const HELLO: u64 = 1;
/// The id of pings.
const PING: u64 = 2;
/// The id of requests whose answer nobody waits for.
const UNHEARD: u64 = 3;

impl State {
    fn check(&self) -> Result<()> {
        match &self.closed {
            Some(ending) => Err(ending.of_request()),
            None if self.out.len() > OUT_MAX => Err(Error::new(
                ErrorKind::Unavailable,
                "too many requests wait to be sent: the server or the network is too slow",
            )
            .with_backend("netlock")
            .retryable()),
            None => Ok(()),
        }
    }

    /// The connection's number for a session, which it attaches to first if need be.
    fn number(&mut self, session: &Session, opens: bool) -> u32 {
        if let Some(number) = self.sessions.get(&session.id) {
            return *number;
        }
        self.last_session += 1;
        let number = self.last_session;
        self.sessions.insert(session.id, number);
        if !opens {
            let attach = Command::Attach {
                session: session.id,
                secret: session.secret,
            };
            encode_command(UNHEARD, number, attach, &mut self.out);
        }
        number
    }
}

impl Connection {
    pub(super) fn new(token: Option<&str>, home: Home) -> Self {
        let mut state = State::default();
        let token = token.unwrap_or_default().to_owned();
        let hello = proto::request::Body::Hello(proto::Hello {
            version: VERSION,
            token,
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
        }
    }

    /// Waits for an answer, unless the task that takes it does not run: this connection is closed
    /// then.
    pub(super) async fn at_home<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        self.home.answer(answer).await.unwrap_or_else(|error| {
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

    /// Ends the connection; the requests under way fail.
    pub(super) fn close(&self, ending: Ending) {
        let wakers = {
            let mut state = self.state();
            if state.closed.is_some() {
                return;
            }
            state.closed = Some(ending);
            self.closed.store(true, Ordering::Release);
            let mut wakers = state.replies.close();
            if let Greeting::Awaiting(waker) = std::mem::take(&mut state.greeting) {
                wakers.push(waker);
            }
            wakers.extend(state.driver.take());
            wakers
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Resolves when the server has greeted back, with which table it has and how well it keeps it.
    pub(super) async fn greet(&self) -> Result<proto::Welcome> {
        poll_fn(|cx| {
            let mut state = self.state();
            if let Greeting::Done(welcome) = state.greeting {
                return Poll::Ready(Ok(welcome));
            }
            if let Some(ending) = &state.closed {
                return Poll::Ready(Err(ending.of_greeting()));
            }
            state.greeting = Greeting::Awaiting(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Sends a command; the future is its first answer. Dropped, the answer is not waited for any
    /// more.
    pub(super) fn call(
        self: &Arc<Self>,
        session: Option<&Session>,
        command: Command<'_>,
    ) -> Result<Answer> {
        let (claim, lasting) = match command {
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
            if let (Command::Close { session }, _) = (command, number) {
                state.sessions.remove(&session);
            }
            let request = state.replies.open(claim);
            encode_command(request, number, command, &mut state.out);
            (request, state.driver.take())
        };
        if let Some(driver) = driver {
            driver.wake();
        }
        Ok(Answer {
            connection: self.clone(),
            request,
            lasting,
            answered: false,
        })
    }

    /// The second answer to an `Enqueue`.
    pub(super) async fn second(&self, claim: ClaimId) -> Result<Reply> {
        let reply = poll_fn(|cx| self.state().replies.poll_second(claim, cx)).await;
        reply.ok_or_else(|| broken("the connection on which this claim waited was lost"))
    }

    fn forget(&self, request: u64, lasting: bool) {
        let driver = {
            let mut state = self.state();
            state.replies.give_up(request);
            if !lasting || state.closed.is_some() {
                return;
            }
            encode_command(UNHEARD, 0, Command::Forget { request }, &mut state.out);
            state.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

/// The first answer to a request.
#[derive(Debug)]
pub(super) struct Answer {
    connection: Arc<Connection>,
    request: u64,
    /// The server keeps the request until there is something to tell.
    lasting: bool,
    answered: bool,
}

impl Future for Answer {
    type Output = Result<Reply>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Reply>> {
        let answer = {
            let mut state = self.connection.state();
            match state.replies.poll_first(self.request, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(reply)) => Ok(reply),
                Poll::Ready(None) => Err(match &state.closed {
                    Some(ending) => ending.of_request(),
                    None => broken("the request was given up"),
                }),
            }
        };
        self.answered = true;
        Poll::Ready(answer)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.answered {
            self.connection.forget(self.request, self.lasting);
        }
    }
}
