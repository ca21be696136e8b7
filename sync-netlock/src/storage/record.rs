//! Changes as bytes: a record is a length (4 bytes, little-endian), a CRC-32 of what follows, and that many bytes: a kind,
//! and its fields.

use std::time::Duration;

use bytes::{Buf, BufMut};
use sync_core::backend::{ClaimId, SessionId};
use sync_core::{Mode, Secret, Token};

use crate::engine::Change;

/// Length and checksum.
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

/// Appends a record.
pub(super) fn write(record: Record<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.put_bytes(0, HEAD);
    match record {
        Record::Head { boot } => {
            out.put_u8(HEAD_KIND);
            out.put_u32_le(VERSION);
            out.put_u128_le(boot);
        }
        Record::Complete => out.put_u8(COMPLETE),
        Record::End => out.put_u8(END),
        Record::Change(change) => write_change(change, out),
    }
    let (checksum, length) = (crc32fast::hash(&out[start + HEAD..]), out.len() - start - HEAD);
    let mut head = &mut out[start..start + HEAD];
    head.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
    head.put_u32_le(checksum);
}

fn write_change(change: Change<'_>, out: &mut Vec<u8>) {
    match change {
        Change::Opened { session, secret, ttl, client } => {
            out.put_u8(OPENED);
            out.put_u128_le(session.bits());
            out.put_u128_le(secret.expose());
            out.put_u64_le(u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX));
            out.put_slice(client.as_bytes());
        }
        Change::Closed { session } => {
            out.put_u8(CLOSED);
            out.put_u128_le(session.bits());
        }
        Change::Arrived { session, claim, name, mode, value, token } => {
            out.put_u8(ARRIVED);
            out.put_u128_le(session.bits());
            out.put_u128_le(claim.bits());
            out.put_u64_le(token.map_or(0, Token::get));
            let (kind, permits) = match mode {
                Mode::Exclusive => (0, 0),
                Mode::Shared => (1, 0),
                Mode::Permit { of } => (2, of),
            };
            out.put_u8(kind);
            out.put_u16_le(permits);
            out.put_u32_le(u32::try_from(name.len()).unwrap_or(u32::MAX));
            out.put_slice(name.as_bytes());
            out.put_slice(value);
        }
        Change::Granted { claim, token } => {
            out.put_u8(GRANTED);
            out.put_u128_le(claim.bits());
            out.put_u64_le(token.get());
        }
        Change::Updated { claim, value } => {
            out.put_u8(UPDATED);
            out.put_u128_le(claim.bits());
            out.put_slice(value);
        }
        Change::Left { claim } => {
            out.put_u8(LEFT);
            out.put_u128_le(claim.bits());
        }
    }
}

/// What stands at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A record, and how long it is.
    Record(Record<'a>, usize),
    /// Nothing was written here.
    Nothing,
    /// No record: cut short, or damaged.
    Damage,
    /// A log of another version.
    Version(u32),
}

/// The record at the start of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Found<'_> {
    let mut head = bytes;
    let (Ok(length), Ok(checksum)) = (head.try_get_u32_le(), head.try_get_u32_le()) else {
        return if bytes.iter().all(|byte| *byte == 0) { Found::Nothing } else { Found::Damage };
    };
    if length == 0 && checksum == 0 {
        return Found::Nothing;
    }
    let body = usize::try_from(length).ok().and_then(|length| head.get(..length));
    let Some(body) = body.filter(|body| crc32fast::hash(body) == checksum) else { return Found::Damage };
    match read_body(body) {
        Some(Ok(record)) => Found::Record(record, HEAD + body.len()),
        Some(Err(version)) => Found::Version(version),
        None => Found::Damage,
    }
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
        for record in all() {
            let mut bytes = Vec::new();
            write(record, &mut bytes);
            assert_eq!(read(&bytes), Found::Record(record, bytes.len()));
        }
    }

    #[test]
    fn a_record_that_is_cut_or_changed_is_damage() {
        for record in all() {
            let mut bytes = Vec::new();
            write(record, &mut bytes);
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
}
