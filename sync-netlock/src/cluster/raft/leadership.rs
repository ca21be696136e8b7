//! Frames of one leadership.
//!
//! The table of a leader continues from the entries before its term. If the leader is deposed and
//! elected again without noticing, a frame that it proposes then has a later term than its table,
//! and does not follow from the entries in between. Each frame therefore names its term, and all
//! nodes ignore it in an entry of another one.

use bytes::Bytes;

const TERM: usize = 8;

/// Returns the content of an entry for a frame that the leader of this term has made.
pub(crate) fn in_term(term: u64, frame: &[u8]) -> Bytes {
    let mut content = Vec::with_capacity(TERM + frame.len());
    content.extend_from_slice(&term.to_le_bytes());
    content.extend_from_slice(frame);
    content.into()
}

/// Returns the frame in an entry of this term, unless the frame was made in another one.
pub(crate) fn of_term(term: u64, content: &[u8]) -> Option<&[u8]> {
    let (made_in, frame) = content.split_first_chunk::<TERM>()?;
    (u64::from_le_bytes(*made_in) == term).then_some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_an_effect_in_its_own_term_only() {
        let content = in_term(7, b"frame");
        assert_eq!(of_term(7, &content), Some(&b"frame"[..]));
        assert_eq!(of_term(8, &content), None);
        assert_eq!(of_term(7, &content[..5]), None);
    }
}
