//! The fast path of the codec: encodes and decodes `Enqueue`, `Withdraw`, `Granted` and `Withdrawn`
//! by hand, and decodes `Changed`. Nearly all traffic consists of these.
//!
//! The fast path writes the same bytes as the generic codec (prost). It reads only the canonical
//! form of a message: fields in the order of their numbers, without unknown fields. Everything else
//! is left to the generic codec. A property test compares the two.

use distsync_core::Token;
use distsync_core::spi::{ClaimId, Revision, SessionId};

use super::frame::HEADER;
use super::proto;
use super::values::{from_found, from_mode, to_found, to_mode};
use crate::engine::{Command, Reply};

/// Protobuf tags: the number of the field times 8, plus the wire type (0: varint, 1: eight bytes,
/// 2: a length and as many bytes).
mod tag {
    pub(super) const ID: u8 = 1 << 3;
    pub(super) const ENQUEUE: u8 = 7 << 3 | 2;
    pub(super) const WITHDRAW: u8 = 9 << 3 | 2;
    pub(super) const CHANGED: u8 = 13 << 3 | 2;
    pub(super) const GRANTED: u8 = 7 << 3 | 2;
    pub(super) const WITHDRAWN: u8 = 12 << 3 | 2;

    /// The first field of each of the four messages.
    pub(super) const FIRST: u8 = 1 << 3;
    /// The fields of `Changed`.
    pub(super) const WATCHED: u8 = 1 << 3 | 2;
    pub(super) const AFTER: u8 = 2 << 3;

    pub(super) const CLAIM: u8 = 2 << 3 | 2;
    pub(super) const NAME: u8 = 3 << 3 | 2;
    pub(super) const MODE: u8 = 4 << 3;
    pub(super) const PERMITS: u8 = 5 << 3;
    pub(super) const TRY: u8 = 6 << 3;
    pub(super) const VALUE: u8 = 7 << 3 | 2;

    pub(super) const HIGH: u8 = 1 << 3 | 1;
    pub(super) const LOW: u8 = 2 << 3 | 1;
}

/// The encoded size of an `Id` whose halves are both non-zero. Protobuf omits a half that is 0.
const ID_BYTES: u8 = 18;

/// Appends a command as a request. Returns `false`, and appends nothing, if the generic codec has
/// to encode it.
pub(super) fn write_command(
    id: u64,
    session: u32,
    command: &Command<'_>,
    out: &mut Vec<u8>,
) -> bool {
    let (kind, claim) = match command {
        Command::Enqueue { claim, .. } => (tag::ENQUEUE, *claim),
        Command::Withdraw { claim, .. } => (tag::WITHDRAW, *claim),
        _ => return false,
    };
    let claim = proto::Id::from(claim.bits());
    if claim.high == 0 || claim.low == 0 {
        return false;
    }
    write_frame(id, kind, out, |out| {
        number(tag::FIRST, session.into(), |byte| out.push(byte));
        out.extend_from_slice(&[tag::CLAIM, ID_BYTES, tag::HIGH]);
        out.extend_from_slice(&claim.high.to_le_bytes());
        out.push(tag::LOW);
        out.extend_from_slice(&claim.low.to_le_bytes());
        if let Command::Enqueue {
            name,
            mode,
            waits,
            value,
            ..
        } = command
        {
            let (mode, permits) = from_mode(*mode);
            bytes(tag::NAME, name, out);
            number(tag::MODE, u64::from(mode as u32), |byte| out.push(byte));
            number(tag::PERMITS, permits.into(), |byte| out.push(byte));
            number(tag::TRY, u64::from(!waits), |byte| out.push(byte));
            bytes(tag::VALUE, value, out);
        }
    })
}

/// Appends a reply as a response. Returns `false`, and appends nothing, if the generic codec has to
/// encode it.
pub(super) fn write_reply(id: u64, reply: &Reply, out: &mut Vec<u8>) -> bool {
    let (kind, value) = match reply {
        Reply::Granted { token } => (tag::GRANTED, token.get()),
        Reply::Withdrawn(withdrawn) => (tag::WITHDRAWN, u64::from(from_found(*withdrawn) as u32)),
        _ => return false,
    };
    if id == 0 {
        // Protobuf omits it.
        return false;
    }
    // Appending one buffer of fixed size costs half as much as appending byte by byte.
    let mut frame = [0; REPLY_MAX];
    frame[HEADER] = tag::ID;
    let mut end = HEADER + 1;
    end += put_varint(id, &mut frame[end..]);
    frame[end] = kind;
    let message = end + 2;
    end = message;
    if value != 0 {
        frame[message] = tag::FIRST;
        end += 1;
        end += put_varint(value, &mut frame[end..]);
    }
    let [length, ..] = (end - message).to_le_bytes();
    frame[message - 1] = length;
    let length = u32::try_from(end - HEADER).unwrap_or(u32::MAX);
    frame[..HEADER].copy_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&frame[..end]);
    true
}

/// The longest frame that `write_reply` builds: the header, the id (a tag and a varint of up to ten
/// bytes), the tag and the length of the message, and its one field (again up to eleven bytes).
const REPLY_MAX: usize = HEADER + 11 + 2 + 11;

/// Writes a varint to the start of `to`, and returns its length. May overwrite the bytes behind it,
/// up to the tenth.
fn put_varint(value: u64, to: &mut [u8]) -> usize {
    const GROUPS: u64 = (1 << 56) - 1;
    const MORE: u64 = 0x8080_8080_8080_8080;
    if let Ok(byte @ ..0x80) = u8::try_from(value) {
        to[0] = byte;
        return 1;
    }
    if value < 1 << 14 {
        let [low, ..] = value.to_le_bytes();
        let [high, ..] = (value >> 7).to_le_bytes();
        to[..2].copy_from_slice(&[low | 0x80, high]);
        return 2;
    }
    // Each byte takes seven bits. Eight bytes at a time need no loop: move halves of the bits, then
    // quarters, then eighths.
    let bits = value & GROUPS;
    let bits = (bits & 0x0fff_ffff) | (bits & 0x00ff_ffff_f000_0000) << 4;
    let bits = (bits & 0x0000_3fff_0000_3fff) | (bits & 0x0fff_c000_0fff_c000) << 2;
    let bits = (bits & 0x007f_007f_007f_007f) | (bits & 0x3f80_3f80_3f80_3f80) << 1;
    let (first, rest) = to.split_at_mut(8);
    if value <= GROUPS {
        let last = (bits | 1).ilog2() / 8;
        let more = MORE & ((1 << (8 * last)) - 1);
        first.copy_from_slice(&(bits | more).to_le_bytes());
        return 1 + last as usize;
    }
    first.copy_from_slice(&(bits | MORE).to_le_bytes());
    let mut end = 0;
    varint(value >> 56, |byte| {
        rest[end] = byte;
        end += 1;
    });
    8 + end
}

/// Appends a frame with an id and one message. Returns `false`, and appends nothing, if the length
/// of the message does not fit into one byte.
fn write_frame(id: u64, kind: u8, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) -> bool {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    number(tag::ID, id, |byte| out.push(byte));
    out.extend_from_slice(&[kind, 0]);
    let inner = out.len();
    body(out);
    match u8::try_from(out.len() - inner) {
        Ok(length) if length < 0x80 => {
            out[inner - 1] = length;
            let length = u32::try_from(out.len() - start - HEADER).unwrap_or(u32::MAX);
            out[start..start + HEADER].copy_from_slice(&length.to_be_bytes());
            true
        }
        _ => {
            out.truncate(start);
            false
        }
    }
}

/// Writes a number as a field. Writes nothing for 0, which proto3 omits.
pub(super) fn number(tag: u8, value: u64, mut put: impl FnMut(u8)) {
    if value != 0 {
        put(tag);
        varint(value, put);
    }
}

/// Returns how many bytes [`number`] writes for a value.
pub(super) fn length_of_number(value: u64) -> u8 {
    let bits = 64 - value.leading_zeros();
    if bits == 0 {
        0
    } else {
        1 + u8::try_from(bits.div_ceil(7)).unwrap_or(u8::MAX)
    }
}

pub(super) fn bytes(tag: u8, value: &[u8], out: &mut Vec<u8>) {
    if !value.is_empty() {
        out.push(tag);
        varint(value.len() as u64, |byte| out.push(byte));
        out.extend_from_slice(value);
    }
}

pub(super) fn varint(mut value: u64, mut put: impl FnMut(u8)) {
    while value >= 0x80 {
        put(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    put(value.to_le_bytes()[0]);
}

/// Decodes a request in canonical form. Returns `None` if the generic codec has to decode it, which
/// also finds out what is wrong with an invalid request.
pub(super) fn read_command<'a>(
    frame: &'a [u8],
    session: impl Fn(u32) -> Option<SessionId>,
) -> Option<(u64, Command<'a>)> {
    let mut rest = Reader(frame);
    let id = rest.number(tag::ID)?;
    let kind = rest.byte()?;
    if !matches!(kind, tag::ENQUEUE | tag::WITHDRAW | tag::CHANGED)
        || usize::from(rest.byte()?) != rest.0.len()
    {
        return None;
    }
    if kind == tag::CHANGED {
        let name = std::str::from_utf8(rest.bytes(tag::WATCHED)?).ok()?;
        let after = Revision(rest.number_or_0(tag::AFTER)?);
        return (rest.is_empty() && id != 0).then_some((id, Command::Changed { name, after }));
    }
    let session = session(u32::try_from(rest.number(tag::FIRST)?).ok()?)?;
    let claim = rest.claim()?;
    let command = if kind == tag::WITHDRAW {
        Command::Withdraw { session, claim }
    } else {
        let name = rest.bytes(tag::NAME)?;
        let mode = i32::try_from(rest.number_or_0(tag::MODE)?).ok()?;
        let permits = u32::try_from(rest.number_or_0(tag::PERMITS)?).ok()?;
        let waits = rest.number_or_0(tag::TRY)? == 0;
        let value = if rest.is_empty() {
            &[]
        } else {
            rest.bytes(tag::VALUE)?
        };
        Command::Enqueue {
            session,
            claim,
            name,
            mode: to_mode(mode, permits)?,
            waits,
            value,
        }
    };
    (rest.is_empty() && id != 0).then_some((id, command))
}

/// Decodes a response in canonical form. Returns `None` if the generic codec has to decode it.
pub(super) fn read_reply(frame: &[u8]) -> Option<(u64, Reply)> {
    let mut rest = Reader(frame);
    let id = rest.number(tag::ID)?;
    let kind = rest.byte()?;
    if usize::from(rest.byte()?) != rest.0.len() {
        return None;
    }
    let reply = match kind {
        tag::GRANTED => Reply::Granted {
            token: Token::new(rest.number(tag::FIRST)?)?,
        },
        tag::WITHDRAWN => {
            let found = i32::try_from(rest.number_or_0(tag::FIRST)?).ok()?;
            Reply::Withdrawn(to_found(found)?)
        }
        _ => return None,
    };
    rest.is_empty().then_some((id, reply))
}

/// Reads fields from the start of a byte slice, which then is the rest.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn tagged(&mut self, tag: u8) -> Option<()> {
        (self.byte()? == tag).then_some(())
    }

    #[inline(always)]
    fn varint(&mut self) -> Option<u64> {
        match self.0.split_first() {
            // Most numbers are short.
            Some((byte, rest)) if *byte < 0x80 => {
                self.0 = rest;
                Some(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        // Ten bytes are rare, so leave them to the generic codec.
        None
    }

    #[inline(always)]
    fn number(&mut self, tag: u8) -> Option<u64> {
        self.tagged(tag)?;
        self.varint()
    }

    fn number_or_0(&mut self, tag: u8) -> Option<u64> {
        if self.0.first() == Some(&tag) {
            self.number(tag)
        } else {
            Some(0)
        }
    }

    fn taken(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn bytes(&mut self, tag: u8) -> Option<&'a [u8]> {
        let length = self.number(tag)?;
        self.taken(usize::try_from(length).ok()?)
    }

    fn claim(&mut self) -> Option<ClaimId> {
        // Check the length once: a claim id in canonical form always has the same size.
        let (claim, rest) = self.0.split_first_chunk::<{ 2 + ID_BYTES as usize }>()?;
        let [
            tag::CLAIM,
            ID_BYTES,
            tag::HIGH,
            high @ ..,
            tag::LOW,
            l0,
            l1,
            l2,
            l3,
            l4,
            l5,
            l6,
            l7,
        ] = *claim
        else {
            return None;
        };
        self.0 = rest;
        let low = u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]);
        Some(ClaimId::from_bits(
            proto::Id {
                high: u64::from_le_bytes(high),
                low,
            }
            .into(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use distsync_core::Mode;
    use distsync_core::spi::Withdrawn;
    use proptest::prelude::*;
    use prost::Message;

    use super::super::command::{to_command, to_request};
    use super::super::frame::encode;
    use super::super::reply::{from_reply, to_reply};
    use super::*;

    const SESSION: SessionId = SessionId::from_bits(9);

    fn session(number: u32) -> Option<SessionId> {
        (number == 5).then_some(SESSION)
    }

    fn modes() -> impl Strategy<Value = Mode> {
        prop_oneof![
            Just(Mode::Exclusive),
            Just(Mode::Shared),
            (0u16..=u16::MAX).prop_map(|of| Mode::Permit { of })
        ]
    }

    fn replies() -> impl Strategy<Value = Reply> {
        let found = prop_oneof![
            Just(Withdrawn::Absent),
            Just(Withdrawn::Held),
            Just(Withdrawn::Waiting)
        ];
        let token = (1u64..1 << 63).prop_map(|token| Reply::Granted {
            token: Token::new(token).unwrap(),
        });
        prop_oneof![token, found.prop_map(Reply::Withdrawn)]
    }

    /// Asserts that the generic codec decodes a request to the same command as the fast path, if
    /// the fast path decodes it.
    fn same_command(frame: &[u8]) {
        let Some((id, command)) = read_command(frame, session) else {
            return;
        };
        let request = proto::Request::decode(frame).expect("the generic codec reads it");
        assert_eq!(request.id, id);
        let body = request.body.expect("a body");
        assert_eq!(
            format!("{command:?}"),
            format!("{:?}", to_command(&body, &mut Vec::new(), session).unwrap())
        );
    }

    fn same_reply(frame: &[u8]) {
        let Some((id, reply)) = read_reply(frame) else {
            return;
        };
        let response = proto::Response::decode(frame).expect("the generic codec reads it");
        assert_eq!(
            (response.id, to_reply(response.body.unwrap())),
            (id, Some(reply))
        );
    }

    /// Returns a copy of a frame with some bytes changed.
    fn damaged(frame: &[u8], damage: &[(usize, u8)]) -> Vec<u8> {
        let mut frame = frame.to_vec();
        for (index, byte) in damage {
            let index = index % frame.len();
            frame[index] = *byte;
        }
        frame
    }

    #[test]
    fn numbers_of_each_length_are_the_same_as_by_the_generic_codec() {
        for bits in 0..64 {
            for value in [
                1 << bits,
                1 << bits | 1,
                u64::MAX >> bits,
                0x5555_5555_5555_5555 >> bits,
            ] {
                let token = Token::new(value.clamp(1, u64::MAX >> 1)).expect("a token");
                let (id, reply) = (value.max(1), Reply::Granted { token });
                let (mut fast, mut generic) = (Vec::new(), Vec::new());
                encode(&from_reply(id, reply.clone()), &mut generic);
                assert!(write_reply(id, &reply, &mut fast));
                assert_eq!(fast, generic, "{id}");
                let readable = (id < 1 << 63).then_some((id, reply));
                assert_eq!(read_reply(&fast[HEADER..]), readable);
            }
        }
    }

    #[test]
    fn a_reply_without_an_id_is_left_to_the_generic_codec() {
        let mut out = Vec::new();
        assert!(!write_reply(0, &Reply::Withdrawn(Withdrawn::Held), &mut out) && out.is_empty());
    }

    proptest! {
        #[test]
        fn requests_are_the_same_as_by_the_generic_codec(
            id in 1u64..,
            claim in any::<u128>(),
            name in "\\PC{0,40}",
            mode in modes(),
            waits in any::<bool>(),
            value in prop::collection::vec(any::<u8>(), 0..60),
            withdraws in any::<bool>(),
            damage in prop::collection::vec((0usize..200, any::<u8>()), 0..3),
        ) {
            let claim = ClaimId::from_bits(claim);
            let command = match withdraws {
                true => Command::Withdraw { session: SESSION, claim },
                false => Command::Enqueue {
                    session: SESSION,
                    claim,
                    name: name.as_bytes(),
                    mode,
                    waits,
                    value: &value,
                },
            };
            let (mut fast, mut generic) = (Vec::new(), Vec::new());
            encode(&to_request(id, 5, command).unwrap(), &mut generic);
            if write_command(id, 5, &command, &mut fast) {
                prop_assert_eq!(&fast, &generic);
                let named = withdraws || !name.is_empty();
                let readable = id < 1 << 63 && named && mode != Mode::Permit { of: 0 };
                prop_assert!(!readable || read_command(&fast[HEADER..], session).is_some());
            } else {
                let halved = claim.bits() >> 64 == 0 || claim.bits() << 64 == 0;
                prop_assert!(fast.is_empty() && (generic.len() > 120 || halved), "it is canonical");
            }
            same_command(&generic[HEADER..]);
            same_command(&damaged(&generic[HEADER..], &damage));
        }

        #[test]
        fn watches_are_the_same_as_by_the_generic_codec(
            id in 1u64..1 << 63,
            name in "\\PC{1,40}",
            after in 0u64..1 << 63,
            damage in prop::collection::vec((0usize..200, any::<u8>()), 0..3),
        ) {
            let command = Command::Changed { name: &name, after: Revision(after) };
            let mut frame = Vec::new();
            encode(&to_request(id, 0, command).unwrap(), &mut frame);
            let is_short = frame.len() < 0x80;
            prop_assert!(!is_short || read_command(&frame[HEADER..], session).is_some());
            same_command(&frame[HEADER..]);
            same_command(&damaged(&frame[HEADER..], &damage));
        }

        #[test]
        fn replies_are_the_same_as_by_the_generic_codec(
            id in 1u64..,
            reply in replies(),
            damage in prop::collection::vec((0usize..40, any::<u8>()), 0..3),
        ) {
            let (mut fast, mut generic) = (Vec::new(), Vec::new());
            encode(&from_reply(id, reply.clone()), &mut generic);
            prop_assert!(write_reply(id, &reply, &mut fast));
            prop_assert_eq!(&fast, &generic);
            prop_assert!(id >= 1 << 63 || read_reply(&fast[HEADER..]) == Some((id, reply)));
            same_reply(&generic[HEADER..]);
            same_reply(&damaged(&generic[HEADER..], &damage));
        }
    }
}
