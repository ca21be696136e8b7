//! The queue of a name as read from etcd, in the order of arrival.

use std::collections::HashSet;

use distsync_core::spi::{Entry, order};
use distsync_core::{LockName, Token};
use etcd_client::{GetOptions, KeyValue, SortOrder, SortTarget, TxnOp, TxnOpResponse, TxnResponse};

use crate::connection::Done;
use crate::error::Failure;
use crate::keys::{KeyEntry, prefix, read_entry, read_key_entry};

/// A queue as one transaction has read it.
pub(crate) struct QueueView {
    pub(crate) entries: Vec<KeyEntry>,
    pub(crate) holder: Option<Box<Entry>>,
    pub(crate) revision: i64,
}

impl QueueView {
    /// Returns the position of the claim with this key.
    pub(crate) fn of<'a>(&'a self, key: &'a str) -> order::Position<&'a str> {
        let order: Vec<_> = self
            .entries
            .iter()
            .map(|entry| (&*entry.key, entry.mode))
            .collect();
        order::position(&order, key)
    }

    /// Returns the queue at a later revision, after the keys in `gone` were deleted. Claims that
    /// were queued in between are missing.
    pub(crate) fn without(mut self, gone: &HashSet<String>, revision: i64) -> Self {
        self.entries.retain(|entry| !gone.contains(&entry.key));
        self.revision = revision;
        self
    }

    pub(crate) fn token(&self, key: &str) -> Result<Token, Failure> {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        entry
            .and_then(|entry| token(entry.created))
            .ok_or(Failure::Answer("a revision that cannot be a token"))
    }
}

pub(crate) fn token(created: i64) -> Option<Token> {
    Token::new(u64::try_from(created).ok()?)
}

pub(crate) fn in_order() -> GetOptions {
    GetOptions::new()
        .with_prefix()
        .with_sort(SortTarget::Create, SortOrder::Ascend)
}

/// Reads a queue in the order of arrival, without values.
pub(crate) fn read_order(name: &LockName) -> TxnOp {
    TxnOp::get(prefix(name), Some(in_order().with_keys_only()))
}

/// Reads a queue without values, and its first entry with its value.
pub(crate) fn read_queue(name: &LockName) -> [TxnOp; 2] {
    [read_order(name), read_first(name)]
}

/// Reads the first entry of a queue, with its value.
pub(crate) fn read_first(name: &LockName) -> TxnOp {
    TxnOp::get(prefix(name), Some(in_order().with_limit(1)))
}

fn gets(response: &TxnResponse) -> Vec<Vec<KeyValue>> {
    let reads = response
        .op_responses()
        .into_iter()
        .filter_map(|response| match response {
            TxnOpResponse::Get(mut get) => Some(get.take_kvs()),
            _ => None,
        });
    reads.collect()
}

pub(crate) fn queue_of(done: &Done) -> Result<QueueView, Failure> {
    queue_in(&done.response, done.revision)
}

/// Parses a queue of which only the [first entry](read_first) was read.
pub(crate) fn first_of(done: &Done) -> Result<QueueView, Failure> {
    let reads = gets(&done.response);
    let first = reads
        .first()
        .ok_or(Failure::Answer("a transaction without its read"))?;
    queue_from(first, first.first(), done.revision)
}

pub(crate) fn queue_in(response: &TxnResponse, revision: i64) -> Result<QueueView, Failure> {
    let reads = gets(response);
    let all = reads
        .first()
        .ok_or(Failure::Answer("a transaction without its read"))?;
    queue_from(all, reads.get(1).and_then(|first| first.first()), revision)
}

fn queue_from(
    all: &[KeyValue],
    first: Option<&KeyValue>,
    revision: i64,
) -> Result<QueueView, Failure> {
    let entries = all
        .iter()
        .map(read_key_entry)
        .collect::<Result<Vec<_>, _>>()?;
    let holder = match first {
        Some(kv) => Some(Box::new(read_entry(kv, token(kv.create_revision()))?)),
        None => None,
    };
    Ok(QueueView {
        entries,
        holder,
        revision,
    })
}
