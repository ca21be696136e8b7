//! Changes as bytes.
//!
//! A frame is what one visit to the table has changed: its length (4 bytes, little-endian), a CRC-32 of the rest, and records.
//! A record is a length (4 bytes, little-endian), a kind, and that kind's fields.

use std::time::Duration;

use bytes::Buf;
use sync_core::backend::{ClaimId, SessionId};
use sync_core::{Mode, Secret, Token};

use crate::engine::Change;

/// A frame's length and checksum.
const HEAD: usize = 8;

/// The version of this format.
const VERSION: u32 = 1;

/// What a log consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// The first of a log.
    Head {
        /// Which run of which kernel wrote the log.
        boot: u128,
    },
    /// What came before makes the table as it was when the log was begun.
    Complete,
    /// A change of the table.
    Change(Change<'a>),
    /// The server ended in peace: nothing is missing.
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

/// A frame that is being written.
#[derive(Debug)]
pub(super) struct Frame {
    bytes: Vec<u8>,
}

impl Default for Frame {
    fn default() -> Self {
        Self { bytes: vec![0; HEAD] }
    }
}

impl Frame {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == HEAD
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The frame, complete.
    pub(super) fn sealed(&mut self) -> &[u8] {
        let (head, records) = self.bytes.split_at_mut(HEAD);
        head[..4].copy_from_slice(&length(records.len()).to_le_bytes());
        head[4..].copy_from_slice(&crc32fast::hash(records).to_le_bytes());
        &self.bytes
    }

    /// Begins the next one. No more than `kept` bytes of memory stay with it.
    pub(super) fn clear(&mut self, kept: usize) {
        self.bytes.truncate(HEAD);
        self.bytes.shrink_to(kept);
    }

    pub(super) fn push(&mut self, record: Record<'_>) {
        match record {
            Record::Head { boot } => self.put(HEAD_KIND, [&VERSION.to_le_bytes()[..], &boot.to_le_bytes()]),
            Record::Complete => self.put(COMPLETE, []),
            Record::End => self.put(END, []),
            Record::Change(change) => self.push_change(change),
        }
    }

    fn push_change(&mut self, change: Change<'_>) {
        match change {
            Change::Opened { session, secret, ttl, client } => {
                let nanos = u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
                let (session, secret) = (id(session.bits()), id(secret.expose()));
                self.put(OPENED, [&session[..], &secret, &nanos.to_le_bytes(), client.as_bytes()]);
            }
            Change::Closed { session } => self.put(CLOSED, [&id(session.bits())[..]]),
            Change::Arrived { session, claim, name, mode, value, token } => {
                let (kind, permits) = match mode {
                    Mode::Exclusive => (0, 0),
                    Mode::Shared => (1, 0),
                    Mode::Permit { of } => (2, of),
                };
                let mut fixed = [0; 47];
                fixed[..16].copy_from_slice(&id(session.bits()));
                fixed[16..32].copy_from_slice(&id(claim.bits()));
                fixed[32..40].copy_from_slice(&token.map_or(0, Token::get).to_le_bytes());
                fixed[40] = kind;
                fixed[41..43].copy_from_slice(&u16::to_le_bytes(permits));
                fixed[43..].copy_from_slice(&length(name.len()).to_le_bytes());
                self.put(ARRIVED, [&fixed[..], name.as_bytes(), value]);
            }
            Change::Granted { claim, token } => {
                self.put(GRANTED, [&id(claim.bits())[..], &token.get().to_le_bytes()]);
            }
            Change::Updated { claim, value } => self.put(UPDATED, [&id(claim.bits())[..], value]),
            Change::Left { claim } => self.put(LEFT, [&id(claim.bits())[..]]),
        }
    }

    fn put<const PARTS: usize>(&mut self, kind: u8, parts: [&[u8]; PARTS]) {
        let fields: usize = parts.iter().map(|part| part.len()).sum();
        let mut head = [0; 5];
        head[..4].copy_from_slice(&length(1 + fields).to_le_bytes());
        head[4] = kind;
        self.bytes.reserve(head.len() + fields);
        self.bytes.extend_from_slice(&head);
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
    }
}

fn id(bits: u128) -> [u8; 16] {
    bits.to_le_bytes()
}

/// Lengths are far below this: frames are sealed when they are long, and limits bound what a claim carries.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// What stands at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A frame: its records, and how long it is.
    Frame(&'a [u8], usize),
    /// Nothing was written here.
    Nothing,
    /// No frame: cut short, or damaged.
    Damage,
}

/// The frame at the start of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Found<'_> {
    let mut head = bytes;
    let (Ok(length), Ok(checksum)) = (head.try_get_u32_le(), head.try_get_u32_le()) else {
        return if bytes.iter().all(|byte| *byte == 0) { Found::Nothing } else { Found::Damage };
    };
    if length == 0 && checksum == 0 {
        return Found::Nothing;
    }
    let records = usize::try_from(length).ok().and_then(|length| head.get(..length));
    match records.filter(|records| crc32fast::hash(records) == checksum) {
        Some(records) => Found::Frame(records, HEAD + records.len()),
        None => Found::Damage,
    }
}

/// Why a frame's records end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRecord {
    /// It is none.
    Damage,
    /// It is the head of a log of another version.
    Version(u32),
}

/// Takes the first record off a frame's records.
pub(super) fn take<'a>(records: &mut &'a [u8]) -> Result<Record<'a>, NoRecord> {
    let length = records.try_get_u32_le().ok().and_then(|length| usize::try_from(length).ok());
    let split = length.and_then(|length| records.split_at_checked(length));
    let (record, rest) = split.ok_or(NoRecord::Damage)?;
    *records = rest;
    read_body(record).ok_or(NoRecord::Damage)?.map_err(NoRecord::Version)
}

fn read_body(mut body: &[u8]) -> Option<Result<Record<'_>, u32>> {
    Some(Ok(match body.try_get_u8().ok()? {
        HEAD_KIND => match body.try_get_u32_le().ok()? {
            VERSION => Record::Head { boot: body.try_get_u128_le().ok()? },
            other => return Some(Err(other)),
        },
        COMPLETE => Record::Complete,
        END => Record::End,
        kind => Record::Change(read_change(kind, body)?),
    }))
}

fn read_change(kind: u8, mut body: &[u8]) -> Option<Change<'_>> {
    let mut id = || body.try_get_u128_le().ok();
    Some(match kind {
        OPENED => Change::Opened {
            session: SessionId::from_bits(id()?),
            secret: Secret::from_bits(id()?),
            ttl: Duration::from_nanos(body.try_get_u64_le().ok()?),
            client: std::str::from_utf8(body).ok()?,
        },
        CLOSED => Change::Closed { session: SessionId::from_bits(id()?) },
        ARRIVED => {
            let (session, claim) = (SessionId::from_bits(id()?), ClaimId::from_bits(id()?));
            let token = match body.try_get_u64_le().ok()? {
                0 => None,
                token => Some(Token::new(token)?),
            };
            let mode = match (body.try_get_u8().ok()?, body.try_get_u16_le().ok()?) {
                (0, _) => Mode::Exclusive,
                (1, _) => Mode::Shared,
                (2, of) => Mode::Permit { of },
                _ => return None,
            };
            let length = usize::try_from(body.try_get_u32_le().ok()?).ok()?;
            let (name, value) = body.split_at_checked(length)?;
            Change::Arrived { session, claim, name: std::str::from_utf8(name).ok()?, mode, value, token }
        }
        GRANTED => Change::Granted {
            claim: ClaimId::from_bits(id()?),
            token: Token::new(body.try_get_u64_le().ok()?)?,
        },
        UPDATED => Change::Updated { claim: ClaimId::from_bits(id()?), value: body },
        LEFT => Change::Left { claim: ClaimId::from_bits(id()?) },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Record<'static>> {
        let (session, claim) = (SessionId::from_bits(u128::MAX - 1), ClaimId::from_bits(7));
        let secret = Secret::from_bits(9);
        let token = Token::new(5).unwrap();
        let arrived = |mode, token| {
            Record::Change(Change::Arrived { session, claim, name: "n/l/ä", mode, value: b"v", token })
        };
        vec![
            Record::Head { boot: 3 },
            Record::Complete,
            Record::Change(Change::Opened {
                session,
                secret,
                ttl: Duration::from_millis(1_500),
                client: "me",
            }),
            arrived(Mode::Exclusive, Some(token)),
            arrived(Mode::Shared, None),
            arrived(Mode::Permit { of: 3 }, None),
            Record::Change(Change::Granted { claim, token }),
            Record::Change(Change::Updated { claim, value: b"" }),
            Record::Change(Change::Left { claim }),
            Record::Change(Change::Closed { session }),
            Record::End,
        ]
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let mut frame = Frame::default();
        all().into_iter().for_each(|record| frame.push(record));
        let Found::Frame(mut records, length) = read(frame.sealed()) else { panic!("no frame") };
        let found: Vec<_> =
            std::iter::from_fn(|| (!records.is_empty()).then(|| take(&mut records).unwrap())).collect();
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
                assert_eq!(read(&bytes[..length]), Found::Damage, "{record:?} cut at {length}");
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
    fn a_record_that_is_none_is_told() {
        for mut bytes in [&b""[..], &[1, 0, 0], &[9, 0, 0, 0, 1], &[1, 0, 0, 0, 99], &[1, 0, 0, 0, LEFT]] {
            assert_eq!(take(&mut bytes), Err(NoRecord::Damage));
        }
    }
}
