//! Frames: a length of four bytes, big-endian, and a message.

use bytes::{Buf, BytesMut};
use prost::Message;

/// The longest response, in bytes: a queue of 10,000 claims with their values fits.
pub const RESPONSE_MAX: usize = 64 << 20;

/// The bytes of a length.
pub(super) const HEADER: usize = 4;

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

/// Bytes from a peer, taken apart into frames. Memory grows with what has arrived, never with what
/// was announced.
#[derive(Debug, Default)]
pub struct Frames {
    inbox: BytesMut,
    /// How much of it has been taken.
    taken: usize,
}

impl Frames {
    /// Reads begin with this much room, so that an idle connection costs little ...
    const SMALL: usize = 4 << 10;
    /// ... and go up to this much for a busy one.
    const LARGE: usize = 8 << 10;

    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the next bytes go.
    pub fn room(&mut self) -> &mut BytesMut {
        self.inbox.advance(std::mem::take(&mut self.taken));
        let wanted = if self.inbox.capacity() > Self::SMALL {
            Self::LARGE
        } else {
            Self::SMALL
        };
        if self.inbox.capacity() - self.inbox.len() < wanted / 2 {
            self.inbox.reserve(wanted);
        }
        &mut self.inbox
    }

    /// The last read filled the room: make it larger.
    pub fn grow(&mut self) {
        self.inbox.reserve(Self::LARGE);
    }

    /// Whether the beginning of a frame is here, and not its end, once no complete one is left.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.taken < self.inbox.len()
    }

    /// Takes the message of the next complete frame.
    ///
    /// # Errors
    /// The next frame announces more than `max` bytes: the connection is to end.
    pub fn take(&mut self, max: usize) -> Result<Option<&[u8]>, TooLong> {
        let Some((header, rest)) = self.inbox[self.taken..].split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
        if length > max {
            return Err(TooLong { length });
        }
        let Some(message) = rest.get(..length) else {
            return Ok(None);
        };
        self.taken += HEADER + length;
        Ok(Some(message))
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
        assert_eq!(frames.take(65_536).unwrap_err(), TooLong { length: 65_537 });
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
                while let Some(body) = frames.take(100).unwrap() {
                    seen.push(body.to_vec());
                }
            }
            prop_assert_eq!(seen, bodies);
            prop_assert!(!frames.is_partial());
        }
    }
}
