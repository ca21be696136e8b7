//! One connection: requests go into a buffer, and one task writes them and reads the answers.
//!
//! Callers and the task share a mutex that is held for a few instructions. A caller wakes the task only if it sleeps,
//! so requests of many callers travel in one write; the task wakes the callers of all answers of one read together.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use foldhash::fast::RandomState;
use prost::Message;
use sync_core::backend::{ClaimId, Session, SessionId};
use sync_core::clock::{self, Moment};
use sync_core::{Error, ErrorKind, Result, locked};
use tokio::io::AsyncWrite;
use tracing::debug;

use crate::engine::{Command, Reply};
use crate::replies::Replies;
use crate::stream::Stream;
use crate::wire::{Frames, RESPONSE_MAX, VERSION, encode, encode_command, proto, read_reply, to_reply};

/// How often the task looks at the connection's health, and says that it is alive.
const PULSE: Duration = Duration::from_secs(5);
/// A server that was silent for this long, pings included, is gone.
const SILENCE: Duration = Duration::from_secs(15);
/// The most that waits to be written. A caller beyond it is refused; nothing is queued without bound.
const OUT_MAX: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Connection {
    state: Mutex<State>,
    /// Mirrors `state.closed`, to look at without the mutex.
    closed: AtomicBool,
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

/// Why a connection has ended.
#[derive(Debug)]
pub(super) struct Ending {
    kind: ErrorKind,
    why: String,
}

impl From<String> for Ending {
    fn from(why: String) -> Self {
        Self { kind: ErrorKind::Unavailable, why }
    }
}

impl From<&str> for Ending {
    fn from(why: &str) -> Self {
        why.to_owned().into()
    }
}

impl From<std::io::Error> for Ending {
    fn from(error: std::io::Error) -> Self {
        match sync_core::tls::disagreement(&error) {
            // With TLS 1.3 a server says only after the handshake that it refuses our certificate.
            Some(denied) => Self { kind: ErrorKind::Denied, why: denied.message().to_owned() },
            None => format!("the connection broke ({error})").into(),
        }
    }
}

impl From<proto::Refused> for Ending {
    /// The server has said so itself.
    fn from(refused: proto::Refused) -> Self {
        let kind = match refused.code() {
            proto::refused::Code::Denied => ErrorKind::Denied,
            _ => ErrorKind::Protocol,
        };
        Self { kind, why: refused.message }
    }
}

impl Ending {
    /// The error of a request that was under way.
    fn of_request(&self) -> Error {
        broken(&self.why)
    }

    /// The error of the greeting: what the server says then will not change by itself.
    fn of_greeting(&self) -> Error {
        match self.kind {
            ErrorKind::Unavailable => broken(&self.why),
            kind => Error::new(kind, self.why.clone()).on("netlock"),
        }
    }
}

/// The least number of answers that are worth a write of their own.
const SHARE_MIN: usize = 16;

/// How the answer of a server begins that speaks TLS, and finds no TLS in what we say.
const TLS_ALERT: usize = 0x1503;

/// The id of the greeting: never one of [`Replies`], whose generations begin at 1.
const HELLO: u64 = 1;
/// The id of pings.
const PING: u64 = 2;
/// The id of requests whose answer nobody waits for.
const UNHEARD: u64 = 3;

/// The error of a connection that broke, or of a claim that waits on none.
pub(super) fn broken(why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{why}: is netlockd still running?"))
        .on("netlock")
        .or_applied()
        .retryable()
}

impl State {
    fn check(&self) -> Result<()> {
        match &self.closed {
            Some(ending) => Err(ending.of_request()),
            None if self.out.len() > OUT_MAX => Err(Error::new(
                ErrorKind::Unavailable,
                "too many requests wait to be sent: the server or the network is too slow",
            )
            .on("netlock")
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
            let attach = Command::Attach { session: session.id, secret: session.secret };
            encode_command(UNHEARD, number, attach, &mut self.out);
        }
        number
    }
}

impl Connection {
    pub(super) fn new(token: Option<&str>) -> Self {
        let mut state = State::default();
        let token = token.unwrap_or_default().to_owned();
        let hello = proto::request::Body::Hello(proto::Hello { version: VERSION, token });
        encode(&proto::Request { id: HELLO, body: Some(hello) }, &mut state.out);
        Self { state: Mutex::new(state), closed: AtomicBool::new(false) }
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

    /// Sends a command; the future is its first answer. Dropped, the answer is not waited for any more.
    pub(super) fn call(self: &Arc<Self>, session: Option<&Session>, command: Command<'_>) -> Result<Answer> {
        let (claim, lasting) = match command {
            Command::Enqueue { claim, .. } | Command::EnqueueSeveral { claim, .. } => (Some(claim), false),
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
        Ok(Answer { connection: self.clone(), request, lasting, answered: false })
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

/// Closes the connection when the task that carries it ends, or its runtime does.
struct Carrying(Arc<Connection>);

impl Drop for Carrying {
    fn drop(&mut self) {
        self.0.close("the connection's runtime has ended".into());
    }
}

/// Carries a connection's bytes until it breaks or is closed.
pub(super) async fn drive(connection: Arc<Connection>, mut stream: Stream) {
    let carrying = Carrying(connection);
    let mut carrier = Carrier {
        writing: Vec::new(),
        written: 0,
        frames: Frames::new(),
        answers: Vec::new(),
        wakers: Vec::new(),
        share: SHARE_MIN,
        heard: clock::now(),
        yielded: false,
    };
    let mut pulse = pin!(tokio::time::sleep(PULSE));
    let ending = poll_fn(|cx| {
        while pulse.as_mut().poll(cx).is_ready() {
            if clock::now().since(carrier.heard) > SILENCE {
                return Poll::Ready(Ending::from("the server is silent"));
            }
            carrier.ping();
            pulse.set(tokio::time::sleep(PULSE));
        }
        match carrier.carry(&carrying.0, Pin::new(&mut stream), cx) {
            Ok(Progress::Sleep) => Poll::Pending,
            Ok(Progress::Closed) => Poll::Ready("it was closed".into()),
            Err(ending) => Poll::Ready(ending),
        }
    })
    .await;
    debug!(why = ending.why, "connection ended");
    carrying.0.close(ending);
}

enum Progress {
    Sleep,
    Closed,
}

struct Carrier {
    writing: Vec<u8>,
    /// How much of it is written.
    written: usize,
    frames: Frames,
    answers: Vec<(u64, Reply)>,
    wakers: Vec<Waker>,
    /// How many answers are handed out before the next requests are sent: half of those awaited, so that the server works
    /// on the one half while the callers work on the other.
    share: usize,
    /// When something last came from the server.
    heard: Moment,
    /// Whether the task has let others go first since it was woken to write.
    yielded: bool,
}

impl Carrier {
    fn ping(&mut self) {
        let ping = proto::request::Body::Ping(proto::Ping {});
        encode(&proto::Request { id: PING, body: Some(ping) }, &mut self.writing);
    }

    /// Reads and writes until neither goes on.
    fn carry(
        &mut self,
        connection: &Connection,
        mut stream: Pin<&mut Stream>,
        cx: &mut Context<'_>,
    ) -> Result<Progress, Ending> {
        loop {
            if self.writing.is_empty() {
                let mut state = connection.state();
                if state.closed.is_some() {
                    return Ok(Progress::Closed);
                }
                self.share = (state.replies.len() / 2).max(SHARE_MIN);
                if !state.out.is_empty() {
                    if !self.yielded {
                        return Ok(self.let_others_ask(cx));
                    }
                    std::mem::swap(&mut state.out, &mut self.writing);
                    self.yielded = false;
                }
            }
            let written = match self.write(stream.as_mut(), cx) {
                Ok(written) => written,
                // A server that hangs up may have said why before.
                Err(ending) => match self.read(stream.as_mut(), cx) {
                    Err(told) if told.kind == ErrorKind::Denied => return Err(told),
                    _ => return Err(ending),
                },
            };
            let delivered = self.deliver(connection)?;
            if delivered == self.share {
                return Ok(self.let_others_ask(cx));
            }
            if delivered == 0 && !self.read(stream.as_mut(), cx)? {
                if !written {
                    return Ok(Progress::Sleep);
                }
                let mut state = connection.state();
                if state.out.is_empty() && state.closed.is_none() {
                    state.driver = Some(cx.waker().clone());
                    self.yielded = false;
                    return Ok(Progress::Sleep);
                }
            }
        }
    }

    /// Tasks that were woken together get to ask before the task goes on: one write for all of them.
    fn let_others_ask(&mut self, cx: &Context<'_>) -> Progress {
        self.yielded = true;
        cx.waker().wake_by_ref();
        Progress::Sleep
    }

    /// Writes what there is; `false` if the socket is full.
    fn write(&mut self, mut stream: Pin<&mut Stream>, cx: &mut Context<'_>) -> Result<bool, Ending> {
        while self.written < self.writing.len() {
            match stream.as_mut().poll_write(cx, &self.writing[self.written..]) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(0)) => return Err("the server closed the connection".into()),
                Poll::Ready(Ok(written)) => self.written += written,
                Poll::Ready(Err(error)) => return Err(error.into()),
            }
        }
        if stream.needs_flush() {
            match stream.as_mut().poll_flush(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Err(error.into()),
            }
        }
        self.writing.clear();
        self.written = 0;
        Ok(true)
    }

    /// Reads once; `false` if there is nothing to read.
    fn read(&mut self, stream: Pin<&mut Stream>, cx: &mut Context<'_>) -> Result<bool, Ending> {
        let room = self.frames.room();
        match tokio_util::io::poll_read_buf(stream, cx, room) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => Err("the server closed the connection".into()),
            Poll::Ready(Ok(_)) => {
                if room.len() == room.capacity() {
                    self.frames.grow();
                }
                self.heard = clock::now();
                Ok(true)
            }
            Poll::Ready(Err(error)) => Err(error.into()),
        }
    }

    /// Hands complete answers to those who asked, up to `share` of them. How many there were.
    fn deliver(&mut self, connection: &Connection) -> Result<usize, Ending> {
        let strange = |what: &str| format!("the server does not speak netlock version {VERSION} ({what})");
        let (mut count, mut greeted) = (0, None);
        while count < self.share
            && let Some(frame) =
                self.frames.take(RESPONSE_MAX).map_err(|too_long| match too_long.length >> 16 {
                    TLS_ALERT => "the server speaks TLS at this port: use the scheme `netlocks:`".to_owned(),
                    _ => strange("a frame is too long"),
                })?
        {
            count += 1;
            if let Some(answer) = read_reply(frame) {
                self.answers.push(answer);
                continue;
            }
            let response = proto::Response::decode(frame).map_err(|_| strange("a frame is no message"))?;
            match (response.id, response.body) {
                (HELLO, Some(proto::response::Body::Welcome(welcome))) => {
                    greeted = Some(welcome);
                }
                (0 | HELLO, Some(proto::response::Body::Refused(refused))) => {
                    return Err(refused.into());
                }
                (PING | UNHEARD, _) => {}
                (id, Some(body)) => match to_reply(body) {
                    Some(reply) => self.answers.push((id, reply)),
                    None => return Err(strange("an answer has no meaning").into()),
                },
                (_, None) => return Err(strange("an answer is empty").into()),
            }
        }
        if count > 0 {
            let mut state = connection.state();
            for (id, reply) in self.answers.drain(..) {
                self.wakers.extend(state.replies.deliver(id, reply));
            }
            if let Some(welcome) = greeted
                && let Greeting::Awaiting(waker) =
                    std::mem::replace(&mut state.greeting, Greeting::Done(welcome))
            {
                self.wakers.push(waker);
            }
        }
        self.wakers.drain(..).for_each(Waker::wake);
        Ok(count)
    }
}
