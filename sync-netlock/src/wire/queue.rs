//! The encoder of queues, which writes the same bytes as the generic codec. A queue is encoded once
//! for all connections that send it: only the length and the id in front of it differ.

use std::time::Duration;

use bytes::Bytes;
use distsync_core::Token;
use distsync_core::spi::clock::Moment;

use super::fast_path::{bytes, length_of_number, number, varint};
use super::frame::HEADER;
use super::proto;
use super::values::from_mode;
use crate::engine::{QueueSnapshot, QueueView, SnapshotEntry};

/// Protobuf tags, as in the fast path.
mod tag {
    pub(super) const ID: u8 = 1 << 3;
    pub(super) const QUEUE: u8 = 14 << 3 | 2;

    pub(super) const ENTRY: u8 = 1 << 3 | 2;
    pub(super) const REVISION: u8 = 2 << 3;

    pub(super) const CLAIM: u8 = 1 << 3 | 2;
    pub(super) const TOKEN: u8 = 2 << 3;
    pub(super) const MODE: u8 = 3 << 3;
    pub(super) const PERMITS: u8 = 4 << 3;
    pub(super) const CLIENT: u8 = 5 << 3 | 2;
    pub(super) const VALUE: u8 = 6 << 3 | 2;
    pub(super) const AGE: u8 = 7 << 3;
    pub(super) const ISOLATING: u8 = 8 << 3;
    pub(super) const SESSION: u8 = 9 << 3 | 2;

    pub(super) const HIGH: u8 = 1 << 3 | 1;
    pub(super) const LOW: u8 = 2 << 3 | 1;
}

/// Returns the field of a response that contains the queue, or `None` if the queue was decoded. All
/// connections that send the queue share the bytes.
#[must_use]
pub fn encode_queue(view: &QueueView) -> Option<Bytes> {
    let (queue, at) = view.snapshot()?;
    Some(queue.encoded(at, field))
}

/// Appends the start of a response to the request `id`. A field of `length` bytes has to follow.
pub fn encode_head(id: u64, length: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    number(tag::ID, id, |byte| out.push(byte));
    let length = out.len() - start - HEADER + length;
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    out[start..start + HEADER].copy_from_slice(&length.to_be_bytes());
}

fn field(queue: &QueueSnapshot, at: Moment) -> Bytes {
    let entries: usize = queue
        .entries
        .iter()
        .map(|entry| nested(length_of_entry(entry, at)))
        .sum();
    let length = entries + usize::from(length_of_number(queue.revision.0));
    let mut out = Vec::with_capacity(nested(length));
    out.push(tag::QUEUE);
    varint(length as u64, |byte| out.push(byte));
    for entry in &queue.entries {
        write_entry(entry, at, &mut out);
    }
    number(tag::REVISION, queue.revision.0, |byte| out.push(byte));
    out.into()
}

/// Returns the size of a field whose content has this length.
fn nested(length: usize) -> usize {
    // A length of 0 takes a byte too.
    1 + usize::from(length_of_number(length as u64).max(2) - 1) + length
}

fn age(entry: &SnapshotEntry, at: Moment) -> u64 {
    let age: Duration = at.since(entry.since);
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

fn length_of_id(id: proto::Id) -> usize {
    9 * (usize::from(id.high != 0) + usize::from(id.low != 0))
}

fn length_of_bytes(length: usize) -> usize {
    if length == 0 { 0 } else { nested(length) }
}

fn length_of_entry(entry: &SnapshotEntry, at: Moment) -> usize {
    let (mode, permits) = from_mode(entry.mode);
    let numbers = [
        entry.token.map_or(0, Token::get),
        u64::from(mode as u32),
        permits.into(),
        age(entry, at),
        entry.is_isolating.into(),
    ];
    let numbers: usize = numbers
        .map(|number| usize::from(length_of_number(number)))
        .into_iter()
        .sum();
    numbers
        + nested(length_of_id(entry.claim.bits().into()))
        + nested(length_of_id(entry.session.bits().into()))
        + length_of_bytes(entry.client.len())
        + length_of_bytes(entry.value().len())
}

fn write_entry(entry: &SnapshotEntry, at: Moment, out: &mut Vec<u8>) {
    let (mode, permits) = from_mode(entry.mode);
    out.push(tag::ENTRY);
    varint(length_of_entry(entry, at) as u64, |byte| out.push(byte));
    write_id(tag::CLAIM, entry.claim.bits().into(), out);
    let token = entry.token.map_or(0, Token::get);
    number(tag::TOKEN, token, |byte| out.push(byte));
    number(tag::MODE, u64::from(mode as u32), |byte| out.push(byte));
    number(tag::PERMITS, permits.into(), |byte| out.push(byte));
    bytes(tag::CLIENT, entry.client.as_bytes(), out);
    bytes(tag::VALUE, entry.value(), out);
    number(tag::AGE, age(entry, at), |byte| out.push(byte));
    number(tag::ISOLATING, entry.is_isolating.into(), |byte| {
        out.push(byte)
    });
    write_id(tag::SESSION, entry.session.bits().into(), out);
}

fn write_id(tag: u8, id: proto::Id, out: &mut Vec<u8>) {
    out.push(tag);
    varint(length_of_id(id) as u64, |byte| out.push(byte));
    for (tag, half) in [(tag::HIGH, id.high), (tag::LOW, id.low)] {
        if half != 0 {
            out.push(tag);
            out.extend_from_slice(&half.to_le_bytes());
        }
    }
}
