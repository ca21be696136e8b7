//! Encoded replies of one connection that wait to be written.

use std::io::IoSlice;

use bytes::Bytes;

use super::fast_path;
use super::queue::{encode_head, encode_queue};
use super::reply::encode_reply;
use crate::engine::{QueueView, Reply};

/// The longest queue that is copied between the other replies. A longer one is written from the
/// bytes that all connections share. Copying a short one costs less than a piece of its own.
const COPY_MAX: usize = 2 << 10;

/// Replies that wait to be written, in order. Long queues are not copied: all connections that send
/// one share its bytes.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// The bytes of all replies, except for long queues.
    bytes: Vec<u8>,
    /// Long queues, and where each of them is between the bytes.
    queues: Vec<(usize, Body)>,
    /// An upper bound of the size of the long queues.
    size: usize,
}

#[derive(Debug)]
enum Body {
    /// The queue is encoded before it is written, and not while the table is locked.
    Queue(u64, QueueView),
    Encoded(Bytes),
}

impl Outgoing {
    /// Returns the end of the replies, to append encoded messages.
    pub fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Appends a reply as the response to the request `id`.
    pub fn push(&mut self, id: u64, reply: Reply) {
        match reply {
            // The most frequent replies are encoded without moving them.
            ref short if fast_path::write_reply(id, short, &mut self.bytes) => {}
            Reply::Queue(view) => self.push_queue(id, view),
            reply => encode_reply(id, reply, &mut self.bytes),
        }
    }

    fn push_queue(&mut self, id: u64, view: QueueView) {
        match view.snapshot() {
            Some((queue, _)) if queue.size() > COPY_MAX => {
                self.size += queue.size();
                self.queues.push((self.bytes.len(), Body::Queue(id, view)));
            }
            _ => encode_reply(id, Reply::Queue(view), &mut self.bytes),
        }
    }

    /// Returns an upper bound of the number of bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len() + self.size
    }

    /// Returns whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.queues.is_empty()
    }

    /// Encodes all queues, and returns the number of bytes to write.
    pub fn encode(&mut self) -> usize {
        if self.queues.is_empty() {
            return self.bytes.len();
        }
        // The heads are short, and belong between the other bytes.
        let mut bytes = Vec::with_capacity(self.bytes.len() + 16 * self.queues.len());
        let (mut copied, mut length) = (0, 0);
        for (at, body) in &mut self.queues {
            bytes.extend_from_slice(&self.bytes[copied..*at]);
            copied = *at;
            if let Body::Queue(id, view) = body {
                let encoded = encode_queue(view).unwrap_or_default();
                encode_head(*id, encoded.len(), &mut bytes);
                *body = Body::Encoded(encoded);
            }
            if let Body::Encoded(encoded) = body {
                length += encoded.len();
            }
            *at = bytes.len();
        }
        bytes.extend_from_slice(&self.bytes[copied..]);
        self.bytes = bytes;
        self.size = length;
        self.bytes.len() + length
    }

    /// Returns all bytes, unless there are long queues between them.
    #[must_use]
    pub fn whole(&self) -> Option<&[u8]> {
        self.queues.is_empty().then_some(&*self.bytes)
    }

    /// Returns the size of the bytes that are not shared with other connections.
    #[must_use]
    pub fn own_size(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the encoded queues, which other connections may share.
    pub fn queues(&self) -> impl Iterator<Item = &Bytes> {
        self.queues.iter().filter_map(|(_, body)| match body {
            Body::Encoded(encoded) => Some(encoded),
            Body::Queue(..) => None,
        })
    }

    /// Returns the bytes from `written` on, as pieces. There may be more than `N`. Call
    /// [`encode`](Self::encode) before.
    #[must_use]
    pub fn pieces<const N: usize>(&self, mut written: usize) -> ([IoSlice<'_>; N], usize) {
        let (mut pieces, mut count) = ([IoSlice::new(&[]); N], 0);
        let mut from = 0;
        let queues = self.queues.iter().map(|(at, body)| match body {
            Body::Encoded(body) => (*at, &body[..]),
            Body::Queue(..) => (*at, &[][..]),
        });
        for (at, body) in queues.chain([(self.bytes.len(), &[][..])]) {
            for piece in [&self.bytes[from..at], body] {
                let skipped = written.min(piece.len());
                written -= skipped;
                if skipped < piece.len() && count < N {
                    pieces[count] = IoSlice::new(&piece[skipped..]);
                    count += 1;
                }
            }
            if count == N {
                break;
            }
            from = at;
        }
        (pieces, count)
    }

    /// Removes all replies, and keeps at most `kept` bytes of memory.
    pub fn clear(&mut self, kept: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(kept);
        if self.queues.capacity() > 0 {
            self.queues.clear();
            self.queues.shrink_to(kept / size_of::<(usize, Body)>());
            self.size = 0;
        }
    }
}

#[cfg(test)]
mod tests;
