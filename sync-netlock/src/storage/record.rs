//! The binary format of the log.
//!
//! A log is a sequence of frames, one for the changes of each visit. A frame consists of the length
//! of its records (4 bytes, little-endian), a CRC-32 of the records, and the records. A record
//! consists of its kind (one byte) and the fields of that kind. Texts and values are preceded by
//! their length as a varint.
//!
//! A record omits what follows from the previous record of its frame: most claims belong to the
//! same session as the claim before, and most tokens are the successor of the token before. This
//! makes the server faster, because its cost grows with the size of the log.

use std::time::Duration;

use bytes::Buf;
use distsync_core::spi::{ClaimId, Secret, SessionId};
use distsync_core::{Mode, Token};

use crate::engine::{Change, NO_PRINCIPAL, Reason, Terms};

/// The size of a frame's length and checksum, in bytes.
const HEAD: usize = 8;

/// The version of this format. In version 1, no changes were between the parts of the snapshot.
/// In version 2, no client was being isolated.
const VERSION: u32 = 3;
const VERSION_MIN: u32 = 1;

/// A record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// The first record of a log.
    Head {
        /// The boot id of the kernel when the log was created.
        boot: u128,
    },
    /// The end of the snapshot.
    Complete,
    /// A change of the table.
    Change(Change<'a>),
    /// The last record, written when the server stops properly. Nothing is missing before it.
    End,
}

const HEAD_KIND: u8 = 1;
const COMPLETE: u8 = 2;
const END: u8 = 3;
const OPENED: u8 = 10;
const CLOSED: u8 = 11;
const ARRIVED: u8 = 12;
const GRANTED: u8 = 13;
const UPDATED: u8 = 14;
const LEFT: u8 = 15;
const CHOSEN: u8 = 16;
/// As [`OPENED`], followed by the principal of the session.
const OPENED_BY: u8 = 17;
const ISOLATING: u8 = 18;
const ISOLATED: u8 = 19;
/// The last kind of a change.
const LAST_KIND: u8 = ISOLATED;

/// The last byte of an [`ISOLATING`] record.
const EXPIRED: u8 = 0;
const ENDED: u8 = 1;

/// The second byte of an [`ARRIVED`] record: the mode in the two low bits, and the flags below.
const SHARED: u8 = 1;
const PERMIT: u8 = 2;
const MODE: u8 = 3;
/// The session is that of the previous arrival in the frame.
const SAME_SESSION: u8 = 4;
/// The claim is held, and its token follows.
const HOLDS: u8 = 8;
/// The claim is held with the successor of the previous token in the frame.
const HOLDS_NEXT: u8 = 16;
/// The claim waits in more than one queue, and is granted in any one of them.
const ANY: u8 = 32;

/// The values that later records of a frame can omit.
#[derive(Clone, Copy, Debug, Default)]
struct Context {
    session: Option<SessionId>,
    token: u64,
}

/// A frame that is being written.
#[derive(Debug)]
pub(crate) struct Frame {
    bytes: Vec<u8>,
    context: Context,
}

impl Default for Frame {
    fn default() -> Self {
        Self {
            bytes: vec![0; HEAD],
            context: Context::default(),
        }
    }
}

impl Frame {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == HEAD
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Completes the frame, and returns its bytes.
    pub(crate) fn sealed(&mut self) -> &[u8] {
        let (head, records) = self.bytes.split_at_mut(HEAD);
        head.copy_from_slice(&head_of(records));
        &self.bytes
    }

    /// Returns the records without the head of the frame.
    #[cfg(feature = "cluster")]
    pub(crate) fn records(&self) -> &[u8] {
        &self.bytes[HEAD..]
    }

    /// Clears the frame for new records, and keeps at most `kept` bytes of its memory.
    pub(crate) fn clear(&mut self, kept: usize) {
        self.bytes.truncate(HEAD);
        self.bytes.shrink_to(kept);
        self.context = Context::default();
    }

    pub(crate) fn push(&mut self, record: Record<'_>) {
        match record {
            Record::Head { boot } => {
                self.bytes.push(HEAD_KIND);
                self.bytes.extend_from_slice(&VERSION.to_le_bytes());
                self.bytes.extend_from_slice(&id(boot));
            }
            Record::Complete => self.bytes.push(COMPLETE),
            Record::End => self.bytes.push(END),
            Record::Change(change) => self.push_change(change),
        }
    }

    fn push_change(&mut self, change: Change<'_>) {
        match change {
            Change::Opened {
                session,
                secret,
                terms,
                client,
                isolation,
                principal,
            } => {
                let has_principal = principal != NO_PRINCIPAL;
                self.push_id(
                    if has_principal { OPENED_BY } else { OPENED },
                    session.bits(),
                );
                self.bytes.extend_from_slice(&id(secret.expose()));
                let nanos = u64::try_from(terms.ttl.as_nanos()).unwrap_or(u64::MAX);
                self.bytes.extend_from_slice(&nanos.to_le_bytes());
                self.bytes.push(terms.release_on_disconnect.into());
                self.push_bytes(client.as_bytes());
                self.push_bytes(isolation);
                if has_principal {
                    self.bytes.extend_from_slice(&principal.to_le_bytes());
                }
            }
            Change::Isolating { session, reason } => {
                self.push_id(ISOLATING, session.bits());
                self.bytes.push(match reason {
                    Reason::Expired => EXPIRED,
                    Reason::Ended => ENDED,
                });
            }
            Change::Isolated { session } => self.push_id(ISOLATED, session.bits()),
            Change::Closed { session } => self.push_id(CLOSED, session.bits()),
            Change::Arrived { .. } => self.push_arrival(change),
            Change::Granted { claim, token } => {
                self.push_id(GRANTED, claim.bits());
                self.bytes.extend_from_slice(&token.get().to_le_bytes());
            }
            Change::Chosen { claim, name, token } => {
                self.push_id(CHOSEN, claim.bits());
                self.bytes.extend_from_slice(&token.get().to_le_bytes());
                self.push_bytes(name.as_bytes());
            }
            Change::Updated { claim, value } => {
                self.push_id(UPDATED, claim.bits());
                self.push_bytes(value);
            }
            Change::Left { claim } => self.push_id(LEFT, claim.bits()),
        }
    }

    fn push_arrival(&mut self, change: Change<'_>) {
        let Change::Arrived {
            session,
            claim,
            name,
            mode,
            value,
            token,
            any,
        } = change
        else {
            return;
        };
        let token = token.map_or(0, Token::get);
        let same_session = self.context.session.replace(session) == Some(session);
        let next = token != 0 && token == self.context.token + 1;
        let (mode, permits) = match mode {
            Mode::Exclusive => (0, None),
            Mode::Shared => (SHARED, None),
            Mode::Permit { of } => (PERMIT, Some(of)),
        };
        let holds = if next { HOLDS_NEXT } else { HOLDS };
        let flags = mode
            | if same_session { SAME_SESSION } else { 0 }
            | if token == 0 { 0 } else { holds }
            | if any { ANY } else { 0 };
        // Append the fields that all arrivals have at once, which is faster than one by one.
        let mut usual = [ARRIVED; 2 + 16];
        usual[1] = flags;
        usual[2..].copy_from_slice(&id(if same_session {
            claim.bits()
        } else {
            session.bits()
        }));
        self.bytes.extend_from_slice(&usual);
        if !same_session {
            self.bytes.extend_from_slice(&id(claim.bits()));
        }
        if token != 0 {
            self.context.token = token;
            if !next {
                self.bytes.extend_from_slice(&token.to_le_bytes());
            }
        }
        if let Some(of) = permits {
            self.bytes.extend_from_slice(&of.to_le_bytes());
        }
        self.push_bytes(name.as_bytes());
        self.push_bytes(value);
    }

    fn push_id(&mut self, kind: u8, bits: u128) {
        let mut record = [kind; 17];
        record[1..].copy_from_slice(&id(bits));
        self.bytes.extend_from_slice(&record);
    }

    fn push_bytes(&mut self, bytes: &[u8]) {
        match u8::try_from(bytes.len()) {
            Ok(length) if length < 0x80 => self.bytes.push(length),
            _ => prost::encoding::encode_varint(bytes.len() as u64, &mut self.bytes),
        }
        self.bytes.extend_from_slice(bytes);
    }
}

fn id(bits: u128) -> [u8; 16] {
    bits.to_le_bytes()
}

/// Appends a frame with these records to `out`. For logs with records of their own.
#[cfg(feature = "cluster")]
pub(crate) fn write_frame(records: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&head_of(records));
    out.extend_from_slice(records);
}

/// Returns the head of a frame with these records: their length and their CRC-32.
fn head_of(records: &[u8]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&length(records.len()).to_le_bytes());
    head[4..].copy_from_slice(&crc32fast::hash(records).to_le_bytes());
    head
}

/// Converts a length. It always fits: a frame is written when it is long, and limits bound the size
/// of each record.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// The result of reading a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A valid frame: its records, and its size.
    Frame(&'a [u8], usize),
    /// Zeros: nothing was written here.
    Nothing,
    /// An incomplete or damaged frame.
    Damage,
}

/// Reads the frame at the start of `bytes`.
pub(crate) fn read(bytes: &[u8]) -> Found<'_> {
    let mut head = bytes;
    let (Ok(length), Ok(checksum)) = (head.try_get_u32_le(), head.try_get_u32_le()) else {
        return if bytes.iter().all(|byte| *byte == 0) {
            Found::Nothing
        } else {
            Found::Damage
        };
    };
    if length == 0 && checksum == 0 {
        return Found::Nothing;
    }
    let records = usize::try_from(length)
        .ok()
        .and_then(|length| head.get(..length));
    match records.filter(|records| crc32fast::hash(records) == checksum) {
        Some(records) => Found::Frame(records, HEAD + records.len()),
        None => Found::Damage,
    }
}

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvalidRecord {
    /// Its bytes are invalid.
    Damage,
    /// It is the head of a log of another version.
    Version(u32),
    /// A later version has written it.
    Kind(u8),
}

/// The records of a frame.
#[derive(Debug)]
pub(crate) struct Records<'a> {
    rest: &'a [u8],
    context: Context,
}

impl<'a> Records<'a> {
    pub(crate) fn new(records: &'a [u8]) -> Self {
        Self {
            rest: records,
            context: Context::default(),
        }
    }

    /// Reads the next record. Returns `None` at the end of the frame.
    pub(crate) fn next(&mut self) -> Option<Result<Record<'a>, InvalidRecord>> {
        if self.rest.is_empty() {
            None
        } else {
            Some(self.read().unwrap_or(Err(InvalidRecord::Damage)))
        }
    }

    fn read(&mut self) -> Option<Result<Record<'a>, InvalidRecord>> {
        Some(Ok(match self.rest.try_get_u8().ok()? {
            HEAD_KIND => match self.rest.try_get_u32_le().ok()? {
                VERSION_MIN..=VERSION => Record::Head { boot: self.id()? },
                other => return Some(Err(InvalidRecord::Version(other))),
            },
            COMPLETE => Record::Complete,
            END => Record::End,
            kind if kind > LAST_KIND => return Some(Err(InvalidRecord::Kind(kind))),
            kind => Record::Change(self.change(kind)?),
        }))
    }

    fn change(&mut self, kind: u8) -> Option<Change<'a>> {
        Some(match kind {
            OPENED | OPENED_BY => Change::Opened {
                session: SessionId::from_bits(self.id()?),
                secret: Secret::from_bits(self.id()?),
                terms: self.terms()?,
                client: std::str::from_utf8(self.bytes()?).ok()?,
                isolation: self.bytes()?,
                principal: match kind {
                    OPENED_BY => self.rest.try_get_u64_le().ok()?,
                    _ => NO_PRINCIPAL,
                },
            },
            ISOLATING => Change::Isolating {
                session: SessionId::from_bits(self.id()?),
                reason: match self.rest.try_get_u8().ok()? {
                    EXPIRED => Reason::Expired,
                    ENDED => Reason::Ended,
                    _ => return None,
                },
            },
            ISOLATED => Change::Isolated {
                session: SessionId::from_bits(self.id()?),
            },
            CLOSED => Change::Closed {
                session: SessionId::from_bits(self.id()?),
            },
            ARRIVED => self.arrival()?,
            GRANTED => Change::Granted {
                claim: self.claim()?,
                token: self.token()?,
            },
            CHOSEN => {
                let (claim, token) = (self.claim()?, self.token()?);
                Change::Chosen {
                    claim,
                    token,
                    name: std::str::from_utf8(self.bytes()?).ok()?,
                }
            }
            UPDATED => Change::Updated {
                claim: self.claim()?,
                value: self.bytes()?,
            },
            LEFT => Change::Left {
                claim: self.claim()?,
            },
            _ => return None,
        })
    }

    fn arrival(&mut self) -> Option<Change<'a>> {
        let flags = self.rest.try_get_u8().ok()?;
        let session = match flags & SAME_SESSION {
            0 => SessionId::from_bits(self.id()?),
            _ => self.context.session?,
        };
        self.context.session = Some(session);
        let claim = self.claim()?;
        let token = match flags & (HOLDS | HOLDS_NEXT) {
            0 => None,
            HOLDS => Some(self.token()?),
            HOLDS_NEXT => Some(Token::new(self.context.token.checked_add(1)?)?),
            _ => return None,
        };
        self.context.token = token.map_or(self.context.token, Token::get);
        let mode = match flags & MODE {
            0 => Mode::Exclusive,
            SHARED => Mode::Shared,
            PERMIT => Mode::Permit {
                of: self.rest.try_get_u16_le().ok()?,
            },
            _ => return None,
        };
        let name = std::str::from_utf8(self.bytes()?).ok()?;
        let (value, any) = (self.bytes()?, flags & ANY != 0);
        Some(Change::Arrived {
            session,
            claim,
            name,
            mode,
            value,
            token,
            any,
        })
    }

    fn id(&mut self) -> Option<u128> {
        self.rest.try_get_u128_le().ok()
    }

    fn terms(&mut self) -> Option<Terms> {
        let ttl = Duration::from_nanos(self.rest.try_get_u64_le().ok()?);
        Some(Terms {
            ttl,
            release_on_disconnect: self.rest.try_get_u8().ok()? != 0,
        })
    }

    fn claim(&mut self) -> Option<ClaimId> {
        self.id().map(ClaimId::from_bits)
    }

    fn token(&mut self) -> Option<Token> {
        self.rest.try_get_u64_le().ok().and_then(Token::new)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(prost::encoding::decode_varint(&mut self.rest).ok()?).ok()?;
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Record<'static>> {
        let (session, claim) = (SessionId::from_bits(u128::MAX - 1), ClaimId::from_bits(7));
        let secret = Secret::from_bits(9);
        let token = Token::new(5).unwrap();
        let arrived = |mode, token: Option<Token>| {
            let (name, value, any) = ("n/l/ä", b"v", token.is_none());
            Record::Change(Change::Arrived {
                session,
                claim,
                name,
                mode,
                value,
                token,
                any,
            })
        };
        vec![
            Record::Head { boot: 3 },
            Record::Complete,
            Record::Change(Change::Opened {
                session,
                secret,
                terms: Terms {
                    ttl: Duration::from_millis(1_500),
                    release_on_disconnect: true,
                },
                client: "me",
                isolation: b"how",
                principal: NO_PRINCIPAL,
            }),
            Record::Change(Change::Opened {
                session,
                secret,
                terms: Terms::lasting(Duration::from_secs(1)),
                client: "",
                isolation: b"",
                principal: 11,
            }),
            arrived(Mode::Exclusive, Some(token)),
            arrived(Mode::Shared, None),
            arrived(Mode::Shared, Token::new(6)),
            arrived(Mode::Shared, Token::new(9)),
            arrived(Mode::Permit { of: 3 }, None),
            Record::Change(Change::Granted { claim, token }),
            Record::Change(Change::Chosen {
                claim,
                name: "n/l/ö",
                token,
            }),
            Record::Change(Change::Updated { claim, value: b"" }),
            Record::Change(Change::Left { claim }),
            Record::Change(Change::Isolating {
                session,
                reason: Reason::Expired,
            }),
            Record::Change(Change::Isolating {
                session,
                reason: Reason::Ended,
            }),
            Record::Change(Change::Isolated { session }),
            Record::Change(Change::Closed { session }),
            Record::End,
        ]
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let mut frame = Frame::default();
        all().into_iter().for_each(|record| frame.push(record));
        let Found::Frame(records, length) = read(frame.sealed()) else {
            panic!("no frame")
        };
        let mut records = Records::new(records);
        let found: Vec<_> = std::iter::from_fn(|| records.next().map(Result::unwrap)).collect();
        assert_eq!(found, all());
        assert_eq!(length, frame.len());
    }

    #[test]
    fn a_frame_that_is_cut_or_changed_is_damage() {
        for record in all() {
            let mut frame = Frame::default();
            frame.push(record);
            let mut bytes = frame.sealed().to_vec();
            for length in 1..bytes.len() {
                assert_eq!(
                    read(&bytes[..length]),
                    Found::Damage,
                    "{record:?} cut at {length}"
                );
            }
            for index in 0..bytes.len() {
                bytes[index] ^= 0x40;
                assert_eq!(read(&bytes), Found::Damage, "{record:?} changed at {index}");
                bytes[index] ^= 0x40;
            }
        }
        assert_eq!(read(&[]), Found::Nothing);
        assert_eq!(read(&[0; 64]), Found::Nothing);
    }

    #[test]
    fn invalid_records_are_detected() {
        for bytes in [
            &[OPENED - 1][..],
            &[LEFT],
            &[ARRIVED, SAME_SESSION],
            &[ARRIVED, HOLDS | HOLDS_NEXT],
            &[HEAD_KIND, 1],
        ] {
            assert_eq!(Records::new(bytes).next(), Some(Err(InvalidRecord::Damage)));
        }
        let later = LAST_KIND + 1;
        assert_eq!(
            Records::new(&[later]).next(),
            Some(Err(InvalidRecord::Kind(later)))
        );
    }
}
