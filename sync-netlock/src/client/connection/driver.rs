//! The task that carries a connection's bytes: it writes requests, reads answers, and wakes those
//! who asked.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use distsync_core::ErrorKind;
use distsync_core::spi::clock::{self, Moment};
use prost::Message;
use tokio::io::AsyncWrite;
use tracing::debug;

use super::ending::Ending;
use super::{Connection, Greeting, HELLO, PING, UNHEARD};
use crate::engine::Reply;
use crate::stream::Stream;
use crate::wire::{Frames, RESPONSE_MAX, VERSION, encode, proto, read_reply, to_reply};

/// How often the task looks at the connection's health, and says that it is alive.
const PULSE: Duration = Duration::from_secs(5);

/// A server that was silent for this long, pings included, is gone.
const SILENCE: Duration = Duration::from_secs(15);

/// The least number of answers that are worth a write of their own.
const SHARE_MIN: usize = 16;

/// How the answer of a server begins that speaks TLS, and finds no TLS in what we say.
const TLS_ALERT: usize = 0x1503;

/// Closes the connection when the task that carries it ends, or its runtime does.
struct Carrying(Arc<Connection>);

impl Drop for Carrying {
    fn drop(&mut self) {
        self.0.close("the connection's runtime has ended".into());
    }
}

/// Carries a connection's bytes until it breaks or is closed.
pub(in crate::client) async fn drive(connection: Arc<Connection>, mut stream: Stream) {
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
    /// How many answers are handed out before the next requests are sent: half of those awaited, so
    /// that the server works on the one half while the callers work on the other.
    share: usize,
    /// When something last came from the server.
    heard: Moment,
    /// Whether the task has let others go first since it was woken to write.
    yielded: bool,
}

impl Carrier {
    fn ping(&mut self) {
        let ping = proto::request::Body::Ping(proto::Ping {});
        encode(
            &proto::Request {
                id: PING,
                body: Some(ping),
            },
            &mut self.writing,
        );
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

    /// Tasks that were woken together get to ask before the task goes on: one write for all of
    /// them.
    fn let_others_ask(&mut self, cx: &Context<'_>) -> Progress {
        self.yielded = true;
        cx.waker().wake_by_ref();
        Progress::Sleep
    }

    /// Writes what there is; `false` if the socket is full.
    fn write(
        &mut self,
        mut stream: Pin<&mut Stream>,
        cx: &mut Context<'_>,
    ) -> Result<bool, Ending> {
        while self.written < self.writing.len() {
            match stream
                .as_mut()
                .poll_write(cx, &self.writing[self.written..])
            {
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
        let strange =
            |what: &str| format!("the server does not speak netlock version {VERSION} ({what})");
        let (mut count, mut greeted) = (0, None);
        while count < self.share
            && let Some(frame) =
                self.frames
                    .take(RESPONSE_MAX)
                    .map_err(|too_long| match too_long.length >> 16 {
                        TLS_ALERT => {
                            "the server speaks TLS at this port: use the scheme `netlocks:`"
                                .to_owned()
                        }
                        _ => strange("a frame is too long"),
                    })?
        {
            count += 1;
            if let Some(answer) = read_reply(frame) {
                self.answers.push(answer);
                continue;
            }
            let response =
                proto::Response::decode(frame).map_err(|_| strange("a frame is no message"))?;
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
