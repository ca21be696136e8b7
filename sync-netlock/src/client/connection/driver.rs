//! The driver: the task that writes the requests of a connection, reads the replies and wakes the
//! callers.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use distsync_core::ErrorKind;
use prost::Message;
use tokio::io::AsyncWrite;
use tracing::debug;

use super::close_reason::CloseReason;
use super::silence::{Check, Silence};
use super::{Connection, Greeting, HELLO, IGNORED, PING};
use crate::engine::Reply;
use crate::replies::Delivered;
use crate::stream::Stream;
use crate::wire::{Frames, RESPONSE_MAX, VERSION, encode, proto, read_reply, to_reply};

/// The least number of replies to deliver before the next requests are written. With fewer, the
/// system call for the write costs more than it gains.
const BATCH_MIN: usize = 16;

/// The first two bytes of a TLS alert, which a TLS server sends in reply to a client without TLS.
const TLS_ALERT: usize = 0x1503;

/// Closes the connection when the driver ends, also if its runtime shuts down.
struct CloseOnDrop(Arc<Connection>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0
            .close("the runtime of the connection has shut down".into());
    }
}

/// Runs a connection until it breaks or is closed.
pub(in crate::client) async fn drive(connection: Arc<Connection>, mut stream: Stream) {
    let connection = CloseOnDrop(connection);
    let mut driver = Driver {
        writing: Vec::new(),
        written: 0,
        frames: Frames::new(),
        replies: Vec::new(),
        delivered: Vec::new(),
        batch: BATCH_MIN,
        shares_a_core: std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1),
        silence: Silence::new(),
        yielded: false,
    };
    let mut tick = driver.silence.tick();
    let mut timer = pin!(tokio::time::sleep(tick));
    let mut is_due = false;
    let reason = poll_fn(|cx| {
        loop {
            is_due |= timer.as_mut().poll(cx).is_ready();
            match driver.run(&connection.0, Pin::new(&mut stream), cx) {
                Ok(Progress::Sleep) => {}
                Ok(Progress::Yield) => return Poll::Pending,
                Ok(Progress::Closed) => return Poll::Ready("the connection was closed".into()),
                Err(reason) => return Poll::Ready(reason),
            }
            if is_due {
                match driver.silence.check() {
                    Check::Nothing => {}
                    Check::Ping => driver.ping(),
                    Check::Broken => return Poll::Ready("the server does not respond".into()),
                }
            } else if driver.silence.tick() == tick {
                return Poll::Pending;
            }
            is_due = false;
            tick = driver.silence.tick();
            timer.set(tokio::time::sleep(tick));
        }
    })
    .await;
    debug!(reason = reason.text, "connection closed");
    connection.0.close(reason);
}

enum Progress {
    /// Nothing has arrived, and all requests are written or the socket takes no more.
    Sleep,
    /// The callers run first.
    Yield,
    Closed,
}

struct Driver {
    writing: Vec<u8>,
    /// The number of bytes at the start of `writing` that were written.
    written: usize,
    frames: Frames,
    replies: Vec<(u64, Reply)>,
    delivered: Vec<Delivered>,
    /// How many replies to deliver before the next requests are written. This is half of the
    /// pending requests, so that the server works on one half while the callers work on the other.
    batch: usize,
    /// Whether this process has one core. Callers and server then do not work at the same time, at
    /// least if the server is on the same machine, and a smaller batch only costs system calls.
    shares_a_core: bool,
    silence: Silence,
    /// Whether the driver has yielded to the callers since it was woken to write.
    yielded: bool,
}

impl Driver {
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

    /// Reads and writes until neither can continue without waiting.
    fn run(
        &mut self,
        connection: &Connection,
        mut stream: Pin<&mut Stream>,
        cx: &mut Context<'_>,
    ) -> Result<Progress, CloseReason> {
        loop {
            if self.writing.is_empty() {
                let mut state = connection.state();
                if state.closed.is_some() {
                    return Ok(Progress::Closed);
                }
                self.batch = if self.shares_a_core {
                    usize::MAX
                } else {
                    (state.replies.len() / 2).max(BATCH_MIN)
                };
                if let Some(ttl) = state.shortest_ttl {
                    self.silence.adapt(ttl);
                }
                if !state.out.is_empty() {
                    if !self.yielded {
                        return Ok(self.yield_to_callers(cx));
                    }
                    std::mem::swap(&mut state.out, &mut self.writing);
                    self.yielded = false;
                }
            }
            let written = match self.write(stream.as_mut(), cx) {
                Ok(written) => written,
                // A server that closed the connection may have sent the reason before.
                Err(reason) => match self.read(stream.as_mut(), cx) {
                    Err(sent) if sent.kind == ErrorKind::Denied || sent.leader.is_some() => {
                        return Err(sent);
                    }
                    _ => return Err(reason),
                },
            };
            let delivered = self.deliver(connection)?;
            if delivered == self.batch {
                return Ok(self.yield_to_callers(cx));
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

    /// Lets callers that were woken together send their next requests first, so that one write
    /// sends them all.
    fn yield_to_callers(&mut self, cx: &Context<'_>) -> Progress {
        self.yielded = true;
        cx.waker().wake_by_ref();
        Progress::Yield
    }

    /// Writes and flushes `writing`. Returns `false` if the socket takes no more bytes now.
    fn write(
        &mut self,
        mut stream: Pin<&mut Stream>,
        cx: &mut Context<'_>,
    ) -> Result<bool, CloseReason> {
        while self.written < self.writing.len() {
            match stream
                .as_mut()
                .poll_write(cx, &self.writing[self.written..])
            {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(0)) => return Err("the server closed the connection".into()),
                Poll::Ready(Ok(written)) => {
                    self.written += written;
                    self.silence.wrote();
                }
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

    /// Reads once. Returns `false` if no bytes have arrived.
    fn read(
        &mut self,
        stream: Pin<&mut Stream>,
        cx: &mut Context<'_>,
    ) -> Result<bool, CloseReason> {
        let room = self.frames.room();
        match tokio_util::io::poll_read_buf(stream, cx, room) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => Err("the server closed the connection".into()),
            Poll::Ready(Ok(_)) => {
                if room.len() == room.capacity() {
                    self.frames.grow();
                }
                self.silence.read();
                Ok(true)
            }
            Poll::Ready(Err(error)) => Err(error.into()),
        }
    }

    /// Delivers the replies that have arrived to their callers, at most `batch` of them, and
    /// returns their number.
    fn deliver(&mut self, connection: &Connection) -> Result<usize, CloseReason> {
        let invalid =
            |what: &str| format!("the server does not speak netlock version {VERSION} ({what})");
        let (mut count, mut greeted) = (0, None);
        while count < self.batch
            && let Some(frame) =
                self.frames
                    .take(RESPONSE_MAX)
                    .map_err(|too_long| match too_long.length >> 16 {
                        TLS_ALERT => {
                            "the server speaks TLS at this port: use the scheme `netlocks:`"
                                .to_owned()
                        }
                        _ => invalid("a frame is too long"),
                    })?
        {
            count += 1;
            if let Some(reply) = read_reply(frame) {
                self.replies.push(reply);
                continue;
            }
            let response =
                proto::Response::decode(frame).map_err(|_| invalid("a frame is not a message"))?;
            match (response.id, response.body) {
                (HELLO, Some(proto::response::Body::Welcome(welcome))) => {
                    greeted = Some(welcome);
                }
                (0 | HELLO, Some(proto::response::Body::Refused(refused))) => {
                    return Err(refused.into());
                }
                (PING, Some(proto::response::Body::Pong(pong))) => {
                    connection.learn(pong.members);
                }
                (PING | IGNORED, _) => {}
                (id, Some(body)) => match to_reply(body) {
                    Some(reply) => self.replies.push((id, reply)),
                    None => return Err(invalid("unknown reply").into()),
                },
                (_, None) => return Err(invalid("empty reply").into()),
            }
        }
        if count > 0 {
            let mut state = connection.state();
            for (id, reply) in self.replies.drain(..) {
                self.delivered.extend(state.replies.deliver(id, reply));
            }
            if let Some(welcome) = greeted
                && let Greeting::Awaited(waker) =
                    std::mem::replace(&mut state.greeting, Greeting::Done(welcome))
            {
                self.delivered.push(Delivered::Wake(waker));
            }
        }
        self.delivered.drain(..).for_each(Delivered::finish);
        Ok(count)
    }
}
