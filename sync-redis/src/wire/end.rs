//! The client's end of a connection: the socket, the outstanding replies, and the reader that
//! delivers them.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use distsync_core::spi::locked;
use redis::{ErrorKind, PushKind, RedisError, RedisResult, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::io::poll_read_buf;

use crate::inbox::Inbox;
use crate::resp::{self, Extent};

/// The number of bytes that a read has room for.
const READ: usize = 4_096;

/// The interval between checks of the connection.
pub(super) const LOOK: Duration = Duration::from_millis(750);
/// The number of checks without any bytes from the server after which the connection is abandoned,
/// if a reply is outstanding. The server or the network may have failed without closing the
/// connection, and another server may have become the primary.
pub(super) const SILENT_LOOKS: u32 = 4;

/// A stream of bytes to a server.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

pub(super) type Asker = oneshot::Sender<RedisResult<Value>>;

pub(super) fn hung_up() -> RedisError {
    io::Error::from(io::ErrorKind::UnexpectedEof).into()
}

fn garbage(problem: &'static str) -> RedisError {
    (ErrorKind::Parse, problem).into()
}

/// The recipient of an outstanding reply. The begin or end of a subscription is confirmed by a push
/// message, but refused by an ordinary reply.
pub(super) enum Awaited {
    Answer(Asker),
    Subscription(Asker),
}

impl Awaited {
    fn tell(self, answer: RedisResult<Value>) {
        let (Self::Answer(asker) | Self::Subscription(asker)) = self;
        // The caller may have been cancelled.
        let _ = asker.send(answer);
    }
}

/// The client's end of a connection.
pub(super) struct End {
    stream: Box<dyn Stream>,
    unsent: Vec<u8>,
    /// Whether the stream has flushed all bytes that were written to it.
    is_flushed: bool,
    received: BytesMut,
    /// How far the value at the beginning of `received` has been scanned.
    extent: Extent,
    awaited: VecDeque<Awaited>,
    /// The number of checks since the last bytes from the server, while a reply was outstanding.
    silent_looks: u32,
    /// The limit of `silent_looks`.
    patience: u32,
    reader: Option<Waker>,
    lost: Option<RedisError>,
}

impl End {
    /// Creates the end of a connection on a stream. The server may be silent for `busy` longer than
    /// usual, because a command of this client blocks the connection for that long.
    pub(super) fn new(stream: impl Stream, busy: Duration) -> Self {
        let busy = u32::try_from(busy.as_millis().div_ceil(LOOK.as_millis())).unwrap_or(u32::MAX);
        Self {
            stream: Box::new(stream),
            unsent: Vec::new(),
            is_flushed: true,
            received: BytesMut::new(),
            extent: Extent::default(),
            awaited: VecDeque::new(),
            silent_looks: 0,
            patience: SILENT_LOOKS.saturating_add(busy),
            reader: None,
            lost: None,
        }
    }

    /// Writes a command to the socket. The reader sends the bytes that the socket does not accept
    /// now.
    pub(super) fn send(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>),
        awaited: Awaited,
    ) -> RedisResult<()> {
        if let Some(error) = &self.lost {
            return Err(error.clone());
        }
        write(&mut self.unsent);
        self.is_flushed = false;
        self.awaited.push_back(awaited);
        if !matches!(
            self.flush(&mut Context::from_waker(Waker::noop())),
            Poll::Ready(Ok(()))
        ) && let Some(reader) = &self.reader
        {
            reader.wake_by_ref();
        }
        Ok(())
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            match ready!(Pin::new(&mut *self.stream).poll_write(cx, &self.unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => drop(self.unsent.drain(..sent)),
            }
        }
        if !self.is_flushed {
            ready!(Pin::new(&mut *self.stream).poll_flush(cx))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends and receives until the connection fails.
    fn poll(&mut self, cx: &mut Context<'_>, inbox: &Inbox) -> Poll<RedisError> {
        if let Poll::Ready(Err(error)) = self.flush(cx) {
            return Poll::Ready(error.into());
        }
        loop {
            self.received.reserve(READ);
            match ready!(poll_read_buf(
                Pin::new(&mut *self.stream),
                cx,
                &mut self.received
            )) {
                Ok(0) => return Poll::Ready(hung_up()),
                Ok(_) => {
                    self.silent_looks = 0;
                    if let Err(error) = self.take(inbox) {
                        return Poll::Ready(error);
                    }
                }
                Err(error) => return Poll::Ready(error.into()),
            }
        }
    }

    /// Delivers all complete values that were received.
    fn take(&mut self, inbox: &Inbox) -> RedisResult<()> {
        while let Some(length) = self.extent.find(&self.received).map_err(garbage)? {
            let value = resp::read(&self.received[..length]).map_err(garbage)?;
            self.received.advance(length);
            match value {
                Value::Push { kind, data } => {
                    if matches!(kind, PushKind::Subscribe | PushKind::Unsubscribe)
                        && matches!(self.awaited.front(), Some(Awaited::Subscription(_)))
                        && let Some(asker) = self.awaited.pop_front()
                    {
                        asker.tell(Ok(Value::Okay));
                    }
                    inbox.take(&kind, &data);
                }
                // A server that has reached maxclients sends this error before any command.
                Value::ServerError(error) if self.awaited.is_empty() => return Err(error.into()),
                answer => {
                    let asker = self
                        .awaited
                        .pop_front()
                        .ok_or(garbage("a reply without a request"))?;
                    asker.tell(match answer {
                        Value::ServerError(error) => Err(error.into()),
                        answer => Ok(answer),
                    });
                }
            }
        }
        Ok(())
    }

    /// Checks that the server sends something while replies are outstanding.
    fn look(&mut self) -> RedisResult<()> {
        self.silent_looks = if self.awaited.is_empty() {
            0
        } else {
            self.silent_looks + 1
        };
        if self.silent_looks > self.patience {
            Err(io::Error::from(io::ErrorKind::TimedOut).into())
        } else {
            Ok(())
        }
    }

    fn lose(&mut self, error: RedisError) {
        for asker in self.awaited.drain(..) {
            asker.tell(Err(error.clone()));
        }
        self.lost = Some(error);
    }
}

/// The state of the reader task. Dropping it fails all outstanding requests, however the task ends.
pub(super) struct Reader {
    end: Arc<Mutex<End>>,
    inbox: Arc<Inbox>,
    looks: Interval,
}

impl Reader {
    pub(super) fn new(end: Arc<Mutex<End>>, inbox: Arc<Inbox>) -> Self {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { end, inbox, looks }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut end = locked(&self.end);
        if !end
            .reader
            .as_ref()
            .is_some_and(|reader| reader.will_wake(cx.waker()))
        {
            end.reader = Some(cx.waker().clone());
        }
        let error = match end.poll(cx, &self.inbox) {
            Poll::Ready(error) => error,
            Poll::Pending => loop {
                ready!(self.looks.poll_tick(cx));
                if let Err(error) = end.look() {
                    break error;
                }
            },
        };
        end.lose(error);
        Poll::Ready(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut end = locked(&self.end);
        if end.lost.is_none() {
            end.lose(hung_up());
        }
        drop(end);
        self.inbox.lose();
    }
}
