//! The requests that a connection has read and not processed yet.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_util::io::poll_read_buf;

use crate::stream::Stream;
use crate::wire::{TooLong, split_frame};

/// The size of the buffers that connections read into, in bytes. One read takes in all requests of
/// a client that has a thousand in flight.
const BUFFER: usize = 64 << 10;
/// The most buffers that a thread keeps. A connection has one only while it processes requests, and
/// those that wait for the log meanwhile are few.
const SPARE_MAX: usize = 8;
/// An incomplete request from this size on stays where it is, and the rest is read behind it.
const LONG: usize = 4 << 10;

thread_local! {
    /// Empty buffers of the connections that this thread serves. They stay in the processor's
    /// cache, however many connections there are, and idle connections need none.
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

fn lend() -> Vec<u8> {
    let spare = SPARE.with_borrow_mut(Vec::pop);
    spare.unwrap_or_else(|| Vec::with_capacity(BUFFER))
}

fn give_back(mut buffer: Vec<u8>) {
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_MAX {
            buffer.clear();
            spare.push(buffer);
        }
    });
}

/// The requests that were read and are not processed yet. Between two reads it keeps the incomplete
/// request at the end, and no more memory than that needs.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    /// The number of bytes at the start of `bytes` that belong to requests already taken.
    taken: usize,
    /// Whether `bytes` is a buffer of the thread.
    is_lent: bool,
}

impl Inbox {
    /// Reads what has arrived, at most one buffer. Returns the number of bytes, which is 0 at the
    /// end of the stream.
    ///
    /// # Cancel safety
    /// Safe: nothing is read unless the future is ready.
    pub(super) async fn read(&mut self, stream: &mut Stream) -> io::Result<usize> {
        self.settle();
        poll_fn(|cx| self.poll_read(stream, cx)).await
    }

    fn poll_read(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.bytes.len() >= LONG {
            // The buffer grows with the bytes that have arrived, never with the length that a
            // header claims.
            self.bytes.reserve(LONG);
            return poll_read_buf(Pin::new(stream), cx, &mut self.bytes);
        }
        let mut buffer = lend();
        buffer.extend_from_slice(&self.bytes);
        let read = poll_read_buf(Pin::new(stream), cx, &mut buffer);
        if matches!(read, Poll::Ready(Ok(_))) {
            (self.bytes, self.is_lent) = (buffer, true);
        } else {
            give_back(buffer);
        }
        read
    }

    /// Takes the message of the next request, or returns `None` if no complete one has arrived.
    ///
    /// # Errors
    /// The next request is longer than `max` bytes. The caller has to close the connection.
    pub(super) fn take(&mut self, max: usize) -> Result<Option<&[u8]>, TooLong> {
        let Some((message, length)) = split_frame(&self.bytes[self.taken..], max)? else {
            return Ok(None);
        };
        self.taken += length;
        Ok(Some(message))
    }

    /// Returns whether an incomplete request is left. Valid after [`take`](Self::take) has returned
    /// `None`.
    pub(super) fn is_partial(&self) -> bool {
        self.taken < self.bytes.len()
    }

    /// Removes the requests that were taken, and gives the thread its buffer back.
    fn settle(&mut self) {
        if self.is_lent {
            let rest = self.bytes[self.taken..].to_vec();
            give_back(std::mem::replace(&mut self.bytes, rest));
            self.is_lent = false;
        } else if self.taken > 0 {
            self.bytes.drain(..self.taken);
        }
        self.taken = 0;
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        if self.is_lent {
            give_back(std::mem::take(&mut self.bytes));
        }
    }
}
