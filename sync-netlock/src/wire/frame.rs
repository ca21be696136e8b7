//! Frames: a length of four bytes, big-endian, and a message.

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;

/// The longest response, in bytes: a queue of 10,000 claims with their values fits.
pub const RESPONSE_MAX: usize = 64 << 20;

const HEADER: usize = 4;

/// Appends a message as a frame.
pub fn encode(message: &impl Message, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    // A vector grows: this cannot fail.
    let _ = message.encode(out);
    let length = u32::try_from(out.len() - start - HEADER).unwrap_or(u32::MAX);
    out[start..start + HEADER].copy_from_slice(&length.to_be_bytes());
}

/// A frame announced more than is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// What it announced, in bytes.
    pub length: usize,
}

/// Bytes from a peer, taken apart into frames. Memory grows with what has arrived, never with what was announced.
#[derive(Debug)]
pub struct Frames {
    inbox: BytesMut,
}

impl Default for Frames {
    fn default() -> Self {
        Self::new()
    }
}

impl Frames {
    /// Reads begin with this much room, so that an idle connection costs little ...
    const SMALL: usize = 4 << 10;
    /// ... and go up to this much for a busy one.
    const LARGE: usize = 8 << 10;

    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { inbox: BytesMut::new() }
    }

    /// Where the next bytes go.
    pub fn room(&mut self) -> &mut BytesMut {
        let wanted = if self.inbox.capacity() > Self::SMALL { Self::LARGE } else { Self::SMALL };
        if self.inbox.capacity() - self.inbox.len() < wanted / 2 {
            self.inbox.reserve(wanted);
        }
        &mut self.inbox
    }

    /// The last read filled the room: make it larger.
    pub fn grow(&mut self) {
        self.inbox.reserve(Self::LARGE);
    }

    /// Whether the beginning of a frame is here, and not its end.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// All complete frames, in one piece of memory that they share.
    ///
    /// # Errors
    /// A frame announces more than `max` bytes. The frames before it are lost: the connection is to end.
    pub fn complete(&mut self, max: usize) -> Result<Batch, TooLong> {
        let mut end = 0;
        while let Some(length) = announced(&self.inbox[end..]) {
            if length > max {
                return Err(TooLong { length });
            }
            if self.inbox.len() - end - HEADER < length {
                break;
            }
            end += HEADER + length;
        }
        Ok(Batch { rest: if end == 0 { Bytes::new() } else { self.inbox.split_to(end).freeze() } })
    }
}

fn announced(bytes: &[u8]) -> Option<usize> {
    let header: [u8; HEADER] = bytes.get(..HEADER)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(header)).ok()
}

/// Complete frames, one after the other.
#[derive(Debug)]
pub struct Batch {
    rest: Bytes,
}

impl Iterator for Batch {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let length = announced(&self.rest)?;
        self.rest.advance(HEADER);
        Some(self.rest.split_to(length))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap();
        [&length.to_be_bytes(), body].concat()
    }

    #[test]
    fn a_length_is_refused_before_its_bytes_come() {
        let mut frames = Frames::new();
        frames.room().extend_from_slice(&[0, 1, 0, 1]);
        assert_eq!(frames.complete(65_536).unwrap_err(), TooLong { length: 65_537 });
        assert!(frames.room().capacity() <= Frames::LARGE);
    }

    proptest! {
        /// However the bytes are cut, the frames are the same.
        #[test]
        fn cuts_do_not_matter(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..10),
            cut in 1usize..40,
        ) {
            let bytes: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
            let mut frames = Frames::new();
            let mut seen = Vec::new();
            for piece in bytes.chunks(cut) {
                frames.room().extend_from_slice(piece);
                seen.extend(frames.complete(100).unwrap().map(|body| body.to_vec()));
            }
            prop_assert_eq!(seen, bodies);
            prop_assert!(!frames.is_partial());
        }
    }
}
