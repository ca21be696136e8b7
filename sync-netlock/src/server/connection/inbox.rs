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
        if !self.is_lent {
            let mut buffer = lend();
            buffer.extend_from_slice(&self.bytes);
            (self.bytes, self.is_lent) = (buffer, true);
        }
        let read = poll_read_buf(Pin::new(stream), cx, &mut self.bytes);
        if !matches!(read, Poll::Ready(Ok(_))) {
            self.return_lent();
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

    /// Removes the requests that were taken. Keeps the buffer of the thread until a read finds
    /// nothing, unless a long request is incomplete.
    fn settle(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        if taken == self.bytes.len() {
            self.bytes.clear();
        } else if taken > 0 {
            self.bytes.drain(..taken);
        }
        if self.is_lent && self.bytes.len() >= LONG {
            self.return_lent();
        }
    }

    /// Gives the thread its buffer back, and keeps the incomplete request that is in it.
    fn return_lent(&mut self) {
        let rest = self.bytes.as_slice().to_vec();
        give_back(std::mem::replace(&mut self.bytes, rest));
        self.is_lent = false;
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        if self.is_lent {
            give_back(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn frame(length: usize) -> Vec<u8> {
        let header = u32::try_from(length).unwrap().to_be_bytes();
        [&header[..], &vec![7; length]].concat()
    }

    /// Reads until `bytes` more have arrived.
    async fn read(inbox: &mut Inbox, stream: &mut Stream, mut bytes: usize) {
        while bytes > 0 {
            bytes -= inbox.read(stream).await.unwrap();
        }
    }

    /// Polls a read that finds nothing.
    async fn find_nothing(inbox: &mut Inbox, stream: &mut Stream) {
        let mut read = std::pin::pin!(inbox.read(stream));
        poll_fn(|cx| {
            assert!(read.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn a_connection_that_waits_keeps_the_incomplete_request_only() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let mut client = client.unwrap();
        let mut stream = Stream::Plain(listener.accept().await.unwrap().0);
        let mut inbox = Inbox::default();
        for length in [100, LONG, 3 * LONG] {
            let (first, second) = (frame(10), frame(length));
            let (begun, rest) = second.split_at(second.len() - 1);
            client.write_all(&[&first, begun].concat()).await.unwrap();
            read(&mut inbox, &mut stream, first.len() + begun.len()).await;
            assert_eq!(inbox.take(1 << 20).unwrap(), Some(&first[4..]));
            assert_eq!(inbox.take(1 << 20).unwrap(), None);
            assert!(inbox.is_partial());
            find_nothing(&mut inbox, &mut stream).await;
            assert!(!inbox.is_lent && inbox.bytes == begun);
            assert!(inbox.bytes.capacity() <= 2 * begun.len() + LONG);
            client.write_all(rest).await.unwrap();
            read(&mut inbox, &mut stream, 1).await;
            assert_eq!(inbox.take(1 << 20).unwrap(), Some(&second[4..]));
            assert!(!inbox.is_partial());
            find_nothing(&mut inbox, &mut stream).await;
            assert!(!inbox.is_lent && inbox.bytes.is_empty());
        }
        SPARE.with_borrow(|spare| assert_eq!(spare.len(), 1, "one buffer serves all reads"));
    }
}
