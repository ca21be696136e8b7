//! Frames: a length in four bytes, big-endian, and a message of that length.

use bytes::{Buf, BytesMut};
use prost::Message;

/// The longest response, in bytes. A queue of 10,000 claims with their values fits.
pub const RESPONSE_MAX: usize = 64 << 20;

/// The size of the length, in bytes.
pub(super) const HEADER: usize = 4;

/// Appends a message to `out` as a frame.
pub fn encode(message: &impl Message, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    // Encoding fails only if the buffer has a fixed size. A vector grows.
    let _ = message.encode(out);
    let length = u32::try_from(out.len() - start - HEADER).unwrap_or(u32::MAX);
    out[start..start + HEADER].copy_from_slice(&length.to_be_bytes());
}

/// The error for a frame whose length exceeds the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// The length in the header of the frame, in bytes.
    pub length: usize,
}

/// Returns the message of the first frame, and the length of the frame. Returns `None` if the frame
/// is incomplete.
pub(crate) fn split_frame(bytes: &[u8], max: usize) -> Result<Option<(&[u8], usize)>, TooLong> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
    if length > max {
        return Err(TooLong { length });
    }
    Ok(rest.get(..length).map(|message| (message, HEADER + length)))
}

/// Splits the bytes received from a peer into frames. The buffer grows with the bytes that have
/// arrived, never with the length that a header claims.
#[derive(Debug, Default)]
pub struct Frames {
    inbox: BytesMut,
    /// The number of bytes at the start of `inbox` that belong to frames already taken.
    taken: usize,
}

impl Frames {
    /// The initial size of the buffer. It is small, because a server has many idle connections.
    const SMALL: usize = 4 << 10;
    /// The size of the buffer once a read has filled the small one.
    const LARGE: usize = 8 << 10;

    /// Creates an empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the buffer to read the next bytes into, with free space at its end.
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

    /// Enlarges the buffer. Called when a read has filled it.
    pub fn grow(&mut self) {
        self.inbox.reserve(Self::LARGE);
    }

    /// Returns whether an incomplete frame is left in the buffer. Valid after [`take`](Self::take)
    /// has returned `None`.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.taken < self.inbox.len()
    }

    /// Takes the message of the next frame, or returns `None` if no complete frame has arrived.
    ///
    /// # Errors
    /// The next frame is longer than `max` bytes. The caller has to close the connection.
    pub fn take(&mut self, max: usize) -> Result<Option<&[u8]>, TooLong> {
        let Some((message, length)) = split_frame(&self.inbox[self.taken..], max)? else {
            return Ok(None);
        };
        self.taken += length;
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
    fn a_frame_that_is_too_long_is_refused_before_its_bytes_arrive() {
        let mut frames = Frames::new();
        frames.room().extend_from_slice(&[0, 1, 0, 1]);
        assert_eq!(frames.take(65_536).unwrap_err(), TooLong { length: 65_537 });
        assert!(frames.room().capacity() <= Frames::LARGE);
    }

    proptest! {
        /// The frames are the same for every split of the bytes into reads.
        #[test]
        fn frames_do_not_depend_on_how_reads_split_them(
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
